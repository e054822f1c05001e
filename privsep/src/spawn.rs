//! Starts a role: executes this program again, with only a channel and standard streams.
//!
//! The role is executed and not only forked, so that its memory holds no data of its parent.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::unistd::{ForkResult, Pid, Uid, getresuid, setresuid};

use crate::channel::Channel;
use crate::role;
use crate::sys::{self, Alone};

/// Lowest descriptor number for the open program file.
const BINARY_FD: i32 = 10;

/// The program file, held open, so that replacing or deleting it does not mix versions.
pub struct Program {
    binary: OwnedFd,
    name: CString,
    null: File,
}

/// Descriptors 0, 1 and 2 of a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Streams {
    /// `/dev/null` three times.
    Null,
    /// `/dev/null` to read; the stdout and stderr of the parent to write.
    Output,
}

impl Program {
    /// Opens the running program's own file.
    pub fn current(name: &str) -> io::Result<Program> {
        let binary = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open("/proc/self/exe")?;
        // Above the low numbers, onto which a child moves its standard streams and its channel.
        let binary = sys::duplicate_above(binary.as_fd(), BINARY_FD)?;
        let null = OpenOptions::new().read(true).write(true).open("/dev/null");
        let null = null.map_err(|error| io::Error::new(error.kind(), format!("/dev/null: {error}")))?;
        Ok(Program { binary, name: CString::new(name)?, null })
    }

    /// Starts `role` and returns the parent's end of its channel.
    ///
    /// `environment` is the role's whole environment. The calling process must be single-threaded.
    pub fn start<Out, In>(
        &self,
        role: &str,
        streams: Streams,
        environment: &[CString],
    ) -> io::Result<(Pid, Channel<Out, In>)> {
        let (ours, theirs) = Channel::<Out, In>::pair()?;
        let arguments = [self.name.clone(), CString::new(role::argument(role))?];
        match sys::fork(&Alone::check()?)? {
            ForkResult::Parent { child } => Ok((child, ours)),
            ForkResult::Child => {
                let error = self.become_role(theirs.into_socket(), streams, &arguments, environment);
                eprintln!("{}: cannot start the {role}: {error}", self.name.to_string_lossy());
                sys::exit_now(71)
            }
        }
    }

    /// Runs in the new process between fork and exec; returns only on error.
    fn become_role(
        &self,
        socket: OwnedFd,
        streams: Streams,
        arguments: &[CString],
        environment: &[CString],
    ) -> io::Error {
        let prepared = || -> io::Result<()> {
            // A set-uid start has the caller's real uid and root's effective one. With all three ids equal, the
            // kernel does not treat the exec as a change of privilege.
            if may_be_root()? {
                setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0))?;
            } else {
                // A file capability would survive the exec, even under no_new_privs.
                crate::confine::clear_capabilities()?;
            }
            nix::sys::prctl::set_no_new_privs()?;
            sys::move_to(self.null.as_fd(), 0)?;
            if streams == Streams::Null {
                sys::move_to(self.null.as_fd(), 1)?;
                sys::move_to(self.null.as_fd(), 2)?;
            }
            // The last use of a number above 2: all other descriptors are close-on-exec, including `binary`.
            sys::move_to(socket.as_fd(), role::CHANNEL_FD)
        };
        match prepared() {
            Err(error) => error,
            Ok(()) => sys::execute(self.binary.as_fd(), arguments, environment),
        }
    }
}

/// Checks whether one of the user ids is root's, even if it is not the effective one.
fn may_be_root() -> io::Result<bool> {
    let ids = getresuid()?;
    Ok([ids.real, ids.effective, ids.saved].iter().any(|id| id.is_root()))
}
