//! Standard streams. inetd starts a program with the client's connection as all three; no message may be
//! written there.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::socket::{AddressFamily, SockaddrLike, SockaddrStorage, getsockname};
use nix::sys::stat::{SFlag, fstat};
use privsep::{sys, text};

use crate::logger;

/// Streams that are the same socket as standard input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Streams {
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
}

impl Streams {
    /// Must be called before any output. Replaces streams that are connected to a peer.
    pub(crate) fn find() -> io::Result<Streams> {
        let (input, output, errors) = (io::stdin(), io::stdout(), io::stderr());
        let stderr = same_socket(input.as_fd(), errors.as_fd());
        // A Unix socket pair may also be a bidirectional pipe of a shell; a network connection cannot.
        let is_a_peers = stderr || family(input.as_fd()).is_some_and(|family| family != AddressFamily::Unix);
        let stdout = is_a_peers && same_socket(input.as_fd(), output.as_fd());
        for stream in [(stdout, 1), (stderr, 2)].into_iter().filter_map(|(taken, it)| taken.then_some(it)) {
            let null = File::options().read(true).write(true).open("/dev/null")?;
            sys::replace_streams(null.as_fd(), stream..=stream)?;
        }
        Ok(Streams { stdout, stderr })
    }

    /// Prints a text for the operator: the error, or a remark on the command line.
    pub(crate) fn print(self, text: &str) {
        if self.stderr {
            logger::log_to_syslog(text);
        } else {
            // With stderr closed, the exit status remains.
            let _ = writeln!(io::stderr(), "{}", text::lines(text));
        }
    }
}

fn same_socket(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> bool {
    match (fstat(one), fstat(other)) {
        (Ok(one), Ok(other)) => {
            SFlag::from_bits_truncate(one.st_mode) & SFlag::S_IFMT == SFlag::S_IFSOCK
                && (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
        }
        _ => false,
    }
}

fn family(socket: BorrowedFd<'_>) -> Option<AddressFamily> {
    use std::os::fd::AsRawFd;
    getsockname::<SockaddrStorage>(socket.as_raw_fd()).ok()?.family()
}
