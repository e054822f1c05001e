//! `-c`: the bridge connects to the client, too.

use crate::compat::modes::converse;
use crate::compat::modes::converse_and_part;
use crate::support::peer::{Peer, Refusing, Server, echo_server};
use crate::support::tcpreen::Tcpreen;
use crate::support::under_test::{is_original, known_to_fail_on_original};

/// `-c` between a server and a client that listens.
fn connecting(server: u16, client: u16) -> Tcpreen {
    Tcpreen::to(server).args(["-c"]).local_port(client)
}

#[test]
fn both_are_connected_to_once_and_then_it_ends() {
    let (client, server) = (Server::listen(), Server::listen());
    let tcpreen = connecting(server.port(), client.port()).args(["-v"]).spawn();
    converse_and_part(client.accept(), server.accept());
    let outcome = tcpreen.finish();
    assert_eq!(outcome.code(), 0, "{outcome:?}");
    assert!(client.accept_now().is_none() && server.accept_now().is_none(), "a second session");
    assert!(!outcome.stderr.contains("Listening on"), "{outcome:?}");
    let frame = format!(
        "Connection from: 127.0.0.1 port {}\nConnection to: 127.0.0.1 port {}\nTransmission follows...\n\
         <<< question\n>>> answer\n",
        client.port(),
        server.port()
    );
    assert!(outcome.stdout().starts_with(&frame), "{outcome:?}");
}

#[test]
fn one_session_follows_another_as_often_as_asked() {
    let (client, server) = (Server::listen(), Server::listen());
    let tcpreen = connecting(server.port(), client.port()).sessions(3).spawn();
    for _ in 0..3 {
        let (client_now, server_now) = (client.accept(), server.accept());
        assert!(client.accept_now().is_none(), "one at a time");
        converse_and_part(client_now, server_now);
    }
    let outcome = tcpreen.finish();
    assert_eq!(outcome.code(), 0, "{outcome:?}");
    assert_eq!(outcome.stdout().matches("End of transmission.\n").count(), 3, "{outcome:?}");
    assert!(client.accept_now().is_none(), "a fourth session");
}

#[test]
fn several_sessions_are_opened_at_once() {
    let client = Server::listen();
    let echo = echo_server();
    let tcpreen = connecting(echo.port, client.port()).at_once(3).sessions(3).spawn();
    let mut clients: Vec<Peer> = (0..3).map(|_| client.accept()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(format!("I am {number}"));
    }
    for (number, client) in clients.iter_mut().enumerate() {
        client.expect(format!("I am {number}"));
    }
    drop(clients);
    assert_eq!(tcpreen.finish().code(), 0);
}

#[test]
fn a_client_may_wait_for_what_the_server_says_first() {
    let (client, server) = (Server::listen(), Server::listen());
    let _tcpreen = connecting(server.port(), client.port()).spawn();
    let (mut client, mut server) = (client.accept(), server.accept());
    server.send("220 ready");
    client.expect("220 ready");
    converse(&mut client, &mut server);
}

#[test]
fn a_client_that_refuses_is_reported_as_a_failure() {
    let (client, server) = (Refusing::new(), Server::listen());
    let outcome = connecting(server.port(), client.port()).listen_on("").run();
    let message = format!("port {}: Connection refused\n", client.port());
    assert!(outcome.stderr.contains(&message), "{outcome:?}");
    assert_eq!(outcome.stdout(), "");
    assert_eq!(outcome.code(), if is_original() { 0 } else { 69 });
}

#[test]
fn a_client_without_a_reverse_name_is_reported_by_address() {
    let (client, server) = (Refusing::new(), Server::listen());
    let outcome = connecting(server.port(), client.port()).run();
    let message = format!("127.0.0.1 port {}: Connection refused\n", client.port());
    assert!(outcome.stderr.contains(&message), "{outcome:?}");
}

#[test]
fn a_refusing_server_closes_the_dialled_client() {
    let (client, server) = (Server::listen(), Refusing::new());
    let tcpreen = connecting(server.port(), client.port()).spawn();
    client.accept().expect_hang_up();
    let outcome = tcpreen.finish();
    assert!(outcome.stderr.contains(&format!("port {}: Connection refused\n", server.port())), "{outcome:?}");
    assert_eq!(outcome.code(), if is_original() { 0 } else { 69 });
}

#[test]
fn a_failed_session_counts_and_the_next_begins() {
    known_to_fail_on_original("it exits with 0", || {
        let (client, server) = (Refusing::new(), Server::listen());
        let outcome = connecting(server.port(), client.port()).sessions(3).run();
        assert_eq!(outcome.stderr.matches("Connection refused\n").count(), 3, "{outcome:?}");
        assert_eq!(outcome.code(), 69);
    });
}

#[test]
fn without_a_port_of_the_client_it_is_misused() {
    let outcome = Tcpreen::to(80).args(["-c"]).run();
    assert!(outcome.stderr.contains("no client port specified with -c option."), "{outcome:?}");
    assert_eq!(outcome.code(), if is_original() { 1 } else { 64 });
}
