//! `-d`: stays in the foreground until it listens, then runs in the background.

pub(crate) mod logrotate;
pub(crate) mod rotation;
pub(crate) mod rsyslog;
pub(crate) mod syslog;

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getsid};

use crate::support::daemon::Daemon;
use crate::support::name_server::{self, NameServer};
use crate::support::namespace::{in_a_world_of_its_own, replace_etc};
use crate::support::peer::{Server, echo_server};
use crate::support::proc;
use crate::support::skip::{Need, needs};
use crate::support::tcpreen::{Running, Tcpreen};
use crate::support::wait::until;

/// Fields of `/proc/PID/stat`, from the state on.
fn stat(pid: Pid) -> Vec<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    let (_, fields) = stat.rsplit_once(") ").expect("a name in parentheses");
    fields.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn the_foreground_ends_when_the_daemon_listens() {
    // The original may end before it listens.
    let echo = echo_server();
    let daemon = Daemon::new();
    daemon.start_recording(echo.port);
    daemon.echo("at once");
}

#[test]
fn the_foreground_waits_as_long_as_the_start_takes() {
    half_started(|_, mut foreground| {
        assert!(foreground.is_running(), "the resolver is still looking for the server");
        let outcome = foreground.finish();
        assert_eq!(outcome.code(), 68, "{outcome:?}");
    });
}

/// A daemon whose start takes seconds, because a name server does not answer.
fn half_started(test: impl FnOnce(Daemon, Running) + Send) {
    if !needs(&[Need::Root, Need::Program("ip"), Need::Program("mount")]) {
        return;
    }
    in_a_world_of_its_own(|| {
        replace_etc(&[
            ("hosts", ""),
            ("resolv.conf", &format!("nameserver {}\n", name_server::ADDRESS)),
            ("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\nservices: files\n"),
        ]);
        let server = NameServer::silent();
        let daemon = Daemon::new();
        let foreground = daemon.command(80).host("server.example").spawn();
        until("a question", || server.asked().pop());
        test(daemon, foreground);
    });
}

#[test]
fn a_start_that_is_interrupted_leaves_no_daemon() {
    half_started(|daemon, mut foreground| {
        foreground.signal(Signal::SIGINT);
        foreground.wait();
        daemon.all_gone();
    });
}

#[test]
fn a_daemon_has_left_its_terminal_its_directory_and_its_streams() {
    if !needs(&[Need::Root]) {
        return; // Only root may look into our processes.
    }
    let echo = echo_server();
    let daemon = Daemon::new();
    daemon.start_recording(echo.port);
    let parent = daemon.pid();
    assert_eq!(getsid(Some(parent)).expect("a session"), parent, "a session of its own");
    for pid in daemon.processes() {
        let role = proc::role(pid).unwrap_or_default();
        let stat = stat(pid);
        assert_eq!(stat[3], parent.to_string(), "session of the {role}");
        assert_eq!(stat[4], "0", "terminal of the {role}");
        let streams = proc::descriptors(pid);
        for stream in 0..=2 {
            assert_eq!(streams[&stream], "/dev/null", "stream {stream} of the {role}");
        }
    }
    assert_eq!(fs::read_link(format!("/proc/{parent}/cwd")).expect("its directory"), Path::new("/"));
}

#[test]
fn every_process_of_a_daemon_is_confined() {
    let echo = echo_server();
    let daemon = Daemon::new();
    daemon.start_recording(echo.port);
    for pid in daemon.processes() {
        for thread in proc::threads(pid) {
            assert_eq!(thread.get("Seccomp"), "2", "{:?}", proc::role(pid));
            assert_eq!(thread.get("CapPrm"), "0000000000000000", "{:?}", proc::role(pid));
        }
    }
}

/// Expects the foreground process to end with this status and message, and no process in the background.
#[track_caller]
fn does_not_start(daemon: &Daemon, command: Tcpreen, status: i32, message: &str) {
    let outcome = command.run();
    assert_eq!(outcome.code(), status, "{outcome:?}");
    assert!(outcome.stderr.contains(message), "{outcome:?}");
    daemon.all_gone();
}

#[test]
fn the_foreground_reports_a_port_in_use() {
    let server = Server::listen();
    let daemon = Daemon::new();
    let _taken = TcpListener::bind(daemon.place()).expect("our own place");
    does_not_start(&daemon, daemon.command(server.port()), 69, "Address already in use");
}

#[test]
fn the_foreground_reports_an_output_that_cannot_be_created() {
    let daemon = Daemon::new();
    let command = daemon.command(80).output("/no/such/directory/record");
    does_not_start(&daemon, command, 73, "Log file error: No such file or directory");
}

#[test]
fn the_foreground_reports_an_unknown_server() {
    let daemon = Daemon::new();
    does_not_start(
        &daemon,
        daemon.command(80).host("no-such-host.invalid"),
        68,
        "no-such-host.invalid port 80: ",
    );
}

#[test]
fn the_foreground_reports_a_daemon_killed_at_its_start() {
    half_started(|daemon, foreground| {
        let is_parent = |pid: &Pid| proc::role(*pid).as_deref() == Some(proc::PARENT);
        let parent = proc::descendants(foreground.pid()).into_iter().find(is_parent);
        kill(parent.expect("the daemon"), Signal::SIGKILL).expect("kill");
        let outcome = foreground.finish();
        assert_eq!(outcome.code(), 69, "{outcome:?}");
        assert!(outcome.stderr.contains("killed by signal 9"), "{outcome:?}");
        daemon.all_gone();
    });
}

#[test]
fn a_termination_ends_a_daemon_in_order() {
    let server = Server::listen();
    let daemon = Daemon::new();
    daemon.start_recording(server.port());
    let (mut client, mut server) = (daemon.connect(), server.accept());
    client.send("words");
    server.expect("words");
    daemon.signal(Signal::SIGTERM);
    client.expect_hang_up();
    server.expect_hang_up();
    daemon.all_gone();
    let record = daemon.record();
    assert!(record.contains("<<< words\n"), "{record}");
    assert!(record.ends_with("End of transmission.\n"), "{record}");
}

#[test]
fn a_hang_up_does_not_end_a_daemon() {
    let echo = echo_server();
    let daemon = Daemon::new();
    daemon.start_recording(echo.port);
    let processes = daemon.with_role(proc::PARENT);
    daemon.signal(Signal::SIGHUP);
    daemon.echo("still here");
    assert_eq!(daemon.with_role(proc::PARENT), processes, "the same daemon");
}

#[test]
fn a_daemon_serves_several_clients_at_a_time() {
    let echo = echo_server();
    let daemon = Daemon::new();
    daemon.start_recording(echo.port);
    let mut clients: Vec<_> = (0..8).map(|_| daemon.connect()).collect();
    clients.iter_mut().for_each(|client| client.send("hello"));
    clients.iter_mut().for_each(|client| client.expect("hello"));
}
