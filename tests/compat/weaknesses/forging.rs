//! 6.10: neither data nor names of peers can pass for anything else.

use std::fs::File;
use std::io::Read;

use crate::support::peer::{Peer, Server};
use crate::support::scratch::Scratch;
use crate::support::tcpreen::Tcpreen;
use crate::support::terminal::terminal;
use crate::support::under_test::{is_original, known_to_fail_on_original};
use crate::support::unix::{abstract_name, connect_as, connect_to};

/// Terminal commands: titles, colours, bells, and the C1 control characters in both their encodings.
const COMMANDS: &[u8] =
    b"\x1b]0;title\x07\x1b[31mred\x1b[2J\x08\x0b\x0c\x7f\x9b31m\x90q\xc2\x9b31m\x0e\x1bc\0\xff\n";

#[test]
fn the_name_of_a_unix_client_cannot_forge_lines() {
    known_to_fail_on_original("it shows the name as it is", || {
        let scratch = Scratch::new();
        let path = scratch.path("clients");
        let forged = "a\nConnection from: 1.2.3.4 port 5\r\x1b[2J";
        let mut names = vec![scratch.path(forged).to_str().expect("UTF-8").to_owned()];
        if !is_original() {
            names.push(format!("{}{forged}", abstract_name()));
        }
        for name in names {
            let server = Server::listen();
            let tcpreen = Tcpreen::to(server.port()).args(["-p", "tcp/unix", "-v"]).listen_on("");
            let tcpreen =
                tcpreen.local_port(path.display()).output(scratch.path("record")).sessions(1).spawn();
            tcpreen.stderr_line("Listening on");
            drop((connect_as(&name, &path), server.accept()));
            let outcome = tcpreen.finish();
            for shown in [outcome.stdout(), scratch.record("record")] {
                assert_eq!(shown.lines().filter(|line| line.starts_with("Connection from: ")).count(), 1);
                assert!(!shown.contains(['\r', '\x1b']), "{shown:?}");
            }
        }
    });
}

/// Output on a terminal as the program's stdout during `session`.
pub(crate) fn on_a_terminal(tcpreen: Tcpreen, session: impl FnOnce()) -> Vec<u8> {
    let terminal = terminal();
    // Colours would be ours.
    let tcpreen = tcpreen.env("TERM", "dumb").stdout(terminal.slave).sessions(1).spawn();
    tcpreen.stderr_line("Listening on");
    session();
    tcpreen.finish();
    let mut shown = Vec::new();
    // The other end has been closed, which is an error on a terminal, not an end of file.
    let _ = File::from(terminal.master).read_to_end(&mut shown);
    shown
}

/// Expects no terminal command besides line ends; no C1 control character in one byte or two.
#[track_caller]
fn is_harmless(shown: &[u8], what: &str) {
    let obeyed = |byte: &u8| byte.is_ascii_control() && !b"\r\n\t".contains(byte);
    let text =
        String::from_utf8(shown.to_vec()).expect("UTF-8, so that no byte of it is a control character");
    assert!(!shown.iter().any(obeyed), "{what}: {text:?}");
    assert!(!text.contains(|character: char| ('\u{80}'..='\u{9f}').contains(&character)), "{what}: {text:?}");
}

#[test]
fn peers_cannot_send_terminal_commands() {
    known_to_fail_on_original("raw and password show everything as it is", || {
        for format in ["raw", "strip", "C", "hex", "count", "password", "view"] {
            let scratch = Scratch::new();
            let path = scratch.path("clients");
            let server = Server::listen();
            let tcpreen = Tcpreen::to(server.port()).args(["-p", "tcp/unix"]).format(format);
            let tcpreen = tcpreen.listen_on("").local_port(path.display());
            let shown = on_a_terminal(tcpreen, || match format {
                // FTP, whose logins are shown, is recognised by the server's greeting.
                "password" => log_in_with_commands(connect_to(&path), server.accept()),
                _ => say_commands(connect_to(&path), server.accept()),
            });
            is_harmless(&shown, format);
            if format == "password" {
                assert!(shown.windows(4).any(|it| it == b": u:" || it == b": u\\"), "the login is shown");
            }
        }
    });
}

fn say_commands(mut client: Peer, mut server: Peer) {
    client.send(COMMANDS);
    server.expect(COMMANDS);
    server.send(COMMANDS);
    client.expect(COMMANDS);
    client.finish();
    server.finish();
    client.rest();
}

fn log_in_with_commands(mut client: Peer, mut server: Peer) {
    server.send("220 hello\r\n");
    client.expect("220 hello\r\n");
    let login = [b"USER u", &COMMANDS[..20], b"\r\nPASS p", &COMMANDS[..20], b"\r\n"].concat();
    client.send(&login);
    server.expect(&login);
    server.send([b"331 ", COMMANDS, b"\r\n230 ", COMMANDS].concat());
    client.finish();
    server.finish();
    client.rest();
}

#[test]
fn names_of_peers_cannot_contain_terminal_commands() {
    known_to_fail_on_original("it shows the name as it is", || {
        let scratch = Scratch::new();
        let path = scratch.path("clients");
        let server = Server::listen();
        let tcpreen = Tcpreen::to(server.port()).args(["-p", "tcp/unix"]).listen_on("");
        let own = scratch.path("a\u{9b}31m\x1b[2J\x07");
        let shown = on_a_terminal(tcpreen.local_port(path.display()), || {
            drop((connect_as(&own, &path), server.accept()));
        });
        assert!(shown.starts_with(b"Connection from:  port "), "{}", shown.escape_ascii());
        is_harmless(&shown, "a name");
    });
}
