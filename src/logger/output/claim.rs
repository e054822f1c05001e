//! The identity of a file, and the lock that prevents other programs from writing to it.

use std::fs::{File, TryLockError};
use std::io;
use std::os::fd::AsFd;

use nix::libc;
use nix::sys::stat::fstat;

/// Device and inode, which identify a file under any of its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::logger) struct FileId(u64, u64);

impl FileId {
    pub(in crate::logger) const fn new(device: u64, inode: u64) -> FileId {
        FileId(device, inode)
    }

    pub(in crate::logger) fn of(file: impl AsFd) -> nix::Result<FileId> {
        Ok(fstat(file)?.into())
    }
}

impl From<libc::stat> for FileId {
    fn from(found: libc::stat) -> FileId {
        FileId(found.st_dev, found.st_ino)
    }
}

/// Locks a file for as long as it stays open. The error is `WouldBlock` if another open file has the lock.
///
/// A file system without locks (NFS without its lock daemon, some FUSE servers) is no reason not to record.
pub(in crate::logger) fn lock(file: &File) -> io::Result<()> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
        Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
    }
}

/// Same as [`lock`], for a file that replaces the current one: the error is text for the operator.
pub(in crate::logger) fn lock_next(file: &File) -> io::Result<()> {
    lock(file).map_err(|_| io::Error::other("Another program writes this file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_open_file_at_a_time_has_the_lock() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("log");
        let first = File::create(&path).expect("a file");
        let second = File::options().append(true).open(&path).expect("the same file");
        assert_eq!(FileId::of(&first), FileId::of(&second));
        lock(&first).expect("the lock");
        assert_eq!(lock(&second).expect_err("a lock").kind(), io::ErrorKind::WouldBlock);
        drop(first);
        lock(&second).expect("the lock");
    }
}
