//! Before there is a session: servers that refuse or never answer, clients that do not wait.

use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use nix::sys::socket::{Backlog, listen};

use crate::support::peer::{Refusing, Server, echo_server};
use crate::support::skip::{Need, needs};
use crate::support::tcpreen::Tcpreen;
use crate::support::wait::until;

/// A server whose queue is full: it answers no further client, until `accept` is called.
struct FullServer {
    server: Server,
    _queued: Vec<TcpStream>,
}

impl FullServer {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of the kernel's choice");
        // Listening again makes the queue as short as it gets.
        listen(&listener, Backlog::new(0).expect("a backlog")).expect("listen");
        let address = listener.local_addr().expect("getsockname");
        let impatient = || TcpStream::connect_timeout(&address, Duration::from_millis(100)).ok();
        let queued = std::iter::from_fn(impatient).collect();
        FullServer { server: Server::over(listener), _queued: queued }
    }
}

#[test]
fn a_server_that_refuses_is_a_reset_to_the_client() {
    let refusing = Refusing::new();
    let tcpreen = Tcpreen::to(refusing.port()).start();
    tcpreen.expect_refusal(); // The original just closes.
}

#[test]
fn a_server_that_refuses_is_told_on_stderr() {
    let refusing = Refusing::new();
    let port = refusing.port();
    let tcpreen = Tcpreen::to(port).sessions(1).start();
    tcpreen.expect_refusal();
    let outcome = tcpreen.finish();
    assert!(outcome.stderr.contains(&format!("127.0.0.1 port {port}: Connection refused\n")), "{outcome:?}");
}

#[test]
fn a_server_that_comes_back_is_found() {
    if !needs(&[Need::Ours]) {
        return; // The original may lose the child that was refused, and with it the next client.
    }
    let refusing = Refusing::new();
    let tcpreen = Tcpreen::to(refusing.port()).start();
    tcpreen.expect_refusal();
    let server = refusing.listen();
    let mut client = tcpreen.connect();
    client.send("there you are");
    server.accept().expect("there you are");
}

#[test]
fn a_server_that_does_not_answer_is_given_up_after_the_time_out() {
    if !needs(&[Need::Ours]) {
        return;
    }
    let full = FullServer::new();
    let tcpreen = Tcpreen::to(full.server.port()).args(["--connect-timeout", "300ms"]).start();
    let start = Instant::now();
    tcpreen.expect_refusal();
    assert!(start.elapsed() > Duration::from_millis(250), "{:?}", start.elapsed());
    tcpreen.stderr_line(&format!("127.0.0.1 port {}: Connection timed out", full.server.port()));
}

#[test]
fn a_client_that_leaves_while_the_server_is_dialled_makes_room_for_the_next() {
    if !needs(&[Need::Ours]) {
        return;
    }
    let full = FullServer::new();
    let tcpreen = Tcpreen::to(full.server.port()).at_once(1).start();
    tcpreen.connect().reset();
    let mut next = tcpreen.connect();
    next.send("hello");
    let received = until("the next client's words", || {
        full.server.accept_now()?.words_within(Duration::from_millis(200))
    });
    assert_eq!(received, b"hello");
}

#[test]
fn what_a_client_says_at_once_waits_for_the_server() {
    let echo = echo_server();
    let tcpreen = Tcpreen::to(echo.port).start();
    let mut client = tcpreen.connect();
    client.send("early");
    client.finish();
    assert_eq!(client.rest(), b"early");
}
