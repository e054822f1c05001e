//! Many sessions, many failures, processes that are killed or stopped, and shortages: nothing is leaked,
//! nothing spins, and unaffected sessions continue. `TCPREEN_LONG=1` runs thousands of sessions.

pub(crate) mod shortage;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::hostile;
use crate::support::leftovers::Leftovers;
use crate::support::payload::Payload;
use crate::support::peer::{Peer, Refusing, Server, Service, echo_server};
use crate::support::proc;
use crate::support::record::read_labelled_c;
use crate::support::role::{Role, prepare};
use crate::support::scratch::Scratch;
use crate::support::skip::{Need, long, needs};
use crate::support::tcpreen::{Running, Tcpreen};
use crate::support::under_test::binary;
use crate::support::wait::{until, within};
use tcpreen::messages::{Reaping, ToLogger, ToResolver, ToZygote, WorkersNeed};

/// Roles that live as long as the bridge.
const LASTING: [&str; 4] = ["parent", "logger", "resolver", "zygote"];

/// Resources of a role: descriptors, memory, children.
#[derive(Clone, Copy, Debug)]
struct Holdings {
    descriptors: usize,
    memory: u64,
}

fn holdings(tcpreen: &Running) -> BTreeMap<&'static str, Holdings> {
    let of = |role: &str| {
        let pid = tcpreen.role(role);
        let memory = proc::status(pid).expect("a process").memory();
        Holdings { descriptors: proc::descriptors(pid).len(), memory }
    };
    LASTING.iter().map(|role| (*role, of(role))).collect()
}

/// Waits until no role holds more than before, except for memory within 4 MiB.
#[track_caller]
fn expect_as_before(tcpreen: &Running, before: &BTreeMap<&'static str, Holdings>) {
    let idle = || tcpreen.roles().get("worker").is_none_or(|workers| workers.len() <= 6).then_some(());
    until("the end of the workers", idle);
    let spare = |role: &str| if role == "parent" { 6 } else { 0 };
    let mut last = String::new();
    let started = Instant::now();
    let settled = || {
        let now = holdings(tcpreen);
        last = format!("{now:?} after {before:?}");
        let fewer = now.iter().all(|(role, held)| {
            let old = before[role];
            held.descriptors <= old.descriptors + spare(role) && held.memory <= old.memory + (4 << 20)
        });
        (fewer || started.elapsed() > Duration::from_secs(8)).then_some(fewer)
    };
    assert!(until("holdings as before", settled), "{last}");
}

/// A server whose behaviour the first byte selects.
fn obedient_server() -> Service<()> {
    Server::listen().serve(|mut peer: Peer| match peer.words_within(Duration::from_secs(20)).as_deref() {
        Some(b"reset") => peer.reset(),
        Some(b"close") | None => drop(peer),
        Some(b"half") => {
            peer.send("half");
            peer.finish();
            hear_out(peer);
        }
        Some(_) => {
            peer.send("echo");
            hear_out(peer);
        }
    })
}

/// Reads to the end of the connection, in whatever way it ends.
fn hear_out(mut peer: Peer) {
    while peer.words_within(Duration::from_secs(20)).is_some() {}
}

/// Bridges for failing sessions. Only clients that stay silent use the one with the short time-out: on a busy
/// machine any other would seem silent to it.
struct Bridges {
    patient: Running,
    hasty: Running,
}

/// Runs one session that fails in a way selected by its number.
fn misadventure(Bridges { patient, hasty }: &Bridges, number: usize) {
    let way = number % 8;
    let mut client = if way == 7 { hasty.connect() } else { patient.connect() };
    match way {
        // Closed before the server has been reached, or has answered.
        0 => client.reset(),
        1 => drop(client),
        2 => {
            client.send("reset");
            client.expect_hang_up();
        }
        3 => {
            client.send("close");
            client.expect_hang_up();
        }
        4 => {
            client.send("half");
            client.expect("half");
            client.expect_end();
        }
        5 => {
            client.send("echo");
            client.expect("echo");
            client.finish();
            client.expect_end();
        }
        6 => {
            client.send("echo");
            client.expect("echo");
            client.reset();
        }
        // Silent until the time-out.
        _ => client.expect_hang_up(),
    }
}

/// Kills a worker at an arbitrary point of its session.
fn kill_a_worker(tcpreen: &Running) {
    if let Some(worker) = tcpreen.roles().get("worker").and_then(|workers| workers.first()) {
        let _ = kill(*worker, Signal::SIGKILL);
    }
}

#[test]
fn sessions_that_fail_at_every_step_leave_nothing_behind() {
    if !needs(&[Need::Root]) {
        return;
    }
    let total = if long() { 10_000 } else { 240 };
    let server = obedient_server();
    let bridge = |options: &[&str]| Tcpreen::to(server.port).args(options).at_once(16).start();
    let bridges = Bridges { patient: bridge(&[]), hasty: bridge(&["--idle-timeout", "100ms"]) };
    // Loads and allocates what is needed once.
    (0..32).for_each(|number| misadventure(&bridges, number));
    let before = [&bridges.patient, &bridges.hasty].map(|tcpreen| (tcpreen, holdings(tcpreen)));
    let expect_all_as_before =
        || before.iter().for_each(|(tcpreen, before)| expect_as_before(tcpreen, before));
    thread::scope(|scope| {
        for part in 0..8 {
            let bridges = &bridges;
            scope
                .spawn(move || (part..total).step_by(8).for_each(|number| misadventure(bridges, number / 8)));
        }
    });
    expect_all_as_before();
    for _ in 0..total / 40 {
        let mut client = bridges.patient.connect();
        client.send("echo");
        kill_a_worker(&bridges.patient);
        let _ = client.words_within(Duration::from_secs(5));
    }
    expect_all_as_before();
}

#[test]
fn a_server_that_refuses_leaves_nothing_behind() {
    if !needs(&[Need::Root]) {
        return;
    }
    let refusing = Refusing::new();
    let tcpreen = Tcpreen::to(refusing.port()).at_once(16).start();
    (0..16).for_each(|_| tcpreen.expect_refusal());
    let before = holdings(&tcpreen);
    (0..if long() { 2000 } else { 150 }).for_each(|_| tcpreen.expect_refusal());
    expect_as_before(&tcpreen, &before);
}

/// Number of concurrent sessions that this machine's limits allow for test and program.
fn as_many_as(wanted: u64) -> u64 {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("a limit");
    let possible = hard.saturating_sub(500) / 4;
    if possible < wanted {
        eprintln!("only {possible} sessions at once: the limit of descriptors is {hard}");
    }
    wanted.min(possible)
}

#[test]
fn sessions_held_at_once_are_exact_and_confined() {
    if !needs(&[Need::Root]) {
        return;
    }
    let count = as_many_as(if long() { 2000 } else { 100 });
    let echo = echo_server();
    let tcpreen = Tcpreen::to(echo.port).at_once(count as u32).start();
    let mut clients: Vec<Peer> = (0..count).map(|_| tcpreen.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(format!("first {number:06}"));
        client.expect(format!("first {number:06}"));
    }
    let roles = tcpreen.roles();
    let workers = &roles["worker"];
    assert!(workers.len() as u64 >= count, "{} workers", workers.len());
    for pid in workers {
        let status = proc::status(*pid).expect("a worker");
        assert_eq!((status.get("Seccomp"), status.get("NoNewPrivs")), ("2", "1"));
        assert!(!status.ids("Uid").contains(&0));
        assert_eq!(status.get("CapEff"), "0000000000000000");
    }
    // A sample with more than one record each.
    for (number, client) in clients.iter_mut().enumerate().step_by(17) {
        let words = format!("again {number:06} ").repeat(2000);
        client.send(&words);
        client.expect(&words);
    }
}

/// Sessions in progress whose bytes are discarded.
fn under_load(tcpreen: &Running) -> Vec<thread::JoinHandle<()>> {
    let clients: Vec<Peer> = (0..8).map(|_| tcpreen.connect()).collect();
    let all = clients.into_iter().enumerate();
    all.map(|(seed, client)| {
        thread::spawn(move || drop(client.exchange(Payload::new(seed as u64 + 1, 1 << 30))))
    })
    .collect()
}

fn killed_under_load(role: &str) {
    if !needs(&[Need::Root]) {
        return;
    }
    let scratch = Scratch::new();
    let sink = Server::listen().serve(hear_out);
    let mut tcpreen = Tcpreen::to(sink.port).format("C").output(scratch.path("record")).at_once(8).start();
    let clients = under_load(&tcpreen);
    let grown = || (scratch.open_record("record").metadata().ok()?.len() > 4 << 20).then_some(());
    until("a record that grows", grown);
    let processes = Leftovers::of(tcpreen.pid());
    kill(tcpreen.role(role), Signal::SIGKILL).expect("kill");
    let status = tcpreen.wait();
    assert!(!status.success(), "{status}");
    until("the end of all processes", || processes.are_gone().then_some(()));
    clients.into_iter().for_each(|client| client.join().expect("no panic"));
    if role != "logger" {
        // Complete lines, and nothing but sent bytes: the record is correct up to its end.
        let sessions = read_labelled_c(scratch.open_record("record"));
        assert_eq!(sessions.len(), 8, "sessions in the record");
    }
}

#[test]
fn a_parent_killed_under_load_ends_every_process() {
    killed_under_load("parent");
}

#[test]
fn a_logger_killed_under_load_ends_every_process() {
    killed_under_load("logger");
}

#[test]
fn a_resolver_killed_under_load_costs_no_session() {
    let scratch = Scratch::new();
    let sink = Server::listen().serve(hear_out);
    let tcpreen = Tcpreen::to(sink.port).with_names().format("C").output(scratch.path("record"));
    let tcpreen = tcpreen.at_once(8).start();
    let clients = under_load(&tcpreen);
    let grown = |bytes| (scratch.open_record("record").metadata().ok()?.len() > bytes).then_some(());
    until("a record that grows", || grown(4 << 20));
    kill(tcpreen.role("resolver"), Signal::SIGKILL).expect("kill");
    tcpreen.stderr_line("lost the resolver (killed by signal 9, Killed)");
    let length = scratch.open_record("record").metadata().expect("a file").len();
    until("a record that goes on growing", || grown(length + (4 << 20)));
    kill(tcpreen.pid(), Signal::SIGTERM).expect("kill");
    assert_eq!(tcpreen.finish().code(), 128 + Signal::SIGTERM as i32);
    clients.into_iter().for_each(|client| client.join().expect("no panic"));
    assert_eq!(read_labelled_c(scratch.open_record("record")).len(), 8, "sessions in the record");
}

#[test]
fn a_zygote_killed_under_load_ends_every_process() {
    killed_under_load("zygote");
}

#[test]
fn a_role_that_is_stopped_and_continued_has_lost_nothing() {
    if !needs(&[Need::Root]) {
        return;
    }
    // With a time-out, the kernel restarts poll with a call that no role makes itself.
    for options in [&[][..], &["--idle-timeout", "1h", "--connect-timeout", "1h"]] {
        let echo = echo_server();
        let tcpreen = Tcpreen::to(echo.port).args(options).with_names().at_once(10).start();
        let mut client = tcpreen.connect();
        let mut exchange = |words: &str| {
            client.send(words);
            client.expect(words);
        };
        exchange("before");
        let worker = tcpreen.busy_worker();
        let lasting = LASTING.iter().map(|role| tcpreen.role(role));
        for pid in lasting.chain([worker]) {
            for _ in 0..3 {
                let state = |letter| proc::status(pid).is_some_and(|it| it.get("State").starts_with(letter));
                kill(pid, Signal::SIGSTOP).expect("kill");
                until("a stop", || state('T').then_some(()));
                kill(pid, Signal::SIGCONT).expect("kill");
                until("going on", || (!state('T')).then_some(()));
            }
            exchange("afterwards");
            let mut next = tcpreen.connect();
            next.send("hello");
            next.expect("hello");
        }
    }
}

#[test]
fn the_end_of_the_channel_alone_ends_every_role() {
    if !needs(&[Need::Program("setpriv")]) {
        return;
    }
    // The test is the parent, and survives.
    let (zygote, resolver) = (Role::start("zygote"), Role::start("resolver"));
    let workers = WorkersNeed { tcp_info: false, descriptors: false };
    zygote.send(&ToZygote::Prepare { prepare: prepare(), reaping: Reaping::AtOnce, workers });
    resolver.send(&ToResolver::Prepare(prepare()));
    zygote.expect_ready();
    resolver.expect_ready();
    zygote.send(&ToZygote::Fork(1));
    let (_, worker) = zygote.says().expect("a worker");
    let started = Instant::now();
    drop(worker);
    assert!(zygote.says().is_some(), "the worker ended");
    zygote.hang_up();
    resolver.hang_up();
    assert_eq!((zygote.end(), resolver.end()), (0, 0));
    assert!(started.elapsed() < Duration::from_secs(1));
    // For the logger see `attack/on_the_logger.rs`, which also checks its records.
    let logger: Role<ToLogger> = Role::start("logger");
    logger.hang_up();
    assert_eq!(logger.end(), 70);
}

#[test]
fn the_death_of_the_parent_alone_ends_every_role() {
    if !needs(&[Need::Root]) {
        return;
    }
    let echo = echo_server();
    let tcpreen = Tcpreen::to(echo.port).with_names().at_once(4).start();
    let mut client = tcpreen.connect();
    client.send("hello");
    client.expect("hello");
    // Copies of all descriptors of the parent: no channel ends with it.
    let held: Vec<OwnedFd> =
        proc::descriptors(tcpreen.pid()).into_keys().map(|fd| hostile::steal(tcpreen.pid(), fd)).collect();
    let processes = Leftovers::of(tcpreen.pid());
    kill(tcpreen.pid(), Signal::SIGKILL).expect("kill");
    let limit = Duration::from_millis(1300);

    within(limit, "the end of all processes", || processes.are_gone().then_some(()));
    assert!(held.iter().all(|fd| nix::sys::stat::fstat(fd.as_fd()).is_ok()));
}

/// The test build of the program, and the release build if there is one.
fn builds() -> Vec<PathBuf> {
    let release = binary().parent().and_then(|it| it.parent()).map(|it| it.join("release/tcpreen"));
    [Some(binary()), release].into_iter().flatten().filter(|path| path.exists()).collect()
}

#[test]
fn sessions_are_served_with_every_heap_setting() {
    let environments = [
        ("MALLOC_ARENA_MAX", "1"),
        ("MALLOC_PERTURB_", "170"),
        ("MALLOC_TOP_PAD_", "0"),
        (
            "GLIBC_TUNABLES",
            "glibc.malloc.perturb=85:glibc.malloc.tcache_count=0:glibc.malloc.mmap_threshold=4096",
        ),
        ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1:glibc.malloc.arena_max=1:glibc.malloc.trim_threshold=0"),
    ];
    for (program, (name, value)) in builds().iter().flat_map(|it| environments.map(|pair| (it, pair))) {
        let scratch = Scratch::new();
        let copy = scratch.executable(program, "tcpreen", 0o755);
        let echo = echo_server();
        let tcpreen =
            Tcpreen::to(echo.port).binary(copy).env(name, value).with_names().sessions(3).at_once(2);
        let tcpreen =
            tcpreen.format("C").output(scratch.path("C")).format("hex").output(scratch.path("%n")).start();
        let words = "words ".repeat(20_000);
        for _ in 0..3 {
            let mut client = tcpreen.connect();
            client.send(&words);
            client.expect(&words);
        }
        let outcome = tcpreen.finish();
        assert_eq!(outcome.code(), 0, "{name}={value}: {outcome:?}");
        assert!(scratch.path("3").exists());
    }
}

/// Waits until the bridge serves, as evidence of its descriptors.
#[track_caller]
pub(crate) fn expect_served(tcpreen: &Running) {
    let mut client = tcpreen.connect();
    client.send("hello");
    client.expect("hello");
}

/// Processor share of each process of the bridge during an action.
pub(crate) fn shares(tcpreen: &Running, meanwhile: impl FnOnce()) -> BTreeMap<String, f64> {
    let times =
        |pids: &[(String, Pid)]| -> Vec<Duration> { pids.iter().map(|(_, pid)| proc::cpu(*pid)).collect() };
    let pids: Vec<(String, Pid)> =
        LASTING.iter().map(|role| (role.to_string(), tcpreen.role(role))).collect();
    let (before, started) = (times(&pids), Instant::now());
    meanwhile();
    let elapsed = started.elapsed().as_secs_f64();
    let used =
        times(&pids).into_iter().zip(before).map(|(now, before)| (now - before).as_secs_f64() / elapsed);
    pids.into_iter().map(|(role, _)| role).zip(used).collect()
}
