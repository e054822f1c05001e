//! The cost of a small message, in system calls: counted, because times on a busy machine say little.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use nix::libc::{SCHED_BATCH, SCHED_OTHER};
use nix::sys::signal::Signal;

use crate::support::peer::{Peer, echo_server};
use crate::support::proc;
use crate::support::scratch::Scratch;
use crate::support::skip::{Need, needs};
use crate::support::tcpreen::{Running, Tcpreen};
use crate::support::wait::until;

/// Requests of one client; their records fit into the channel of a worker.
const REQUESTS: usize = 200;

/// Calls of each thread, by name.
type Calls = Vec<BTreeMap<String, usize>>;

/// Runs under strace, which writes the calls of each thread to a file of its own in `traces`.
fn traced(tcpreen: Tcpreen, traces: &Path) -> Running {
    fs::create_dir(traces).expect("a directory");
    let strace = format!("exec strace -ff -qq -o {}/of", traces.display());
    tcpreen.by_shell(&format!("{strace} \"$0\" \"$@\""), "").start()
}

/// Counts the calls of each thread behind the first one with `start` in it; threads without one are left out.
fn calls_after(traces: &Path, start: &str) -> Calls {
    let files = fs::read_dir(traces).expect("a directory").map(|entry| entry.expect("an entry").path());
    let mut threads = Calls::new();
    for file in files {
        let trace = String::from_utf8_lossy(&fs::read(file).expect("a trace")).into_owned();
        let mut lines = trace.lines().skip_while(|line| !line.contains(start)).peekable();
        if lines.peek().is_some() {
            let mut calls = BTreeMap::new();
            for name in lines.filter_map(|line| Some(line.split_once('(')?.0)) {
                *calls.entry(name.to_owned()).or_default() += 1;
            }
            threads.push(calls);
        }
    }
    threads
}

fn of(calls: &BTreeMap<String, usize>, names: &[&str]) -> usize {
    names.iter().filter_map(|name| calls.get(*name)).sum()
}

fn ask(client: &mut Peer) {
    client.send("request\n");
    client.expect("request\n");
}

/// A wait, a read, a record and a write, in each direction; the waits of a long session are not those of poll.
#[test]
fn a_worker_makes_eight_calls_for_a_request_and_its_answer() {
    if !needs(&[Need::Program("strace"), Need::Program("bash")]) {
        return;
    }
    let scratch = Scratch::new();
    let echo = echo_server();
    let tcpreen = Tcpreen::to(echo.port).sessions(1).format("raw").output(scratch.path("record"));
    let tcpreen = traced(tcpreen, &scratch.path("traces"));
    let mut client = tcpreen.connect();
    (0..REQUESTS).for_each(|_| ask(&mut client));
    drop(client);
    assert_eq!(tcpreen.finish().code(), 0);

    let threads = calls_after(&scratch.path("traces"), "recvfrom(");
    let [worker] = threads.as_slice() else { panic!("one process receives from peers: {threads:?}") };
    let expected = 8 * REQUESTS;
    let made: usize = worker.values().sum();
    assert!((expected..expected + 32).contains(&made), "{made} calls for {REQUESTS} requests: {worker:?}");
    assert!(of(worker, &["poll", "ppoll"]) < 32, "{worker:?}");
}

/// One call for each record, and few for all of them together.
#[test]
fn records_that_wait_cost_the_logger_one_call_each() {
    if !needs(&[Need::Root, Need::Program("strace"), Need::Program("bash")]) {
        return;
    }
    let scratch = Scratch::new();
    let echo = echo_server();
    let tcpreen = Tcpreen::to(echo.port).sessions(1).format("raw").output(scratch.path("record"));
    let tcpreen = traced(tcpreen, &scratch.path("traces"));
    let logger = tcpreen.role("logger");
    let mut client = tcpreen.connect();
    ask(&mut client);
    let marker = "first request";
    client.send(marker);
    client.expect(marker);
    // Both records, so that the logger is done with them.
    until("its records", || {
        fs::read(scratch.path("record")).ok().filter(|record| times(record, marker) == 2)
    });
    nix::sys::signal::kill(logger, Signal::SIGSTOP).expect("it is there");
    (0..REQUESTS).for_each(|_| ask(&mut client));
    nix::sys::signal::kill(logger, Signal::SIGCONT).expect("it is there");
    drop(client);
    assert_eq!(tcpreen.finish().code(), 0);
    assert_eq!(scratch.record("record").matches("request\n").count(), 2 * (REQUESTS + 1));

    let threads = calls_after(&scratch.path("traces"), marker);
    let received = |calls: &BTreeMap<String, usize>| of(calls, &["recvmsg"]);
    let reader = threads.iter().max_by_key(|calls| received(calls)).expect("a reader");
    assert!(received(reader) >= 2 * REQUESTS, "{threads:?}");
    // One look at all sessions for eight records.
    let most = 2 * REQUESTS + 2 * REQUESTS / 8 + 60;
    let made: usize = reader.values().sum();
    assert!(made < most, "{made} calls for {} records: {reader:?}", 2 * REQUESTS);
}

fn times(record: &[u8], text: &str) -> usize {
    String::from_utf8_lossy(record).matches(text).count()
}

/// Logger and zygote give way to every process that runs. A session that did would make its peers wait.
#[test]
fn sessions_alone_run_when_they_have_something_to_do() {
    let echo = echo_server();
    let tcpreen = Tcpreen::to(echo.port).at_once(4).start();
    let mut client = tcpreen.connect();
    ask(&mut client);
    let policies = |role| -> Vec<u64> {
        tcpreen.all_roles().remove(role).unwrap_or_default().into_iter().map(proc::scheduling).collect()
    };
    for role in ["logger", "zygote"] {
        assert_eq!(policies(role), [SCHED_BATCH as u64], "{role}");
    }
    until("workers with the default policy", || {
        let policies = policies("worker");
        (policies.len() > 1 && policies.iter().all(|policy| *policy == SCHED_OTHER as u64)).then_some(())
    });
}
