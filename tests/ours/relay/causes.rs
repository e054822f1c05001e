//! Sessions that no peer ended: the record names the reason, with both totals.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::payload::Payload;
use crate::support::peer::Peer;
use crate::support::proc;
use crate::support::scratch::Scratch;
use crate::support::skip::{Need, needs};
use crate::support::tcpreen::Tcpreen;
use crate::support::wait::within;
use crate::support::{Bridged, bridge};

/// More than the buffers between two peers hold.
const MUCH: u64 = 64 << 20;

/// A session whose record is in a file.
fn recorded(scratch: &Scratch, with: impl FnOnce(Tcpreen) -> Tcpreen) -> Bridged {
    bridge(|it| with(it.sessions(1).args(["-q"]).format("count").output(scratch.path("record"))))
}

/// The end of the record, once it is there.
fn tail_of_record(scratch: &Scratch, limit: Duration) -> Vec<String> {
    let record = within(limit, "the end of the record", || {
        Some(scratch.record("record")).filter(|record| record.ends_with("End of transmission.\n"))
    });
    record.lines().rev().take(4).map(str::to_owned).collect()
}

fn talk(client: &mut Peer, server: &mut Peer) {
    client.send("ping");
    server.expect("ping");
    server.send("answer");
    client.expect("answer");
}

#[test]
fn the_operator_is_named_with_both_totals() {
    for (signal, patience) in
        [(Signal::SIGTERM, "0"), (Signal::SIGINT, "0"), (Signal::SIGTERM, "500ms"), (Signal::SIGINT, "500ms")]
    {
        let scratch = Scratch::new();
        let options = ["--drain-timeout", patience];
        let options = if patience == "0" { &[][..] } else { &options[..] };
        let Bridged { mut client, mut server, tcpreen } = recorded(&scratch, |it| it.args(options));
        talk(&mut client, &mut server);
        tcpreen.signal(signal);
        tcpreen.finish();
        let tail = tail_of_record(&scratch, Duration::from_secs(1));
        let expected = [
            "End of transmission.",
            "Session ended: stopped by the operator.",
            "End of output: 6 bytes sent.",
            "End of input: 4 bytes received.",
        ];
        assert_eq!(tail, expected, "{signal} {patience}");
    }
}

#[test]
fn no_byte_passes_with_a_limit_of_none() {
    let scratch = Scratch::new();
    let Bridged { mut client, mut server, tcpreen: _tcpreen } = recorded(&scratch, |it| it.args(["-b", "0"]));
    let _ = client.try_send("ping");
    server.expect_hang_up();
    client.expect_hang_up();
    let tail = tail_of_record(&scratch, Duration::from_secs(10));
    assert_eq!(tail[1], "Session ended: byte limit reached.");
    assert_eq!(tail[2..], ["End of output: 0 bytes sent.", "End of input: 0 bytes received."]);
}

#[test]
fn two_silent_peers_are_idle() {
    let scratch = Scratch::new();
    let idle = ["--idle-timeout", "400ms"];
    let Bridged { mut client, mut server, tcpreen: _tcpreen } = recorded(&scratch, |it| it.args(idle));
    talk(&mut client, &mut server);
    let tail = tail_of_record(&scratch, Duration::from_secs(10));
    assert_eq!(tail[1], "Session ended: idle for too long.");
    assert_eq!(tail[2..], ["End of output: 6 bytes sent.", "End of input: 4 bytes received."]);
}

#[test]
fn a_sender_whose_receiver_is_slow_is_not_idle() {
    let scratch = Scratch::new();
    let idle = ["--idle-timeout", "2s"];
    let Bridged { mut client, mut server, tcpreen } = recorded(&scratch, |it| it.args(idle));
    let sent = client.send_until_stalled(&mut Payload::new(1, MUCH), MUCH);
    let mut left = sent as usize;
    // Longer than the time-out, and never as long without reading something.
    while left > 0 {
        let piece = left.min(sent as usize / 30 + 1);
        server.skip(piece);
        left -= piece;
        server.expect_no_end(Duration::from_millis(150));
    }
    client.finish();
    server.expect_end();
    server.finish();
    client.expect_end();
    assert_eq!(tcpreen.finish().code(), 0);
    let tail = tail_of_record(&scratch, Duration::from_secs(1));
    assert!(tail.iter().all(|line| !line.starts_with("Session ended")), "{tail:?}");
}

#[test]
fn a_receiver_that_does_not_read_holds_a_session_that_was_reset_for_seconds() {
    if !needs(&[Need::Root]) {
        return;
    }
    let scratch = Scratch::new();
    let Bridged { client: _client, mut server, tcpreen } = recorded(&scratch, |it| it);
    server.send_until_stalled(&mut Payload::new(1, MUCH), MUCH);
    let worker = tcpreen.busy_worker();
    let before = proc::cpu(worker);
    server.reset();
    // It ends by itself, and does not run in circles until then.
    let mut spent = before;
    // Ten seconds, and once.
    within(Duration::from_secs(16), "the end of the worker", || {
        if !proc::is_alive(worker) {
            return Some(());
        }
        spent = std::panic::catch_unwind(|| proc::cpu(worker)).unwrap_or(spent);
        None
    });
    assert!(spent - before < Duration::from_secs(2), "{:?}", spent - before);
    let tail = tail_of_record(&scratch, Duration::from_secs(5));
    assert_eq!(tail[1], "Session ended: connection reset by the server.");
}
