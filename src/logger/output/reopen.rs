//! Where the file of an output lives, so that a new one can be opened there when its logs are rotated.

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
    /// Where the file itself is, if its name was a link into another directory.
    behind_link: Option<Directory>,
    name: OsString,
    /// Before the umask.
    mode: Mode,
    /// Owner of files that may be made private.
    user: Uid,
}

impl ReopenPath {
    /// Of a file that has just been opened.
    pub(in crate::logger) fn of(path: &Path, mode: Mode, taken: Taken) -> io::Result<ReopenPath> {
        let (directory, name) = split(path)?;
        // Of a file that was removed in the meantime there is nothing to be known.
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

    /// Opens or creates the file with that name. Existing contents stay: the rotating program may have
    /// written them. `None` if it is the `old` file, which holds its own lock.
    pub(in crate::logger) fn open(&self, old: &File) -> io::Result<Option<File>> {
        let flags = OFlag::from_bits_retain(ROTATED_FILE);
        let file = openat(&self.directory, self.name.as_os_str(), flags, self.mode)?;
        let found = fstat(&file)?;
        // A pipe would block us or be full, a device does what it likes: neither comes of a rotation.
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
        // As at the start: secrets in a file that was made for us, and that others may read.
        if self.mode.bits() == PRIVATE && found.st_uid == self.user.as_raw() {
            file.set_permissions(Permissions::from_mode(PRIVATE))?;
        }
        Ok(Some(file))
    }
}

/// The directory of a file, and its name there.
pub(in crate::logger) fn split(path: &Path) -> nix::Result<(&Path, &OsStr)> {
    let name = path.file_name().ok_or(Errno::EISDIR)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    Ok((directory.unwrap_or(Path::new(".")), name))
}
