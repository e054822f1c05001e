//! Unix sockets, abstract names included.

use crate::compat::modes::unix::listening_at;
use crate::compat::modes::unix::started;

use crate::compat::modes::converse_and_part;
use crate::support::peer::Server;
use crate::support::scratch::Scratch;
use crate::support::tcpreen::Tcpreen;
use crate::support::unix::{UnixServer, abstract_name, connect_to};

#[test]
fn clients_come_to_an_abstract_name() {
    // To the original, @ is a letter of a file name.
    let name = abstract_name();
    let server = Server::listen();
    let tcpreen = listening_at(&name, server.port(), |it| it.sessions(1));
    let client = connect_to(&name);
    converse_and_part(client, server.accept());
    assert_eq!(tcpreen.finish().code(), 0);
}

#[test]
fn the_server_is_at_an_abstract_name() {
    let name = abstract_name();
    let server = UnixServer::listen(&name);
    let tcpreen = Tcpreen::to(&name).args(["-p", "unix/tcp"]).host("").sessions(1).start();
    let client = tcpreen.connect();
    converse_and_part(client, server.accept());
    let stdout = tcpreen.finish().stdout();
    assert!(stdout.contains(&format!("Connection to:  port {name}\n")), "{stdout}");
}

#[test]
fn a_path_and_an_abstract_name_mix() {
    let scratch = Scratch::new();
    let (path, name) = (scratch.path("clients"), abstract_name());
    let server = UnixServer::listen(&name);
    let tcpreen = Tcpreen::to(&name).args(["-p", "unix"]).host("").listen_on("");
    let tcpreen = started(tcpreen.local_port(path.display()).sessions(1), path.display());
    let client = connect_to(&path);
    converse_and_part(client, server.accept());
    assert_eq!(tcpreen.finish().code(), 0);
}

/// The parent connects, so that the kernel gives the server its identity, not that of worker or client.
#[test]
fn a_server_at_a_path_sees_the_credentials_of_the_first_process() {
    let scratch = Scratch::new();
    let path = scratch.path("server");
    let server = UnixServer::listen(&path);
    let tcpreen = Tcpreen::to(path.display()).args(["-p", "unix/tcp"]).host("").start();
    let _client = tcpreen.connect();
    assert_eq!(server.accept().credentials().pid(), tcpreen.pid().as_raw());
}

#[test]
fn a_path_that_is_too_long_is_an_error() {
    for (length, fits) in [(108, false), (107, true)] {
        let path = format!("/nowhere/{}", "n".repeat(length - "/nowhere/".len()));
        let outcome = Tcpreen::to(80).args(["-p", "tcp/unix"]).listen_on("").local_port(path).run();
        assert_eq!(outcome.code() == 64, !fits, "{outcome:?}");
        assert!(!outcome.stderr.contains("panicked"), "{outcome:?}");
    }
}
