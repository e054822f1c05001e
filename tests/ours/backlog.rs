//! The logger keeps up with small records and short sessions, or the next client waits: no backlog grows
//! without bound.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::peer::{Peer, Server, echo_server};
use crate::support::proc;
use crate::support::scratch::Scratch;
use crate::support::skip::{Need, long, needs};
use crate::support::tcpreen::{Running, Tcpreen};

/// More sessions than the backlog may hold.
const FAR_TOO_MANY: usize = 200;

/// Maximum number of sessions that are over and not yet recorded (src/parent/startup/limits.rs), and one that runs.
const BACKLOG: usize = 64 + 1;

/// Runs one session that sends `hello` and closes. Returns a client that is not served.
fn visit(tcpreen: &Running, server: &Server) -> Option<Peer> {
    let mut client = tcpreen.connect();
    client.send("hello");
    let Some(mut peer) = accepted(server) else { return Some(client) };
    peer.expect("hello");
    client.reset();
    peer.expect_hang_up();
    None
}

/// Returns the next connection, if one comes within a short time: a client whose turn has come is connected
/// at once.
fn accepted(server: &Server) -> Option<Peer> {
    for _ in 0..300 {
        if let Some(peer) = server.accept_now() {
            return Some(peer);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    None
}

#[test]
fn sessions_that_are_over_and_not_recorded_are_bounded_and_the_next_client_waits() {
    for at_once in [1, 4] {
        let scratch = Scratch::new();
        let server = Server::listen();
        let tcpreen =
            Tcpreen::to(server.port()).at_once(at_once).format("C").output(scratch.path("record")).start();
        let logger = tcpreen.role("logger");
        nix::sys::signal::kill(logger, Signal::SIGSTOP).expect("it is there");
        let mut waiting = None;
        let served = (0..FAR_TOO_MANY)
            .take_while(|_| {
                waiting = visit(&tcpreen, &server);
                waiting.is_none()
            })
            .count();
        let held = proc::descriptors(logger).len();
        nix::sys::signal::kill(logger, Signal::SIGCONT).expect("it is there");
        let most = BACKLOG + at_once as usize;
        assert!((2..=most).contains(&served), "{served} sessions with a logger that is stopped");
        assert!(held < 64 + most, "{held} descriptors");
        server.accept().expect("hello");
        drop(waiting);
        for _ in 0..20 {
            assert!(visit(&tcpreen, &server).is_none(), "not served although the logger goes on");
        }
        tcpreen.signal(Signal::SIGINT);
        assert_eq!(tcpreen.finish().code(), 130);
        let record = scratch.record("record");
        assert_eq!(record.matches("End of transmission.\n").count(), served + 21, "{record}");
        assert_eq!(record.matches("<<< hello\n").count(), served + 21, "{record}");
    }
}

/// Counts sessions whose record is not complete.
fn incomplete(scratch: &Scratch, name: &str, sessions: usize) -> usize {
    let complete = |number: usize| {
        let record = fs::read(scratch.path(&format!("{name}-{number}"))).unwrap_or_default();
        record.ends_with(b"End of transmission.\n")
    };
    (1..=sessions).filter(|number| !complete(*number)).count()
}

#[test]
fn short_sessions_one_after_the_other_are_recorded_as_they_come() {
    if !needs(&[Need::Program("bash")]) {
        return;
    }
    short_sessions("", if long() { 10_000 } else { 2000 });
    short_sessions("ulimit -n 256", if long() { 10_000 } else { 200 });
}

fn short_sessions(limit: &str, sessions: usize) {
    let scratch = Scratch::new();
    let echo = echo_server();
    let mut tcpreen = Tcpreen::to(echo.port).args(["-F", "1"]).by_shell(limit, "");
    let formats = ["C", "count", "raw", "strip", "hex"];
    for format in formats {
        tcpreen = tcpreen.format(format).output(scratch.path(&format!("{format}-%n")));
    }
    let tcpreen = tcpreen.start();
    let logger = tcpreen.role("logger");
    let mut held = Vec::new();
    for number in 0..sessions {
        let mut client = tcpreen.connect();
        client.send("hello");
        client.expect("hello");
        client.reset();
        if number % 50 == 49 {
            let memory = proc::status(logger).expect("a process").memory();
            held.push((proc::descriptors(logger).len(), memory));
        }
    }
    // In the batches, beyond the logger's own queue.
    let behind = incomplete(&scratch, "C", sessions);
    assert!(behind <= 8 * 32 + BACKLOG, "{behind} sessions behind");
    // Its own, the channels of sessions, and the files of a few sessions between the reader and the writers.
    assert!(held.iter().all(|(descriptors, _)| *descriptors <= 32 + BACKLOG + 40), "{held:?}");
    let growth = held[held.len() - 1].1.saturating_sub(held[0].1);
    assert!(growth < 4 << 20, "{held:?}");
    tcpreen.signal(Signal::SIGINT);
    assert_eq!(tcpreen.finish().code(), 130);
    for format in formats {
        assert_eq!(incomplete(&scratch, format, sessions), 0, "{format}");
    }
}

/// System calls of each thread of a program.
fn calls(directory: &Path) -> BTreeMap<String, Vec<String>> {
    let entries = fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path());
    let lines = |path: &Path| {
        let trace = String::from_utf8_lossy(&fs::read(path).expect("a trace")).into_owned();
        trace.lines().map(str::to_owned).collect()
    };
    entries
        .map(|path| (path.file_name().expect("a name").to_string_lossy().into_owned(), lines(&path)))
        .collect()
}

/// Counts calls, because a pause of a millisecond cannot be measured reliably: the reader sleeps only after
/// epoll has reported that there is nothing to read.
#[test]
fn the_reader_never_sleeps_while_records_wait() {
    if !needs(&[Need::Program("strace"), Need::Program("bash")]) {
        return;
    }
    let scratch = Scratch::new();
    let traces = scratch.path("traces");
    fs::create_dir(&traces).expect("a directory");
    let watched = "trace=epoll_wait,epoll_pwait,clock_nanosleep,recvmsg";
    let strace = format!("exec strace -ff -qq -e {watched} -o {}/of", traces.display());
    let echo = echo_server();
    let tcpreen = Tcpreen::to(echo.port).at_once(4).sessions(4).format("raw").output(scratch.path("record"));
    let tcpreen = tcpreen.by_shell(&format!("{strace} \"$0\" \"$@\""), "").start();
    let mut clients: Vec<_> = (0..4).map(|_| tcpreen.connect()).collect();
    for _ in 0..100 {
        clients.iter_mut().for_each(|client| client.send("request\n"));
        clients.iter_mut().for_each(|client| client.expect("request\n"));
    }
    drop(clients);
    tcpreen.finish();
    assert_eq!(scratch.record("record").matches("<<< request\n").count(), 400);

    let calls = calls(&traces);
    let is_wait = |call: &str| call.starts_with("epoll_wait(") || call.starts_with("epoll_pwait(");
    let reader = calls.values().find(|calls| calls.iter().any(|call| is_wait(call))).expect("a reader");
    let received =
        reader.iter().filter(|call| call.starts_with("recvmsg(") && !call.contains("EAGAIN")).count();
    assert!(received > 800, "{received} messages");
    let mut pauses = 0;
    for pair in reader.windows(2).filter(|pair| pair[1].starts_with("clock_nanosleep(")) {
        pauses += 1;
        let looked = is_wait(&pair[0]) && pair[0].contains(", 0") && pair[0].ends_with("= 0");
        assert!(looked, "the reader sleeps after {:?}", pair[0]);
    }
    assert!(pauses > 0, "small records are gathered");
}
