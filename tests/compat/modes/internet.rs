//! IPv4, IPv6, both, and the names of interfaces.

use std::net::{IpAddr, SocketAddr, TcpListener};

use crate::compat::modes::converse_and_part;
use crate::support::namespace::{add_interface, in_a_world_of_its_own};
use crate::support::peer::{Peer, Refusing, Server};
use crate::support::skip::{Need, needs};
use crate::support::tcpreen::{Running, Tcpreen};
use crate::support::under_test::{is_original, known_to_fail_on_original};

/// Needs of a test in which a bridge listens on every address.
pub(crate) const WORLD: [Need; 3] = [Need::Root, Need::Program("ip"), Need::World];

/// A server on IPv6 only.
pub(crate) fn server_at(place: impl Into<SocketAddr>) -> Server {
    Server::over(TcpListener::bind(place.into()).expect("a port of the kernel's choice"))
}

pub(crate) fn on_ipv6(port: u16) -> SocketAddr {
    "::1".parse::<IpAddr>().map(|ip| (ip, port).into()).expect("an address")
}

pub(crate) fn on_ipv4(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// Runs one session from `client` to `server`; returns the first two lines of its record.
pub(crate) fn session(tcpreen: Running, client: SocketAddr, server: &Server) -> [String; 2] {
    let client = Peer::connect_to(client);
    converse_and_part(client, server.accept());
    let outcome = tcpreen.finish();
    assert_eq!(outcome.code(), 0, "{outcome:?}");
    let stdout = outcome.stdout();
    let mut lines = stdout.lines().map(str::to_owned);
    [lines.next().expect("a line"), lines.next().expect("another")]
}

#[test]
fn both_sides_are_ipv6() {
    let server = server_at(on_ipv6(0));
    let tcpreen = Tcpreen::to(server.port()).args(["-p", "tcp6"]).listen_on("::1").host("::1");
    let tcpreen = tcpreen.sessions(1).start();
    assert!(tcpreen.stderr().contains(&format!("Listening on: ::1 port {}\n", tcpreen.port())));
    let client = on_ipv6(tcpreen.port());
    let [from, to] = session(tcpreen, client, &server);
    assert!(from.starts_with("Connection from: ::1 port "), "{from}");
    assert_eq!(to, format!("Connection to: ::1 port {}", server.port()));
}

#[test]
fn each_side_has_its_own_family() {
    let (v4, v6) = (Server::listen(), server_at(on_ipv6(0)));
    let tcpreen = Tcpreen::to(v6.port()).args(["-p", "tcp6/tcp"]).host("::1").sessions(1).start();
    let client = on_ipv4(tcpreen.port());
    let [from, to] = session(tcpreen, client, &v6);
    assert!(from.starts_with("Connection from: 127.0.0.1 port "), "{from}");
    assert!(to.starts_with("Connection to: ::1 port "), "{to}");

    let tcpreen = Tcpreen::to(v4.port()).args(["-p", "tcp/tcp6"]).listen_on("::1").sessions(1).start();
    let client = on_ipv6(tcpreen.port());
    let [from, to] = session(tcpreen, client, &v4);
    assert!(from.starts_with("Connection from: ::1 port "), "{from}");
    assert!(to.starts_with("Connection to: 127.0.0.1 port "), "{to}");
}

#[test]
fn addresses_alone_choose_the_family() {
    let server = server_at(on_ipv6(0));
    let tcpreen = Tcpreen::to(server.port()).listen_on("::1").host("::1").sessions(1).start();
    let client = on_ipv6(tcpreen.port());
    let [from, _] = session(tcpreen, client, &server);
    assert!(from.starts_with("Connection from: ::1 port "), "{from}");
}

#[test]
fn several_clients_over_ipv6_are_served_at_once() {
    let server = server_at(on_ipv6(0));
    let tcpreen = Tcpreen::to(server.port()).args(["-p", "tcp6"]).listen_on("::1").host("::1");
    let tcpreen = tcpreen.at_once(3).sessions(3).start();
    let open = |_| (Peer::connect_to(on_ipv6(tcpreen.port())), server.accept());
    let pairs: Vec<(Peer, Peer)> = (0..3).map(open).collect();
    pairs.into_iter().for_each(|(client, server)| converse_and_part(client, server));
    assert_eq!(tcpreen.finish().code(), 0);
}

/// 6.18
#[test]
fn over_both_families_a_client_with_an_ipv4_address_is_shown_by_it() {
    if !needs(&WORLD) {
        return;
    }
    known_to_fail_on_original("it shows ::ffff:127.0.0.1", || {
        in_a_world_of_its_own(|| {
            for (address, protocol) in [("::", "tcp/tcp6"), ("", "tcp/tcp6"), ("::", "")] {
                let server = Server::listen();
                let tcpreen = Tcpreen::to(server.port()).listen_on(address).sessions(2);
                let protocol: &[&str] = if protocol.is_empty() { &[] } else { &["-p", protocol] };
                let tcpreen = tcpreen.args(protocol).start();
                assert!(tcpreen.stderr().contains("Listening on: :: port "), "{}", tcpreen.stderr());
                let old = Peer::connect_to(on_ipv4(tcpreen.port()));
                converse_and_part(old, server.accept());
                let new = Peer::connect_to(on_ipv6(tcpreen.port()));
                converse_and_part(new, server.accept());
                let stdout = tcpreen.finish().stdout();
                assert!(stdout.contains("Connection from: 127.0.0.1 port "), "{stdout}");
                assert!(stdout.contains("Connection from: ::1 port "), "{stdout}");
                assert!(!stdout.contains("ffff"), "{stdout}");
            }
        });
    });
}

#[test]
fn without_an_address_it_listens_on_all_of_ipv4() {
    if !needs(&WORLD) {
        return;
    }
    in_a_world_of_its_own(|| {
        // To the original, * is the name of a host.
        let addresses: &[&str] = if is_original() { &[""] } else { &["", "*"] };
        for &address in addresses {
            let server = Server::listen();
            let tcpreen = Tcpreen::to(server.port()).listen_on(address).host("").sessions(1).start();
            assert!(tcpreen.stderr().contains("Listening on: 0.0.0.0 port "), "{}", tcpreen.stderr());
            if !is_original() {
                tcpreen.stderr_line("0.0.0.0 is every IPv4 address of this host");
            }
            let client = ([127, 1, 2, 3], tcpreen.port()).into();
            session(tcpreen, client, &server);
        }
    });
}

#[test]
fn an_address_with_a_scope_is_that_of_an_interface() {
    if !needs(&WORLD) {
        return;
    }
    in_a_world_of_its_own(|| {
        add_interface();
        let scope = nix::net::if_::if_nametoindex("inner").expect("an interface");
        let at = |port| std::net::SocketAddrV6::new("fe80::1".parse().expect("an address"), port, 0, scope);
        let server = server_at(at(0));
        for scope in ["inner".to_owned(), scope.to_string()] {
            let address = format!("fe80::1%{scope}");
            let tcpreen = Tcpreen::to(server.port()).listen_on(&address).host(&address).sessions(1).start();
            let client = at(tcpreen.port()).into();
            let lines = session(tcpreen, client, &server);
            assert!(lines[0].starts_with("Connection from: fe80::1%"), "{lines:?}");
            assert!(lines[1].starts_with("Connection to: fe80::1%"), "{lines:?}");
        }
    });
}

#[test]
fn an_address_with_the_scope_of_no_interface_is_an_error() {
    let outcome = Tcpreen::to(80).listen_on("fe80::1%none").local_port(4711).run();
    assert!(outcome.stderr.contains("fe80::1%none port 4711: "), "{outcome:?}");
    assert!(!outcome.stderr.contains("panicked") && !outcome.stderr.contains("Listening"), "{outcome:?}");
}

/// A port that refuses over IPv4 and listens over IPv6.
fn on_ipv6_alone() -> (Refusing, Server) {
    let refusing = Refusing::new();
    let server = server_at(on_ipv6(refusing.port()));
    (refusing, server)
}

#[test]
fn a_server_that_is_not_there_over_ipv4_is_found_over_ipv6() {
    let (_refusing, v6) = on_ipv6_alone();
    let tcpreen = Tcpreen::to(v6.port()).host("").sessions(1).start();
    let client = on_ipv4(tcpreen.port());
    let [_, to] = session(tcpreen, client, &v6);
    assert!(to.starts_with("Connection to: ::1 port "), "{to}");
}

#[test]
fn a_server_wanted_over_ipv4_is_not_looked_for_over_ipv6() {
    let (_refusing, v6) = on_ipv6_alone();
    let tcpreen = Tcpreen::to(v6.port()).host("").args(["-p", "tcp"]).sessions(1).start();
    tcpreen.expect_refusal();
    tcpreen.stderr_line("Connection refused");
    assert!(v6.accept_now().is_none());
}

#[test]
fn a_client_is_connected_to_over_ipv6_where_it_is_not_there_over_ipv4() {
    let (_refusing, client) = on_ipv6_alone();
    let server = Server::listen();
    let tcpreen = Tcpreen::to(server.port()).args(["-c"]).listen_on("").local_port(client.port()).spawn();
    converse_and_part(client.accept(), server.accept());
    assert_eq!(tcpreen.finish().code(), 0);
}
