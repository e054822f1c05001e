//! Peers that speak and leave, or reset, before their counterpart is there.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::thread;

use nix::sys::signal::Signal;

use crate::ours::relay::dialling::FullServer;
use crate::support::peer::{Peer, Server};
use crate::support::place_of_our_own;
use crate::support::proc;
use crate::support::tcpreen::{Outcome, Running, Tcpreen};
use crate::support::unix::{self, UnixServer};
use crate::support::wait::until;

/// Sessions at a time that each case is tried with.
const AT_ONCE: [u32; 2] = [1, 4];

/// A bridge on a Unix socket in front of a TCP server, for one session.
fn on_unix(server: u16, at_once: u32) -> (Running, String) {
    let name = unix::abstract_name();
    let tcpreen = Tcpreen::to(server).args(["-v", "-p", "tcp/unix"]).listen_on("").local_port(&name);
    let tcpreen = tcpreen.at_once(at_once).sessions(1).spawn();
    tcpreen.stderr_line(&name);
    (tcpreen, name)
}

/// Makes room in the queue of a full server until a connection brings this.
#[track_caller]
fn expect_delivery(full: &FullServer, words: &str) {
    let received = until("what the client said", || full.next_words());
    assert_eq!(received, words.as_bytes());
}

/// The one session is in the record with what was said.
#[track_caller]
fn expect_record(outcome: &Outcome, lines: &[&str]) {
    assert_eq!(outcome.code(), 0, "{outcome:?}");
    let stdout = outcome.stdout();
    let all = ["Connection from: ", "Connection to: ", "End of transmission.\n"];
    for line in lines.iter().chain(&all) {
        assert!(stdout.contains(line), "no {line:?} in {stdout}");
    }
}

#[test]
fn data_of_a_unix_client_that_closes_while_the_server_is_dialled_is_delivered() {
    for at_once in AT_ONCE {
        let full = FullServer::new();
        let (tcpreen, name) = on_unix(full.port(), at_once);
        let mut client = unix::connect_to(&name);
        client.send("last words");
        drop(client);
        expect_delivery(&full, "last words");
        expect_record(&tcpreen.finish(), &["<<< last words"]);
    }
}

#[test]
fn data_of_a_client_that_resets_while_the_server_is_dialled_is_delivered() {
    for at_once in AT_ONCE {
        let full = FullServer::new();
        let tcpreen = Tcpreen::to(full.port()).args(["-v"]).at_once(at_once).sessions(1).start();
        let mut client = tcpreen.connect();
        client.send("last words");
        client.reset();
        expect_delivery(&full, "last words");
        expect_record(&tcpreen.finish(), &["<<< last words", "connection reset by the client"]);
    }
}

#[test]
fn a_silent_client_that_closes_while_the_server_is_dialled_gets_its_session() {
    let full = FullServer::new();
    let (tcpreen, name) = on_unix(full.port(), 1);
    drop(unix::connect_to(&name));
    until("the session of the client", || full.next()?.is_over_without_a_word().then_some(()));
    expect_record(&tcpreen.finish(), &["End of input: 0 bytes received."]);
}

#[test]
fn a_silent_client_that_resets_is_recorded_at_once_and_makes_room() {
    for at_once in AT_ONCE {
        let full = FullServer::new();
        let tcpreen = Tcpreen::to(full.port()).at_once(at_once).sessions(1).start();
        tcpreen.connect().reset();
        // Long before --connect-timeout.
        expect_record(&tcpreen.finish(), &["Session ended: connection reset by the client.\n"]);
    }
}

#[test]
fn clients_that_reset_while_queued_are_recorded_without_dialling_the_server() {
    let server = Server::listen();
    let tcpreen = Tcpreen::to(server.port()).sessions(4).start();
    let first = (tcpreen.connect(), server.accept());
    for _ in 0..2 {
        tcpreen.connect().reset();
    }
    let mut speaker = tcpreen.connect();
    speaker.send("last words");
    speaker.reset();
    drop(first);
    server.accept().expect("last words");
    let outcome = tcpreen.finish();
    assert!(server.accept_now().is_none(), "a connection for a client that had gone");
    let resets = outcome.stdout().matches("Session ended: connection reset by the client.\n").count();
    assert_eq!(resets, 3, "{outcome:?}");
    assert_eq!(outcome.code(), 0, "{outcome:?}");
}

/// A bridge that waits for both, for one session, and where it waits for the server.
fn listening(at_once: u32, sessions: u32) -> (Running, SocketAddr) {
    let server = place_of_our_own();
    let tcpreen = Tcpreen::to(server.port()).host(&server.ip().to_string()).args(["-l", "-v"]);
    let tcpreen = tcpreen.at_once(at_once).sessions(sessions).start();
    tcpreen.stderr_line(&format!("{} port {}", server.ip(), server.port()));
    (tcpreen, server)
}

/// The same on Unix sockets; and the names for clients and server.
fn listening_on_unix(at_once: u32) -> (Running, [String; 2]) {
    let names = [unix::abstract_name(), unix::abstract_name()];
    let tcpreen = Tcpreen::to(&names[1]).local_port(&names[0]).listen_on("").host("");
    let tcpreen = tcpreen.args(["-l", "-v"]).at_once(at_once).sessions(1).spawn();
    names.iter().for_each(|name| drop(tcpreen.stderr_line(name)));
    (tcpreen, names)
}

#[test]
fn data_of_a_unix_server_that_closes_before_the_client_connects_is_delivered() {
    for at_once in AT_ONCE {
        let (tcpreen, [clients, servers]) = listening_on_unix(at_once);
        let mut server = unix::connect_to(&servers);
        server.send("220 ready");
        drop(server);
        let mut client = unix::connect_to(&clients);
        assert_eq!(client.rest(), b"220 ready");
        drop(client);
        expect_record(&tcpreen.finish(), &[">>> 220 ready"]);
    }
}

#[test]
fn data_of_a_unix_client_that_closes_before_the_server_connects_is_delivered() {
    for at_once in AT_ONCE {
        let (tcpreen, [clients, servers]) = listening_on_unix(at_once);
        let mut client = unix::connect_to(&clients);
        client.send("last words");
        drop(client);
        let mut server = unix::connect_to(&servers);
        server.expect("last words");
        drop(server);
        expect_record(&tcpreen.finish(), &["<<< last words"]);
    }
}

#[test]
fn data_of_a_server_that_resets_before_the_client_connects_is_delivered() {
    for at_once in AT_ONCE {
        let (tcpreen, place) = listening(at_once, 1);
        let mut server = Peer::connect_to(place);
        server.send("220 ready");
        server.reset();
        let place = (Ipv4Addr::LOCALHOST, tcpreen.port()).into();
        Peer::connect_to(place).expect("220 ready");
        expect_record(&tcpreen.finish(), &[">>> 220 ready", "connection reset by the server"]);
    }
}

#[test]
fn data_of_a_client_that_resets_before_the_server_connects_is_delivered() {
    for at_once in AT_ONCE {
        let (tcpreen, place) = listening(at_once, 1);
        let mut client = tcpreen.connect();
        client.send("last words");
        client.reset();
        Peer::connect_to(place).expect("last words");
        expect_record(&tcpreen.finish(), &["<<< last words", "connection reset by the client"]);
    }
}

/// Accepts this number of connections, and resets each as soon as it has sent these words.
fn resetting(sessions: u32, words: &'static str) -> (u16, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let peer = thread::spawn(move || {
        for stream in listener.incoming().take(sessions as usize) {
            let mut peer = Peer::over(stream.expect("a connection"));
            peer.send(words);
            peer.reset();
        }
    });
    (port, peer)
}

/// The mirror: with -c it is the client that is dialled.
#[test]
fn a_client_that_is_dialled_and_resets_at_once_is_seen_to_reset() {
    const SESSIONS: u32 = 100;
    let (port, client) = resetting(SESSIONS, "last words");
    let server = Server::listen();
    let tcpreen = Tcpreen::to(server.port()).args(["-c", "-v"]).local_port(port).sessions(SESSIONS).spawn();
    for _ in 0..SESSIONS {
        let mut served = server.accept();
        served.expect("last words");
        served.expect_reset();
    }
    client.join().expect("the client");
    let outcome = tcpreen.finish();
    let resets = outcome.stdout().matches("Session ended: connection reset by the client.\n").count();
    assert_eq!(resets, SESSIONS as usize, "{}", outcome.stderr);
}

/// The reset may come before the bridge has looked at the connection that it dialled.
#[test]
fn a_server_that_resets_at_once_is_seen_to_reset() {
    const SESSIONS: u32 = 300;
    for words in ["", "220 ready"] {
        let (port, server) = resetting(SESSIONS, words);
        let tcpreen = Tcpreen::to(port).at_once(1).sessions(SESSIONS).args(["-v"]).start();
        for _ in 0..SESSIONS {
            let mut client = tcpreen.connect();
            client.expect(words);
            client.expect_reset();
        }
        server.join().expect("the server");
        let outcome = tcpreen.finish();
        let resets = outcome.stdout().matches("Session ended: connection reset by the server.\n").count();
        assert_eq!(resets, SESSIONS as usize, "{}", outcome.stderr);
    }
}

#[test]
fn a_silent_reset_leaves_the_counterpart_to_the_next_peer() {
    let (tcpreen, place) = listening(1, 3);
    tcpreen.connect().reset();
    tcpreen.stdout_with("Session ended: connection reset by the client.\n");
    Peer::connect_to(place).reset();
    tcpreen.stdout_with("Session ended: connection reset by the server.\n");
    let mut server = Peer::connect_to(place);
    server.send("220 ready");
    let mut client = tcpreen.connect();
    client.expect("220 ready");
    drop((client, server));
    assert_eq!(tcpreen.finish().code(), 0);
}

#[test]
fn data_of_a_unix_server_that_closes_while_the_client_is_dialled_is_delivered() {
    let (full, name) = (FullServer::new(), unix::abstract_name());
    let server = UnixServer::listen(&name);
    let tcpreen = Tcpreen::to(&name).args(["-v", "-c", "-p", "unix/tcp"]).host("");
    let tcpreen = tcpreen.local_port(full.port()).spawn();
    let mut greeter = server.accept();
    greeter.send("220 ready");
    drop(greeter);
    expect_delivery(&full, "220 ready");
    expect_record(&tcpreen.finish(), &[">>> 220 ready"]);
}

#[test]
fn data_of_a_server_that_closes_while_the_client_is_dialled_is_delivered() {
    let (full, name) = (FullServer::new(), unix::abstract_name());
    let tcpreen = Tcpreen::to(&name).args(["-v", "-l", "-c", "-p", "unix/tcp"]).host("");
    let tcpreen = tcpreen.local_port(full.port()).sessions(1).spawn();
    tcpreen.stderr_line(&name);
    let mut greeter = unix::connect_to(&name);
    greeter.send("220 ready");
    drop(greeter);
    expect_delivery(&full, "220 ready");
    expect_record(&tcpreen.finish(), &[">>> 220 ready"]);
}

#[test]
fn a_client_that_has_left_costs_no_processor_while_the_server_is_dialled() {
    let full = FullServer::new();
    let (tcpreen, name) = on_unix(full.port(), 1);
    let mut client = unix::connect_to(&name);
    client.send("last words");
    drop(client);
    let before = proc::cpu(tcpreen.pid());
    std::thread::sleep(std::time::Duration::from_secs(1));
    let used = proc::cpu(tcpreen.pid()) - before;
    assert!(used < std::time::Duration::from_millis(300), "{used:?} in a second");
    tcpreen.signal(Signal::SIGTERM);
    assert_eq!(tcpreen.finish().code(), 143);
}
