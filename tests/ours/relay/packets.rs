//! Sockets of packets, beyond the table: every way to a session, and messages of any length.

use std::fs::{self, Permissions};
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use nix::sys::socket::{MsgFlags, UnixAddr, recvmsg, send, setsockopt, sockopt};

use super::script::Stage;
use super::table::{Bridge, Family, Listener, Place, packet_listener, packet_pair};
use crate::support::scratch::Scratch;
use crate::support::skip::{Need, needs};
use crate::support::tcpreen::{Running, Tcpreen};
use crate::support::wait::until;

const SCRIPT: &str =
    "a.send 10; a.empty; a.send 20; b.messages 3; b.send 5; b.empty; a.messages 2; a.close; b.messages 1";

/// Checks that two peers observe through the bridge what they observe without it.
#[track_caller]
fn is_transparent(client: OwnedFd, server: OwnedFd) {
    let [one, other] = packet_pair();
    let play = |client, server: OwnedFd| {
        let accept = || server.try_clone().expect("dup");
        Stage::new(client, &accept, false).play(SCRIPT)
    };
    assert_eq!(play(client, server), play(one, other));
}

/// A bridge of packets between these places.
fn bridge(server: &Path, client: &Path, options: &[&str]) -> Running {
    let it = Tcpreen::to(server.display()).args(["-p", "unix-seqpacket", "-q"]).args(options);
    it.host("").listen_on("").local_port(client.display()).sessions(1).format("null").spawn()
}

fn open_listener(place: &Path) -> UnixListener {
    let listener = packet_listener(place);
    fs::set_permissions(place, Permissions::from_mode(0o777)).expect("chmod");
    listener.set_nonblocking(true).expect("O_NONBLOCK");
    listener
}

fn accept(listener: &UnixListener) -> OwnedFd {
    let accepted = until("a connection", || listener.accept().ok()).0;
    accepted.set_nonblocking(false).expect("O_NONBLOCK");
    accepted.into()
}

#[test]
fn both_peers_may_connect_to_the_bridge() {
    let scratch = Scratch::new();
    let [server, client] = ["server", "client"].map(|name| scratch.path(name));
    let tcpreen = bridge(&server, &client, &["-l"]);
    let connect = |place| Place::Packets(place).connect();
    is_transparent(connect(client), connect(server));
    assert_eq!(tcpreen.finish().code(), 0);
}

#[test]
fn the_bridge_may_connect_to_both_peers() {
    let scratch = Scratch::new();
    let [server, client] = ["server", "client"].map(|name| scratch.path(name));
    let [servers, clients] = [&server, &client].map(|place| open_listener(place));
    let tcpreen = bridge(&server, &client, &["-c"]);
    is_transparent(accept(&clients), accept(&servers));
    assert_eq!(tcpreen.finish().code(), 0);
}

#[test]
fn a_listener_of_packets_may_be_handed_over() {
    if !needs(&[Need::Program("bash")]) {
        return;
    }
    let scratch = Scratch::new();
    let [server, client] = ["server", "client"].map(|name| scratch.path(name));
    let (servers, clients) = (open_listener(&server), open_listener(&client));
    let it = Tcpreen::to(server.display()).args(["-p", "unix-seqpacket", "-q"]).host("").sessions(1);
    let tcpreen = it.format("null").with_sockets("any", [clients]).spawn();
    let client = Place::Packets(client).connect();
    is_transparent(client, accept(&servers));
    assert_eq!(tcpreen.finish().code(), 0);
}

/// As any other message: sockets of the Unix domain do not report the flag to the receiver.
#[test]
fn a_message_with_the_end_of_a_record_passes() {
    let scratch = Scratch::new();
    let listener = Listener::new(Family::Packets, &scratch);
    let bridge = Bridge::start(Family::Packets, "C", &listener, &scratch, &[]);
    let received = |client: OwnedFd, server: OwnedFd| {
        for flags in [MsgFlags::MSG_EOR, MsgFlags::empty()] {
            send(client.as_raw_fd(), b"record", flags).expect("a receiver");
        }
        [(); 2].map(|()| {
            let mut room = [0; 99];
            let mut parts = [IoSliceMut::new(&mut room)];
            let message = recvmsg::<UnixAddr>(server.as_raw_fd(), &mut parts, None, MsgFlags::empty());
            let message = message.expect("a message");
            (message.bytes, message.flags)
        })
    };
    let [one, other] = packet_pair();
    let client = bridge.connect();
    assert_eq!(received(client, listener.accept()), received(one, other));
}

/// Longer than a record of ours can be.
#[test]
fn a_message_that_is_too_long_ends_its_session_and_nothing_of_it_is_delivered() {
    for swapped in [false, true] {
        let scratch = Scratch::new();
        let listener = Listener::new(Family::Packets, &scratch);
        let bridge = Bridge::start(Family::Packets, "C", &listener, &scratch, &[]);
        let roomy = |socket: OwnedFd| {
            setsockopt(&socket, sockopt::SndBuf, &212_992).expect("SO_SNDBUF");
            socket
        };
        let accept = || roomy(listener.accept());
        let mut stage = Stage::new(roomy(bridge.connect()), &accept, swapped);
        let observed = stage.play("a.send 10; b.messages 1; a.send 300000; b.remainder");
        assert_eq!(observed[0], "b.messages 1: 10 bytes");
        assert!(observed[1].starts_with("b.remainder: , then "), "{observed:?}");
        drop(stage);
        let record = bridge.record(Duration::from_secs(30));
        let side = if swapped { "server" } else { "client" };
        let why = format!("Session ended: a message is too long (connection to the {side}).\n");
        assert!(record.contains(&why), "{record}");
        // The bridge serves the next one.
        drop(bridge.connect());
        until("the next session", || listener.accept_now());
    }
}

#[test]
fn a_message_as_long_as_a_record_passes() {
    let scratch = Scratch::new();
    let listener = Listener::new(Family::Packets, &scratch);
    let bridge = Bridge::start(Family::Packets, "C", &listener, &scratch, &[]);
    let client = bridge.connect();
    setsockopt(&client, sockopt::SndBuf, &212_992).expect("SO_SNDBUF");
    let accept = || listener.accept();
    let mut stage = Stage::new(client, &accept, false);
    assert_eq!(stage.play("a.send 262000; b.messages 1"), ["b.messages 1: 262000 bytes"]);
}
