//! The service manager that has started us: what it hands over. The only module that uses sd-notify.

use std::os::fd::RawFd;

use privsep::sys;

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
