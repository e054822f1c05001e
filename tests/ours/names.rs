//! Lookups that are repeated, after a server has moved.

pub(crate) mod hostile;
pub(crate) mod modules;

use crate::compat::names::NAMED_SERVER;
use crate::compat::names::hosts;
use crate::compat::names::with_hosts;
use crate::compat::names::without_hosts;
use std::net::TcpListener;

use crate::support::name_server::{NameServer, Zone};
use crate::support::peer::{Peer, Server};
use crate::support::tcpreen::{Running, Tcpreen};
use crate::support::wait::until;

/// Runs a test with a server that has moved since the start.
fn server_that_has_moved(test: impl FnOnce(Running, Server) + Send) {
    with_hosts(&hosts("127.0.0.31"), || {
        let server = Server::over(TcpListener::bind("127.0.0.32:0").expect("a port"));
        let tcpreen = Tcpreen::to(server.port()).host(NAMED_SERVER).by_shell("trap '' HUP", "");
        test(tcpreen.start(), server);
    });
}

#[test]
fn a_server_that_has_moved_is_found_when_its_old_address_fails() {
    server_that_has_moved(|tcpreen, server| {
        tcpreen.expect_refusal();
        std::fs::write("/etc/hosts", hosts("127.0.0.32")).expect("a file");
        until("the server where it is now", || {
            let mut client = Peer::try_connect(([127, 0, 0, 1], tcpreen.port()).into())?;
            client.try_send("hello");
            server.accept_now().map(|mut server| server.expect("hello"))
        });
        let (name, port) = (NAMED_SERVER, server.port());
        tcpreen.stderr_line(&format!("{name} port {port}: now at 127.0.0.32 port {port}"));
    });
}

#[test]
fn a_server_that_has_moved_is_found_on_sighup() {
    server_that_has_moved(|tcpreen, server| {
        std::fs::write("/etc/hosts", hosts("127.0.0.32")).expect("a file");
        tcpreen.signal(nix::sys::signal::Signal::SIGHUP);
        tcpreen.stderr_line(": now at 127.0.0.32 port ");
        let mut client = tcpreen.connect();
        client.send("hello");
        server.accept().expect("hello");
        assert!(!tcpreen.stderr().contains("refused"), "{}", tcpreen.stderr());
    });
}

#[test]
fn a_name_that_vanished_keeps_its_last_addresses() {
    server_that_has_moved(|tcpreen, _| {
        let server = TcpListener::bind(("127.0.0.31", 0)).expect("a port");
        drop(server);
        std::fs::write("/etc/hosts", "127.0.0.1 localhost\n").expect("a file");
        for _ in 0..3 {
            tcpreen.expect_refusal();
        }
        tcpreen.stderr_line("Connection refused");
        assert!(!tcpreen.stderr().contains("now at"), "{}", tcpreen.stderr());
    });
}

#[test]
fn a_server_given_by_its_number_is_never_asked_about() {
    without_hosts(|| {
        let names = NameServer::answering(Zone::default());
        let tcpreen = Tcpreen::to(9).host("127.0.0.31").by_shell("trap '' HUP", "").start();
        tcpreen.expect_refusal();
        tcpreen.signal(nix::sys::signal::Signal::SIGHUP);
        tcpreen.stderr_line("Caught signal: Hangup");
        tcpreen.expect_refusal();
        assert_eq!(names.asked(), Vec::<String>::new());
    });
}
