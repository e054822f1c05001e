//! `--pidfile`: a file with the process id, locked while the program runs.
//!
//! It is created with the rights of the user who starts the program and belongs to that user: root's file in
//! root's directory, as start-stop-daemon(8) requires, because a process id that an unprivileged user can
//! change directs root's kill(1).

use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, geteuid};

use crate::exit::{Failure, Status};
use crate::parent::startup::denied::Actor;
use crate::parent::startup::own_file::{DirectoryEntry, OwnFile};
use crate::reason::{reason, shown_name};

/// Longer than any process id.
const LONGEST: u64 = 32;

/// Number of attempts while other processes remove the file as it is opened.
const TRIES: u32 = 10;

/// The PID file. Dropping it removes it, or empties it where removal is no longer permitted.
pub(in crate::parent) struct PidFile {
    own: OwnFile,
    /// The lock belongs to the open file and ends with the process in any case.
    locked: File,
}

impl PidFile {
    /// Creates the file, before the drop of privileges; `actor` is named in errors.
    pub(in crate::parent) fn make(path: &Path, actor: &Actor) -> Result<PidFile, Failure> {
        PidFile::try_make(path).map_err(|error| {
            let why = error.raw_os_error().map_or_else(|| error.to_string(), reason);
            let name = shown_name(path.as_os_str().as_bytes());
            let advice = actor.denied(&error, path);
            Failure::new(Status::CannotCreate, format!("PID file error: {why} ({name}){advice}"))
        })
    }

    fn try_make(path: &Path) -> io::Result<PidFile> {
        for _ in 0..TRIES {
            let place = DirectoryEntry::of(path)?;
            let mut file = open_ours(&place)?;
            let found = file.metadata()?;
            // The previous holder of the lock has removed the file, so that a lock on it has no effect.
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

/// Opens and locks the file: a new one, or one left by an earlier run.
fn open_ours(place: &DirectoryEntry) -> io::Result<File> {
    // Does not follow a link or block on a FIFO.
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
        return Err(io::Error::other("it exists, and is not a PID file of this user"));
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
    // An earlier run may have been killed before it wrote its process id.
    if readable.is_err() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(io::Error::other("its content is not a process id"));
    }
    io::Seek::rewind(&mut file)?;
    Ok(file)
}

impl AsFd for PidFile {
    /// The directory that contains the file.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.own.as_fd()
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // A process id left behind might belong to another process later.
        if self.own.remove().is_err() {
            let _ = self.locked.set_len(0);
        }
    }
}
