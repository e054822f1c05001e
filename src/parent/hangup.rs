//! What a hang-up means: that the terminal has gone, or that logs are being rotated.

use std::fs::File;
use std::io;

use nix::sys::signal::Signal;
use privsep::sys;

use crate::messages::Hangup;

/// A terminal that goes takes with it whoever it controls, unless nohup(1) has told them not to mind. Everybody
/// else, a service in the foreground for one, is sent SIGHUP on purpose.
pub(super) fn meaning() -> io::Result<Hangup> {
    let controlled = File::open("/dev/tty").is_ok();
    let minded = !sys::is_ignored(Signal::SIGHUP)?;
    Ok(if controlled && minded { Hangup::Ends } else { Hangup::Reopens })
}
