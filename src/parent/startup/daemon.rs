//! `-d`: starts in the background. The foreground process stays until the daemon listens, so that its caller
//! learns whether the start succeeded and, if not, why.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, chdir, pipe2, read, setsid};
use privsep::sys::{self, Alone};

use crate::config::{Config, Endpoint, Port};
use crate::exit::{Failure, Status};
use crate::logger;
use crate::signals::describe;

/// Role of each process after the split.
pub(in crate::parent) enum SplitRole {
    /// The process that was started: waits, and exits with this status.
    Foreground(u8),
    Daemon(Foreground),
}

/// The daemon's channel to the foreground process.
pub(in crate::parent) struct Foreground {
    ready_pipe: File,
    null: File,
    /// stderr is a file; checked before the filter is installed.
    keeps_stderr: bool,
}

/// Forks the daemon. The process must be single-threaded and have started no role.
pub(in crate::parent) fn split(config: &mut Config) -> Result<SplitRole, Failure> {
    [&mut config.client, &mut config.server].into_iter().try_for_each(anchor)?;
    if let Some(pidfile) = &mut config.pidfile {
        *pidfile = std::path::absolute(&*pidfile).map_err(failure)?;
    }
    let (ready_pipe, ready_sender) = pipe2(OFlag::O_CLOEXEC).map_err(|errno| failure(errno.into()))?;
    let alone = Alone::check().map_err(failure)?;
    match sys::fork(&alone).map_err(failure)? {
        ForkResult::Parent { child } => {
            drop(ready_sender);
            wait_for(child, &ready_pipe).map(SplitRole::Foreground)
        }
        ForkResult::Child => {
            drop(ready_pipe);
            Foreground::leave(ready_sender).map(SplitRole::Daemon).map_err(failure)
        }
    }
}

fn failure(error: std::io::Error) -> Failure {
    Failure::new(Status::Os, format!("Daemon: {error}"))
}

/// Makes the relative path of a socket absolute, because a daemon works in `/`.
fn anchor(endpoint: &mut Endpoint) -> Result<(), Failure> {
    match &mut endpoint.port {
        Port::Path(path) if !path.as_encoded_bytes().starts_with(b"@") => {
            *path = std::path::absolute(&*path).map_err(failure)?.into_os_string();
        }
        Port::Path(_) | Port::Dynamic | Port::Number(_) | Port::Service(_) => {}
    }
    Ok(())
}

/// Waits in the foreground until the daemon listens, or ends with its status. The daemon prints its own
/// errors.
fn wait_for(daemon: Pid, ready_pipe: &OwnedFd) -> Result<u8, Failure> {
    loop {
        match read(ready_pipe, &mut [0]) {
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
        _ => "no reason was reported".to_owned(),
    };
    Err(Failure::new(Status::Unavailable, format!("the daemon ended before it listened ({how})")))
}

impl Foreground {
    /// Detaches the daemon from the caller's terminal, directory, and all streams but stderr.
    fn leave(ready_sender: OwnedFd) -> std::io::Result<Foreground> {
        setsid()?;
        chdir("/")?;
        let null = File::options().read(true).write(true).open("/dev/null")?;
        sys::replace_streams(null.as_fd(), 0..=1)?;
        Ok(Foreground { ready_pipe: ready_sender.into(), null, keeps_stderr: logger::keeps_stderr() })
    }

    /// Closes stderr unless it is a file, and lets the foreground process exit. Fails if that process has
    /// been killed.
    pub(in crate::parent) fn listening(mut self) -> Result<(), Failure> {
        if !self.keeps_stderr {
            sys::replace_streams(self.null.as_fd(), 2..=2).map_err(failure)?;
        }
        self.ready_pipe.write_all(&[0]).map_err(failure)
    }
}
