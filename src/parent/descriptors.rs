//! Inherited descriptors that are outputs: `/dev/fd/N`, as shells write `>(command)`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::libc::STDERR_FILENO;
use privsep::sys;

use crate::config::{Output, Target};
use crate::exit::{Failure, Status};
use crate::reason::reason;

/// Held until they have been sent to the logger.
pub(crate) struct Descriptors(Vec<(RawFd, OwnedFd)>);

/// Path of an output that is this descriptor.
pub(super) fn name(number: RawFd) -> String {
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
    /// Takes over the descriptors that outputs name, and closes all others from `first` on.
    pub(super) fn keep(outputs: &[Output], first: RawFd) -> Result<Descriptors, Failure> {
        let mut numbers: Vec<RawFd> = outputs.iter().filter_map(number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let has_stderr = numbers.first() == Some(&STDERR_FILENO);
        let mut kept = Vec::new();
        // In ascending order, so that each moves to a number not above its own.
        for (number, place) in numbers.into_iter().filter(|number| *number != STDERR_FILENO).zip(first..) {
            if number < first {
                return Err(handed_over(number));
            }
            kept.push((number, sys::moved(number, place).map_err(|error| failure(number, &error))?));
        }
        let strays = first + i32::try_from(kept.len()).unwrap_or(i32::MAX - first);
        sys::close_from(strays)
            .map_err(|error| Failure::new(Status::Os, format!("inherited descriptors: {error}")))?;
        if has_stderr {
            let copy = std::io::stderr().as_fd().try_clone_to_owned();
            kept.push((STDERR_FILENO, copy.map_err(|error| failure(STDERR_FILENO, &error))?));
        }
        Ok(Descriptors(kept))
    }

    pub(super) fn get(&self, number: RawFd) -> Result<BorrowedFd<'_>, Failure> {
        let found = self.0.iter().find(|(kept, _)| *kept == number);
        found.map(|(_, fd)| fd.as_fd()).ok_or_else(|| failure(number, &Errno::EBADF.into()))
    }
}

fn number(output: &Output) -> Option<RawFd> {
    match output.target {
        Target::Descriptor(number) => Some(number),
        Target::Stdout | Target::File(_) => None,
    }
}
