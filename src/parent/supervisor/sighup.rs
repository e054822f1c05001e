//! Meaning of SIGHUP: loss of the terminal, or rotation of logs.

use std::fs::File;
use std::io;

use nix::sys::signal::Signal;
use privsep::sys;

use crate::messages::Hangup;

/// With a controlling terminal, SIGHUP ends the program, unless nohup(1) has set it to be ignored. Without a
/// terminal, for example as a service in the foreground, SIGHUP is sent on purpose.
pub(in crate::parent) fn meaning() -> io::Result<Hangup> {
    let controlled = File::open("/dev/tty").is_ok();
    let minded = !sys::is_ignored(Signal::SIGHUP)?;
    Ok(if controlled && minded { Hangup::Ends } else { Hangup::Reopens })
}
