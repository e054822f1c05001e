//! A FIFO that no process reads yet.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, SFlag, fstat};

use crate::policy::WAITING_PIPE;

/// Interval of attempts to open a FIFO. The kernel has no event for the arrival of a reader.
const RETRY: Duration = Duration::from_millis(100);

/// A FIFO that is opened for writing as soon as it has a reader: a blocking open would stop the whole process.
pub(in crate::logger) struct WaitingFifo {
    /// Refers to the FIFO itself, even if it is renamed.
    place: OwnedFd,
    /// The name under which `place` can be opened.
    path: PathBuf,
    next: Instant,
}

impl WaitingFifo {
    /// Finds the FIFO at this path; `None` if the path leads to another kind of file.
    pub(in crate::logger) fn find(path: &Path) -> nix::Result<Option<WaitingFifo>> {
        let place = open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
        let kind = SFlag::from_bits_truncate(fstat(&place)?.st_mode) & SFlag::S_IFMT;
        if kind != SFlag::S_IFIFO {
            return Ok(None);
        }
        let path = PathBuf::from(format!("/proc/self/fd/{}", place.as_raw_fd()));
        Ok(Some(WaitingFifo { place, path, next: Instant::now() }))
    }

    /// Time of the next [`WaitingFifo::try_open`].
    pub(in crate::logger) fn due(&self) -> Instant {
        self.next
    }

    /// Opens the FIFO, if it has a reader.
    pub(in crate::logger) fn try_open(&mut self) -> io::Result<Option<File>> {
        match open(&self.path, OFlag::from_bits_retain(WAITING_PIPE), Mode::empty()) {
            Ok(file) => Ok(Some(file.into())),
            Err(Errno::ENXIO) => {
                self.next = Instant::now() + RETRY;
                Ok(None)
            }
            Err(errno) => Err(errno.into()),
        }
    }
}

impl AsFd for WaitingFifo {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.place.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::fs::OpenOptionsExt;

    use nix::libc;
    use nix::unistd::mkfifo;

    use super::*;

    #[test]
    fn it_opens_once_it_has_a_reader_also_under_another_name() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let [path, moved] = ["pipe", "moved"].map(|name| directory.path().join(name));
        mkfifo(&path, Mode::S_IRWXU).expect("mkfifo");
        let mut pipe = WaitingFifo::find(&path).expect("open").expect("a FIFO");
        assert!(pipe.try_open().expect("no error").is_none());
        std::fs::rename(&path, &moved).expect("rename");
        let mut reader =
            File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&moved).expect("a reader");
        let mut file = pipe.try_open().expect("no error").expect("an open FIFO");
        file.write_all(b"words").expect("write");
        drop(file);
        let mut read = String::new();
        reader.read_to_string(&mut read).expect("read");
        assert_eq!(read, "words");
    }

    #[test]
    fn what_is_no_fifo_is_not_taken_for_one() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        assert!(WaitingFifo::find(directory.path()).expect("open").is_none());
        assert!(WaitingFifo::find(&directory.path().join("missing")).is_err());
    }
}
