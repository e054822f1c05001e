//! Descriptors: for a session its channel and its own files in the logger, two per connection attempt in
//! the parent.

use std::sync::LazyLock;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::config::{Config, Target};
use crate::exit::{Failure, Status};
use crate::reason::reason;

/// Descriptors that a role holds besides those of sessions.
const BESIDES: u64 = 64;

/// Sessions whose end the logger has not seen when it begins the next ones.
const ENDING: u64 = 8;

/// Descriptors without which no session is served: what parent and logger have open before the first one, and that
/// one. A few more than were counted, for libraries.
const LEAST: u64 = 32;

/// How many processes and threads a user may have. Read before the filter is on, in which the call is not.
static PROCESSES: LazyLock<u64> =
    LazyLock::new(|| getrlimit(Resource::RLIMIT_NPROC).map_or(u64::MAX, |(soft, _)| soft));

/// The words of the system about what it has no more of, and the limit that is behind them as far as it is known.
pub(super) fn shortage(errno: i32) -> String {
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

/// Raises the limit as far as it goes; lowers `-F` to what fits and says so.
pub(super) fn raise(config: &mut Config) -> Result<Option<String>, Failure> {
    LazyLock::force(&PROCESSES);
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return Ok(None) };
    let files: u64 = config.outputs.iter().map(|output| own_files(&output.target)).sum();
    let (each, besides) = ((1 + files).max(2), BESIDES + ENDING * files);
    let wanted = each * u64::from(config.at_once) + besides;
    let limit = if soft < wanted && setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard).is_ok() {
        wanted.min(hard)
    } else {
        soft
    };
    let least = LEAST + files + config.outputs.len() as u64;
    if limit < least {
        let text =
            format!("the limit of open files is {limit}, and {least} are needed: raise it with ulimit -n");
        return Err(Failure::new(Status::Os, text));
    }
    let fits = u32::try_from((limit.saturating_sub(besides) / each).max(1)).unwrap_or(u32::MAX);
    if fits >= config.at_once {
        return Ok(None);
    }
    let text = format!(
        "-F {} needs {wanted} file descriptors, the limit is {limit}: serving {fits} sessions at once (raise it with ulimit -n)",
        config.at_once
    );
    config.at_once = fits;
    Ok(Some(text))
}

/// The files of its own that each session has in an output: the most that a name can mean, right or wrong.
/// What is wrong with it, the logger tells.
pub(super) fn own_files(target: &Target) -> u64 {
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
    fn own_files_are_counted() {
        let files = |name: &str| own_files(&Target::File(name.into()));
        assert_eq!(["plain", "100%%", "%%d", "%%%%n", "odd%"].map(files), [0; 5]);
        assert_eq!(["%n", "a%a", "%%%t-d"].map(files), [1; 3]);
        assert_eq!(["%d", "%n.%d.%%", "%%%d"].map(files), [2; 3]);
        assert_eq!(own_files(&Target::Stdout), 0);
    }
}
