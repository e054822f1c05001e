//! Descriptor limits. A session takes its channel and its own files in the logger, and two descriptors per
//! connection attempt in the parent.

use std::sync::LazyLock;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::config::{Config, Target};
use crate::exit::{Failure, Status};
use crate::messages::Acknowledge;
use crate::reason::reason;

/// Maximum number of clients queued here rather than in the kernel's queue, where those of one address would
/// precede all others.
pub(in crate::parent) const MOST_QUEUED: usize = 64;

/// Descriptors of a role besides those of sessions.
const BESIDES: u64 = 64;

/// Backlog: sessions that have ended and are not completely recorded. `-F` leaves room for the minimum. A few
/// dozen keep the logger busy; more would only wait, each with a channel and files.
const LEAST_BACKLOG: u64 = 8;
const MOST_BACKLOG: u64 = 64;

/// Retry delay after `ETOOMANYREFS`: the system reports no event when descriptors in flight have arrived.
pub(in crate::parent) const IN_FLIGHT_RETRY: Duration = Duration::from_millis(20);

/// Limits that result from the number of descriptors.
pub(in crate::parent) struct Limits {
    /// Maximum number of sessions that have ended and are not completely recorded.
    pub(in crate::parent) backlog: u32,
    /// Notice about a lowered limit.
    pub(in crate::parent) shortage: Option<String>,
}

/// Minimum number of descriptors to serve a session: those that parent and logger have open before the first
/// one, those of that session, and a few for libraries.
const LEAST: u64 = 32;

/// Maximum number of processes and threads of a user. Read before the filter is installed, which excludes the
/// call.
static PROCESSES: LazyLock<u64> =
    LazyLock::new(|| getrlimit(Resource::RLIMIT_NPROC).map_or(u64::MAX, |(soft, _)| soft));

/// Describes a shortage in the system's words, with the limit that caused it if known.
pub(in crate::parent) fn shortage(errno: i32) -> String {
    let limit = match Errno::from_raw(errno) {
        Errno::EAGAIN if *PROCESSES != u64::MAX => {
            format!(": this user may have {} processes and threads (ulimit -u)", *PROCESSES)
        }
        Errno::EAGAIN => ": the system or the container has a limit of processes".to_owned(),
        Errno::ENOMEM => ": of memory (ulimit -v)".to_owned(),
        Errno::EMFILE => ": of open files (ulimit -n)".to_owned(),
        _ => String::new(),
    };
    reason(errno) + &limit
}

/// Raises the limit as far as possible; lowers `-F` to what fits, with a notice.
pub(in crate::parent) fn raise(config: &mut Config) -> Result<Limits, Failure> {
    LazyLock::force(&PROCESSES);
    let files: u64 = config.outputs.iter().map(|output| own_files(&output.target)).sum();
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return Ok(Limits { backlog: LEAST_BACKLOG as u32, shortage: None });
    };
    let queued = if config.per_client.is_some() { MOST_QUEUED as u64 } else { 0 };
    let wanted = needed(config.at_once, files) + (MOST_BACKLOG - LEAST_BACKLOG) * (1 + files) + queued;
    let raised = wanted.min(hard);
    let limit =
        if soft < wanted && setrlimit(Resource::RLIMIT_NOFILE, raised, hard).is_ok() { raised } else { soft };
    let least = LEAST + files + config.outputs.len() as u64;
    if limit < least {
        let text =
            format!("the limit of open files is {limit}, and {least} are needed: raise it with ulimit -n");
        return Err(Failure::new(Status::Os, text));
    }
    let limit = limit.saturating_sub(queued);
    let shortage = lower(config, files, limit);
    Ok(Limits { backlog: backlog(config.at_once, files, limit), shortage })
}

/// Descriptors of one session in the parent or the logger, whichever needs more.
fn of_session(files: u64) -> u64 {
    (1 + files).max(2)
}

/// Descriptors besides those of running sessions.
fn besides(files: u64) -> u64 {
    BESIDES + LEAST_BACKLOG * files
}

fn needed(at_once: u32, files: u64) -> u64 {
    of_session(files) * u64::from(at_once) + besides(files)
}

/// Lowers `-F` to the limit.
fn lower(config: &mut Config, files: u64, limit: u64) -> Option<String> {
    let fits = limit.saturating_sub(besides(files)) / of_session(files);
    let fits = u32::try_from(fits.max(1)).unwrap_or(u32::MAX);
    if fits >= config.at_once {
        return None;
    }
    let text = format!(
        "-F {} needs {} file descriptors, the limit is {limit}: serving {fits} sessions at once (raise it with ulimit -n)",
        config.at_once,
        needed(config.at_once, files)
    );
    config.at_once = fits;
    Some(text)
}

/// Computes the backlog from the descriptors that running sessions leave in the logger; at least one.
fn backlog(at_once: u32, files: u64, limit: u64) -> u32 {
    let left = limit.saturating_sub(LEAST + (1 + files) * u64::from(at_once));
    (left / (1 + files)).clamp(1, MOST_BACKLOG) as u32
}

/// Condition for forwarding. A session whose files cannot be created forwards nothing.
pub(in crate::parent) fn acknowledge(config: &Config) -> Acknowledge {
    // With `--match` the files are made when a session matches, for which its data has to pass first.
    let has_own_files =
        config.matching.is_none() && config.outputs.iter().any(|output| own_files(&output.target) > 0);
    match (config.record_first, has_own_files) {
        (Some(_), _) => Acknowledge::Records,
        (None, true) => Acknowledge::Files,
        (None, false) => Acknowledge::Nothing,
    }
}

/// Number of files that each session has in an output: the maximum for its name, even if the name is invalid,
/// which the logger reports.
pub(in crate::parent) fn own_files(target: &Target) -> u64 {
    let Target::File(name) = target else { return 0 };
    let mut letters = Vec::new();
    let mut bytes = name.as_encoded_bytes().iter();
    while let Some(byte) = bytes.next() {
        if *byte == b'%' {
            letters.extend(bytes.next().filter(|letter| **letter != b'%'));
        }
    }
    match letters.as_slice() {
        [] => 0,
        letters if letters.contains(&&b'd') => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_the_limit_is_for_sessions_that_are_over() {
        assert_eq!(backlog(1, 0, 1024), MOST_BACKLOG as u32);
        assert_eq!(backlog(1, 5, LEAST + 5), 1);
        for files in [0, 1, 5, 10] {
            for limit in [64, 128, 256, 1024] {
                let backlog = u64::from(backlog(1, files, limit));
                let held = LEAST + (1 + files) * (1 + backlog);
                assert!(backlog == 1 || held <= limit, "{files} files, limit {limit}: {backlog}");
                let fits = limit.saturating_sub(besides(files)) / of_session(files);
                let least = super::backlog(fits.max(1) as u32, files, limit);
                assert!(
                    fits == 0 || u64::from(least) >= LEAST_BACKLOG,
                    "{files} files, limit {limit}: {least}"
                );
            }
        }
    }

    #[test]
    fn own_files_are_counted() {
        let files = |name: &str| own_files(&Target::File(name.into()));
        assert_eq!(["plain", "100%%", "%%d", "%%%%n", "odd%"].map(files), [0; 5]);
        assert_eq!(["%n", "a%a", "%%%t-d"].map(files), [1; 3]);
        assert_eq!(["%d", "%n.%d.%%", "%%%d"].map(files), [2; 3]);
        assert_eq!(own_files(&Target::Stdout), 0);
    }
}
