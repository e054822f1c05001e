//! `--metrics`: a file with the figures of this run, replaced as a whole every few seconds.
//!
//! The directory is opened at the start; Landlock then permits to create, rename and remove files there.

mod figures;

use std::ffi::{CString, OsStr};
use std::fs::{File, symlink_metadata};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::{AccessFlags, UnlinkatFlags, faccessat, unlinkat};
use privsep::sys;

use super::batch::{Batch, BatchItem};
use crate::logger::output::claim::FileId;
use crate::logger::output::directory::Directory;
use crate::logger::output::reopen;
use crate::logger::output::report::{Health, OutputError, OutputEvent};
use crate::messages::Taken;
use crate::policy::{NEW_FILE, PUBLIC};
use figures::Figures;

/// Time between two versions of the file.
const INTERVAL: Duration = Duration::from_secs(5);

/// Added to the name of the file while its next version is written.
const SUFFIX: &[u8] = b".new";

/// Longest name of a file (`NAME_MAX`).
const LONGEST: usize = 255;

pub(super) struct Metrics {
    directory: Directory,
    name: CString,
    /// The next version, until it is complete.
    draft: CString,
    /// The file that had the name at the start.
    found: Option<FileId>,
    /// Path as typed, for messages to the operator.
    shown: String,
    figures: Figures,
    health: Arc<Health>,
    due: Instant,
    /// The last version could not be written, and that was reported.
    failing: bool,
}

impl Metrics {
    /// Opens the directory and changes nothing: the first version is written when all outputs are known to be valid.
    pub(super) fn open(path: &Path, shown: String) -> io::Result<Metrics> {
        let found = match symlink_metadata(path) {
            Ok(found) if found.is_file() => Some(FileId::new(found.dev(), found.ino())),
            Ok(_) => return Err(io::Error::other("not a regular file, which the figures could replace")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let (directory, name) = reopen::split(path)?;
        let directory = Directory::hold(directory, Taken::Written)?;
        faccessat(&directory, ".", AccessFlags::W_OK | AccessFlags::X_OK, AtFlags::empty())?;
        let (name, draft) = (name_of(name, b"")?, name_of(name, SUFFIX)?);
        let (figures, health) = (Figures::default(), Arc::default());
        let due = Instant::now() + INTERVAL;
        Ok(Metrics { directory, name, draft, found, shown, figures, health, due, failing: false })
    }

    /// Sets the state of all writers, which is published.
    pub(super) fn watch(&mut self, health: &Arc<Health>) {
        self.health = Arc::clone(health);
    }

    /// Identity of the file that will be replaced.
    pub(super) fn found(&self) -> Option<FileId> {
        self.found
    }

    pub(super) fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    pub(super) fn due(&self) -> Instant {
        self.due
    }

    pub(super) fn count(&mut self, batch: &Batch) {
        for item in &batch.items {
            if let BatchItem::Event { event, .. } = item {
                self.figures.add(event);
            }
        }
    }

    /// Writes the next version if it is time. A failure is reported once; the sessions and the record continue.
    pub(super) fn publish_if_due(&mut self, notify: impl FnMut(OutputEvent)) {
        if Instant::now() >= self.due {
            self.publish(notify);
        }
    }

    pub(super) fn publish(&mut self, mut notify: impl FnMut(OutputEvent)) {
        self.due = Instant::now() + INTERVAL;
        match self.replace() {
            Ok(()) => self.failing = false,
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    notify(OutputEvent::KeptOldFile(OutputError { output: self.shown.clone(), error }));
                }
            }
        }
    }

    /// Replaces the file as a whole, so that no program reads an incomplete version.
    pub(super) fn replace(&mut self) -> io::Result<()> {
        let mut file = self.draft()?;
        file.write_all(self.figures.text(&self.health).as_bytes())?;
        sys::rename(self.directory.as_fd(), &self.draft, &self.name)
    }

    /// Creates a new file; removes a draft that an earlier run left behind.
    fn draft(&self) -> io::Result<File> {
        let create = || {
            let mode = Mode::from_bits_truncate(PUBLIC);
            openat(&self.directory, self.draft.as_c_str(), OFlag::from_bits_retain(NEW_FILE), mode)
        };
        let file = match create() {
            Err(Errno::EEXIST) => {
                unlinkat(&self.directory, self.draft.as_c_str(), UnlinkatFlags::NoRemoveDir)?;
                create()
            }
            created => created,
        };
        Ok(file?.into())
    }
}

fn name_of(name: &OsStr, suffix: &[u8]) -> io::Result<CString> {
    let name = [name.as_bytes(), suffix].concat();
    if name.len() > LONGEST {
        return Err(Errno::ENAMETOOLONG.into());
    }
    Ok(CString::new(name)?)
}
