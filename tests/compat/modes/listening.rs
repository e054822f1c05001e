//! `-l`: the bridge waits for the server as it waits for clients.

use std::net::SocketAddr;

use nix::sys::signal::Signal;

use crate::compat::modes::converse;
use crate::compat::modes::converse_and_part;
use crate::support::peer::{Peer, Server};
use crate::support::place_of_our_own;
use crate::support::tcpreen::{Running, Tcpreen};
use crate::support::under_test::is_original;

/// A bridge that listens for both, and its address for the server.
fn listening(with: impl FnOnce(Tcpreen) -> Tcpreen) -> (Running, SocketAddr) {
    let server = place_of_our_own();
    let tcpreen = Tcpreen::to(server.port()).host(&server.ip().to_string()).args(["-l"]);
    let tcpreen = with(tcpreen).start();
    tcpreen.stderr_line(&place_line(server));
    (tcpreen, server)
}

fn place_line(place: SocketAddr) -> String {
    format!("Listening on: {} port {}", place.ip(), place.port())
}

#[test]
fn both_addresses_are_announced_the_clients_first() {
    let client = place_of_our_own();
    let (tcpreen, server) = listening(|it| it.listen_at(client));
    let stderr = tcpreen.stderr();
    let places: Vec<&str> = stderr.lines().filter(|line| line.starts_with("Listening on")).collect();
    assert_eq!(places, [place_line(client), place_line(server)]);
}

#[test]
fn the_client_may_come_first() {
    let (tcpreen, place) = listening(|it| it.sessions(1));
    let client = tcpreen.connect();
    converse_and_part(client, Peer::connect_to(place));
    assert_eq!(tcpreen.finish().code(), 0);
}

#[test]
fn the_server_may_come_first() {
    let (tcpreen, place) = listening(|it| it.sessions(1));
    let server = Peer::connect_to(place);
    converse_and_part(tcpreen.connect(), server);
    assert_eq!(tcpreen.finish().code(), 0);
}

#[test]
fn both_peers_are_shown_by_their_addresses() {
    let (tcpreen, place) = listening(|it| it.sessions(1));
    let (client, server) = (tcpreen.connect(), Peer::connect_to(place));
    let frame = format!(
        "Connection from: 127.0.0.1 port {}\nConnection to: 127.0.0.1 port {}\n",
        client.local_port(),
        server.local_port()
    );
    converse_and_part(client, server);
    let stdout = tcpreen.finish().stdout();
    assert!(stdout.starts_with(&frame), "{stdout}");
}

#[test]
fn data_of_a_client_is_kept_until_the_server_connects() {
    let (tcpreen, place) = listening(|it| it.sessions(1));
    let mut client = tcpreen.connect();
    client.send("early words");
    client.finish();
    let mut server = Peer::connect_to(place);
    assert_eq!(server.rest(), b"early words");
    server.send("answer");
    server.finish();
    assert_eq!(client.rest(), b"answer");
}

#[test]
fn data_of_a_server_is_kept_until_the_client_connects() {
    let (tcpreen, place) = listening(|it| it.sessions(1));
    let mut server = Peer::connect_to(place);
    server.send("220 ready");
    tcpreen.connect().expect("220 ready");
}

#[test]
fn the_next_client_gets_the_next_server() {
    if is_original() {
        return; // Its children race each other for the peers.
    }
    let (tcpreen, place) = listening(|it| it.at_once(4));
    let mut clients: Vec<Peer> = (0..4).map(|_| tcpreen.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(format!("I am {number}"));
    }
    // Each pair exchanges data before the next server connects.
    for (number, client) in clients.iter_mut().enumerate() {
        let mut server = Peer::connect_to(place);
        server.expect(format!("I am {number}"));
        server.send("welcome");
        client.expect("welcome");
    }
}

#[test]
fn servers_that_come_first_are_paired_in_their_order() {
    if is_original() {
        return; // Its children race each other for the peers.
    }
    let (tcpreen, place) = listening(|it| it.at_once(4));
    let mut servers: Vec<Peer> = (0..4).map(|_| Peer::connect_to(place)).collect();
    for (number, server) in servers.iter_mut().enumerate() {
        server.send(format!("I am {number}"));
    }
    for (number, server) in servers.iter_mut().enumerate() {
        let mut client = tcpreen.connect();
        client.expect(format!("I am {number}"));
        client.send("welcome");
        server.expect("welcome");
    }
}

#[test]
fn one_pair_follows_another() {
    let (tcpreen, place) = listening(|it| it.sessions(3));
    for _ in 0..3 {
        let client = tcpreen.connect();
        converse_and_part(client, Peer::connect_to(place));
    }
    assert_eq!(tcpreen.finish().code(), 0);
}

#[test]
fn after_the_last_session_both_ports_are_closed() {
    let (tcpreen, place) = listening(|it| it.sessions(1));
    let clients: SocketAddr = ([127, 0, 0, 1], tcpreen.port()).into();
    let client = tcpreen.connect();
    converse_and_part(client, Peer::connect_to(place));
    assert_eq!(tcpreen.finish().code(), 0);
    assert!(Peer::try_connect(place).is_none());
    assert!(Peer::try_connect(clients).is_none());
}

#[test]
fn a_client_that_still_waits_for_a_server_is_closed_at_the_end() {
    let (tcpreen, _) = listening(|it| it);
    let mut client = tcpreen.connect();
    client.send("hello?");
    tcpreen.signal(Signal::SIGTERM);
    client.expect_hang_up();
    assert_eq!(tcpreen.finish().code(), if is_original() { 0 } else { 143 });
}

#[test]
fn a_client_that_did_not_wait_leaves_the_server_to_the_next() {
    if is_original() {
        return; // It keeps the connection, and finds out with the server there.
    }
    let (tcpreen, place) = listening(|it| it);
    tcpreen.connect().reset();
    let mut client = tcpreen.connect();
    client.send("hello");
    let mut server = Peer::connect_to(place);
    server.expect("hello");
    converse(&mut client, &mut server);
}

#[test]
fn the_client_is_dialled_and_the_server_accepted() {
    let client = Server::listen();
    let place = place_of_our_own();
    let tcpreen = Tcpreen::to(place.port()).host(&place.ip().to_string()).args(["-l", "-c"]);
    let tcpreen = tcpreen.local_port(client.port()).start();
    assert!(tcpreen.stderr().contains(&place_line(place)), "{}", tcpreen.stderr());
    let server = Peer::connect_to(place);
    let frame = format!(
        "Connection from: 127.0.0.1 port {}\nConnection to: 127.0.0.1 port {}\n",
        client.port(),
        server.local_port()
    );
    converse_and_part(client.accept(), server);
    let outcome = tcpreen.finish();
    assert!(outcome.stdout().starts_with(&frame), "{outcome:?}");
    assert_eq!(outcome.code(), 0);
}

#[test]
fn several_clients_are_dialled_and_as_many_servers_accepted() {
    if is_original() {
        return; // It does not always get to the second pair.
    }
    let client = Server::listen();
    let place = place_of_our_own();
    let tcpreen = Tcpreen::to(place.port()).host(&place.ip().to_string()).args(["-l", "-c"]);
    let tcpreen = tcpreen.local_port(client.port()).at_once(2).sessions(4).start();
    for _ in 0..2 {
        let servers = [Peer::connect_to(place), Peer::connect_to(place)];
        for mut server in servers {
            server.send("welcome");
            server.finish();
        }
        for mut client in [client.accept(), client.accept()] {
            assert_eq!(client.rest(), b"welcome");
        }
    }
    assert_eq!(tcpreen.finish().code(), 0);
}
