//! Descriptors: one per session in the logger, two per connection attempt in the parent.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::config::Config;

/// Descriptors that a role holds besides those of sessions.
const BESIDES: u64 = 64;

/// Raises the limit as far as it goes; lowers `-F` to what fits and says so.
pub(super) fn raise(config: &mut Config) -> Option<String> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let wanted = 2 * u64::from(config.at_once) + BESIDES;
    let limit = if soft < wanted && setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard).is_ok() {
        wanted.min(hard)
    } else {
        soft
    };
    let fits = u32::try_from((limit.saturating_sub(BESIDES) / 2).max(1)).unwrap_or(u32::MAX);
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
