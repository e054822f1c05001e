//! `--match`: only sessions in which one of the two streams matches are recorded.

use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;

use crate::support::peer::Server;
use crate::support::scratch::Scratch;
use crate::support::tcpreen::{Running, Tcpreen};
use crate::support::wait::until;

/// One session after the other: what the client sends, in pieces, and what the server answers.
fn talk(tcpreen: &Running, server: &Server, pieces: &[&str], answer: &str) {
    let mut client = tcpreen.connect();
    let mut peer = server.accept();
    for piece in pieces {
        client.send(piece);
        peer.expect(piece);
    }
    peer.send(answer);
    client.expect(answer);
    drop(client);
    peer.expect_end();
}

fn end(tcpreen: Running) {
    tcpreen.signal(Signal::SIGTERM);
    assert_eq!(tcpreen.finish().code(), 143);
}

fn selecting(server: &Server, expression: &str, outputs: &[(&str, &Path)]) -> Running {
    let start = Tcpreen::to(server.port()).at_once(8).args(["-q", "--match", expression]);
    outputs.iter().fold(start, |it, (format, path)| it.format(format).output(path)).start()
}

#[test]
fn only_sessions_that_match_are_recorded_and_those_from_their_beginning() {
    let scratch = Scratch::new();
    let (text, json) = (scratch.path("text"), scratch.path("json"));
    let server = Server::listen();
    let tcpreen = selecting(&server, "needle", &[("C", &text), ("json", &json)]);
    talk(&tcpreen, &server, &["first ", "straw"], "straw, too");
    talk(&tcpreen, &server, &["second ", "nee", "dle"], "found");
    talk(&tcpreen, &server, &["third"], "a needle of the server");
    talk(&tcpreen, &server, &["fourth needl"], "e is in neither stream");
    end(tcpreen);
    for path in [&text, &json] {
        let record = fs::read_to_string(path).expect("a record");
        for word in ["second ", "third"] {
            assert!(record.contains(word), "{word}: {record}");
        }
        for word in ["first", "straw", "fourth", "neither"] {
            assert!(!record.contains(word), "{word}: {record}");
        }
    }
    let record = fs::read_to_string(&text).expect("a record");
    assert_eq!(record.matches("Connection from").count(), 2, "{record}");
    assert_eq!(record.matches("End of transmission.").count(), 2, "{record}");
}

#[test]
fn a_match_is_shown_at_once_and_what_follows_as_it_comes() {
    let scratch = Scratch::new();
    let path = scratch.path("record");
    let server = Server::listen();
    let tcpreen = selecting(&server, "^QUIT\\b", &[("C", &path)]);
    let mut client = tcpreen.connect();
    let mut peer = server.accept();
    let record = || fs::read_to_string(&path).expect("a record");
    client.send("NOT QUIT ");
    peer.expect("NOT QUIT ");
    drop((client, peer));
    let mut client = tcpreen.connect();
    let mut peer = server.accept();
    client.send("QU");
    peer.expect("QU");
    client.send("IT\r\n");
    peer.expect("IT\r\n");
    until("the match", || record().contains("IT\\r\\n").then_some(()));
    assert!(!record().contains("NOT"), "{}", record());
    peer.send("bye");
    client.expect("bye");
    until("what follows", || record().contains(">>> bye").then_some(()));
    end(tcpreen);
}

#[test]
fn a_file_for_each_session_is_made_for_those_that_match() {
    let scratch = Scratch::new();
    let server = Server::listen();
    let template = scratch.path("session-%d.raw");
    let tcpreen = Tcpreen::to(server.port())
        .args(["-q", "--match", "b", "-f", "raw"])
        .output(&template)
        .sessions(3)
        .start();
    for word in ["a", "b", "c"] {
        talk(&tcpreen, &server, &[word], "x");
    }
    assert_eq!(tcpreen.finish().code(), 0);
    let mut names: Vec<_> =
        fs::read_dir(scratch.path(".")).expect("a directory").flatten().map(|it| it.path()).collect();
    names.sort();
    assert_eq!(names.len(), 2, "the client's and the server's: {names:?}");
    let contents: Vec<_> = names.iter().map(|name| fs::read_to_string(name).expect("a file")).collect();
    assert_eq!(contents.concat().len(), 2, "{contents:?}");
    assert!(contents.contains(&"b".to_owned()), "{contents:?}");
}

#[test]
fn a_saved_record_is_searched() {
    let scratch = Scratch::new();
    let json = scratch.path("json");
    let server = Server::listen();
    let tcpreen = Tcpreen::to(server.port()).at_once(8).args(["-q"]).format("json").output(&json).start();
    for word in ["one", "two", "three"] {
        talk(&tcpreen, &server, &[word], "x");
    }
    end(tcpreen);
    let found = Tcpreen::reading([&json]).args(["--match", "^t.o$", "-f", "count", "-o", "-"]).run();
    assert_eq!(found.code(), 0, "{found:?}");
    assert_eq!(found.stdout().matches("Connection from").count(), 1, "{found:?}");
    assert!(found.stdout().contains("<<< 3 bytes"), "{found:?}");
    let none = Tcpreen::reading([&json]).args(["--match", "four", "-f", "count", "-o", "-"]).run();
    assert_eq!((none.code(), none.stdout().as_str()), (0, ""), "{none:?}");
}

#[test]
fn what_comes_long_before_a_match_is_left_out_with_a_note() {
    let scratch = Scratch::new();
    let path = scratch.path("json");
    let server = Server::listen();
    let tcpreen = selecting(&server, "needle", &[("json", &path)]);
    let mut client = tcpreen.connect();
    let mut peer = server.accept();
    let straw = "s".repeat(100_000);
    for _ in 0..40 {
        client.send(&straw);
        peer.expect(&straw);
    }
    client.send("needle");
    peer.expect("needle");
    drop(client);
    peer.expect_end();
    drop(peer);
    end(tcpreen);
    let record = fs::read_to_string(&path).expect("a record");
    assert!(record.contains("bytes before this, because of --match."), "{}", &record[..2000]);
    assert!((900_000..1_500_000).contains(&record.len()), "{}", record.len());
    // What is left can be read back.
    let back = Tcpreen::reading([&path]).args(["-f", "count", "-o", "-"]).run();
    assert_eq!(back.code(), 0, "{}", back.stderr);
}

#[test]
fn an_expression_that_cannot_be_used_is_a_usage_error() {
    for (expression, reason) in [
        ("(", "unclosed group"),
        ("", "0 bytes"),
        ("(a|b)*a(a|b){30}", "MiB"),
        (&"x".repeat(1025), "1025 bytes"),
        ("\\p{Greek}", "Unicode"),
    ] {
        let outcome = Tcpreen::to(1).args(["--match", expression]).run();
        assert_eq!(outcome.code(), 64, "{expression}: {outcome:?}");
        assert!(outcome.stderr.contains(reason), "{expression}: {outcome:?}");
    }
    let outcome = Tcpreen::to(1).args(["--match", "x", "--record-first"]).run();
    assert_eq!(outcome.code(), 64, "{outcome:?}");
    assert!(outcome.stderr.contains("--match and --record-first contradict each other"), "{outcome:?}");
}
