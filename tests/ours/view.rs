//! `view`, colours, and the width of a terminal.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use crate::support::peer::{Peer, Server};
use crate::support::scratch::Scratch;
use crate::support::skip::{Need, needs};
use crate::support::tcpreen::{Running, Tcpreen};
use crate::support::terminal::{Terminal, terminal_of};
use crate::support::wait::until;
use crate::support::{Bridged, bridge};

/// A bridge whose standard output is a terminal.
struct OnTerminal {
    tcpreen: Running,
    server: Server,
    shown: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
    terminal: File,
}

impl OnTerminal {
    fn start(columns: u16, with: impl FnOnce(Tcpreen) -> Tcpreen) -> OnTerminal {
        let Terminal { master, slave } = terminal_of(columns);
        let server = Server::listen();
        let tcpreen = with(Tcpreen::to(server.port()).env("TERM", "")).stdout(slave).sessions(1).start();
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (mut from, to) = (File::from(master.try_clone().expect("a descriptor")), Arc::clone(&shown));
        let reader = thread::spawn(move || {
            let mut buffer = [0; 4096];
            // That the other end has gone is an error here.
            while let Ok(length @ 1..) = from.read(&mut buffer) {
                to.lock().expect("no panic").extend_from_slice(&buffer[..length]);
            }
        });
        OnTerminal { tcpreen, server, shown, reader, terminal: master.into() }
    }

    fn session(&self) -> (Peer, Peer) {
        let client = self.tcpreen.connect();
        (client, self.server.accept())
    }

    fn text(&self) -> String {
        String::from_utf8(self.shown.lock().expect("no panic").clone()).expect("UTF-8")
    }

    /// Waits until this is shown.
    fn shows(&self, part: &str) {
        until(part, || self.text().contains(part).then_some(()));
    }

    fn resize(&self, columns: u16) {
        let stty = Command::new("stty")
            .args(["cols", &columns.to_string()])
            .stdin(Stdio::from(self.terminal.as_fd().try_clone_to_owned().expect("a descriptor")))
            .status();
        assert!(stty.expect("stty").success(), "of {}", self.terminal.as_raw_fd());
    }

    fn finish(self) -> String {
        self.tcpreen.finish();
        self.reader.join().expect("no panic");
        String::from_utf8(self.shown.lock().expect("no panic").clone()).expect("UTF-8").replace("\r\n", "\n")
    }
}

fn say(from: &mut Peer, to: &mut Peer, what: &str) {
    from.send(what);
    to.expect(what);
}

#[test]
fn a_terminal_gets_a_view_and_a_pipe_does_not() {
    let terminal = OnTerminal::start(80, |it| it.args(["-v"]));
    let (mut client, mut server) = terminal.session();
    say(&mut client, &mut server, "PING\r\nx\r\n");
    say(&mut server, &mut client, "+PONG\r\n");
    drop((client, server));
    let shown = terminal.finish();
    for part in ["Z [1] === 127.0.0.1:", " [1] <<< PING\n", "            [1] <<< x\n", " [1] >>> +PONG\n"] {
        assert!(shown.contains(part.trim_start_matches("  ")), "{part:?}: {shown}");
    }
    assert!(shown.contains(": client 9 bytes, server 7 bytes\n"), "{shown}");
    assert!(!shown.contains('\x1b'), "no colours without TERM: {shown:?}");

    let Bridged { mut client, mut server, tcpreen } = bridge(|it| it.args(["-v"]).sessions(1));
    say(&mut client, &mut server, "PING\r\n");
    drop((client, server));
    assert!(tcpreen.finish().stdout().contains("<<< PING\\r\\n\n"));
}

#[test]
fn lines_follow_the_width_of_the_terminal() {
    if !needs(&[Need::Program("stty")]) {
        return;
    }
    let terminal = OnTerminal::start(70, |it| it.format("view"));
    let (mut client, mut server) = terminal.session();
    say(&mut client, &mut server, &format!("{}1\n", "x".repeat(200)));
    terminal.shows("x1\r\n");
    terminal.resize(40);
    say(&mut client, &mut server, &format!("{}2\n", "y".repeat(200)));
    terminal.shows("y2\r\n");
    drop((client, server));
    let shown = terminal.finish();
    let longest = |mark: char| shown.lines().filter(|line| line.contains(mark)).map(str::len).max();
    assert_eq!((longest('x'), longest('y')), (Some(70), Some(40)), "{shown}");
}

#[test]
fn colors_are_for_terminals_unless_they_are_always_wanted() {
    let cases: [(&[&str], &str, &str, bool); 6] = [
        (&[], "TERM", "xterm", true),
        (&[], "TERM", "dumb", false),
        (&["--color=never"], "TERM", "xterm", false),
        (&["--color=always"], "TERM", "dumb", true),
        (&["-f", "C"], "TERM", "xterm", true),
        (&["-f", "hex"], "NO_COLOR", "1", false),
    ];
    for (args, name, value, expected) in cases {
        let scratch = Scratch::new();
        let terminal = OnTerminal::start(80, |it| {
            let it = it.args(["-v"]).output(scratch.path("record")).args(args);
            if name == "TERM" { it.env(name, value) } else { it.env("TERM", "xterm").env(name, value) }
        });
        let (mut client, mut server) = terminal.session();
        say(&mut client, &mut server, "PING\r\n");
        drop((client, server));
        let shown = terminal.finish();
        assert_eq!(shown.contains("\x1b[36m"), expected, "{args:?} {value}: {shown:?}");
        assert!(shown.lines().all(|line| !line.contains('\x1b') || line.ends_with("\x1b[0m")), "{shown:?}");
        let in_file = scratch.record("record").contains('\x1b');
        assert_eq!(in_file, args == ["--color=always"], "{args:?}");
    }
}

#[test]
fn long_pieces_are_shortened_on_a_terminal_alone() {
    let scratch = Scratch::new();
    let terminal = OnTerminal::start(80, |it| it.format("view").output(scratch.path("record")));
    let (mut client, mut server) = terminal.session();
    say(&mut client, &mut server, &"0123456789\n".repeat(200));
    drop((client, server));
    let shown = terminal.finish();
    assert!(shown.contains(" bytes more\n"), "{shown}");
    let lines = |text: &str| text.lines().filter(|line| line.ends_with(" 0123456789")).count();
    assert_eq!((lines(&shown), lines(&scratch.record("record"))), (93, 200));
}

#[test]
fn xxd_reads_the_dump_of_a_stream_back() {
    if !needs(&[Need::Program("xxd"), Need::Program("sed")]) {
        return;
    }
    let scratch = Scratch::new();
    let Bridged { mut client, mut server, tcpreen } = bridge(|it| {
        it.args(["-q", "--only=client"]).format("view").output(scratch.path("record")).sessions(1)
    });
    let pieces: [Vec<u8>; 3] = [(0..=255).collect(), vec![0; 5], (0..=255).rev().collect()];
    for piece in &pieces {
        client.send(piece);
        server.expect(piece);
    }
    drop((client, server));
    tcpreen.finish();
    const ROWS: &str = r"s/^\([0-9a-f]\{8,\}\)  \(.\{23\}\) /\1: \2/p";
    let manual =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/man/tcpreen.1")).expect("the manual");
    let escaped = ROWS.replace('\\', "\\e").replace('-', "\\-");
    assert!(manual.contains(&format!("$ sed \\-n \\(aq{escaped}\\(aq session | xxd \\-r\n")));
    let sed = Command::new("sed").args(["-n", ROWS]).arg(scratch.path("record")).output().expect("sed");
    fs::write(scratch.path("rows"), &sed.stdout).expect("a file");
    let file = File::open(scratch.path("rows")).expect("the rows");
    let back = Command::new("xxd").arg("-r").stdin(Stdio::from(file)).output().expect("xxd");
    assert_eq!(back.stdout, pieces.concat(), "{}", scratch.record("record"));
}
