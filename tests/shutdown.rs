//! How it ends when it is asked to: `--drain-timeout`, and the signals.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::peer::{Peer, Server};
use crate::support::scratch::Scratch;
use crate::support::skip::{Need, needs};
use crate::support::tcpreen::{Running, Tcpreen};
use crate::support::unix;

/// A bridge with one session, which has been told to end.
fn told_to_end(patience: &str, signal: Signal, scratch: &Scratch) -> (Peer, Running, Peer) {
    let server = Server::listen();
    let tcpreen = Tcpreen::to(server.port()).args(["--drain-timeout", patience]).at_once(4);
    let tcpreen = tcpreen.output(scratch.path("record")).start();
    let (mut client, mut peer) = (tcpreen.connect(), server.accept());
    client.send("before");
    peer.expect("before");
    tcpreen.signal(signal);
    tcpreen.stderr_line("Caught signal: ");
    (client, tcpreen, peer)
}

#[test]
fn sessions_may_finish_and_no_new_ones_begin() {
    if !needs(&[Need::Ours]) {
        return;
    }
    for (signal, status) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130)] {
        let scratch = Scratch::new();
        let (mut client, mut tcpreen, mut server) = told_to_end("1m", signal, &scratch);
        let place = std::net::SocketAddr::from(([127, 0, 0, 1], tcpreen.port()));
        assert!(Peer::try_connect(place).is_none(), "nobody is taken in any more");
        client.send("after");
        server.expect("after");
        assert!(tcpreen.is_running());
        drop(client);
        server.expect_end();
        drop(server);
        assert_eq!(tcpreen.finish().code(), status);
        let record = scratch.record("record");
        assert!(record.contains("<<< after") && record.ends_with("End of transmission.\n"), "{record}");
    }
}

#[test]
fn a_second_signal_ends_them_in_order() {
    if !needs(&[Need::Ours]) {
        return;
    }
    let scratch = Scratch::new();
    let (mut client, tcpreen, mut server) = told_to_end("1m", Signal::SIGTERM, &scratch);
    tcpreen.signal(Signal::SIGTERM);
    client.expect_hang_up();
    server.expect_hang_up();
    assert_eq!(tcpreen.finish().code(), 143);
    assert!(scratch.record("record").ends_with("End of transmission.\n"));
}

#[test]
fn when_the_time_is_over_they_are_ended() {
    if !needs(&[Need::Ours]) {
        return;
    }
    let scratch = Scratch::new();
    let (mut client, tcpreen, mut server) = told_to_end("300ms", Signal::SIGTERM, &scratch);
    client.expect_hang_up();
    server.expect_hang_up();
    let outcome = tcpreen.finish();
    assert_eq!(outcome.code(), 143, "{outcome:?}");
    assert!(outcome.stderr.contains("Time to finish is over; sessions left: 1"), "{outcome:?}");
    assert!(scratch.record("record").ends_with("End of transmission.\n"));
}

#[test]
fn without_sessions_nothing_is_waited_for() {
    if !needs(&[Need::Ours]) {
        return;
    }
    let tcpreen = Tcpreen::to(80).args(["--drain-timeout", "1m"]).start();
    tcpreen.signal(Signal::SIGTERM);
    assert_eq!(tcpreen.finish().code(), 143);
}

#[test]
fn a_quit_is_not_patient() {
    if !needs(&[Need::Ours]) {
        return;
    }
    let scratch = Scratch::new();
    let (mut client, tcpreen, _server) = told_to_end("1m", Signal::SIGQUIT, &scratch);
    client.expect_hang_up();
    assert_eq!(tcpreen.finish().code(), 131);
}

#[test]
fn a_client_whose_server_would_have_to_come_is_let_go() {
    if !needs(&[Need::Ours]) {
        return;
    }
    let names = [unix::abstract_name(), unix::abstract_name()];
    let tcpreen = Tcpreen::to(&names[0]).local_port(&names[1]).listen_on("").host("");
    let tcpreen = tcpreen.args(["-l", "--drain-timeout", "1m"]).spawn();
    tcpreen.stderr_line(&names[1]);
    let mut client = unix::connect_to(&names[1]);
    client.send("anybody?");
    tcpreen.signal(Signal::SIGTERM);
    client.expect_hang_up();
    let mut tcpreen = tcpreen;
    tcpreen.wait_within(Duration::from_secs(5));
}
