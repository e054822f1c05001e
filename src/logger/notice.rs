//! Notices: what the operator is told, on stderr or in syslog.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::UnixAddr;
use nix::unistd::Pid;
use privsep::sys;

use super::escape::push_escaped;
use super::syslog::{Severity, Syslog};
use crate::messages::{Ear, Level, Name, Notices, Told};
use crate::policy::SYSLOG_PATH;
use crate::reason::reason;

/// The most bytes that a pipe which poll(2) calls writable takes without blocking (`PIPE_BUF`).
const LINE: usize = 4096;

/// What is told, and to whom.
pub(super) struct Notes {
    told: Told,
    listener: Listener,
}

enum Listener {
    Stderr(Stderr),
    Syslog(Box<Syslog>),
}

impl Notes {
    /// Before the filter is on. `parent` is the process that the operator knows.
    pub(super) fn open(notices: Notices, parent: Pid) -> io::Result<Notes> {
        let listener = match notices.ear {
            Ear::Stderr => Listener::Stderr(Stderr::default()),
            Ear::Syslog => Listener::Syslog(Box::new(to_syslog(parent)?)),
            Ear::SyslogAlone => {
                let syslog = to_syslog(parent)?;
                leave_streams()?;
                Listener::Syslog(Box::new(syslog))
            }
        };
        Ok(Notes { told: notices.told, listener })
    }

    /// Tells a line, if it is wanted.
    pub(super) fn tell(&mut self, level: Level, text: &str) {
        let least = match level {
            Level::Error | Level::Asked => Told::Errors,
            Level::Normal | Level::Warning => Told::Normal,
            Level::Detail => Told::Everything,
        };
        if self.told < least {
            return;
        }
        match &mut self.listener {
            Listener::Stderr(stderr) => stderr.tell(text),
            Listener::Syslog(syslog) => syslog.tell(severity(level), text),
        }
    }

    /// Says whom we serve, in syslog alone: who reads stderr may have a display for that.
    pub(super) fn session(&mut self, client: &Name, server: &Name) {
        if self.told == Told::Errors {
            return;
        }
        if let Listener::Syslog(syslog) = &mut self.listener {
            syslog.tell(Severity::Info, &format!("Connection from: {client}"));
            syslog.tell(Severity::Info, &format!("Connection to: {server}"));
        }
    }
}

fn severity(level: Level) -> Severity {
    match level {
        Level::Error => Severity::Error,
        Level::Warning => Severity::Warning,
        Level::Normal | Level::Asked => Severity::Notice,
        Level::Detail => Severity::Debug,
    }
}

/// That syslogd is not there is no failure, but worth a word on stderr.
fn to_syslog(parent: Pid) -> io::Result<Syslog> {
    let mut syslog = Syslog::new(UnixAddr::new(SYSLOG_PATH)?, parent)?;
    if let Err(errno) = syslog.connect() {
        let text = format!("{SYSLOG_PATH}: {}: nothing is told until syslogd is there", reason(errno as i32));
        Stderr::default().tell(&text);
    }
    Ok(syslog)
}

fn leave_streams() -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    sys::replace_streams(null.as_fd(), 0..=2)
}

/// The last word of a process that has no stderr and no logger.
pub(crate) fn tell_syslog(text: &str) {
    let syslog = UnixAddr::new(SYSLOG_PATH).map_err(io::Error::from);
    if let Ok(mut syslog) = syslog.and_then(|address| Syslog::new(address, Pid::this())) {
        for line in text.lines() {
            syslog.tell(Severity::Error, line);
        }
    }
}

/// The terminal, or whatever is in its place.
#[derive(Default)]
struct Stderr {
    /// Lines that it did not take.
    missed: u64,
}

impl Stderr {
    /// A stderr that nobody reads delays nothing: lines are counted instead, and the number is told when it
    /// takes some again.
    fn tell(&mut self, text: &str) {
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
