//! Files that the program creates and removes at the end: the PID file, the file of a Unix socket.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open};
use nix::sys::stat::{FileStat, Mode, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

/// An open directory and a name in it. The directory is opened with the rights of the start: later it may be a
/// directory owned by root and inaccessible.
pub(in crate::parent) struct DirectoryEntry {
    directory: OwnedFd,
    name: OsString,
}

impl DirectoryEntry {
    pub(in crate::parent) fn of(path: &Path) -> Result<DirectoryEntry, Errno> {
        let name = path.file_name().ok_or(Errno::EISDIR)?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let directory = open(parent.unwrap_or(Path::new(".")), flags, Mode::empty())?;
        Ok(DirectoryEntry { directory, name: name.to_owned() })
    }

    pub(in crate::parent) fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    pub(in crate::parent) fn name(&self) -> &OsStr {
        &self.name
    }

    /// Returns the status of the file that has the name now; does not follow a link.
    pub(in crate::parent) fn look(&self) -> Result<FileStat, Errno> {
        fstatat(&self.directory, self.name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW)
    }

    pub(in crate::parent) fn remove(&self) -> Result<(), Errno> {
        unlinkat(&self.directory, self.name.as_os_str(), UnlinkatFlags::NoRemoveDir)
    }
}

/// A file identified by device and inode, so that no other file is removed in its place.
pub(in crate::parent) struct OwnFile {
    place: DirectoryEntry,
    device: u64,
    inode: u64,
}

impl OwnFile {
    pub(in crate::parent) fn new(place: DirectoryEntry, device: u64, inode: u64) -> OwnFile {
        OwnFile { place, device, inode }
    }

    /// Identifies the file that was just created at `place`.
    pub(in crate::parent) fn find(place: DirectoryEntry) -> Result<OwnFile, Errno> {
        let found = place.look()?;
        Ok(OwnFile::new(place, found.st_dev, found.st_ino))
    }

    /// Removes the file, unless the name belongs to another file by now, which is not an error.
    pub(in crate::parent) fn remove(&self) -> Result<(), Errno> {
        match self.place.look() {
            Ok(found) if (found.st_dev, found.st_ino) == (self.device, self.inode) => self.place.remove(),
            Ok(_) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}

impl AsFd for OwnFile {
    /// The directory that contains the file.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.place.directory()
    }
}
