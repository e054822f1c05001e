//! `--pidfile`: a file with our number in it, locked as long as we run.

use std::ffi::{OsStr, OsString};
use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{Mode, fstatat};
use nix::unistd::{Pid, UnlinkatFlags, geteuid, unlinkat};

use crate::exit::{Failure, Status};

/// More than any number takes.
const LONGEST: u64 = 32;

/// How often somebody may take the file away while we open it.
const TRIES: u32 = 10;

/// The file. It goes when we do, unless it is another one by then.
pub(super) struct PidFile {
    directory: OwnedFd,
    name: OsString,
    device: u64,
    inode: u64,
    /// The lock is on the open file: it ends with us, however we end.
    _locked: File,
}

impl PidFile {
    /// As the user that we are going to be.
    pub(super) fn make(path: &Path) -> Result<PidFile, Failure> {
        PidFile::try_make(path).map_err(|error| {
            let why = error.raw_os_error().map_or_else(|| error.to_string(), crate::reason::reason);
            let name = path.as_os_str().as_bytes().escape_ascii();
            Failure::new(Status::CannotCreate, format!("PID file error: {why} ({name})"))
        })
    }

    fn try_make(path: &Path) -> io::Result<PidFile> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let directory = open(parent.unwrap_or(Path::new(".")), flags, Mode::empty())?;
        for _ in 0..TRIES {
            let mut file = open_ours(directory.as_fd(), name)?;
            let found = file.metadata()?;
            // Whoever held the lock until now has taken the file away: ours would be seen by nobody.
            if !is_still(directory.as_fd(), name, found.dev(), found.ino()) {
                continue;
            }
            file.set_len(0)?;
            writeln!(file, "{}", Pid::this())?;
            let (device, inode) = (found.dev(), found.ino());
            return Ok(PidFile { directory, name: name.to_owned(), device, inode, _locked: file });
        }
        Err(io::ErrorKind::ResourceBusy.into())
    }
}

/// The file, locked: a new one, or one that an earlier run has left.
fn open_ours(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<File> {
    // No link is followed, and a pipe is not waited for.
    let flags = OFlag::O_RDWR
        | OFlag::O_CREAT
        | OFlag::O_NOFOLLOW
        | OFlag::O_NONBLOCK
        | OFlag::O_NOCTTY
        | OFlag::O_CLOEXEC;
    let mode = Mode::from_bits_truncate(0o644);
    let mut file = File::from(openat(directory, name, flags, mode)?);
    let found = file.metadata()?;
    if !found.is_file() || found.nlink() > 1 || found.uid() != geteuid().as_raw() {
        return Err(io::Error::other("it is there, and no file of ours"));
    }
    let mut text = String::new();
    let readable = (&mut file).take(LONGEST).read_to_string(&mut text);
    let number = text.trim_end();
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(io::Error::other(format!("process {} runs", number.escape_debug())));
        }
        Err(TryLockError::Error(error)) => return Err(error),
    }
    // An earlier run may have been killed before it wrote its number.
    if readable.is_err() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(io::Error::other("it holds something else than the number of a process"));
    }
    io::Seek::rewind(&mut file)?;
    Ok(file)
}

fn is_still(directory: BorrowedFd<'_>, name: &OsStr, device: u64, inode: u64) -> bool {
    fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW)
        .is_ok_and(|found| (found.st_dev, found.st_ino) == (device, inode))
}

impl AsFd for PidFile {
    /// Where it is removed in the end.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if is_still(self.directory.as_fd(), &self.name, self.device, self.inode) {
            let _ = unlinkat(&self.directory, self.name.as_os_str(), UnlinkatFlags::NoRemoveDir);
        }
    }
}
