//! Notifications to a service manager.

use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;

use crate::support::payload;
use crate::support::peer::{Peer, Server, echo_server};
use crate::support::scratch::Scratch;
use crate::support::skip::{Need, needs};
use crate::support::tcpreen::{Running, Tcpreen};
use crate::support::wait::{PATIENCE, until};
use crate::support::{nobody, unix};

/// A listening service manager.
struct Manager {
    socket: UnixDatagram,
    name: String,
}

impl Manager {
    fn at(scratch: &Scratch) -> Self {
        let path = scratch.path("notify");
        let socket = UnixDatagram::bind(&path).expect("bind");
        fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).expect("chmod");
        Manager::over(socket, path.display().to_string())
    }

    fn over(socket: UnixDatagram, name: String) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).expect("SO_RCVTIMEO");
        Manager { socket, name }
    }

    fn starts(&self, tcpreen: Tcpreen) -> Running {
        tcpreen.env("NOTIFY_SOCKET", &self.name).start()
    }

    #[track_caller]
    fn next(&self) -> String {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).expect("a message to the manager");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    /// Waits for the next message that begins with the text.
    #[track_caller]
    fn next_with(&self, start: &str) -> String {
        loop {
            let message = self.next();
            if message.starts_with(start) {
                return message;
            }
        }
    }

    /// Waits for pending messages, and then for silence of the given duration.
    #[track_caller]
    fn falls_silent(&self, duration: Duration) {
        let start = Instant::now();
        while !self.heard(duration, 1).is_empty() {
            assert!(start.elapsed() < PATIENCE, "still told after {PATIENCE:?}");
        }
    }

    /// Returns messages until there is silence of the given duration.
    fn until_silent(&self, duration: Duration) -> Vec<String> {
        self.heard(duration, 1000)
    }

    fn heard(&self, duration: Duration, most: usize) -> Vec<String> {
        self.socket.set_read_timeout(Some(duration)).expect("SO_RCVTIMEO");
        let mut buffer = [0; 4096];
        let heard = std::iter::from_fn(|| {
            let length = self.socket.recv(&mut buffer).ok()?;
            Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
        });
        let heard = heard.take(most).collect();
        self.socket.set_read_timeout(Some(PATIENCE)).expect("SO_RCVTIMEO");
        heard
    }
}

#[test]
fn the_manager_is_notified_of_readiness_and_stop() {
    let (echo, scratch) = (echo_server(), Scratch::new());
    let manager = Manager::at(&scratch);
    let tcpreen = manager.starts(Tcpreen::to(echo.port));
    assert_eq!(manager.next(), "READY=1\n");
    tcpreen.signal(Signal::SIGTERM);
    manager.next_with("STOPPING=1\n");
    assert_eq!(tcpreen.finish().code(), 143);
}

#[test]
fn a_manager_with_an_abstract_socket_gets_the_same_notifications() {
    let (echo, name) = (echo_server(), unix::abstract_name());
    let address = SocketAddr::from_abstract_name(&name[1..]).expect("an abstract name");
    let manager = Manager::over(UnixDatagram::bind_addr(&address).expect("bind"), name);
    let tcpreen = manager.starts(Tcpreen::to(echo.port).sessions(1));
    assert_eq!(manager.next(), "READY=1\n");
    drop(tcpreen.connect());
    manager.next_with("STOPPING=1\n");
    assert_eq!(tcpreen.finish().code(), 0);
}

#[test]
fn the_manager_gets_the_number_of_sessions() {
    let (server, scratch) = (Server::listen(), Scratch::new());
    let manager = Manager::at(&scratch);
    let tcpreen = manager.starts(Tcpreen::to(server.port()).at_once(4));
    manager.next_with("STATUS=0 sessions running, 0 begun\n");
    let sessions = [(); 2].map(|()| (tcpreen.connect(), server.accept()));
    manager.next_with("STATUS=2 sessions running, 2 begun\n");
    drop(sessions);
    manager.next_with("STATUS=0 sessions running, 2 begun\n");
}

#[test]
fn a_reload_is_over_when_the_outputs_are_open_again() {
    let (echo, scratch) = (echo_server(), Scratch::new());
    let manager = Manager::at(&scratch);
    let files = [scratch.path("one"), scratch.path("other")];
    let tcpreen = manager.starts(Tcpreen::to(echo.port).output(&files[0]).output(&files[1]));
    manager.next_with("READY=1\n");
    for _ in 0..3 {
        for file in &files {
            fs::rename(file, file.with_extension("1")).expect("rename");
        }
        tcpreen.signal(Signal::SIGHUP);
        let reloading = manager.next_with("RELOADING=1\n");
        let usec = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
        assert!(usec.and_then(|it| it.parse::<u64>().ok()).is_some_and(|usec| usec > 0), "{reloading}");
        manager.next_with("READY=1\n");
        assert!(files.iter().all(|file| file.exists()), "the outputs are open again");
    }
}

#[test]
fn a_stopping_program_is_never_ready_again() {
    let (server, scratch) = (Server::listen(), Scratch::new());
    let manager = Manager::at(&scratch);
    let tcpreen = Tcpreen::to(server.port()).args(["--drain-timeout", "1m"]).output(scratch.path("record"));
    let tcpreen = manager.starts(tcpreen);
    manager.next_with("READY=1\n");
    let session = (tcpreen.connect(), server.accept());
    tcpreen.signal(Signal::SIGTERM);
    manager.next_with("STOPPING=1\n");
    tcpreen.signal(Signal::SIGHUP);
    drop(session);
    assert_eq!(tcpreen.finish().code(), 143);
    let heard = manager.until_silent(Duration::from_millis(1));
    assert!(heard.iter().all(|it| it.starts_with("STATUS")), "{heard:?}");
}

#[test]
fn without_outputs_a_reload_is_over_at_once() {
    let scratch = Scratch::new();
    let manager = Manager::at(&scratch);
    let tcpreen = manager.starts(Tcpreen::to(echo_server().port).args(["-q", "-v"]));
    manager.next_with("READY=1\n");
    tcpreen.signal(Signal::SIGHUP);
    manager.next_with("RELOADING=1\n");
    manager.next_with("READY=1\n");
}

/// In milliseconds; the manager gets two messages in that time.
const WATCHDOG: u64 = 200;

fn watched(scratch: &Scratch, manager: &Manager, options: &[&str]) -> Running {
    let usec = (WATCHDOG * 1000).to_string();
    let tcpreen = Tcpreen::to(echo_server().port).args(options).output(scratch.path("record"));
    manager.starts(tcpreen.env("WATCHDOG_USEC", &usec))
}

#[test]
fn the_watchdog_notices_a_hanging_role() {
    for role in ["logger", "zygote"] {
        let scratch = Scratch::new();
        let manager = Manager::at(&scratch);
        let tcpreen = watched(&scratch, &manager, &[]);
        manager.next_with("WATCHDOG=1\n");
        manager.next_with("WATCHDOG=1\n");
        let stopped = tcpreen.role(role);
        kill(stopped, Signal::SIGSTOP).expect("kill");
        manager.falls_silent(Duration::from_millis(5 * WATCHDOG));
        kill(stopped, Signal::SIGCONT).expect("kill");
        manager.next_with("WATCHDOG=1\n");
        manager.next_with("WATCHDOG=1\n");
    }
}

#[test]
fn a_hanging_or_lost_resolver_does_not_trigger_the_watchdog() {
    let scratch = Scratch::new();
    let manager = Manager::at(&scratch);
    let tcpreen = watched(&scratch, &manager, &[]);
    for signal in [Signal::SIGSTOP, Signal::SIGKILL] {
        kill(tcpreen.role("resolver"), signal).expect("kill");
        for _ in 0..4 {
            manager.next_with("WATCHDOG=1\n");
        }
    }
}

#[test]
fn an_output_without_a_reader_does_not_trigger_the_watchdog() {
    let scratch = Scratch::new();
    let manager = Manager::at(&scratch);
    let pipe = scratch.path("pipe");
    nix::unistd::mkfifo(&pipe, Mode::empty()).expect("mkfifo");
    fs::set_permissions(&pipe, PermissionsExt::from_mode(0o666)).expect("chmod");
    let _reader =
        fs::File::options().read(true).write(true).open(&pipe).expect("a reader that does not read");
    let server = Server::listen();
    let tcpreen = Tcpreen::to(server.port()).format("raw").output(&pipe);
    let tcpreen = manager.starts(tcpreen.env("WATCHDOG_USEC", "200000"));
    let (mut client, _server) = (tcpreen.connect(), server.accept());
    let mut payload = payload::Payload::new(1, 1 << 30);
    client.send_until_stalled(&mut payload, 1 << 30);
    manager.until_silent(Duration::from_millis(1));
    for _ in 0..5 {
        manager.next_with("WATCHDOG=1\n");
    }
}

#[test]
fn the_watchdog_is_served_during_the_drain() {
    let (server, scratch) = (Server::listen(), Scratch::new());
    let manager = Manager::at(&scratch);
    let tcpreen = Tcpreen::to(server.port()).args(["--drain-timeout", "1m"]).env("WATCHDOG_USEC", "200000");
    let tcpreen = manager.starts(tcpreen);
    let session = (tcpreen.connect(), server.accept());
    tcpreen.signal(Signal::SIGTERM);
    manager.next_with("STOPPING=1\n");
    for _ in 0..10 {
        manager.next_with("WATCHDOG=1\n");
    }
    drop(session);
    assert_eq!(tcpreen.finish().code(), 143);
}

#[test]
fn the_watchdog_is_served_during_shutdown() {
    let (server, scratch) = (Server::listen(), Scratch::new());
    let manager = Manager::at(&scratch);
    let pipe = scratch.path("pipe");
    nix::unistd::mkfifo(&pipe, Mode::empty()).expect("mkfifo");
    fs::set_permissions(&pipe, PermissionsExt::from_mode(0o666)).expect("chmod");
    let reader = fs::File::options().read(true).write(true).open(&pipe).expect("a reader that does not read");
    let tcpreen = Tcpreen::to(server.port()).format("raw").output(&pipe);
    let tcpreen = manager.starts(tcpreen.env("WATCHDOG_USEC", "200000"));
    let (mut client, served) = (tcpreen.connect(), server.accept());
    let mut payload = payload::Payload::new(1, 1 << 30);
    client.send_until_stalled(&mut payload, 1 << 30);
    // What does not fit into the manager's queue is lost: at most ten messages are in it.
    (0..11).for_each(|_| drop(manager.next_with("WATCHDOG=1\n")));
    tcpreen.signal(Signal::SIGTERM);
    manager.next_with("STOPPING=1\n");
    // Ten per second: seven seconds exceed the time that sessions have to end.
    let start = std::time::Instant::now();
    while start.elapsed() < Duration::from_secs(7) {
        manager.next_with("WATCHDOG=1\n");
    }
    drop((client, served));
    let mut sink = fs::File::options().read(true).open(&pipe).expect("a reader");
    drop(reader);
    std::io::copy(&mut sink, &mut std::io::sink()).expect("the rest of the record");
    assert_eq!(tcpreen.finish().code(), 143);
}

#[test]
fn a_watchdog_for_another_process_is_none() {
    let scratch = Scratch::new();
    let manager = Manager::at(&scratch);
    let tcpreen = Tcpreen::to(echo_server().port).env("WATCHDOG_USEC", "20000").env("WATCHDOG_PID", "1");
    let _tcpreen = manager.starts(tcpreen);
    let heard = manager.until_silent(Duration::from_millis(300));
    assert!(heard.iter().all(|it| !it.starts_with("WATCHDOG")), "{heard:?}");
}

#[test]
fn a_set_uid_start_sends_nothing_to_its_callers_notification_socket() {
    if !needs(&[Need::Root]) {
        return;
    }
    let scratch = Scratch::new();
    let manager = Manager::at(&scratch);
    let program = scratch.copy_of_program(0o4755);
    let tcpreen = manager.starts(Tcpreen::to(echo_server().port).binary(program).account(nobody()));
    drop(Peer::connect(tcpreen.port()));
    let heard = manager.until_silent(Duration::from_millis(300));
    assert!(heard.is_empty(), "{heard:?}");
}

#[test]
fn an_unreachable_service_manager_is_reported() {
    let scratch = Scratch::new();
    for name in [scratch.path("nothing").display().to_string(), "vsock:2:1234".into()] {
        let tcpreen = Tcpreen::to(echo_server().port).env("NOTIFY_SOCKET", &name).spawn();
        tcpreen.stderr_line("(NOTIFY_SOCKET): ");
        until("its port", || tcpreen.stderr().contains("Listening on").then_some(()));
    }
}
