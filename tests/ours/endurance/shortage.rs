//! Too few descriptors or processes for the number of clients: they wait, no process spins, and all are
//! served later.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};

use crate::ours::endurance::expect_served;
use crate::ours::endurance::shares;
use crate::support::peer::{Peer, echo_server};
use crate::support::skip::{Need, PYTHON, long, needs};
use crate::support::tcpreen::{Running, Tcpreen};
use crate::support::wait::until;

/// Connects a crowd while every place is taken; then frees the places.
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
            // A full queue does not answer.
            if let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(5)) {
                waiting.push(stream);
            }
            // Some stay, most leave again at once.
            if number % 4 != 0 || waiting.len() > queue {
                waiting.pop();
            }
        }
        // They wait, and no process may be busy meanwhile.
        std::thread::sleep(Duration::from_millis(1500));
    });
    for (role, share) in &shares {
        assert!(*share < 0.5, "{role} takes {share:.2} of a processor: {shares:?}");
    }
    drop(served);
    // Clients that have left are still queued before this one.
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
    if !needs(&[Need::Program("bash")]) {
        return;
    }
    let echo = echo_server();
    let tcpreen = Tcpreen::to(echo.port).at_once(100).by_shell("ulimit -n 64", "").start();
    crowded(tcpreen, 1, 200);
}

#[test]
fn with_few_processes_a_crowd_waits_and_nothing_spins() {
    if !needs(&[Need::Root, Need::Program("bash")]) {
        return;
    }
    let echo = echo_server();
    let tcpreen = Tcpreen::to(echo.port).env("SUDO_UID", "4331").env("SUDO_GID", "4331");
    let tcpreen = tcpreen.at_once(50).by_shell("ulimit -u 16", "").start();
    crowded(tcpreen, 12, 20);
}

/// An account that only these tests use, so that all its descriptors in flight are theirs.
const CROWDED: u32 = 4332;

/// A process of [`CROWDED`] that keeps a thousand descriptors in flight between two sockets.
fn descriptors_on_their_way() -> Child {
    let script = "import array, socket, sys\n\
                  pairs = [socket.socketpair() for _ in range(4)]\n\
                  for one, other in pairs:\n    \
                      one.sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [0] * 250))])\n\
                  print('ready', flush=True)\n\
                  sys.stdin.read()\n";
    let mut python = Command::new(PYTHON);
    python.args(["-c", script]).uid(CROWDED).gid(CROWDED).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = python.spawn().expect("python");
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().expect("a pipe")).read_line(&mut line).expect("a line");
    assert_eq!(line, "ready\n");
    child
}

#[test]
fn with_too_many_descriptors_in_flight_retries_are_delayed() {
    if !needs(&[Need::Root, Need::Program("bash"), Need::Program(PYTHON)]) {
        return;
    }
    let echo = echo_server();
    let account = CROWDED.to_string();
    let tcpreen = Tcpreen::to(echo.port).env("SUDO_UID", &account).env("SUDO_GID", &account);
    let tcpreen = tcpreen.at_once(8).by_shell("ulimit -n 256", "").start();
    expect_served(&tcpreen);
    let mut crowd = descriptors_on_their_way();
    // A session that cannot be handed over waits; replacement workers cannot be sent.
    let mut waiting = tcpreen.connect();
    waiting.send("hello");
    for worker in tcpreen.all_roles().remove("worker").unwrap_or_default() {
        let _ = kill(worker, Signal::SIGKILL);
    }
    tcpreen.stderr_line("Process creation: Too many references");
    let shares = shares(&tcpreen, || std::thread::sleep(Duration::from_secs(3)));
    for (role, share) in &shares {
        assert!(*share < 0.3, "{role} takes {share:.2} of a processor: {shares:?}");
    }
    drop(crowd.stdin.take());
    crowd.wait().expect("the end of it");
    waiting.expect("hello");
    drop(waiting);
    expect_served(&tcpreen);
    tcpreen.signal(Signal::SIGTERM);
    let outcome = tcpreen.finish();
    let more = outcome.stderr.lines().filter(|line| line.contains("Too many references"));
    let more = more.filter_map(|line| line.rsplit_once(" (")?.1.strip_suffix(" more)")?.parse::<u32>().ok());
    let attempts: u32 = more.sum();
    assert!(attempts < 100, "{attempts} attempts in about four seconds: {outcome:?}");
}

#[test]
fn killed_idle_workers_are_replaced_after_a_delay() {
    if !needs(&[Need::Root]) {
        return;
    }
    let echo = echo_server();
    let tcpreen = Tcpreen::to(echo.port).at_once(4).start();
    expect_served(&tcpreen);
    // Like a system that lets none of them live.
    let start = std::time::Instant::now();
    let mut killed = 0;
    while start.elapsed() < Duration::from_secs(2) {
        for worker in tcpreen.roles().remove("worker").unwrap_or_default() {
            killed += u32::from(kill(worker, Signal::SIGKILL).is_ok());
        }
    }
    assert!((1..=60).contains(&killed), "{killed} workers in two seconds");
    until("a worker that may live", || tcpreen.roles().remove("worker"));
    expect_served(&tcpreen);
    tcpreen.stderr_line("ended before it had a session");
}
