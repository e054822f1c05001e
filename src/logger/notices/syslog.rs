//! Notices to syslog. The only module that uses the crate `syslog`, and only its formatter: the crate's socket blocks
//! when syslogd hangs, and does not reconnect after a restart of syslogd.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use ::syslog::{Facility, Formatter3164, LogFormat};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, UnixAddr, connect, send, socket,
};
use nix::unistd::Pid;
use privsep::text::write_escaped;

/// Program name in syslog messages.
const IDENT: &str = "tcpreen";

/// Maximum length of a text. RFC 3164 limits a message to 1024 bytes with its header; some receivers cut longer ones.
const LONGEST: usize = 960;

/// Maximum length of an escaped character.
const LONGEST_ESCAPE: usize = "\\u{10ffff}".len();

/// Minimum interval of attempts to connect to a missing syslogd.
const RETRY: Duration = Duration::from_secs(1);

/// The severities in use; the facility is always `daemon`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::logger) enum Severity {
    Error,
    Warning,
    Notice,
    /// Peers of a session.
    Info,
    Debug,
}

/// A connection to syslogd that never blocks: messages that it does not accept are counted, and the number is
/// sent when it accepts one again.
pub(in crate::logger) struct Syslog {
    address: UnixAddr,
    /// Message headers by severity.
    headers: [String; 5],
    socket: Option<OwnedFd>,
    tried: Option<Instant>,
    missed: u64,
}

impl Syslog {
    /// Messages carry the process id of `process`, which the operator knows.
    pub(in crate::logger) fn new(address: UnixAddr, process: Pid) -> io::Result<Syslog> {
        use ::syslog::Severity::{LOG_DEBUG, LOG_ERR, LOG_INFO, LOG_NOTICE, LOG_WARNING};
        let header = |severity| header(severity, process);
        let headers = [
            header(LOG_ERR)?,
            header(LOG_WARNING)?,
            header(LOG_NOTICE)?,
            header(LOG_INFO)?,
            header(LOG_DEBUG)?,
        ];
        Ok(Syslog { address, headers, socket: None, tried: None, missed: 0 })
    }

    /// Connects to syslogd, unless the last attempt was less than `RETRY` ago.
    pub(in crate::logger) fn connect(&mut self) -> Result<(), Errno> {
        let now = Instant::now();
        if self.tried.is_some_and(|tried| now < tried + RETRY) {
            return Err(Errno::ENOTCONN);
        }
        self.tried = Some(now);
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::Datagram, flags, None::<SockProtocol>)?;
        connect(socket.as_raw_fd(), &self.address)?;
        self.socket = Some(socket);
        Ok(())
    }

    /// Sends a message; returns `true` if syslogd has accepted it.
    pub(in crate::logger) fn send(&mut self, severity: Severity, text: &str) -> bool {
        let accepted = self.report_missed() && self.send_pieces(severity, text);
        self.missed += u64::from(!accepted);
        accepted
    }

    fn report_missed(&mut self) -> bool {
        if self.missed == 0 {
            return true;
        }
        let accepted =
            self.send_pieces(Severity::Warning, &format!("{} messages could not be sent here", self.missed));
        if accepted {
            self.missed = 0;
        }
        accepted
    }

    fn send_pieces(&mut self, severity: Severity, text: &str) -> bool {
        pieces(text).into_iter().all(|piece| {
            let line = format!("{}{piece}", self.headers[severity as usize]);
            self.send_line(line.as_bytes())
        })
    }

    fn send_line(&mut self, line: &[u8]) -> bool {
        match self.try_send(line) {
            Ok(()) => true,
            // syslogd runs and does not keep up.
            Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM | Errno::EINTR) => false,
            // syslogd does not run, or was restarted since the connection was made.
            Err(_) => {
                self.socket = None;
                self.connect().and_then(|()| self.try_send(line)).is_ok()
            }
        }
    }

    fn try_send(&self, line: &[u8]) -> Result<(), Errno> {
        let socket = self.socket.as_ref().ok_or(Errno::ENOTCONN)?;
        send(socket.as_raw_fd(), line, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL).map(drop)
    }
}

/// Builds the header of a message.
///
/// The crate stamps messages with UTC, which RFC 3164 cannot express, so that readers take it for local time.
/// The stamp is removed, and syslogd adds its own, as journald and rsyslog do in any case.
fn header(severity: ::syslog::Severity, process: Pid) -> io::Result<String> {
    let formatter = Formatter3164 {
        facility: Facility::LOG_DAEMON,
        hostname: None,
        process: IDENT.to_owned(),
        pid: process.as_raw().unsigned_abs(),
    };
    let mut stamped = Vec::new();
    formatter.format(&mut stamped, severity, "").map_err(|error| io::Error::other(error.to_string()))?;
    let stamped = String::from_utf8_lossy(&stamped);
    match (stamped.find('>'), stamped.find(IDENT)) {
        (Some(priority), Some(ident)) if priority < ident => {
            Ok(format!("{}{}", &stamped[..=priority], &stamped[ident..]))
        }
        _ => Err(io::Error::other("no syslog header")),
    }
}

/// Splits a text into one or more messages without control characters.
fn pieces(text: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut piece = String::new();
    for character in text.chars() {
        if piece.len() > LONGEST - LONGEST_ESCAPE {
            pieces.push(std::mem::replace(&mut piece, "(continued) ".to_owned()));
        }
        // Writing to a string does not fail.
        let _ = write_escaped(&mut piece, character);
    }
    pieces.push(piece);
    pieces
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;
    use std::path::Path;

    use super::*;

    fn syslogd(path: &Path) -> UnixDatagram {
        let _ = std::fs::remove_file(path);
        let socket = UnixDatagram::bind(path).expect("bind");
        socket.set_nonblocking(true).expect("FIONBIO");
        socket
    }

    fn next(syslogd: &UnixDatagram) -> Option<String> {
        let mut buffer = [0; 2048];
        let length = syslogd.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    fn with_syslog(test: impl FnOnce(&Path, Syslog)) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("log");
        let address = UnixAddr::new(&path).expect("a short path");
        test(&path, Syslog::new(address, Pid::from_raw(4711)).expect("headers"));
    }

    #[test]
    fn each_severity_has_its_priority_and_no_stamp() {
        with_syslog(|path, mut syslog| {
            let syslogd = syslogd(path);
            use Severity::{Debug, Error, Info, Notice, Warning};
            for (severity, priority) in [Error, Warning, Notice, Info, Debug].into_iter().zip(27..) {
                syslog.send(severity, "text");
                assert_eq!(next(&syslogd), Some(format!("<{priority}>tcpreen[4711]: text")));
            }
        });
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(pieces("a\nb\u{1b}[2J\tc\0"), ["a\\nb\\u{1b}[2J c\\u{0}"]);
        assert_eq!(pieces("a\u{200b}\u{202e}"), ["a\\u{200b}\\u{202e}"]);
    }

    #[test]
    fn long_lines_are_split_between_characters() {
        let pieces = pieces(&"ä".repeat(1000));
        assert_eq!(pieces.len(), 3);
        assert!(pieces.iter().all(|piece| piece.len() <= LONGEST));
        let whole: String = pieces.iter().map(|piece| piece.trim_start_matches("(continued) ")).collect();
        assert_eq!(whole, "ä".repeat(1000));
    }

    #[test]
    fn what_nobody_hears_is_counted() {
        with_syslog(|path, mut syslog| {
            syslog.send(Severity::Notice, "one");
            syslog.send(Severity::Notice, "two");
            let syslogd = syslogd(path);
            syslog.send(Severity::Notice, "three");
            assert_eq!(next(&syslogd), None, "not looked for again within a second");
            syslog.tried = None;
            syslog.send(Severity::Notice, "four");
            assert_eq!(
                next(&syslogd).as_deref(),
                Some("<28>tcpreen[4711]: 3 messages could not be sent here")
            );
            assert_eq!(next(&syslogd).as_deref(), Some("<29>tcpreen[4711]: four"));
        });
    }

    #[test]
    fn a_restarted_syslogd_gets_the_very_next_message() {
        with_syslog(|path, mut syslog| {
            let first = syslogd(path);
            syslog.send(Severity::Notice, "one");
            assert!(next(&first).is_some());
            drop(first);
            let second = syslogd(path);
            syslog.tried = None;
            syslog.send(Severity::Notice, "two");
            assert_eq!(next(&second).as_deref(), Some("<29>tcpreen[4711]: two"));
        });
    }

    #[test]
    fn a_stuck_syslogd_gets_what_it_takes() {
        with_syslog(|path, mut syslog| {
            let syslogd = syslogd(path);
            for _ in 0..1000 {
                syslog.send(Severity::Notice, "again");
            }
            let heard = std::iter::from_fn(|| next(&syslogd)).count();
            syslog.send(Severity::Notice, "last");
            let missed = format!("<28>tcpreen[4711]: {} messages could not be sent here", 1000 - heard);
            assert_eq!(next(&syslogd), Some(missed));
            assert_eq!(next(&syslogd).as_deref(), Some("<29>tcpreen[4711]: last"));
        });
    }
}
