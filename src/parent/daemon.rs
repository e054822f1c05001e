//! `-d`: the way into the background. The process that was started stays in front until the daemon listens,
//! so that whoever started it learns whether it does, and if not, why.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, chdir, pipe2, read, setsid};
use privsep::sys;

use crate::config::{Config, Endpoint, Port};
use crate::exit::{Failure, Status};
use crate::logger;
use crate::signals::describe;

/// What one process becomes.
pub(super) enum Part {
    /// The one that was started: waits, and ends with this status.
    Foreground(u8),
    Daemon(Foreground),
}

/// The daemon's tie to the process in the foreground.
pub(super) struct Foreground {
    news: File,
    null: File,
    /// It is a file; found out before the filter is on.
    keeps_stderr: bool,
}

/// Makes two of this process, which must have one thread and no role yet.
pub(super) fn split(config: &mut Config) -> Result<Part, Failure> {
    [&mut config.client, &mut config.server].into_iter().try_for_each(anchor)?;
    if let Some(pidfile) = &mut config.pidfile {
        *pidfile = std::path::absolute(&*pidfile).map_err(failure)?;
    }
    let (news, teller) = pipe2(OFlag::O_CLOEXEC).map_err(|errno| failure(errno.into()))?;
    match sys::fork().map_err(failure)? {
        ForkResult::Parent { child } => {
            drop(teller);
            wait_for(child, &news).map(Part::Foreground)
        }
        ForkResult::Child => {
            drop(news);
            Foreground::leave(teller).map(Part::Daemon).map_err(failure)
        }
    }
}

fn failure(error: std::io::Error) -> Failure {
    Failure::new(Status::Os, format!("Daemon: {error}"))
}

/// A daemon works in `/`; the relative name of a socket is still meant from where it was typed.
fn anchor(endpoint: &mut Endpoint) -> Result<(), Failure> {
    match &mut endpoint.port {
        Port::Path(path) if !path.as_encoded_bytes().starts_with(b"@") => {
            *path = std::path::absolute(&*path).map_err(failure)?.into_os_string();
        }
        Port::Path(_) | Port::Dynamic | Port::Number(_) | Port::Service(_) => {}
    }
    Ok(())
}

/// The foreground: the daemon's word that it listens, or the status that it ended with. What went wrong, it
/// has said itself.
fn wait_for(daemon: Pid, news: &OwnedFd) -> Result<u8, Failure> {
    loop {
        match read(news, &mut [0]) {
            Ok(1..) => return Ok(0),
            Err(Errno::EINTR) => {}
            Ok(0) | Err(_) => break,
        }
    }
    let how = match waitpid(daemon, None) {
        Ok(WaitStatus::Exited(_, status @ 1..)) => return Ok(u8::try_from(status).unwrap_or(u8::MAX)),
        Ok(WaitStatus::Signaled(_, signal, _)) => {
            format!("killed by signal {}, {}", signal as i32, describe(signal as i32))
        }
        _ => "it has not said why".to_owned(),
    };
    Err(Failure::new(Status::Unavailable, format!("the daemon ended before it listened ({how})")))
}

impl Foreground {
    /// The daemon: leaves the caller's terminal and directory, and all streams but stderr.
    fn leave(teller: OwnedFd) -> std::io::Result<Foreground> {
        setsid()?;
        chdir("/")?;
        let null = File::options().read(true).write(true).open("/dev/null")?;
        sys::replace_streams(null.as_fd(), 0..=1)?;
        Ok(Foreground { news: teller.into(), null, keeps_stderr: logger::keeps_stderr() })
    }

    /// Leaves stderr, too, unless it is a file, and lets the foreground end. Where it has been ended, nobody wants the daemon.
    pub(super) fn listening(mut self) -> Result<(), Failure> {
        if !self.keeps_stderr {
            sys::replace_streams(self.null.as_fd(), 2..=2).map_err(failure)?;
        }
        self.news.write_all(&[0]).map_err(failure)
    }
}
