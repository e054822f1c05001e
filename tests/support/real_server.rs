//! A third-party server: started at an address of its own, ended with the test.

use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::tcpreen::{Running, Tcpreen};
use crate::support::wait::until;

/// A running third-party server.
pub struct RealServer {
    process: Child,
    place: SocketAddr,
}

impl RealServer {
    /// Returns once it accepts connections.
    #[track_caller]
    pub fn start(command: &mut Command, place: SocketAddr) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut server = RealServer { process: command.spawn().expect("the server starts"), place };
        until("the real server", || {
            assert!(matches!(server.process.try_wait(), Ok(None)), "the server has given up");
            TcpStream::connect(place).ok()
        });
        server
    }

    pub fn place(&self) -> SocketAddr {
        self.place
    }

    /// Starts a bridge in front of it.
    pub fn bridged(&self, options: impl FnOnce(Tcpreen) -> Tcpreen) -> Running {
        options(Tcpreen::to(self.place.port()).host(&self.place.ip().to_string())).start()
    }
}

impl Drop for RealServer {
    /// Sends SIGINT, on which PostgreSQL does not wait for its clients.
    fn drop(&mut self) {
        let pid = Pid::from_raw(self.process.id().try_into().expect("a process id"));
        let _ = kill(pid, Signal::SIGINT);
        for _ in 0..500 {
            if matches!(self.process.try_wait(), Ok(Some(_))) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
