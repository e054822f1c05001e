//! The service manager that has started us: what it hands over, and the line on which it is kept informed. The
//! only module that uses sd-notify.

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

/// The sockets that are meant for this very process (`LISTEN_PID`), with their names. They are descriptors
/// from 3 on, and close-on-exec from now on.
pub(super) fn sockets() -> Result<Vec<(RawFd, String)>, Failure> {
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

/// The line to the service manager, which delays nothing: what it does not take at once is lost.
pub(super) struct Manager {
    socket: UnixDatagram,
    watchdog: Option<Duration>,
}

impl Manager {
    /// The manager that wants to hear from us, if there is one. An abstract socket is out of reach later on.
    pub(super) fn find() -> Result<Option<Manager>, String> {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|_| !sys::is_secure_start()) else {
            return Ok(None);
        };
        let watchdog = sd_notify::watchdog_enabled().filter(|time| !time.is_zero());
        connect(&name)
            .map(|socket| Some(Manager { socket, watchdog }))
            .map_err(|error| format!("{} (NOTIFY_SOCKET): {error}", name.as_bytes().escape_ascii()))
    }

    /// How often it has to hear that all is well: twice in the time after which it would take us for dead.
    pub(super) fn watchdog(&self) -> Option<Duration> {
        self.watchdog.map(|time| time / 2)
    }

    pub(super) fn ready(&self) {
        self.tell(&[NotifyState::Ready]);
    }

    pub(super) fn status(&self, status: &str) {
        self.tell(&[NotifyState::Status(status)]);
    }

    /// Newer managers want to know when, to tell this reload from an earlier one.
    pub(super) fn reloading(&self) {
        let now = NotifyState::monotonic_usec_now().ok();
        let states: Vec<_> = [NotifyState::Reloading].into_iter().chain(now).collect();
        self.tell(&states);
    }

    pub(super) fn stopping(&self) {
        self.tell(&[NotifyState::Stopping]);
    }

    pub(super) fn alive(&self) {
        self.tell(&[NotifyState::Watchdog]);
    }

    fn tell(&self, states: &[NotifyState<'_>]) {
        let lines: String = states.iter().map(|state| format!("{state}\n")).collect();
        let _ = self.socket.send(lines.as_bytes());
    }
}

/// The crate connects anew for each message, which is not to be had once we are confined.
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
