//! The bridge is transparent: what one peer does to the connection reaches the other unchanged.

pub(crate) mod bulk;
pub(crate) mod dialling;
pub(crate) mod endings;

use std::time::{Duration, Instant};

use crate::support::under_test::known_to_fail_on_original;
use crate::support::{Bridged, bridge, same_as_direct};

#[test]
fn a_request_is_answered() {
    same_as_direct(|mut client, mut server| {
        client.send("question");
        server.expect("question");
        server.send("answer");
        client.expect("answer");
    });
}

#[test]
fn the_server_may_speak_first() {
    same_as_direct(|mut client, mut server| {
        server.send("220 ready\r\n");
        client.expect("220 ready\r\n");
    });
}

#[test]
fn every_byte_value_passes() {
    let all: Vec<u8> = (0..=255).collect();
    same_as_direct(|mut client, mut server| {
        client.send(&all);
        server.expect(&all);
        server.send(&all);
        client.expect(&all);
    });
}

#[test]
fn the_record_has_the_pieces_in_their_order() {
    let Bridged { mut client, mut server, tcpreen } = bridge(|it| it.format("C").sessions(1));
    for (question, answer) in [("one", "two"), ("three", "four"), ("five", "six")] {
        client.send(question);
        server.expect(question);
        server.send(answer);
        client.expect(answer);
    }
    drop((client, server));
    let stdout = tcpreen.finish().stdout();
    let records: Vec<&str> = stdout.lines().filter(|line| line.starts_with(['<', '>'])).collect();
    assert_eq!(records, ["<<< one", ">>> two", "<<< three", ">>> four", "<<< five", ">>> six"]);
}

#[test]
fn an_urgent_byte_arrives_as_urgent() {
    same_as_direct(|mut client, mut server| {
        client.send("abc");
        server.expect("abc");
        client.send_urgent(b'!');
        assert_eq!(server.urgent(), b'!');
        client.send("def");
        server.expect("def");
    });
}

#[test]
fn an_urgent_byte_of_the_server_arrives_as_urgent() {
    same_as_direct(|mut client, mut server| {
        server.send_urgent(0xFF);
        assert_eq!(client.urgent(), 0xFF);
        server.send("more");
        client.expect("more");
    });
}

#[test]
fn many_urgent_bytes_arrive_one_by_one() {
    same_as_direct(|mut client, mut server| {
        for byte in b'a'..=b'z' {
            client.send_urgent(byte);
            assert_eq!(server.urgent(), byte);
            client.send(".");
            server.expect(".");
        }
    });
}

#[test]
fn an_urgent_byte_is_marked_in_the_record() {
    let Bridged { mut client, mut server, tcpreen } = bridge(|it| it.format("C").sessions(1));
    client.send_urgent(b'!');
    assert_eq!(server.urgent(), b'!');
    drop((client, server));
    let stdout = tcpreen.finish().stdout();
    assert!(stdout.contains("(OOB)<<< !\n"), "{stdout}");
}

#[test]
fn a_second_write_does_not_wait_for_an_acknowledgement() {
    known_to_fail_on_original("it leaves Nagle's algorithm on", || {
        same_as_direct(|mut client, mut server| {
            let start = Instant::now();
            for _ in 0..20 {
                client.send("head");
                server.expect("head");
                client.send("body");
                server.expect("body");
                server.send("an");
                client.expect("an");
                server.send("swer");
                client.expect("swer");
            }
            // With Nagle's algorithm each of them would be delayed by 40 ms in at least one direction.
            assert!(start.elapsed() < Duration::from_millis(20 * 20), "{:?}", start.elapsed());
        });
    });
}
