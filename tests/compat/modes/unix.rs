//! Unix sockets on each side, by path and by abstract name, mixed with TCP.

use std::fmt::Display;

use crate::compat::modes::converse;
use crate::compat::modes::converse_and_part;
use crate::support::peer::{Peer, Server, echo_server};
use crate::support::scratch::Scratch;
use crate::support::tcpreen::{Running, Tcpreen};
use crate::support::under_test::{is_original, known_to_fail_on_original};
use crate::support::unix::{UnixServer, abstract_name, connect_as, connect_to};

/// A bridge whose clients connect to a Unix socket.
pub(crate) fn listening_at(
    place: impl Display,
    server: u16,
    with: impl FnOnce(Tcpreen) -> Tcpreen,
) -> Running {
    let tcpreen = Tcpreen::to(server).args(["-p", "tcp/unix"]).listen_on("").local_port(&place);
    started(with(tcpreen), place)
}

/// Waits until the bridge listens there.
pub(crate) fn started(tcpreen: Tcpreen, place: impl Display) -> Running {
    let running = tcpreen.spawn();
    let line = running.stderr_line("Listening on: ");
    assert_eq!(line, format!("Listening on:  port {place}"));
    running
}

#[test]
fn clients_come_to_a_path() {
    let scratch = Scratch::new();
    let path = scratch.path("clients");
    let server = Server::listen();
    let tcpreen = listening_at(path.display(), server.port(), |it| it.sessions(1));
    let client = connect_to(&path);
    converse_and_part(client, server.accept());
    assert_eq!(tcpreen.finish().code(), 0);
}

#[test]
fn the_server_is_at_a_path() {
    let scratch = Scratch::new();
    let path = scratch.path("server");
    let server = UnixServer::listen(&path);
    let tcpreen = Tcpreen::to(path.display()).args(["-p", "unix/tcp"]).host("").sessions(1).start();
    let client = tcpreen.connect();
    converse_and_part(client, server.accept());
    let stdout = tcpreen.finish().stdout();
    assert!(stdout.contains(&format!("Connection to:  port {}\n", path.display())), "{stdout}");
}

#[test]
fn both_sides_are_unix_sockets_under_any_name_of_the_protocol() {
    for protocol in ["unix/unix", "unix", "local", "file/local"] {
        let scratch = Scratch::new();
        let (clients, servers) = (scratch.path("clients"), scratch.path("server"));
        let server = UnixServer::listen(&servers);
        let tcpreen = Tcpreen::to(servers.display()).args(["-p", protocol]).host("").listen_on("");
        let tcpreen = started(tcpreen.local_port(clients.display()).sessions(1), clients.display());
        let client = connect_to(&clients);
        converse_and_part(client, server.accept());
        assert_eq!(tcpreen.finish().code(), 0);
        assert!(!clients.exists());
        assert!(servers.exists(), "that one is not ours to remove");
    }
}

#[test]
fn several_clients_are_served_at_once() {
    let scratch = Scratch::new();
    let path = scratch.path("clients");
    let echo = echo_server();
    let tcpreen = listening_at(path.display(), echo.port, |it| it.at_once(3).sessions(3));
    let mut clients: Vec<Peer> = (0..3).map(|_| connect_to(&path)).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(format!("I am {number}"));
        client.expect(format!("I am {number}"));
    }
    drop(clients);
    assert_eq!(tcpreen.finish().code(), 0);
}

#[test]
fn a_client_is_connected_to_at_a_path() {
    let scratch = Scratch::new();
    let (clients, servers) = (scratch.path("clients"), scratch.path("server"));
    let (client, server) = (UnixServer::listen(&clients), UnixServer::listen(&servers));
    let tcpreen = Tcpreen::to(servers.display()).args(["-c", "-p", "unix"]).host("").listen_on("");
    let tcpreen = tcpreen.local_port(clients.display()).spawn();
    converse_and_part(client.accept(), server.accept());
    let stdout = tcpreen.finish().stdout();
    assert!(stdout.starts_with(&format!("Connection from:  port {}\n", clients.display())), "{stdout}");
}

#[test]
fn a_server_is_waited_for_at_a_path() {
    let scratch = Scratch::new();
    let (clients, servers) = (scratch.path("clients"), scratch.path("server"));
    let tcpreen = Tcpreen::to(servers.display()).args(["-l", "-p", "unix"]).host("").listen_on("");
    let tcpreen = started(tcpreen.local_port(clients.display()).sessions(1), clients.display());
    tcpreen.stderr_line(&format!("Listening on:  port {}", servers.display()));
    let client = connect_to(&clients);
    converse_and_part(client, connect_to(&servers));
    assert_eq!(tcpreen.finish().code(), 0);
    assert!(!clients.exists() && !servers.exists());
}

#[test]
fn a_client_without_a_name_is_shown_as_such() {
    known_to_fail_on_original("it shows uninitialised memory", || {
        for names in [false, true] {
            let scratch = Scratch::new();
            let path = scratch.path("clients");
            let server = Server::listen();
            let tcpreen = listening_at(path.display(), server.port(), |it| {
                let it = it.sessions(1).output(scratch.path("record"));
                if names { it.with_names() } else { it }
            });
            let client = connect_to(&path);
            converse_and_part(client, server.accept());
            let stdout = tcpreen.finish().stdout();
            assert!(stdout.starts_with("Connection from:  port (unnamed)\n"), "{stdout}");
            assert_eq!(scratch.record("record"), stdout);
        }
    });
}

#[test]
fn a_client_with_a_name_is_shown_by_it() {
    let scratch = Scratch::new();
    let (path, own) = (scratch.path("clients"), scratch.path("client"));
    let mut owns = vec![own.to_str().expect("a path in UTF-8").to_owned()];
    if !is_original() {
        owns.push(abstract_name());
    }
    for own in owns {
        let server = Server::listen();
        let tcpreen = listening_at(path.display(), server.port(), |it| it.sessions(1));
        let client = connect_as(&own, &path);
        converse_and_part(client, server.accept());
        let stdout = tcpreen.finish().stdout();
        assert!(stdout.starts_with(&format!("Connection from:  port {own}\n")), "{stdout}");
    }
}

#[test]
fn a_session_over_unix_sockets_is_recorded_in_every_format() {
    let scratch = Scratch::new();
    let path = scratch.path("clients");
    let cases = [
        ("C", "<<< question\n"),
        ("count", "<<< 8 bytes\n"),
        ("raw", "<<< question"),
        ("null", "follows...\n"),
    ];
    for (format, expected) in cases {
        let server = Server::listen();
        let tcpreen = listening_at(path.display(), server.port(), |it| it.format(format).sessions(1));
        let mut client = connect_to(&path);
        converse(&mut client, &mut server.accept());
        drop(client);
        let stdout = tcpreen.finish().stdout();
        assert!(stdout.contains(expected), "{format}: {stdout}");
    }
}

#[test]
fn an_address_together_with_a_path_is_an_error() {
    let path = Scratch::new().path("nowhere");
    let outcome = Tcpreen::to(80).args(["-p", "tcp/unix"]).local_port(path.display()).run();
    assert!(outcome.stderr.contains(&format!("127.0.0.1 port {}: ", path.display())), "{outcome:?}");
    assert_eq!(outcome.code(), if is_original() { 0 } else { 64 });
}

#[test]
fn an_unreachable_server_is_reported() {
    let path = Scratch::new().path("nobody");
    let tcpreen = Tcpreen::to(path.display()).args(["-p", "unix/tcp"]).host("").sessions(1).start();
    tcpreen.expect_refusal();
    let outcome = tcpreen.finish();
    let message = format!("port {}: No such file or directory\n", path.display());
    assert!(outcome.stderr.contains(&message), "{outcome:?}");
    assert_eq!(outcome.code(), if is_original() { 0 } else { 69 });
}
