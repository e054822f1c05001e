//! Pseudo-terminals whose ends no other process inherits: a terminal ends with its last holder, and tests that run at
//! the same time start processes.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::fcntl::OFlag;
use nix::libc;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

pub struct Terminal {
    pub master: OwnedFd,
    /// The end that programs use as their terminal.
    pub slave: OwnedFd,
}

/// Opens a terminal without a size.
pub fn terminal() -> Terminal {
    let (master, name) = master();
    let slave = File::options().read(true).write(true).custom_flags(libc::O_NOCTTY).open(name);
    Terminal { master, slave: slave.expect("the terminal").into() }
}

/// Opens a terminal with this width.
pub fn terminal_of(columns: u16) -> Terminal {
    let terminal = terminal();
    let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&terminal.slave, size).expect("a size");
    terminal
}

/// Opens one end of a terminal; returns the name of the other.
pub fn master() -> (OwnedFd, String) {
    let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).expect("a terminal");
    grantpt(&master).and_then(|()| unlockpt(&master)).expect("its other end");
    let name = ptsname_r(&master).expect("its name");
    (master.as_fd().try_clone_to_owned().expect("a descriptor"), name)
}
