//! A bridge in the background, and a syslogd for the test.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, getpgid, getpgrp, mkfifo};

use super::peer::Peer;
use super::rsyslog::Rsyslogd;
use super::scratch::Scratch;
use super::tcpreen::{Outcome, Tcpreen};
use super::wait::{PATIENCE, until};
use super::{place_of_our_own, proc};

/// A port, a directory and a copy of the program for one daemon. Dropping it ends every process of that copy,
/// and no others.
pub struct Daemon {
    scratch: Scratch,
    program: PathBuf,
    /// Process groups in which processes of the daemon were seen. An orphan cannot be recognised otherwise: its
    /// command line does not name the program, and only root may read `/proc/PID/exe` of a process that is not
    /// dumpable.
    groups: RefCell<BTreeSet<Pid>>,
    starter: PathBuf,
    place: SocketAddr,
}

impl Daemon {
    pub fn new() -> Self {
        let scratch = Scratch::new();
        let program = scratch.copy_of_program(0o755);
        let groups = RefCell::default();
        Daemon { starter: program.clone(), program, groups, scratch, place: place_of_our_own() }
    }

    /// Starts in a file system whose `/dev` has only `null` and a `log` that leads to [`Daemon::syslogd`].
    pub fn with_dev_log() -> Self {
        Daemon::with_log_at("{dev}/log")
    }

    /// Starts in a file system without `/dev/log`, and with a `/run` in which only journald's socket leads to
    /// [`Daemon::syslogd`].
    pub fn with_journal() -> Self {
        Daemon::with_log_at("/run/systemd/journal/dev-log")
    }

    fn with_log_at(place: &str) -> Self {
        let mut daemon = Daemon::new();
        let [dev, log] = ["dev", "log"].map(|name| daemon.scratch.path(name));
        fs::create_dir(&dev).expect("mkdir");
        let place = place.replace("{dev}", &dev.display().to_string());
        let run = match place.starts_with("/run") {
            true => "mount -t tmpfs -o mode=755 none /run\nmkdir -p /run/systemd/journal\n",
            false => "",
        };
        let (dev, log, program) = (dev.display(), log.display(), daemon.program.display());
        let script = format!(
            "#!/bin/sh\n\
             exec unshare --mount sh -ec '\n\
             mount -t tmpfs -o mode=755 none {dev}\n\
             mknod -m 666 {dev}/null c 1 3\n\
             {run}ln -s {log} {place}\n\
             mount --bind {dev} /dev\n\
             exec {program} \"$@\"' sh \"$@\"\n"
        );
        let draft = daemon.scratch.path("script");
        fs::write(&draft, script).expect("a script");
        daemon.starter = daemon.scratch.executable(&draft, "start", 0o755);
        daemon
    }

    pub fn place(&self) -> SocketAddr {
        self.place
    }

    /// Path of a file in the test's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.path(name)
    }

    /// `tcpreen -d …`, not yet started.
    pub fn command(&self, server: u16) -> Tcpreen {
        self.foreground(server).args(["-d"])
    }

    /// The same command line without `-d`, not yet started.
    pub fn foreground(&self, server: u16) -> Tcpreen {
        Tcpreen::to(server).binary(self.starter.clone()).listen_at(self.place)
    }

    /// `tcpreen …` in the foreground, not yet started.
    pub fn in_front(&self, server: u16) -> Tcpreen {
        Tcpreen::to(server).binary(self.starter.clone())
    }

    /// Runs the foreground process to its end; fails unless it succeeds.
    #[track_caller]
    pub fn start(&self, command: Tcpreen) -> Outcome {
        let outcome = command.run();
        assert_eq!(outcome.code(), 0, "{outcome:?}");
        assert_eq!(outcome.stdout(), "");
        outcome
    }

    /// Starts the daemon with a record.
    #[track_caller]
    pub fn start_recording(&self, server: u16) -> Outcome {
        self.start(self.command(server).output(self.scratch.path("record")))
    }

    /// Creates a FIFO that no process has open.
    pub fn pipe(&self) -> PathBuf {
        let pipe = self.scratch.path("pipe");
        mkfifo(&pipe, Mode::empty()).expect("mkfifo");
        fs::set_permissions(&pipe, Permissions::from_mode(0o666)).expect("chmod");
        pipe
    }

    #[track_caller]
    pub fn record(&self) -> String {
        self.scratch.record("record")
    }

    /// All running processes of the daemon.
    pub fn processes(&self) -> Vec<Pid> {
        let mut groups = self.groups.borrow_mut();
        let mut processes = proc::of_program(&self.program);
        processes.retain(|pid| proc::is_alive(*pid));
        groups.extend(processes.iter().filter_map(|pid| getpgid(Some(*pid)).ok()));
        groups.remove(&getpgrp());
        processes.extend(proc::of_groups(&groups));
        processes.sort();
        processes.dedup();
        processes
    }

    /// Processes with this role.
    pub fn with_role(&self, role: &str) -> Vec<Pid> {
        self.processes().into_iter().filter(|pid| proc::role(*pid).as_deref() == Some(role)).collect()
    }

    /// The daemon's parent process.
    #[track_caller]
    pub fn pid(&self) -> Pid {
        match self.with_role(proc::PARENT).as_slice() {
            [pid] => *pid,
            other => panic!("one daemon, not {other:?}"),
        }
    }

    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("kill");
    }

    /// Sends SIGKILL to every process with this role.
    #[track_caller]
    pub fn kill(&self, role: &str) {
        for pid in self.with_role(role) {
            kill(pid, Signal::SIGKILL).expect("kill");
        }
    }

    #[track_caller]
    pub fn all_gone(&self) {
        until("the end of the daemon", || self.processes().is_empty().then_some(()));
    }

    #[track_caller]
    pub fn connect(&self) -> Peer {
        Peer::connect_to(self.place)
    }

    /// Connects and expects a reset, possibly before the connection is established.
    #[track_caller]
    pub fn expect_refusal(&self) {
        match TcpStream::connect(self.place) {
            Ok(stream) => Peer::over(stream).expect_refusal(),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }

    /// Runs a whole session with an echo server.
    #[track_caller]
    pub fn echo(&self, words: &str) {
        let mut client = self.connect();
        client.send(words);
        client.expect(words);
        client.finish();
        client.expect_end();
    }

    #[track_caller]
    pub fn rsyslogd(&self) -> Rsyslogd {
        Rsyslogd::start(&self.scratch.path("log"), self.scratch.path("messages"))
    }

    #[track_caller]
    pub fn syslogd(&self) -> Syslogd {
        Syslogd::listen(self.scratch.path("log"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Later passes catch processes forked during an earlier one.
        for _ in 0..3 {
            for pid in self.processes() {
                let _ = kill(pid, Signal::SIGKILL);
            }
        }
    }
}

/// Receives the daemon's messages to `/dev/log`. Dropping it removes its socket.
pub struct Syslogd {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Syslogd {
    #[track_caller]
    fn listen(path: PathBuf) -> Self {
        let socket = UnixDatagram::bind(&path).expect("bind");
        fs::set_permissions(&path, Permissions::from_mode(0o666)).expect("chmod");
        socket.set_read_timeout(Some(PATIENCE)).expect("SO_RCVTIMEO");
        Syslogd { socket, path }
    }

    #[track_caller]
    pub fn next(&self) -> String {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).expect("a message to syslogd");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    /// Returns the next message that contains the text.
    #[track_caller]
    pub fn next_with(&self, part: &str) -> String {
        loop {
            let message = self.next();
            if message.contains(part) {
                return message;
            }
        }
    }

    /// Returns the unread messages.
    pub fn pending(&self) -> Vec<String> {
        self.socket.set_nonblocking(true).expect("FIONBIO");
        let mut buffer = [0; 4096];
        let heard = std::iter::from_fn(|| {
            let length = self.socket.recv(&mut buffer).ok()?;
            Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
        });
        let heard = heard.collect();
        self.socket.set_nonblocking(false).expect("FIONBIO");
        heard
    }
}

impl Drop for Syslogd {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
