//! The parts of a saved record: opened here, parsed by the converter.

use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{SFlag, fstat};

use crate::config::{Config, RecordInput, Target};
use crate::exit::{Failure, Status};
use crate::parent::startup::denied::Actor;
use crate::parent::startup::descriptors::{self, Descriptors};
use crate::reason::{reason, shown_name};

/// An open part of a record.
pub(in crate::parent) struct RecordPart {
    fd: OwnedFd,
    /// Name for messages to the operator.
    pub(in crate::parent) name: String,
    /// It was opened under a name: a FIFO may have no writer yet.
    is_named: bool,
}

impl RecordPart {
    /// Opens all parts with the rights of the caller, before any of them is read.
    pub(in crate::parent) fn open_all(
        inputs: &[RecordInput],
        config: &Config,
        (descriptors, actor): (&Descriptors, &Actor),
    ) -> Result<Vec<RecordPart>, Failure> {
        let open = |input| {
            let part = RecordPart::open(input, descriptors, actor)?;
            part.refuse_overwriting(config, descriptors)?;
            part.announce_waiting();
            Ok(part)
        };
        inputs.iter().map(open).collect()
    }

    fn open(input: &RecordInput, descriptors: &Descriptors, actor: &Actor) -> Result<RecordPart, Failure> {
        match input {
            RecordInput::Stdin => {
                let name = "standard input".to_owned();
                let fd = io::stdin().as_fd().try_clone_to_owned();
                fd.map(|fd| RecordPart { fd, name: name.clone(), is_named: false })
                    .map_err(|error| unreadable(&name, &error, ""))
            }
            RecordInput::Descriptor(number) => Ok(RecordPart {
                fd: descriptors.input(*number)?,
                name: descriptors::name(*number),
                is_named: false,
            }),
            RecordInput::File(path) => {
                let name = shown_name(path.as_bytes());
                let file = open_file(Path::new(path))
                    .map_err(|error| unreadable(&name, &error, &actor.denied(&error, Path::new(path))))?;
                Ok(RecordPart { fd: file.into(), name, is_named: true })
            }
        }
    }

    /// Prints that a named FIFO has nothing to be read yet: the reason why nothing happens.
    fn announce_waiting(&self) {
        let mut fds = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];
        if self.is_named && is_fifo(self) && poll(&mut fds, PollTimeout::ZERO) == Ok(0) {
            let _ = writeln!(io::stderr(), "waiting for a writer of {}", self.name);
        }
    }

    /// Rejects a record that is also an output: opening an output empties the file, and a record that grows while it
    /// is read has no end.
    fn refuse_overwriting(&self, config: &Config, descriptors: &Descriptors) -> Result<(), Failure> {
        let Some(input) = FileIdentity::of(self) else { return Ok(()) };
        let of_output = |target: &Target| match target {
            Target::File(path) => FileIdentity::at(Path::new(path)),
            Target::Stdout => FileIdentity::of(io::stdout()),
            Target::Descriptor(number) => descriptors.get(*number).ok().and_then(FileIdentity::of),
        };
        let outputs = config.outputs.iter().filter_map(|output| of_output(&output.target));
        let metrics = config.metrics.as_deref().and_then(FileIdentity::at);
        if outputs.chain(metrics).any(|output| output == input) {
            let text = format!("{}: is read, and cannot be written at the same time.", self.name);
            return Err(Failure::new(Status::Usage, text));
        }
        Ok(())
    }
}

/// Device and inode of a regular file; others, such as terminals, may be read and written.
#[derive(PartialEq, Eq)]
struct FileIdentity(u64, u64);

impl FileIdentity {
    fn of(fd: impl AsFd) -> Option<FileIdentity> {
        let found = fstat(fd).ok()?;
        let is_file = SFlag::S_IFMT.bits() & found.st_mode == SFlag::S_IFREG.bits();
        is_file.then_some(FileIdentity(found.st_dev, found.st_ino))
    }

    fn at(path: &Path) -> Option<FileIdentity> {
        let found = std::fs::metadata(path).ok().filter(Metadata::is_file)?;
        Some(FileIdentity(found.dev(), found.ino()))
    }
}

impl AsFd for RecordPart {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Does not wait for the writer of a FIFO: the converter does, while signals are handled.
fn open_file(path: &Path) -> io::Result<File> {
    let file = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    match file.metadata()?.is_dir() {
        true => Err(io::ErrorKind::IsADirectory.into()),
        false => Ok(file),
    }
}

fn is_fifo(fd: impl AsFd) -> bool {
    fstat(fd).is_ok_and(|found| SFlag::S_IFMT.bits() & found.st_mode == SFlag::S_IFIFO.bits())
}

fn unreadable(name: &str, error: &io::Error, advice: &str) -> Failure {
    let why = error.raw_os_error().map_or_else(|| error.to_string(), reason);
    Failure::new(Status::NoInput, format!("{name}: {why}{advice}"))
}
