//! Peers, observers and the harness of the tests.

pub mod container;
pub mod daemon;
pub mod hostile;
pub mod launcher;
pub mod leftovers;
pub mod name_server;
pub mod namespace;
pub mod payload;
pub mod peer;
pub mod proc;
pub mod real_server;
pub mod record;
pub mod role;
pub mod rsyslog;
pub mod scratch;
pub mod sessions;
pub mod skip;
pub mod suite;
pub mod table;
pub mod tcpreen;
pub mod terminal;
pub mod under_test;
pub mod unix;
pub mod wait;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use nix::unistd::{Gid, Uid, User};
use peer::{Peer, Server};
use tcpreen::{Running, Tcpreen};

/// A client, the bridge, and a server, with one session between client and server.
pub struct Bridged {
    pub client: Peer,
    pub tcpreen: Running,
    pub server: Peer,
}

/// Starts `tcpreen` in front of a new server and opens one session through it.
pub fn bridge(tcpreen: impl FnOnce(Tcpreen) -> Tcpreen) -> Bridged {
    let listener = Server::listen();
    let tcpreen = tcpreen(Tcpreen::to(listener.port())).start();
    let client = tcpreen.connect();
    Bridged { client, server: listener.accept(), tcpreen }
}

/// Runs the scenario over a direct connection, then through the bridge; both must behave alike. The scenario
/// gets the client's end and the server's end.
pub fn same_as_direct(scenario: impl Fn(Peer, Peer)) {
    let listener = Server::listen();
    scenario(Peer::connect(listener.port()), listener.accept());

    let Bridged { client, server, tcpreen } = bridge(|it| it);
    scenario(client, server);
    drop(tcpreen);
}

/// A loopback address and port that no other test uses. The port is free at every address, and below those that the
/// kernel gives to clients: one that it had given meanwhile could not be bound.
pub fn place_of_our_own() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let [_, host] = number.to_be_bytes();
        let port = 20_000 + number % 10_000;
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return (Ipv4Addr::new(127, 7, 7, host), port).into();
        }
    }
}

/// An address and port below 1024, for which a process needs privilege.
pub fn low_port() -> SocketAddr {
    let address = place_of_our_own().ip();
    (600..1024)
        .rev()
        .map(|port| SocketAddr::new(address, port))
        .find(|place| TcpListener::bind(place).is_ok())
        .expect("a free port below 1024")
}

/// User and group of the account `nobody`.
pub fn nobody() -> (Uid, Gid) {
    let user = User::from_name("nobody").expect("the accounts").expect("an account called nobody");
    (user.uid, user.gid)
}
