//! Path of an output, at which a new file is opened when logs are rotated.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Permissions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::Uid;

use crate::logger::output::claim;
use crate::logger::output::claim::FileId;
use crate::logger::output::directory::Directory;
use crate::messages::Taken;
use crate::policy::{PRIVATE, ROTATED_FILE};

/// The directory of a file and its name there.
///
/// A link is followed as at the start, because the operator created it. But Landlock permits writing in these
/// two directories only, so that a later change of the link cannot lead to any other.
pub(in crate::logger) struct ReopenPath {
    directory: Directory,
    /// Directory of the file itself, if the name was a link into another directory.
    behind_link: Option<Directory>,
    name: OsString,
    /// Mode of a new file, before the umask.
    mode: Mode,
    /// Owner of files that may be made private.
    user: Uid,
}

impl ReopenPath {
    /// Determines the path of a file that has just been opened.
    pub(in crate::logger) fn of(path: &Path, mode: Mode, taken: Taken) -> io::Result<ReopenPath> {
        let (directory, name) = split(path)?;
        // The real path of a file that was removed in the meantime cannot be found.
        let real = path.canonicalize().ok();
        let elsewhere = real
            .as_deref()
            .and_then(Path::parent)
            .filter(|real| directory.canonicalize().is_ok_and(|directory| directory != **real));
        Ok(ReopenPath {
            directory: Directory::hold(directory, taken)?,
            behind_link: elsewhere.map(|place| Directory::hold(place, taken)).transpose()?,
            name: name.to_owned(),
            mode,
            user: Uid::effective(),
        })
    }

    /// Directories that must remain writable.
    pub(in crate::logger) fn directories(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        [Some(&self.directory), self.behind_link.as_ref()].into_iter().flatten().map(AsFd::as_fd)
    }

    /// Opens or creates the file with that name. Existing contents stay: the rotating program may have written them.
    /// Returns `None` if the path still leads to the `old` file, which holds its own lock.
    pub(in crate::logger) fn open(&self, old: &File) -> io::Result<Option<File>> {
        let flags = OFlag::from_bits_retain(ROTATED_FILE);
        let file = openat(&self.directory, self.name.as_os_str(), flags, self.mode)?;
        let found = fstat(&file)?;
        // A FIFO could block or be full, and the behaviour of a device is unknown: no rotation makes either.
        if SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
            return Err(io::Error::other("Not a regular file"));
        }
        let file = File::from(file);
        if FileId::from(found) == FileId::of(old)? {
            return Ok(None);
        }
        claim::lock_next(&file)?;
        [Some(&self.directory), self.behind_link.as_ref()]
            .into_iter()
            .flatten()
            .try_for_each(Directory::settle)?;
        // As at the start: the file contains secrets, and others may have permission to read it.
        if self.mode.bits() == PRIVATE && found.st_uid == self.user.as_raw() {
            file.set_permissions(Permissions::from_mode(PRIVATE))?;
        }
        Ok(Some(file))
    }
}

/// Splits a path into the directory of a file and its name there.
pub(in crate::logger) fn split(path: &Path) -> nix::Result<(&Path, &OsStr)> {
    let name = path.file_name().ok_or(Errno::EISDIR)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    Ok((directory.unwrap_or(Path::new(".")), name))
}
