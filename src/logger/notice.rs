//! Notices: what the operator is told on stderr.

use std::io::{self, Write};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::messages::{Level, Notices};

/// The most bytes that a pipe which poll(2) calls writable takes without blocking (`PIPE_BUF`).
const LINE: usize = 4096;

/// The operator's ear.
pub(super) struct Notes {
    shown: Notices,
    /// Lines that stderr did not take.
    missed: u64,
}

impl Notes {
    pub(super) fn new(shown: Notices) -> Notes {
        Notes { shown, missed: 0 }
    }

    /// Tells a line, if it is wanted. A stderr that nobody reads delays nothing: lines are counted
    /// instead, and the number is told when it takes some again.
    pub(super) fn tell(&mut self, level: Level, text: &str) {
        let wanted = match level {
            Level::Error => true,
            Level::Normal => self.shown != Notices::Quiet,
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

/// Writes one line. Control characters are escaped: part of the text may be a name from the network.
fn line(text: &str) {
    let mut line = String::with_capacity(text.len() + 1);
    for character in text.chars() {
        match character {
            '\t' => line.push(' '),
            character if character.is_control() => line.extend(character.escape_default()),
            character => line.push(character),
        }
        if line.len() >= LINE - 16 {
            break;
        }
    }
    line.push('\n');
    // Whoever closed stderr does not want to know.
    let _ = io::stderr().write_all(line.as_bytes());
}
