//! Descriptors: for a session its channel and its own files in the logger, two per connection attempt in
//! the parent.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::config::{Config, Target};

/// Descriptors that a role holds besides those of sessions.
const BESIDES: u64 = 64;

/// Sessions whose end the logger has not seen when it begins the next ones.
const ENDING: u64 = 8;

/// Raises the limit as far as it goes; lowers `-F` to what fits and says so.
pub(super) fn raise(config: &mut Config) -> Option<String> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let files: u64 = config.outputs.iter().map(|output| own_files(&output.target)).sum();
    let (each, besides) = ((1 + files).max(2), BESIDES + ENDING * files);
    let wanted = each * u64::from(config.at_once) + besides;
    let limit = if soft < wanted && setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard).is_ok() {
        wanted.min(hard)
    } else {
        soft
    };
    let fits = u32::try_from((limit.saturating_sub(besides) / each).max(1)).unwrap_or(u32::MAX);
    if fits >= config.at_once {
        return None;
    }
    let text = format!(
        "-F {} needs {wanted} file descriptors, the limit is {limit}: serving {fits} sessions at once (raise it with ulimit -n)",
        config.at_once
    );
    config.at_once = fits;
    Some(text)
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
