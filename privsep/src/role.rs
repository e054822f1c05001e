//! Start-up of a process that was started as a role.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsRawFd;

use nix::sys::socket::{
    AddressFamily, SockType, SockaddrLike, SockaddrStorage, getsockname, getsockopt, sockopt,
};

use crate::channel::Channel;
use crate::sys;

/// Descriptor number of a role's channel.
pub const CHANNEL_FD: i32 = 3;

/// Proof that this process was started as a role by [`crate::spawn::Program::start`].
pub struct Entry {
    socket: std::os::fd::OwnedFd,
}

/// Reason why a process is not a role, whatever its command line contains.
#[derive(Debug)]
pub struct NotARole;

impl Entry {
    /// Checks, before anything is read, that this process was started by its own program.
    ///
    /// The starter always sets `no_new_privs` before it executes the role. A caller that types the hidden
    /// argument by hand either has not set it, and is refused, or has, and then a set-uid bit or file
    /// capability of the binary grants nothing.
    pub fn check() -> Result<Entry, NotARole> {
        if !nix::sys::prctl::get_no_new_privs().unwrap_or(false) {
            return Err(NotARole);
        }
        let socket = sys::inherited(CHANNEL_FD).map_err(|_| NotARole)?;
        let seqpacket = getsockopt(&socket, sockopt::SockType).is_ok_and(|kind| kind == SockType::SeqPacket);
        let unix = getsockname::<SockaddrStorage>(socket.as_raw_fd())
            .is_ok_and(|name| name.family() == Some(AddressFamily::Unix));
        if !(seqpacket && unix) {
            return Err(NotARole);
        }
        Ok(Entry { socket })
    }

    /// Closes all other inherited descriptors, names the process, and opens the channel.
    pub fn open<Out, In, const ROOM: usize>(
        self,
        name: &std::ffi::CStr,
    ) -> io::Result<Channel<Out, In, ROOM>> {
        drop(sys::inherited_descriptors()?);
        sys::set_name(name)?;
        Ok(Channel::from_socket(self.socket))
    }
}

/// Formats a role's hidden argument: in brackets, which no port or option contains.
pub fn argument(role: &str) -> String {
    format!("[{role}]")
}

/// Returns the role that `argument` selects, if it is a role's hidden argument.
pub fn asked_for(argument: &OsStr) -> Option<&str> {
    argument.to_str()?.strip_prefix('[')?.strip_suffix(']')
}
