//! The samples of the formats in the manual are what the program writes, but for times, ports and runs.

use std::process::Stdio;

use regex::Regex;

use crate::ours::manual::*;
use crate::support::peer::{Peer, Server as Listener};
use crate::support::scratch::Scratch;
use crate::support::tcpreen::Tcpreen;
use crate::support::terminal::terminal;
use crate::support::wait::until;
use crate::support::{Bridged, bridge};

/// One line of the dialogues below.
type Line<'a> = (Speaker, &'a [u8]);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Speaker {
    Client,
    Server,
}

use Speaker::{Client, Server};

const TIME: [Line<'static>; 2] = [(Client, b"time?\r\n"), (Server, b"it's \"7\"\r\n")];

/// Displays of a section of the manual, as `man` shows them.
fn samples(section: &str) -> Vec<String> {
    let manual = read(MANUAL);
    let (_, rest) = manual.split_once(&format!("\n.Ss {section}\n")).expect("a section");
    let section = rest.split("\n.Ss ").next().unwrap_or_default();
    let displays = section.split("\n.Bd -literal").skip(1);
    let bodies = displays.map(|display| display.split_once('\n').expect("a display").1);
    let bodies = bodies.map(|body| body.split("\n.Ed").next().unwrap_or_default());
    bodies.map(|body| body.replace("\\(aq", "'").replace("\\-", "-").replace("\\e", "\\") + "\n").collect()
}

/// Without what differs from run to run.
fn masked(text: &str) -> String {
    let masks = [
        (r"127\.0\.0\.1([: ](port )?)\d+", "127.0.0.1${1}PORT"),
        (r"\d{4}-\d\d-\d\dT[0-9:]+\.\d{9}Z", "TIME"),
        (r"\d\d:\d\d:\d\dZ", "TIME"),
        (r"(?m)^ {0,4}\d+\.\d{6} ", "  SECOND "),
        (r"\d+(\.\d+)? m?s\b", "DURATION"),
        // The manual has none at the ends of its lines.
        ("(?m) +$", ""),
        ("\"elapsed\":[0-9.]+", "ELAPSED"),
        ("\"run\":\"[a-z0-9]{8}\"", "RUN"),
    ];
    masks.iter().fold(text.to_owned(), |text, (mask, instead)| {
        Regex::new(&format!("(?-u){mask}")).expect("a mask").replace_all(&text, *instead).into_owned()
    })
}

fn say(speaker: Speaker, bytes: &[u8], client: &mut Peer, server: &mut Peer) {
    let (from, to) = if speaker == Client { (client, server) } else { (server, client) };
    from.send(bytes);
    to.expect(bytes);
}

/// The record of a session in which both sides finish, the client first.
fn record(options: &[&str], lines: &[Line<'_>]) -> String {
    let scratch = Scratch::new();
    let file = scratch.path("record");
    let Bridged { mut client, mut server, tcpreen } = bridge(|it| it.args(options).output(&file).sessions(1));
    for (speaker, bytes) in lines {
        say(*speaker, bytes, &mut client, &mut server);
    }
    end(&mut client, &mut server);
    assert_eq!(tcpreen.finish().code(), 0);
    scratch.record("record")
}

fn end(client: &mut Peer, server: &mut Peer) {
    client.finish();
    server.expect_end();
    server.finish();
    client.expect_end();
}

#[track_caller]
fn expect_sample(section: &str, index: usize, record: &str) {
    let sample = masked(&samples(section)[index]);
    let record = masked(record);
    assert!(record.contains(&sample), "the manual, {section}:\n{sample}\nthe program:\n{record}");
}

#[test]
fn samples_of_the_text_formats_are_real() {
    for (section, format) in [
        ("The frame", "C"),
        ("C", "C"),
        ("hex", "hex"),
        ("count", "count"),
        ("null", "null"),
        ("strip", "strip"),
    ] {
        expect_sample(section, 0, &record(&["-f", format], &TIME));
    }
    let sample = samples("password");
    let record = [
        record(
            &["-f", "password"],
            &[
                (Server, b"220 ready\r\n"),
                (Client, b"USER bob\r\n"),
                (Server, b"331 password\r\n"),
                (Client, b"PASS guess\r\n"),
                (Server, b"530 no\r\n"),
                (Client, b"USER bob\r\n"),
                (Server, b"331 password\r\n"),
                (Client, b"PASS s3cret\r\n"),
                (Server, b"230 in\r\n"),
            ],
        ),
        record(
            &["-f", "password"],
            &[
                (Client, b"GET / HTTP/1.0\r\nAuthorization: Basic Ym9iOnMzY3JldA==\r\n\r\n"),
                (Server, b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
            ],
        ),
        record(&["-f", "password"], &[(Client, b"AUTH s3cret\r\n"), (Server, b"+OK\r\n")]),
    ];
    let shown: Vec<&str> = sample[0].lines().filter(|line| !line.starts_with("LDAP")).collect();
    assert_eq!(record.concat().lines().collect::<Vec<_>>(), shown);
}

#[test]
fn sessions_at_a_time_have_the_labels_of_the_manual() {
    let scratch = Scratch::new();
    let server = Listener::listen();
    let tcpreen = Tcpreen::to(server.port()).at_once(2).sessions(2);
    let tcpreen = tcpreen.format("C").output(scratch.path("record")).start();
    let mut pairs: Vec<(Peer, Peer)> = Vec::new();
    for words in [&["two\n"][..], &["one\n"]] {
        pairs.push((tcpreen.connect(), server.accept()));
        let (client, server) = pairs.last_mut().expect("a pair");
        for word in words {
            say(Client, word.as_bytes(), client, server);
            if *word == "two\n" {
                say(Server, word.as_bytes(), client, server);
                until("the answer", || scratch.record("record").contains("[1] >>> two").then_some(()));
            }
        }
    }
    // Ends of a session may be recorded before what another one has just sent.
    until("the second session", || scratch.record("record").contains("[2] <<< one").then_some(()));
    drop(pairs);
    assert_eq!(tcpreen.finish().code(), 0);
    expect_sample("Several sessions", 0, &scratch.record("record"));
}

/// Objects are folded in the manual.
#[test]
fn objects_of_json_are_real() {
    let record = record(&["-f", "json"], &[TIME[0], (Server, b"\n\0\xc0\xff")]);
    let sample = samples("json")[0].replace("\",\n\"", "\",\"").replace(",\n\"", ",\"");
    let of_interest =
        record.lines().filter(|line| ["\"data\"", "\"eof\""].iter().any(|it| line.contains(it)));
    let record: Vec<&str> = of_interest.take(3).collect();
    assert_eq!(masked(&(record.join("\n") + "\n")), masked(&sample));
}

/// Three sessions: text and a silence, binary data, TLS.
#[test]
fn a_view_is_what_the_manual_shows() {
    if !needs(&[Need::Program("openssl")]) {
        return;
    }
    let scratch = Scratch::new();
    let listener = Listener::listen();
    let tcpreen =
        Tcpreen::to(listener.port()).format("view").output(scratch.path("record")).sessions(3).start();
    let mut client = tcpreen.connect();
    let mut server = listener.accept();
    say(Client, b"*1\r\n$4\r\nPING\r\n", &mut client, &mut server);
    // The silence that is shown.
    std::thread::sleep(std::time::Duration::from_millis(203));
    say(Server, b"+PONG\r\n", &mut client, &mut server);
    end(&mut client, &mut server);
    let mut client = tcpreen.connect();
    let mut server = listener.accept();
    let page = b"HTTP/1.0 200 OK\r\n\r\n\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01";
    say(Server, page, &mut client, &mut server);
    end(&mut client, &mut server);
    let mut openssl = Command::new("openssl");
    openssl.args(["s_client", "-connect", &format!("127.0.0.1:{}", tcpreen.port())]);
    openssl.args(["-servername", "example.org", "-alpn", "h2,http/1.1"]);
    openssl.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut openssl = openssl.spawn().expect("openssl");
    listener.accept().skip(5);
    openssl.wait().expect("openssl ends");
    assert_eq!(tcpreen.finish().code(), 0);
    let record = scratch.record("record");
    [0, 1, 3].into_iter().for_each(|index| expect_sample("view", index, &record));
}

#[test]
fn control_characters_are_spelled_out_on_a_terminal() {
    let terminal = terminal();
    let Bridged { mut client, mut server, tcpreen } = bridge(|it| {
        it.format("raw").args(["--color=never", "-o", "-"]).stdout(Stdio::from(terminal.slave)).sessions(1)
    });
    say(Client, b"\x1b[31mred", &mut client, &mut server);
    drop((client, server));
    tcpreen.finish();
    let (mut shown, mut master) = (Vec::new(), fs::File::from(terminal.master));
    while !String::from_utf8_lossy(&shown).contains("End of transmission.") {
        let mut room = [0; 1024];
        let length = std::io::Read::read(&mut master, &mut room).expect("a terminal");
        shown.extend_from_slice(&room[..length]);
    }
    let shown = String::from_utf8(shown).expect("UTF-8").replace("\r\n", "\n");
    expect_sample("raw", 0, &shown);
}
