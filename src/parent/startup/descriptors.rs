//! Inherited descriptors that are outputs or records: `/dev/fd/N`, as shells write `>(command)` and `<(command)`.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::libc::{STDERR_FILENO, STDOUT_FILENO};

use crate::config::{Config, OutputOption, RecordInput, Target};
use crate::exit::{Failure, Status};
use crate::reason::reason;

/// Descriptors that are outputs or records, held until they have been sent to the logger or the converter.
pub(crate) struct Descriptors(Vec<(RawFd, OwnedFd)>);

/// Path of the output or record that is this descriptor.
pub(in crate::parent) fn name(number: RawFd) -> String {
    if number == STDERR_FILENO { "standard error".to_owned() } else { format!("/dev/fd/{number}") }
}

/// What a descriptor is for.
#[derive(Clone, Copy)]
enum Purpose {
    Output,
    Input,
}

impl Purpose {
    fn failure(self, number: RawFd, why: &str) -> Failure {
        let name = name(number);
        match self {
            Purpose::Output => Failure::new(Status::CannotCreate, format!("Log file error: {why} ({name})")),
            Purpose::Input => Failure::new(Status::NoInput, format!("{name}: {why}")),
        }
    }
}

/// Reason for a descriptor that cannot be used.
fn why(error: &std::io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), reason)
}

impl Descriptors {
    /// Keeps the descriptors that outputs and records name, and closes all others. `handed` are the numbers of sockets
    /// that the service manager gave for peers.
    pub(in crate::parent) fn keep(
        config: &Config,
        mut inherited: BTreeMap<RawFd, OwnedFd>,
        handed: &[RawFd],
    ) -> Result<Descriptors, Failure> {
        let inputs = config.task.inputs().filter_map(number_of_input).map(|it| (it, Purpose::Input));
        let outputs = config.outputs.iter().filter_map(number).map(|it| (it, Purpose::Output));
        let numbers: BTreeMap<RawFd, Purpose> = inputs.chain(outputs).collect();
        let mut kept = Vec::new();
        for (number, purpose) in numbers {
            let fd = match number {
                STDOUT_FILENO => std::io::stdout().as_fd().try_clone_to_owned(),
                STDERR_FILENO => std::io::stderr().as_fd().try_clone_to_owned(),
                _ if handed.contains(&number) => {
                    return Err(purpose.failure(number, "the service manager handed it over for a peer"));
                }
                _ => inherited.remove(&number).ok_or_else(|| Errno::EBADF.into()),
            };
            kept.push((number, fd.map_err(|error| purpose.failure(number, &why(&error)))?));
        }
        Ok(Descriptors(kept))
    }

    /// The descriptor of an output.
    pub(in crate::parent) fn get(&self, number: RawFd) -> Result<BorrowedFd<'_>, Failure> {
        self.find(number, Purpose::Output)
    }

    /// A copy of the descriptor of a record, which may be an output, too.
    pub(in crate::parent) fn input(&self, number: RawFd) -> Result<OwnedFd, Failure> {
        let fd = self.find(number, Purpose::Input)?.try_clone_to_owned();
        fd.map_err(|error| Purpose::Input.failure(number, &why(&error)))
    }

    fn find(&self, number: RawFd, purpose: Purpose) -> Result<BorrowedFd<'_>, Failure> {
        let found = self.0.iter().find(|(kept, _)| *kept == number);
        found.map(|(_, fd)| fd.as_fd()).ok_or_else(|| purpose.failure(number, &why(&Errno::EBADF.into())))
    }
}

fn number(output: &OutputOption) -> Option<RawFd> {
    match output.target {
        Target::Descriptor(number) => Some(number),
        Target::Stdout | Target::File(_) => None,
    }
}

fn number_of_input(input: &RecordInput) -> Option<RawFd> {
    match input {
        RecordInput::Descriptor(number) => Some(*number),
        RecordInput::Stdin | RecordInput::File(_) => None,
    }
}
