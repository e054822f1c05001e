//! Notices: what the operator is told, on stderr or, by a daemon, in syslog.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::UnixAddr;
use nix::unistd::Pid;
use privsep::sys;

use super::escape::push_escaped;
use super::syslog::{Severity, Syslog};
use crate::messages::{Level, Name, Notices};
use crate::policy::SYSLOG_PATH;
use crate::reason::reason;

/// The most bytes that a pipe which poll(2) calls writable takes without blocking (`PIPE_BUF`).
const LINE: usize = 4096;

/// The operator's ear.
pub(super) enum Notes {
    Stderr(Stderr),
    Syslog(Box<Syslog>),
}

impl Notes {
    /// Before the filter is on. `parent` is the process that the operator knows.
    pub(super) fn open(notices: Notices, parent: Pid) -> io::Result<Notes> {
        match notices {
            Notices::Syslog => Ok(Notes::Syslog(Box::new(to_syslog(parent)?))),
            Notices::Quiet | Notices::Normal | Notices::Verbose => Ok(Notes::Stderr(Stderr::new(notices))),
        }
    }

    /// Tells a line, if it is wanted.
    pub(super) fn tell(&mut self, level: Level, text: &str) {
        match self {
            Notes::Stderr(stderr) => stderr.tell(level, text),
            Notes::Syslog(syslog) => {
                if let Some(severity) = severity(level) {
                    syslog.tell(severity, text);
                }
            }
        }
    }

    /// Says whom we serve: a daemon alone does, as others may have a display for that.
    pub(super) fn session(&mut self, client: &Name, server: &Name) {
        if let Notes::Syslog(syslog) = self {
            syslog.tell(Severity::Info, &format!("Connection from: {client}"));
            syslog.tell(Severity::Info, &format!("Connection to: {server}"));
        }
    }
}

fn severity(level: Level) -> Option<Severity> {
    match level {
        Level::Error => Some(Severity::Error),
        Level::Warning => Some(Severity::Warning),
        Level::Normal | Level::Asked => Some(Severity::Notice),
        Level::Detail => None,
    }
}

/// Leaves the standard streams. That syslogd is not there is no failure, but worth a last word on stderr.
fn to_syslog(parent: Pid) -> io::Result<Syslog> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    let mut syslog = Syslog::new(UnixAddr::new(SYSLOG_PATH)?, parent)?;
    if let Err(errno) = syslog.connect() {
        let text = format!("{SYSLOG_PATH}: {}: nothing is told until syslogd is there", reason(errno as i32));
        Stderr::new(Notices::Normal).tell(Level::Warning, &text);
    }
    sys::replace_streams(null.as_fd(), 0..=2)?;
    Ok(syslog)
}

/// The terminal, or whatever is in its place.
pub(super) struct Stderr {
    shown: Notices,
    /// Lines that it did not take.
    missed: u64,
}

impl Stderr {
    fn new(shown: Notices) -> Stderr {
        Stderr { shown, missed: 0 }
    }

    /// A stderr that nobody reads delays nothing: lines are counted instead, and the number is told when it
    /// takes some again.
    fn tell(&mut self, level: Level, text: &str) {
        let wanted = match level {
            Level::Error | Level::Asked => true,
            Level::Normal | Level::Warning => self.shown != Notices::Quiet,
            Level::Detail => self.shown == Notices::Verbose,
        };
        if !wanted {
            return;
        }
        if !writable() {
            self.missed += 1;
            return;
        }
        if self.missed > 0 {
            line(&format!("{} lines could not be written here", self.missed));
            self.missed = 0;
        }
        line(text);
    }
}

fn writable() -> bool {
    let stderr = io::stderr();
    let mut fds = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

fn line(text: &str) {
    let mut line = String::with_capacity(text.len() + 1);
    for character in text.chars() {
        push_escaped(&mut line, character);
        if line.len() >= LINE - 16 {
            break;
        }
    }
    line.push('\n');
    // Whoever closed stderr does not want to know.
    let _ = io::stderr().write_all(line.as_bytes());
}
