//! Inherited descriptors that are outputs: `/dev/fd/N`, as shells write `>(command)`.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::libc::STDERR_FILENO;

use crate::config::{OutputOption, Target};
use crate::exit::{Failure, Status};
use crate::reason::reason;

/// Descriptors that are outputs, held until they have been sent to the logger.
pub(crate) struct Descriptors(Vec<(RawFd, OwnedFd)>);

/// Path of the output that is this descriptor.
pub(in crate::parent) fn name(number: RawFd) -> String {
    if number == STDERR_FILENO { "standard error".to_owned() } else { format!("/dev/fd/{number}") }
}

fn failure(number: RawFd, error: &std::io::Error) -> Failure {
    let why = error.raw_os_error().map_or_else(|| error.to_string(), reason);
    Failure::new(Status::CannotCreate, format!("Log file error: {why} ({})", name(number)))
}

fn handed_over(number: RawFd) -> Failure {
    let text = format!("Log file error: the service manager handed it over for a peer ({})", name(number));
    Failure::new(Status::CannotCreate, text)
}

impl Descriptors {
    /// Keeps the descriptors that outputs name, and closes all others. `handed` are the numbers of sockets that the
    /// service manager gave for peers.
    pub(in crate::parent) fn keep(
        outputs: &[OutputOption],
        mut inherited: BTreeMap<RawFd, OwnedFd>,
        handed: &[RawFd],
    ) -> Result<Descriptors, Failure> {
        let mut numbers: Vec<RawFd> = outputs.iter().filter_map(number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let mut kept = Vec::new();
        for number in numbers {
            let fd = match number {
                STDERR_FILENO => std::io::stderr().as_fd().try_clone_to_owned(),
                _ if handed.contains(&number) => return Err(handed_over(number)),
                _ => inherited.remove(&number).ok_or_else(|| Errno::EBADF.into()),
            };
            kept.push((number, fd.map_err(|error| failure(number, &error))?));
        }
        Ok(Descriptors(kept))
    }

    pub(in crate::parent) fn get(&self, number: RawFd) -> Result<BorrowedFd<'_>, Failure> {
        let found = self.0.iter().find(|(kept, _)| *kept == number);
        found.map(|(_, fd)| fd.as_fd()).ok_or_else(|| failure(number, &Errno::EBADF.into()))
    }
}

fn number(output: &OutputOption) -> Option<RawFd> {
    match output.target {
        Target::Descriptor(number) => Some(number),
        Target::Stdout | Target::File(_) => None,
    }
}
