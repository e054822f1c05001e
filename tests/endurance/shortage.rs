//! Too few descriptors or processes for those who come: they wait, nobody spins, and later all is well.

use std::net::TcpStream;
use std::time::Duration;

use super::{expect_served, shares};
use crate::support::peer::{Peer, echo_server};
use crate::support::skip::{Need, long, needs};
use crate::support::tcpreen::{Running, Tcpreen};

/// A crowd comes while every place is taken; then the places are free.
fn crowded(tcpreen: Running, places: usize, queue: usize) {
    let mut served: Vec<Peer> = (0..places).map(|_| tcpreen.connect()).collect();
    let first = &mut served[0];
    first.send("hello");
    first.expect("hello");
    let crowd = if long() { 10_000 } else { 500 };
    let address = format!("127.0.0.1:{}", tcpreen.port()).parse().expect("an address");
    let shares = shares(&tcpreen, || {
        let mut waiting = Vec::new();
        for number in 0..crowd {
            // Where the queue is full there is no answer.
            if let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(5)) {
                waiting.push(stream);
            }
            // Some stay, most leave again at once.
            if number % 4 != 0 || waiting.len() > queue {
                waiting.pop();
            }
        }
        // They wait, and nobody may be busy with that.
        std::thread::sleep(Duration::from_millis(1500));
    });
    for (role, share) in &shares {
        assert!(*share < 0.5, "{role} takes {share:.2} of a processor: {shares:?}");
    }
    drop(served);
    // Those who have left are still in the queue, before us, each with its turn.
    let mut behind = tcpreen.connect();
    behind.send("hello");
    assert_eq!(behind.words_within(Duration::from_secs(120)).as_deref(), Some(&b"hello"[..]));
    drop(behind);
    for _ in 0..20 {
        expect_served(&tcpreen);
    }
}

#[test]
fn with_few_descriptors_a_crowd_waits_and_nothing_spins() {
    if !needs(&[Need::Ours, Need::Program("bash")]) {
        return;
    }
    let echo = echo_server();
    let tcpreen = Tcpreen::to(echo.port).at_once(100).by_shell("ulimit -n 64", "").start();
    crowded(tcpreen, 1, 200);
}

#[test]
fn with_few_processes_a_crowd_waits_and_nothing_spins() {
    if !needs(&[Need::Ours, Need::Root, Need::Program("bash")]) {
        return;
    }
    let echo = echo_server();
    let tcpreen = Tcpreen::to(echo.port).env("SUDO_UID", "4331").env("SUDO_GID", "4331");
    let tcpreen = tcpreen.at_once(50).by_shell("ulimit -u 16", "").start();
    crowded(tcpreen, 12, 20);
}
