//! IPv4 and IPv6 addresses that 1.4.4 does not take.

use crate::compat::modes::internet::WORLD;
use crate::compat::modes::internet::on_ipv4;
use crate::compat::modes::internet::on_ipv6;
use crate::compat::modes::internet::server_at;
use crate::compat::modes::internet::session;

use crate::support::namespace::{add_interface, in_a_world_of_its_own};
use crate::support::peer::{Peer, Server};
use crate::support::skip::needs;
use crate::support::tcpreen::Tcpreen;

#[test]
fn an_interface_stands_for_its_address() {
    // The original looks for a host with that name.
    let server = Server::listen();
    let tcpreen = Tcpreen::to(server.port()).listen_on("lo").sessions(1).start();
    assert!(tcpreen.stderr().contains("Listening on: 127.0.0.1 port "), "{}", tcpreen.stderr());
    let client = on_ipv4(tcpreen.port());
    session(tcpreen, client, &server);

    let tcpreen = Tcpreen::to(server.port()).listen_on("lo").args(["-p", "tcp/tcp6"]).sessions(1).start();
    assert!(tcpreen.stderr().contains("Listening on: ::1 port "), "{}", tcpreen.stderr());
    let client = on_ipv6(tcpreen.port());
    session(tcpreen, client, &server);
}

#[test]
fn an_interface_stands_for_its_address_alone() {
    if !needs(&WORLD) {
        return;
    }
    in_a_world_of_its_own(|| {
        add_interface();
        let server = Server::listen();
        let tcpreen = Tcpreen::to(server.port()).listen_on("inner").sessions(1).start();
        assert!(tcpreen.stderr().contains("Listening on: 10.9.8.7 port "), "{}", tcpreen.stderr());
        assert!(Peer::try_connect(on_ipv4(tcpreen.port())).is_none());
        let client = ([10, 9, 8, 7], tcpreen.port()).into();
        session(tcpreen, client, &server);
    });
}

#[test]
fn an_ipv4_address_in_ipv6_notation_is_that_of_ipv4() {
    for protocol in [&[][..], &["-p", "tcp"], &["-p", "tcp6"]] {
        let server = Server::listen();
        let place = format!("[::ffff:127.0.0.1]:{}", server.port());
        let tcpreen =
            Tcpreen::to(place).host("").listen_on("").local_port("[::ffff:127.0.0.1]:0").args(protocol);
        let tcpreen = tcpreen.sessions(1).start();
        assert!(tcpreen.stderr().contains("Listening on: 127.0.0.1 port "), "{}", tcpreen.stderr());
        let client = on_ipv4(tcpreen.port());
        session(tcpreen, client, &server);
    }
}

#[test]
fn a_server_is_looked_for_over_ipv4_first() {
    // The original asks ::1 first.
    let v4 = Server::listen();
    let v6 = server_at(on_ipv6(v4.port()));
    for host in ["", "localhost"] {
        let tcpreen = Tcpreen::to(v4.port()).host(host).sessions(1).start();
        let client = on_ipv4(tcpreen.port());
        let [_, to] = session(tcpreen, client, &v4);
        assert!(to.starts_with("Connection to: 127.0.0.1 port "), "{to}");
        assert!(v6.accept_now().is_none());
    }
}
