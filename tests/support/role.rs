//! A single role of the program, with the test as its parent.

use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::unistd::{Pid, Uid};
use privsep::channel::{Channel, Incoming, Wait};
use privsep::confine::Identity;
use privsep::seccomp::Violation;
use serde::Serialize;

use super::nobody;
use super::under_test::binary;
use super::wait::{until, within};
use tcpreen::messages::{Prepare, Sandbox, ToParent, VERSION};

/// A role whose parent is the test. Dropping it kills its process.
pub struct Role<Out> {
    child: Child,
    pub channel: Channel<Out, ToParent>,
}

/// Starts a role as the parent does: `tcpreen [name]` with descriptor 3 and, optionally, `no_new_privs`.
pub fn command(program: &Path, name: &str, no_new_privs: bool, descriptor: Stdio) -> Command {
    let mut command = Command::new(if no_new_privs { "setpriv" } else { "env" });
    let shell = ["bash", "-c", "exec 3<&0 0</dev/null; exec \"$0\" \"$1\""];
    command.args(no_new_privs.then_some("--no-new-privs")).args(shell);
    command.arg(program).arg(format!("[{name}]")).stdin(descriptor);
    command
}

impl<Out: Serialize> Role<Out> {
    pub fn start(name: &str) -> Self {
        let (channel, theirs) = Channel::pair().expect("a channel");
        let theirs = theirs.as_fd().try_clone_to_owned().expect("its other end");
        let mut command = command(&binary(), name, true, theirs.into());
        // The environment that the parent gives to the logger.
        command.env_clear().env("PATH", "/usr/bin:/bin");
        command.env("GLIBC_TUNABLES", "glibc.malloc.arena_max=1").stderr(Stdio::null());
        Role { child: command.spawn().expect("the program starts"), channel }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().expect("a process id"))
    }

    #[track_caller]
    pub fn send(&self, message: &Out) {
        self.channel.send(message).expect("a role that listens");
    }

    /// Waits for the next message; `None` when the role has ended.
    #[track_caller]
    pub fn says(&self) -> Option<(ToParent, privsep::sys::Fds)> {
        until("a message of the role", || match self.channel.receive(Wait::No) {
            Ok(Incoming::Message(message, fds)) => Some(Some((message, fds))),
            Ok(Incoming::Closed) => Some(None),
            Ok(Incoming::Nothing) => None,
            Err(error) => panic!("{error}"),
        })
    }

    #[track_caller]
    pub fn expect_ready(&self) {
        let said = self.says();
        assert!(matches!(said, Some((ToParent::Ready { .. }, _))), "{said:?}");
    }

    /// Ends the parent's side of the channel, as if the parent had exited.
    pub fn hang_up(&self) {
        self.channel.finish_sending().expect("a channel");
    }

    /// Waits for a regular exit and returns the status; fails if the role was killed.
    #[track_caller]
    pub fn end(mut self) -> i32 {
        let status =
            within(Duration::from_secs(3), "the end of the role", || self.child.try_wait().expect("wait"));
        status.code().unwrap_or_else(|| panic!("{status}"))
    }

    #[track_caller]
    pub fn expect_running(&mut self) {
        let ended = self.child.try_wait().expect("wait");
        assert!(ended.is_none(), "{ended:?}");
    }
}

impl<Out> Drop for Role<Out> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first message to every role.
pub fn prepare() -> Prepare {
    let (uid, gid) = nobody();
    let identity = match Uid::effective().is_root() {
        true => Identity::Become { uid: uid.as_raw(), gid: gid.as_raw() },
        false => Identity::Keep,
    };
    Prepare {
        version: VERSION,
        parent: std::process::id().try_into().expect("a process id"),
        identity,
        sandbox: Sandbox { violation: Violation::Kill, full: false },
    }
}
