//! Errors: one plain message on stderr, with the right exit status.

pub(crate) mod surroundings;
pub(crate) mod usage;

use crate::support::peer::Server;
use crate::support::scratch::Scratch;
use crate::support::skip::{Need, needs};
use crate::support::tcpreen::Tcpreen;
use crate::support::under_test::{is_original, known_to_fail_on_original};
use crate::support::{low_port, nobody};

/// Expects the start to fail with this status and line.
#[track_caller]
pub(crate) fn fails(tcpreen: Tcpreen, status: i32, message: &str) {
    let outcome = tcpreen.run();
    assert!(outcome.stderr.lines().any(|line| line.ends_with(message)), "{outcome:?}");
    assert!(!outcome.stderr.contains("panicked"), "{outcome:?}");
    assert_eq!(outcome.stdout(), "");
    // The original exits with 0 on failure and with 1 on misuse.
    assert!(is_original() || outcome.code() == status, "exit status {}, not {status}", outcome.code());
}

#[test]
fn a_port_in_use() {
    let server = Server::listen();
    let port = server.port();
    fails(Tcpreen::to(80).local_port(port), 69, &format!("127.0.0.1 port {port}: Address already in use"));
}

#[test]
fn a_privileged_port() {
    if !needs(&[Need::Root]) {
        return;
    }
    let scratch = Scratch::new();
    let place = low_port();
    let tcpreen = Tcpreen::to(80).binary(scratch.copy_of_program(0o755)).account(nobody()).listen_at(place);
    fails(tcpreen, 77, &format!("{} port {}: Permission denied", place.ip(), place.port()));
}

#[test]
fn an_address_that_is_not_ours() {
    let message = "192.0.2.77 port 4711: Cannot assign requested address";
    fails(Tcpreen::to(80).listen_on("192.0.2.77").local_port(4711), 69, message);
}

#[test]
fn a_failure_is_never_a_success() {
    known_to_fail_on_original("it exits with 0", || {
        let server = Server::listen();
        assert_eq!(Tcpreen::to(80).local_port(server.port()).run().code(), 69);
    });
}

#[test]
fn errors_are_printed_even_with_quiet() {
    known_to_fail_on_original("-q silences everything", || {
        let server = Server::listen();
        let outcome = Tcpreen::to(80).args(["-q"]).local_port(server.port()).run();
        assert!(outcome.stderr.contains("Address already in use"), "{outcome:?}");
    });
}

#[test]
fn an_unknown_server() {
    let outcome = Tcpreen::to(80).host("no-such-host.invalid").run();
    assert!(outcome.stderr.starts_with("no-such-host.invalid port 80: "), "{outcome:?}");
    assert!(is_original() || outcome.code() == 68, "{outcome:?}");
}

#[test]
fn an_unknown_address_to_listen_on() {
    let outcome = Tcpreen::to(80).listen_on("no-such-host.invalid").local_port(4711).run();
    assert!(outcome.stderr.starts_with("no-such-host.invalid port 4711: "), "{outcome:?}");
    assert!(is_original() || outcome.code() == 68, "{outcome:?}");
}

#[test]
fn an_unknown_service() {
    let message = "127.0.0.1 port no-such-service: Servname not supported for ai_socktype";
    fails(Tcpreen::to("no-such-service"), 68, message);
}

#[test]
fn an_unknown_local_service() {
    let message = "127.0.0.1 port no-such-service: Servname not supported for ai_socktype";
    fails(Tcpreen::to(80).local_port("no-such-service"), 68, message);
}

#[test]
fn an_address_of_another_family() {
    let tcpreen = Tcpreen::to(80).host("::1").args(["-p", "tcp"]);
    fails(tcpreen, 68, "::1 port 80: Address family for hostname not supported");
}

#[test]
fn a_server_out_of_reach() {
    let tcpreen = Tcpreen::to(80).host("255.255.255.255").start();
    tcpreen.expect_refusal();
    tcpreen.stderr_line("255.255.255.255 port 80: Network is unreachable");
}
