//! Too few descriptors or processes for the number of clients: they wait, no process spins, and all are
//! served later.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::ours::endurance::expect_served;
use crate::ours::endurance::shares;
use crate::support::peer::{Peer, echo_server};
use crate::support::scratch::Scratch;
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
        thread::sleep(Duration::from_millis(1500));
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
    ready_python(script, CROWDED)
}

/// A script as a process of this account, once it has printed `ready`.
fn ready_python(script: &str, account: u32) -> Child {
    let mut python = Command::new(PYTHON);
    python.args(["-c", script]).uid(account).gid(account).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = python.spawn().expect("python");
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().expect("a pipe")).read_line(&mut line).expect("a line");
    assert_eq!(line, "ready\n");
    child
}

/// Calls of one kind that a process makes within two seconds, as strace prints them, and the time that it took.
fn calls_of(pid: Pid, call: &str, scratch: &Scratch) -> (Vec<String>, Duration) {
    let trace = scratch.path(&format!("{call}-{pid}"));
    let mut strace = Command::new("strace");
    strace.args(["-e", &format!("trace={call}"), "-p", &pid.to_string(), "-o"]).arg(&trace);
    let mut strace = strace.stderr(Stdio::piped()).spawn().expect("strace");
    let mut line = String::new();
    BufReader::new(strace.stderr.take().expect("a pipe")).read_line(&mut line).expect("a line");
    assert!(line.contains("attached"), "{line}");
    let start = Instant::now();
    thread::sleep(Duration::from_secs(2));
    kill(Pid::from_raw(strace.id().cast_signed()), Signal::SIGINT).expect("kill");
    strace.wait().expect("its end");
    let trace = String::from_utf8_lossy(&fs::read(trace).expect("a trace")).into_owned();
    let calls = trace.lines().filter(|line| line.starts_with(call)).map(str::to_owned).collect();
    (calls, start.elapsed())
}

/// Number of retries in this time with this delay, of `each` calls. Two more sets may be due at the ends.
fn most(elapsed: Duration, delay: Duration, each: u128) -> usize {
    usize::try_from((elapsed.as_millis() / delay.as_millis() + 2) * each).expect("a small number")
}

#[test]
fn with_too_many_descriptors_in_flight_retries_are_delayed() {
    if !needs(&[Need::Root, Need::Program("bash"), Need::Program(PYTHON), Need::Program("strace")]) {
        return;
    }
    let (echo, scratch) = (echo_server(), Scratch::new());
    let account = CROWDED.to_string();
    let tcpreen = Tcpreen::to(echo.port).env("SUDO_UID", &account).env("SUDO_GID", &account);
    let tcpreen = tcpreen.at_once(8).by_shell("ulimit -n 256", "").start();
    expect_served(&tcpreen);
    let mut crowd = descriptors_on_their_way();
    // A session that cannot be handed over to a worker waits.
    let mut waiting = tcpreen.connect();
    waiting.send("hello");
    let (calls, elapsed) = calls_of(tcpreen.pid(), "sendmsg", &scratch);
    let refused = calls.iter().filter(|call| call.contains("ETOOMANYREFS")).count();
    let limit = most(elapsed, Duration::from_millis(20), 1);
    assert!((1..=limit).contains(&refused), "{refused} attempts in {elapsed:?}");
    // Workers that replace the idle ones cannot be sent: each exits, which must not end the delay.
    for worker in tcpreen.all_roles().remove("worker").unwrap_or_default() {
        let _ = kill(worker, Signal::SIGKILL);
    }
    tcpreen.stderr_line("Process creation: Too many references");
    let (forks, elapsed) = calls_of(tcpreen.role("zygote"), "clone", &scratch);
    let limit = most(elapsed, Duration::from_millis(500), 5);
    assert!((1..=limit).contains(&forks.len()), "{} forks in {elapsed:?}", forks.len());
    drop(crowd.stdin.take());
    crowd.wait().expect("the end of it");
    waiting.expect("hello");
    drop(waiting);
    expect_served(&tcpreen);
}

/// Accounts that only these tests use, one each, so that all processes of theirs are the test's.
const STARVED: [u32; 2] = [4333, 4334];

/// A process with more threads than the account may have processes; it ends with its standard input.
fn many_threads(account: u32) -> Child {
    let script = "import os, sys, threading\n\
                  for _ in range(20):\n    \
                      threading.Thread(target=threading.Event().wait, daemon=True).start()\n\
                  print('ready', flush=True)\n\
                  sys.stdin.read()\n\
                  os._exit(0)\n";
    ready_python(script, account)
}

/// A bridge to a server by name; `trace` gets the forks of its processes.
fn by_name(account: u32, port: u16, trace: &Path) -> Tcpreen {
    let account = account.to_string();
    let strace =
        format!("ulimit -u 16\nexec strace -f -qq -o {} -e trace=clone \"$0\" \"$@\"", trace.display());
    let tcpreen = Tcpreen::to(port).host("localhost").sessions(1).by_shell(&strace, "");
    tcpreen.env("SUDO_UID", &account).env("SUDO_GID", &account)
}

/// Forks that failed.
fn refused(trace: &Path) -> usize {
    fs::read_to_string(trace).unwrap_or_default().matches("EAGAIN").count()
}

const BY_NAME: [Need; 4] =
    [Need::Root, Need::Program("bash"), Need::Program(PYTHON), Need::Program("strace")];

#[test]
fn a_lookup_at_the_start_waits_for_a_process() {
    if !needs(&BY_NAME) {
        return;
    }
    let (echo, scratch) = (echo_server(), Scratch::new());
    let trace = scratch.path("trace");
    let mut crowd = many_threads(STARVED[0]);
    let mut tcpreen = by_name(STARVED[0], echo.port, &trace).spawn();
    until("a second attempt", || (refused(&trace) >= 2).then_some(()));
    drop(crowd.stdin.take());
    crowd.wait().expect("its end");
    tcpreen.listens();
    expect_served(&tcpreen);
    assert_eq!(tcpreen.finish().code(), 0);
}

#[test]
fn a_lookup_at_the_start_without_a_process_is_an_error_with_the_limit() {
    if !needs(&BY_NAME) {
        return;
    }
    let scratch = Scratch::new();
    let trace = scratch.path("trace");
    let mut crowd = many_threads(STARVED[1]);
    let outcome = by_name(STARVED[1], 9, &trace).run();
    assert_eq!(outcome.code(), 71, "{outcome:?}");
    let text = "localhost port 9: no process for the lookup: Resource temporarily unavailable: \
                this user may have 16 processes and threads (ulimit -u)";
    assert!(outcome.stderr.contains(text), "{outcome:?}");
    // For five seconds, every 50 milliseconds.
    assert!((2..=102).contains(&refused(&trace)), "{} attempts", refused(&trace));
    drop(crowd.stdin.take());
    crowd.wait().expect("its end");
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
    let start = Instant::now();
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
