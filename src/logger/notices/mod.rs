//! Notices to the operator, on stderr or in syslog.

pub(super) mod syslog;

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::UnixAddr;
use nix::unistd::Pid;
use privsep::{sys, text};

use crate::logger::notices::syslog::{Severity, Syslog};
use crate::messages::{Level, MinLevel, Name, NoticeSink, Notices};
use crate::policy::{JOURNAL_PATH, SYSLOG_PATH};
use crate::reason::reason;

/// Maximum number of bytes that a pipe accepts without blocking if poll(2) reports it writable (`PIPE_BUF`).
const LINE: usize = 4096;

/// Selection and destination of the notices.
pub(super) struct Notes {
    min_level: MinLevel,
    listener: Destination,
}

enum Destination {
    Stderr(Stderr),
    Syslog(Box<Syslog>),
    /// Syslog, and standard error for failures that syslogd does not take: it is a file.
    SyslogOrFile(Box<Syslog>, Stderr),
}

impl Notes {
    /// Opens the destination, before the filter is installed. `parent` is the process id shown to the
    /// operator; the `first` lines are printed in any case, by a daemon also on its caller's stderr.
    pub(super) fn open(notices: Notices, parent: Pid, first: &[String]) -> io::Result<Notes> {
        if notices.sink == NoticeSink::SyslogAlone {
            first.iter().for_each(|text| Stderr::default().print(text));
        }
        let listener = match notices.sink {
            NoticeSink::Stderr => Destination::Stderr(Stderr::default()),
            NoticeSink::Syslog => Destination::Syslog(Box::new(to_syslog(parent)?)),
            NoticeSink::SyslogAlone => {
                let syslog = to_syslog(parent)?;
                leave_streams()?;
                match keeps_stderr() {
                    true => Destination::SyslogOrFile(Box::new(syslog), Stderr::default()),
                    false => Destination::Syslog(Box::new(syslog)),
                }
            }
        };
        let mut notes = Notes { min_level: notices.min_level, listener };
        first.iter().for_each(|text| notes.print(Level::Asked, text));
        Ok(notes)
    }

    /// Prints a line, if its level is selected.
    pub(super) fn print(&mut self, level: Level, text: &str) {
        let least = match level {
            Level::Error | Level::Asked => MinLevel::Errors,
            Level::Normal | Level::Warning => MinLevel::Normal,
            Level::Detail => MinLevel::Everything,
        };
        if self.min_level < least {
            return;
        }
        match &mut self.listener {
            Destination::Stderr(stderr) => stderr.print(text),
            Destination::Syslog(syslog) => {
                syslog.send(severity(level), text);
            }
            Destination::SyslogOrFile(syslog, file) => {
                if !syslog.send(severity(level), text) && level == Level::Error {
                    file.print(text);
                }
            }
        }
    }

    /// Logs the peers of a session to syslog only: stderr may be accompanied by a display.
    pub(super) fn session(&mut self, client: &Name, server: &Name) {
        if self.min_level == MinLevel::Errors {
            return;
        }
        if let Destination::Syslog(syslog) | Destination::SyslogOrFile(syslog, _) = &mut self.listener {
            syslog.send(Severity::Info, &format!("Connection from: {client}"));
            syslog.send(Severity::Info, &format!("Connection to: {server}"));
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

/// Opens syslog. A missing syslogd is no failure, but deserves a notice on stderr.
fn to_syslog(parent: Pid) -> io::Result<Syslog> {
    let mut syslog = Syslog::new(UnixAddr::new(SYSLOG_PATH)?, parent)?;
    if let Err(errno) = syslog.connect() {
        let mut journal = Syslog::new(UnixAddr::new(JOURNAL_PATH)?, parent)?;
        if journal.connect().is_ok() {
            return Ok(journal);
        }
        let text = format!(
            "{SYSLOG_PATH}: {}: nothing is told until syslogd is there, not even why the program ends; without -d and \
             --syslog messages go to standard error, and -d leaves failures in a file that standard error is (2>>FILE)",
            reason(errno as i32)
        );
        Stderr::default().print(&text);
    }
    Ok(syslog)
}

/// Checks whether a daemon keeps stderr: a file blocks no reader that waits for its end, and may be the only
/// place for an error.
pub(crate) fn keeps_stderr() -> bool {
    let found = nix::sys::stat::fstat(io::stderr());
    found.is_ok_and(|found| found.st_mode & nix::libc::S_IFMT == nix::libc::S_IFREG)
}

fn leave_streams() -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    let last = if keeps_stderr() { 1 } else { 2 };
    sys::replace_streams(null.as_fd(), 0..=last)
}

/// Sends the final error of a process that has neither stderr nor a logger.
pub(crate) fn log_to_syslog(text: &str) {
    let syslog = UnixAddr::new(SYSLOG_PATH).map_err(io::Error::from);
    if let Ok(mut syslog) = syslog.and_then(|address| Syslog::new(address, Pid::this())) {
        for line in text.lines() {
            syslog.send(Severity::Error, line);
        }
    }
}

/// Standard error: a terminal, a pipe or a file.
#[derive(Default)]
struct Stderr {
    /// Number of lines that stderr did not accept.
    missed: u64,
}

impl Stderr {
    /// Prints a line. Never blocks on stderr: lines that stderr does not accept are counted, and the number is
    /// printed when stderr accepts lines again.
    fn print(&mut self, text: &str) {
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

fn line(said: &str) {
    let mut line = String::with_capacity(said.len() + 1);
    for character in said.chars() {
        // Writing to a string does not fail.
        let _ = text::write_escaped(&mut line, character);
        if line.len() >= LINE - 16 {
            break;
        }
    }
    line.push('\n');
    // stderr may be closed on purpose.
    let _ = io::stderr().write_all(line.as_bytes());
}
