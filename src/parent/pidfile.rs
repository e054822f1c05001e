//! `--pidfile`: a file with our number in it, locked as long as we run.
//!
//! It is made with the rights of whoever starts the program and belongs to them: root's file in root's directory,
//! as start-stop-daemon(8) wants it, since a number that an unprivileged user can change steers root's kill(1).

use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, geteuid};

use super::denied::Actor;
use super::own_file::{OwnFile, Place};
use crate::exit::{Failure, Status};
use crate::reason::{reason, shown_name};

/// More than any number takes.
const LONGEST: u64 = 32;

/// Number of attempts while other processes remove the file as we open it.
const TRIES: u32 = 10;

/// The file. It is removed when we end, or emptied where we may no longer remove it.
pub(super) struct PidFile {
    own: OwnFile,
    /// The lock is on the open file: it ends with us, however we end.
    locked: File,
}

impl PidFile {
    /// Before the drop; `actor` is who tries.
    pub(super) fn make(path: &Path, actor: &Actor) -> Result<PidFile, Failure> {
        PidFile::try_make(path).map_err(|error| {
            let why = error.raw_os_error().map_or_else(|| error.to_string(), reason);
            let name = shown_name(path.as_os_str().as_bytes());
            let advice = actor.denied(&error, path);
            Failure::new(Status::CannotCreate, format!("PID file error: {why} ({name}){advice}"))
        })
    }

    fn try_make(path: &Path) -> io::Result<PidFile> {
        for _ in 0..TRIES {
            let place = Place::of(path)?;
            let mut file = open_ours(&place)?;
            let found = file.metadata()?;
            // The previous holder of the lock has removed the file: ours would be seen by nobody.
            if !place.look().is_ok_and(|there| (there.st_dev, there.st_ino) == (found.dev(), found.ino())) {
                continue;
            }
            file.set_len(0)?;
            writeln!(file, "{}", Pid::this())?;
            return Ok(PidFile { own: OwnFile::new(place, found.dev(), found.ino()), locked: file });
        }
        Err(io::ErrorKind::ResourceBusy.into())
    }
}

/// The file, locked: a new one, or one that an earlier run has left.
fn open_ours(place: &Place) -> io::Result<File> {
    // No link is followed, and a pipe is not waited for.
    let flags = OFlag::O_RDWR
        | OFlag::O_CREAT
        | OFlag::O_NOFOLLOW
        | OFlag::O_NONBLOCK
        | OFlag::O_NOCTTY
        | OFlag::O_CLOEXEC;
    let mode = Mode::from_bits_truncate(0o644);
    let mut file = File::from(openat(place.directory(), place.name(), flags, mode)?);
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

impl AsFd for PidFile {
    /// The directory that it is removed from.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.own.as_fd()
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // A number that is left would be that of another process some day.
        if self.own.remove().is_err() {
            let _ = self.locked.set_len(0);
        }
    }
}
