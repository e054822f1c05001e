//! A file that we made and remove at the end: the PID file, the file of a Unix socket.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open};
use nix::sys::stat::{FileStat, Mode, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

/// A directory that is held open and a name in it. It is opened with the rights of the start: afterwards it may
/// be a directory of root's that we cannot even look into.
pub(super) struct Place {
    directory: OwnedFd,
    name: OsString,
}

impl Place {
    pub(super) fn of(path: &Path) -> Result<Place, Errno> {
        let name = path.file_name().ok_or(Errno::EISDIR)?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let directory = open(parent.unwrap_or(Path::new(".")), flags, Mode::empty())?;
        Ok(Place { directory, name: name.to_owned() })
    }

    pub(super) fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    pub(super) fn name(&self) -> &OsStr {
        &self.name
    }

    /// What has the name now; a link is not followed.
    pub(super) fn look(&self) -> Result<FileStat, Errno> {
        fstatat(&self.directory, self.name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW)
    }

    pub(super) fn remove(&self) -> Result<(), Errno> {
        unlinkat(&self.directory, self.name.as_os_str(), UnlinkatFlags::NoRemoveDir)
    }
}

/// One file at a place, identified by device and inode so that no other is removed instead.
pub(super) struct OwnFile {
    place: Place,
    device: u64,
    inode: u64,
}

impl OwnFile {
    pub(super) fn new(place: Place, device: u64, inode: u64) -> OwnFile {
        OwnFile { place, device, inode }
    }

    /// The file that has just been made there.
    pub(super) fn find(place: Place) -> Result<OwnFile, Errno> {
        let found = place.look()?;
        Ok(OwnFile::new(place, found.st_dev, found.st_ino))
    }

    /// Removes it, unless another file has its name by now, which is no failure.
    pub(super) fn remove(&self) -> Result<(), Errno> {
        match self.place.look() {
            Ok(found) if (found.st_dev, found.st_ino) == (self.device, self.inode) => self.place.remove(),
            Ok(_) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}

impl AsFd for OwnFile {
    /// The directory that it is removed from.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.place.directory()
    }
}
