//! The service manager: the sockets that it passes, and the notifications that it receives. The only module that uses
//! sd-notify.

use std::ffi::OsStr;
use std::io;
use std::os::fd::RawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use privsep::sys;
use sd_notify::NotifyState;

use crate::exit::{Failure, Status};

/// Returns the sockets passed to this process (`LISTEN_PID`), with their names. They are descriptors from 3
/// on, now close-on-exec.
pub(in crate::parent) fn sockets() -> Result<Vec<(RawFd, String)>, Failure> {
    if sys::is_secure_start() {
        return Ok(Vec::new());
    }
    match sd_notify::listen_fds_with_names() {
        Ok(sockets) => Ok(sockets.collect()),
        Err(error) => Err(Failure::new(
            Status::Config,
            format!("the sockets of the service manager (LISTEN_FDS, LISTEN_FDNAMES): {error}"),
        )),
    }
}

/// Connection to the service manager. It never blocks: messages that do not fit are lost.
pub(in crate::parent) struct Manager {
    socket: UnixDatagram,
    watchdog: Option<Duration>,
}

impl Manager {
    /// Connects to the manager if it asks for notifications. Abstract sockets are out of reach once Landlock
    /// is on.
    pub(in crate::parent) fn find() -> Result<Option<Manager>, String> {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|_| !sys::is_secure_start()) else {
            return Ok(None);
        };
        let watchdog = sd_notify::watchdog_enabled().filter(|time| !time.is_zero());
        connect(&name)
            .map(|socket| Some(Manager { socket, watchdog }))
            .map_err(|error| format!("{} (NOTIFY_SOCKET): {error}", name.as_bytes().escape_ascii()))
    }

    /// Interval of keep-alive messages: half the manager's watchdog time.
    pub(in crate::parent) fn watchdog(&self) -> Option<Duration> {
        self.watchdog.map(|time| time / 2)
    }

    pub(in crate::parent) fn ready(&self) {
        self.notify(&[NotifyState::Ready]);
    }

    pub(in crate::parent) fn status(&self, status: &str) {
        self.notify(&[NotifyState::Status(status)]);
    }

    /// Includes the time, with which newer managers match reloads.
    pub(in crate::parent) fn reloading(&self) {
        let now = NotifyState::monotonic_usec_now().ok();
        let states: Vec<_> = [NotifyState::Reloading].into_iter().chain(now).collect();
        self.notify(&states);
    }

    pub(in crate::parent) fn stopping(&self) {
        self.notify(&[NotifyState::Stopping]);
    }

    pub(in crate::parent) fn alive(&self) {
        self.notify(&[NotifyState::Watchdog]);
    }

    fn notify(&self, states: &[NotifyState<'_>]) {
        let lines: String = states.iter().map(|state| format!("{state}\n")).collect();
        let _ = self.socket.send(lines.as_bytes());
    }
}

/// Connects by hand, because the crate connects for each message, which is impossible once confined.
fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let address = match name.as_bytes().split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
        Some((b'/', _)) => SocketAddr::from_pathname(name)?,
        _ => return Err(io::ErrorKind::Unsupported.into()),
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect_addr(&address)?;
    Ok(socket)
}
