//! Much traffic: nothing is lost, nothing is buffered without bound, and the record has it all.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use nix::unistd::Pid;

use crate::support::payload::{Digest, Payload};
use crate::support::peer::{Peer, Server, Service, Traffic};
use crate::support::record::{read_labelled_c, read_raw};
use crate::support::scratch::Scratch;
use crate::support::skip::long;
use crate::support::tcpreen::Tcpreen;
use crate::support::under_test::is_original;
use crate::support::{Bridged, bridge, proc};

const MIB: u64 = 1 << 20;

#[test]
fn a_server_that_does_not_read_stalls_its_client_and_loses_nothing() {
    let Bridged { client, server, tcpreen } = bridge(|it| it);
    stalls_and_loses_nothing(client, server, &tcpreen.processes());
}

#[test]
fn a_client_that_does_not_read_stalls_its_server_and_loses_nothing() {
    let Bridged { client, server, tcpreen } = bridge(|it| it);
    stalls_and_loses_nothing(server, client, &tcpreen.processes());
}

fn stalls_and_loses_nothing(mut writer: Peer, mut reader: Peer, processes: &[Pid]) {
    let mut payload = Payload::new(1, u64::MAX);
    writer.send_until_stalled(&mut payload, 256 * MIB);
    let memory: u64 = processes.iter().filter_map(|pid| Some(proc::status(*pid)?.memory())).sum();
    assert!(memory < 128 * MIB, "{memory} bytes resident");
    writer.finish();
    reader.read_to_end_hashing();
    assert_eq!(reader.traffic().received, writer.traffic().sent);
}

#[test]
fn a_transfer_both_ways_at_once_is_exact_at_both_ends_and_in_the_record() {
    let length = if long() { 1024 * MIB } else { 64 * MIB };
    let scratch = Scratch::new();
    let path = scratch.path("record");
    let Bridged { client, server, tcpreen } =
        bridge(|it| it.format("raw").output(&path).args(["-f", "null"]).sessions(1));

    let server = thread::spawn(move || server.exchange(Payload::new(2, length)));
    let client = client.exchange(Payload::new(1, length)).expect("the client");
    let server = server.join().expect("no panic").expect("the server");
    assert_eq!(tcpreen.finish().code(), 0);

    assert_eq!(server.received, client.sent);
    assert_eq!(client.received, server.sent);
    let recorded = read_raw(scratch.open_record("record"));
    assert_eq!(recorded.client(), client.sent);
    assert_eq!(recorded.server(), server.sent);
}

#[test]
fn two_hundred_sessions_at_once_are_exact_at_both_ends_and_in_the_record() {
    let scratch = Scratch::new();
    let path = scratch.path("record");
    let server = exchanging_server();
    let tcpreen = Tcpreen::to(server.port).at_once(200).sessions(200);
    let tcpreen = tcpreen.format("C").output(&path).args(["-f", "null"]).start();

    let clients: Vec<Peer> = (0..200).map(|_| tcpreen.connect()).collect();
    let exchange =
        |(seed, client): (u64, Peer)| thread::spawn(move || client.exchange(Payload::new(seed, MIB)));
    let clients: Vec<_> = (1000..).zip(clients).map(exchange).collect();
    let (whole, broken): (Vec<_>, Vec<_>) =
        clients.into_iter().map(|client| client.join().expect("no panic")).partition(Result::is_ok);
    assert!(broken.is_empty(), "{} broken: {:?}, {}", broken.len(), broken[0], tcpreen.stderr());
    let seen_by_clients: BTreeSet<(Digest, Digest)> =
        whole.into_iter().flatten().map(|it| (it.sent, it.received)).collect();
    let seen_by_server = (0..200).flat_map(|_| server.result()).map(|it| (it.received, it.sent)).collect();
    assert_eq!(seen_by_clients, seen_by_server);
    if is_original() {
        return; // It has a file for each session, and loses count of children that end together.
    }
    assert_eq!(tcpreen.finish().code(), 0);
    let sessions = read_labelled_c(scratch.open_record("record"));
    let recorded = sessions.values().map(|it| (it.client(), it.server())).collect();
    assert_eq!(seen_by_clients, recorded);
}

/// Gives every client a payload of its own.
fn exchanging_server() -> Service<io::Result<Traffic>> {
    let number = Arc::new(AtomicU64::new(0));
    Server::listen().serve(move |peer| {
        let seed = number.fetch_add(1, Ordering::Relaxed);
        peer.exchange(Payload::new(seed, MIB))
    })
}

/// With `TCPREEN_LONG` more than 32 bits can count, spliced and recorded.
#[test]
fn the_total_of_many_gigabytes_is_exact() {
    let length: u64 = if long() { 5 << 30 } else { 64 * MIB };
    for options in [&[][..], &["-f", "raw", "-o", "/dev/null"]] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let tcpreen = Tcpreen::to(port).args(options).format("count").sessions(1).start();
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, tcpreen.port())).expect("it listens");
        let sender = thread::spawn(move || io::copy(&mut io::repeat(b'x').take(length), &mut client));
        let mut server = listener.accept().expect("a connection").0;
        assert_eq!(io::copy(&mut server, &mut io::sink()).expect("bytes"), length);
        drop(server);
        assert_eq!(sender.join().expect("no panic").expect("a receiver"), length);
        let shown = tcpreen.finish().stdout();
        assert!(shown.contains(&format!("End of input: {length} bytes received.\n")), "{options:?}");
    }
}
