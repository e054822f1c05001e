//! Faults of 1.4.4 that cannot be tried on it. `compat::weaknesses` has the list.

pub(crate) mod disks;
pub(crate) mod forging;

use crate::support::peer::{Peer, echo_server};
use crate::support::scratch::Scratch;
use crate::support::skip::{Need, needs};
use crate::support::tcpreen::{Running, Tcpreen};
use crate::support::{Bridged, bridge};

#[test]
fn a_login_is_recorded_although_its_server_hung_up() {
    // SIGPIPE kills the original with the record in its buffers, if it is quick enough.
    let scratch = Scratch::new();
    let Bridged { mut client, mut server, tcpreen } =
        bridge(|it| it.format("password").output(scratch.path("record")).sessions(1));
    client.send("USER bob\r\nPASS s3cret\r\n");
    server.expect("USER bob\r\nPASS s3cret\r\n");
    drop(server);
    for _ in 0..50 {
        if !client.try_send("STAT\r\n") {
            break;
        }
    }
    drop(client);
    assert_eq!(tcpreen.finish().code(), 0);
    assert!(scratch.record("record").contains(": bob:s3cret"), "{}", scratch.record("record"));
}

/// A bridge of an account that may have few processes, and clients for more than these.
fn short_of_processes(account: &str, server: u16) -> (Running, Vec<Peer>) {
    let tcpreen = Tcpreen::to(server).env("SUDO_UID", account).env("SUDO_GID", account);
    let tcpreen = tcpreen.at_once(20).by_shell("ulimit -u 16", "").start();
    let mut clients: Vec<Peer> = (0..12).map(|_| tcpreen.connect()).collect();
    clients.iter_mut().for_each(|client| client.send("hello"));
    let line = tcpreen.stderr_line("Process creation: ");
    let expected =
        "Process creation: Resource temporarily unavailable: this user may have 16 processes and threads";
    assert!(line.starts_with(expected), "{line}");
    (tcpreen, clients)
}

#[test]
fn clients_wait_for_a_process_and_are_then_served() {
    if !needs(&[Need::Root]) {
        return; // The original sleeps on, with its port open.
    }
    let echo = echo_server();
    let (_tcpreen, clients) = short_of_processes("4321", echo.port);
    for mut client in clients {
        client.expect("hello");
    }
}

#[test]
fn a_bridge_that_was_short_of_processes_and_is_idle_serves_the_next_client() {
    if !needs(&[Need::Root]) {
        return;
    }
    let echo = echo_server();
    let (tcpreen, clients) = short_of_processes("4322", echo.port);
    clients.into_iter().for_each(Peer::reset);
    let mut client = tcpreen.connect();
    client.send("hello");
    client.expect("hello");
}

#[test]
fn an_idle_client_makes_room_after_its_time() {
    let echo = echo_server();
    let tcpreen = Tcpreen::to(echo.port).args(["--idle-timeout", "1s"]).start();
    let mut idle = tcpreen.connect();
    let mut next = tcpreen.connect();
    next.send("hello");
    next.expect("hello");
    idle.expect_hang_up();
}
