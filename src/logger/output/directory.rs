//! A directory in which files are made, held since the start: whatever becomes of its name, the files stay together.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::sys::stat::Mode;
use nix::unistd::fsync;

use crate::messages::Taken;

pub(in crate::logger) struct Directory {
    held: OwnedFd,
    taken: Taken,
}

impl Directory {
    /// For names that are to be on the disk, the directory has to be open for reading. For others, one that may
    /// only be written to is enough.
    pub(in crate::logger) fn hold(path: &Path, taken: Taken) -> nix::Result<Directory> {
        let access = match taken {
            Taken::Written => OFlag::O_PATH,
            Taken::OnDisk => OFlag::O_RDONLY,
        };
        let held = open(path, access | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        Ok(Directory { held, taken })
    }

    /// Waits until the names of new files are on the disk, if that is wanted: a file whose name was lost with the
    /// system's power is a lost record.
    pub(in crate::logger) fn settle(&self) -> io::Result<()> {
        match self.taken {
            Taken::Written => Ok(()),
            Taken::OnDisk => on_disk(fsync(&self.held).map_err(io::Error::from)),
        }
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.held.as_fd()
    }
}

/// Result of a synchronisation, of which some things are incapable: a pipe, a socket or a terminal has no disk, and
/// some file systems have none for directories.
pub(in crate::logger) fn on_disk(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EROFS | libc::ENOTSUP)) => {
            Ok(())
        }
        result => result,
    }
}
