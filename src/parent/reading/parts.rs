//! The parts of a saved record: opened here, parsed by the converter.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::config::{Config, RecordInput, Target};
use crate::exit::{Failure, Status};
use crate::parent::startup::denied::Actor;
use crate::reason::{reason, shown_name};

/// An open part of a record.
pub(in crate::parent) struct RecordPart {
    fd: OwnedFd,
    /// Name for messages to the operator.
    pub(in crate::parent) name: String,
}

impl RecordPart {
    /// Opens all parts with the rights of the caller, before any of them is read.
    pub(in crate::parent) fn open_all(
        inputs: &[RecordInput],
        config: &Config,
        actor: &Actor,
    ) -> Result<Vec<RecordPart>, Failure> {
        inputs.iter().map(|input| RecordPart::open(input, config, actor)).collect()
    }

    fn open(input: &RecordInput, config: &Config, actor: &Actor) -> Result<RecordPart, Failure> {
        match input {
            RecordInput::Stdin => {
                let name = "standard input".to_owned();
                let fd = io::stdin().as_fd().try_clone_to_owned();
                fd.map(|fd| RecordPart { fd, name: name.clone() })
                    .map_err(|error| unreadable(&name, &error, ""))
            }
            RecordInput::File(path) => {
                let name = shown_name(path.as_bytes());
                let file = open_file(Path::new(path))
                    .map_err(|error| unreadable(&name, &error, &actor.denied(&error, Path::new(path))))?;
                refuse_overwriting(&file, &name, config)?;
                announce_waiting(&file, &name);
                Ok(RecordPart { fd: file.into(), name })
            }
        }
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

/// Prints that a FIFO has nothing to be read yet: the reason why nothing happens.
fn announce_waiting(file: &File, name: &str) {
    let is_fifo = file.metadata().is_ok_and(|metadata| metadata.file_type().is_fifo());
    let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
    if is_fifo && poll(&mut fds, PollTimeout::ZERO) == Ok(0) {
        let _ = writeln!(io::stderr(), "waiting for a writer of {name}");
    }
}

fn unreadable(name: &str, error: &io::Error, advice: &str) -> Failure {
    let why = error.raw_os_error().map_or_else(|| error.to_string(), reason);
    Failure::new(Status::NoInput, format!("{name}: {why}{advice}"))
}

/// Rejects a record that is also an output: opening an output empties the file.
fn refuse_overwriting(file: &File, name: &str, config: &Config) -> Result<(), Failure> {
    let Ok(input) = file.metadata() else { return Ok(()) };
    let is_input = |target: &Target| match target {
        Target::File(path) => std::fs::metadata(path)
            .is_ok_and(|found| (found.dev(), found.ino()) == (input.dev(), input.ino())),
        Target::Stdout | Target::Descriptor(_) => false,
    };
    if input.is_file() && config.outputs.iter().any(|output| is_input(&output.target)) {
        let text = format!("{name}: is read, and cannot be written at the same time.");
        return Err(Failure::new(Status::Usage, text));
    }
    Ok(())
}
