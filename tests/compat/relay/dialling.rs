//! Before there is a session: servers that refuse or never answer, clients that do not wait.

use crate::support::peer::{Refusing, echo_server};
use crate::support::tcpreen::Tcpreen;

#[test]
fn a_server_that_refuses_is_a_reset_to_the_client() {
    let refusing = Refusing::new();
    let tcpreen = Tcpreen::to(refusing.port()).start();
    tcpreen.expect_refusal(); // The original just closes.
}

#[test]
fn a_refusing_server_is_reported_on_stderr() {
    let refusing = Refusing::new();
    let port = refusing.port();
    let tcpreen = Tcpreen::to(port).sessions(1).start();
    tcpreen.expect_refusal();
    let outcome = tcpreen.finish();
    assert!(outcome.stderr.contains(&format!("127.0.0.1 port {port}: Connection refused\n")), "{outcome:?}");
}

#[test]
fn early_data_of_a_client_waits_for_the_server() {
    let echo = echo_server();
    let tcpreen = Tcpreen::to(echo.port).start();
    let mut client = tcpreen.connect();
    client.send("early");
    client.finish();
    assert_eq!(client.rest(), b"early");
}
