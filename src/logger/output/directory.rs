//! A directory in which files are made, held open from the start on: if it is renamed, the files stay together.

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
    /// Opens a directory. If names have to reach the disk, it must be open for reading; otherwise write permission is
    /// sufficient.
    pub(in crate::logger) fn hold(path: &Path, taken: Taken) -> nix::Result<Directory> {
        let access = match taken {
            Taken::Written => OFlag::O_PATH,
            Taken::OnDisk => OFlag::O_RDONLY,
        };
        let held = open(path, access | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        Ok(Directory { held, taken })
    }

    /// Waits until the names of new files are on the disk, if `--record-first=sync` requires it: after a power
    /// failure, a file without its name is a lost record.
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

/// Maps the result of a synchronisation: success for a pipe, a socket or a terminal, which has no disk, and for
/// directories on file systems that cannot synchronise them.
pub(in crate::logger) fn on_disk(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EROFS | libc::ENOTSUP)) => {
            Ok(())
        }
        result => result,
    }
}
