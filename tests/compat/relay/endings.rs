//! Endings of a connection: half-closed, closed, or reset, and passed on as such.

use std::fs::File;
use std::time::Duration;

use crate::support::peer::echo_server;
use crate::support::scratch::Scratch;
use crate::support::tcpreen::Tcpreen;
use crate::support::under_test::known_to_fail_on_original;
use crate::support::{Bridged, bridge, same_as_direct};

#[test]
fn a_late_answer_reaches_a_client_that_has_finished() {
    same_as_direct(|mut client, mut server| {
        client.send("question");
        client.finish();
        assert_eq!(server.rest(), b"question");
        server.send("late answer");
        server.finish();
        assert_eq!(client.rest(), b"late answer");
    });
}

#[test]
fn a_late_question_reaches_a_server_that_has_finished() {
    same_as_direct(|mut client, mut server| {
        server.send("go away");
        server.finish();
        assert_eq!(client.rest(), b"go away");
        client.send("late question");
        client.finish();
        assert_eq!(server.rest(), b"late question");
    });
}

#[test]
fn an_empty_session_ends_on_both_sides() {
    same_as_direct(|mut client, mut server| {
        client.finish();
        server.expect_end();
        server.finish();
        client.expect_end();
    });
}

#[test]
fn a_half_closed_session_stays_open() {
    same_as_direct(|mut client, mut server| {
        client.finish();
        server.expect_end();
        for number in 0..10 {
            server.send(format!("line {number}\n"));
            client.expect(format!("line {number}\n"));
        }
    });
}

#[test]
fn a_reset_by_the_client_is_a_reset_to_the_server() {
    known_to_fail_on_original("it takes a reset for an end", || {
        same_as_direct(|client, mut server| {
            client.reset();
            server.expect_reset();
        });
    });
}

#[test]
fn a_reset_by_the_server_is_a_reset_to_the_client() {
    known_to_fail_on_original("it takes a reset for an end", || {
        same_as_direct(|mut client, server| {
            server.reset();
            client.expect_reset();
        });
    });
}

#[test]
fn a_reset_in_the_middle_of_traffic_is_passed_on() {
    known_to_fail_on_original("it takes a reset for an end", || {
        same_as_direct(|mut client, mut server| {
            client.send("some");
            server.expect("some");
            server.send("words");
            client.expect("words");
            client.reset();
            server.expect_reset();
        });
    });
}

#[test]
fn a_reset_after_a_half_close_is_passed_on() {
    known_to_fail_on_original("it takes a reset for an end", || {
        same_as_direct(|mut client, mut server| {
            server.finish();
            client.expect_end();
            client.reset();
            server.expect_reset();
        });
    });
}

#[test]
fn data_sent_before_a_close_is_recorded() {
    known_to_fail_on_original("SIGPIPE kills it with the record in its buffers", || {
        let Bridged { mut client, mut server, tcpreen } = bridge(|it| it.format("C").sessions(1));
        client.send("USER bob\r\n");
        server.expect("USER bob\r\n");
        drop(client);
        for _ in 0..50 {
            if !server.try_send("more\n") {
                break;
            }
        }
        drop(server);
        let stdout = tcpreen.finish().stdout();
        assert!(stdout.contains("<<< USER bob\\r\\n\n"), "{stdout}");
        assert!(stdout.ends_with("End of transmission.\n"), "{stdout}");
    });
}

#[test]
fn a_session_that_follows_a_reset_one_is_served() {
    let echo = echo_server();
    let tcpreen = Tcpreen::to(echo.port).start();
    for _ in 0..10 {
        let mut client = tcpreen.connect();
        client.send("hello");
        client.expect("hello");
        client.reset();
        echo.result();
    }
}

#[test]
fn a_closed_session_is_complete_in_its_file_at_once() {
    let scratch = Scratch::new();
    let path = scratch.path("record");
    let Bridged { mut client, mut server, tcpreen } = bridge(|it| it.format("C").output(&path).sessions(1));
    client.send("words");
    client.finish();
    assert_eq!(server.rest(), b"words");
    server.finish();
    client.expect_end();
    assert_eq!(tcpreen.finish().code(), 0);
    assert!(scratch.record("record").ends_with("End of transmission.\n"));
}

#[test]
fn a_silent_session_stays_open() {
    let Bridged { mut client, mut server, tcpreen } = bridge(|it| it);
    client.expect_silence(Duration::from_millis(300));
    client.send("still there?");
    server.expect("still there?");
    drop(tcpreen);
    client.expect_hang_up();
}

#[test]
fn unread_bytes_do_not_keep_a_session_alive_that_both_left() {
    let devnull = File::options().write(true).open("/dev/null").expect("/dev/null");
    let Bridged { mut client, server, mut tcpreen } = bridge(|it| it.sessions(1).stdout(devnull));
    client.send("nobody will read this");
    drop((client, server));
    assert!(tcpreen.wait().success());
}
