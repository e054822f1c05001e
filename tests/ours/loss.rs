//! Lost processes: kill -9 of each role.

use crate::compat::loss::all_gone;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::support::peer::{Server, echo_server};
use crate::support::scratch::Scratch;
use crate::support::skip::{Need, needs};
use crate::support::tcpreen::Tcpreen;
use crate::support::terminal;
use crate::support::wait::within;
use crate::support::{Bridged, bridge, proc};

fn kill_9(pid: Pid) {
    nix::sys::signal::kill(pid, Signal::SIGKILL).expect("kill");
}

#[test]
fn a_killed_worker_ends_its_session_with_a_note_in_the_record() {
    if !needs(&[Need::Root]) {
        return; // Only root may look into our processes for the one to kill.
    }
    let Bridged { mut client, mut server, tcpreen } = bridge(|it| it.args(["-v"]));
    client.send("before");
    server.expect("before");
    kill_9(tcpreen.busy_worker());
    client.expect_hang_up();
    server.expect_hang_up();
    let stdout = tcpreen.stdout_with("End of transmission.\n");
    assert!(stdout.contains("<<< before\n"), "{stdout}");
    assert!(stdout.contains("signal 9"), "{stdout}");
}

/// Errors are printed with `-q`, too.
#[test]
fn a_killed_worker_is_an_error() {
    if !needs(&[Need::Root]) {
        return;
    }
    let Bridged { mut client, mut server, tcpreen } = bridge(|it| it.args(["-q"]).sessions(1));
    client.send("words");
    server.expect("words");
    kill_9(tcpreen.busy_worker());
    let outcome = tcpreen.finish();
    assert_eq!(outcome.code(), 70, "{outcome:?}");
    assert!(outcome.stderr.contains("killed by signal 9"), "{outcome:?}");
}

/// Whichever of the requested sessions it was.
#[test]
fn a_killed_session_sets_the_exit_status() {
    if !needs(&[Need::Root]) {
        return;
    }
    for killed in [1, 2] {
        let echo = echo_server();
        let tcpreen = Tcpreen::to(echo.port).sessions(2).start();
        for session in [1, 2] {
            let mut client = tcpreen.connect();
            client.send("words");
            client.expect("words");
            if session == killed {
                kill_9(tcpreen.busy_worker());
                client.expect_hang_up();
            } else {
                client.finish();
                client.expect_end();
            }
        }
        let outcome = tcpreen.finish();
        assert_eq!(outcome.code(), 70, "session {killed}: {outcome:?}");
    }
}

#[test]
fn a_killed_worker_ends_no_other_session() {
    if !needs(&[Need::Root]) {
        return;
    }
    let echo = echo_server();
    let tcpreen = Tcpreen::to(echo.port).at_once(2).start();
    let mut first = tcpreen.connect();
    first.send("one");
    first.expect("one");
    let worker = tcpreen.busy_worker();
    let mut second = tcpreen.connect();
    second.send("two");
    second.expect("two");
    kill_9(worker);
    first.expect_hang_up();
    second.send("still here");
    second.expect("still here");
    let mut third = tcpreen.connect();
    third.send("three");
    third.expect("three");
}

fn a_lost_role_ends_everything(role: &str) {
    let Bridged { mut client, mut server, mut tcpreen } = bridge(|it| it);
    let processes = tcpreen.processes();
    kill_9(tcpreen.role(role));
    let status = tcpreen.wait_within(Duration::from_secs(2));
    assert!(!status.success(), "{status}");
    tcpreen.stderr_line(&format!("lost the {role} (killed by signal 9, Killed)"));
    client.expect_hang_up();
    server.expect_hang_up();
    all_gone(&processes, Duration::from_secs(1));
}

#[test]
fn a_lost_logger_ends_everything() {
    a_lost_role_ends_everything("logger");
}

/// One error, and everything continues without names.
#[test]
fn a_lost_resolver_costs_only_names() {
    let Bridged { mut client, mut server, tcpreen } = bridge(|it| it.with_names().sessions(1));
    client.send("before");
    server.expect("before");
    let resolver = tcpreen.role("resolver");
    kill_9(resolver);
    tcpreen.stderr_line("lost the resolver (killed by signal 9, Killed): no name can be looked up any more");
    client.send("after");
    server.expect("after");
    within(Duration::from_secs(2), "its reaping", || proc::status(resolver).is_none().then_some(()));
    drop((client, server));
    let outcome = tcpreen.finish();
    assert_eq!(outcome.code(), 0, "{outcome:?}");
    assert_eq!(outcome.stderr.matches("resolver").count(), 1, "{outcome:?}");
    assert!(outcome.stdout().ends_with("End of transmission.\n"), "{outcome:?}");
}

/// Also with `-q`: errors are always printed.
#[test]
fn without_its_resolver_new_sessions_are_shown_as_numbers_at_once() {
    let echo = echo_server();
    let tcpreen = Tcpreen::to(echo.port).with_names().args(["-q", "-v"]).sessions(2).start();
    kill_9(tcpreen.role("resolver"));
    tcpreen.stderr_line("lost the resolver");
    for _ in 0..2 {
        let mut client = tcpreen.connect();
        client.send("words");
        client.expect("words");
        let from = format!("Connection from: 127.0.0.1 port {}\n", client.local_port());
        within(Duration::from_secs(1), "the number", || tcpreen.stdout().contains(&from).then_some(()));
    }
}

#[test]
fn a_lost_zygote_ends_everything() {
    a_lost_role_ends_everything("zygote");
}

#[test]
fn a_lost_parent_ends_everything() {
    let Bridged { mut client, mut server, tcpreen } = bridge(|it| it.args(["-v"]));
    client.send("words");
    server.expect("words");
    let processes = tcpreen.processes();
    kill_9(tcpreen.pid());
    all_gone(&processes, Duration::from_secs(1));
    client.expect_hang_up();
    server.expect_hang_up();
    tcpreen.stdout_with("<<< words\n");
}

/// Delays the parent's `number`th message from now on until it is killed.
fn hold_up(parent: Pid, number: u32) -> Child {
    let mut strace = Command::new("strace");
    strace.args(["-o", "/dev/null", "-p", &parent.to_string(), "-e", "trace=sendmsg", "-e"]);
    strace.arg(format!("inject=sendmsg:delay_enter=20s:when={number}"));
    let mut strace = strace.stderr(Stdio::piped()).spawn().expect("strace");
    let mut line = String::new();
    BufReader::new(strace.stderr.take().expect("a pipe")).read_line(&mut line).expect("a line");
    assert!(line.contains("attached"), "{line}");
    strace
}

/// Between any two messages of those that begin a session: to the worker, to the logger, to the zygote.
#[test]
fn bytes_that_a_server_got_are_recorded_whenever_the_parent_is_killed() {
    if !needs(&[Need::Root, Need::Program("strace")]) {
        return; // Only root may trace our processes.
    }
    let mut got = Vec::new();
    for number in 1..=8 {
        let (scratch, server) = (Scratch::new(), Server::listen());
        let tcpreen = Tcpreen::to(server.port()).format("raw").output(scratch.path("record")).start();
        let processes = tcpreen.processes();
        let mut strace = hold_up(tcpreen.pid(), number);
        let mut client = tcpreen.connect();
        client.send("words");
        // Long enough for a loaded machine: the last round must get them.
        let words = server.accept().words_within(Duration::from_secs(2));
        kill_9(tcpreen.pid());
        strace.wait().expect("its end");
        all_gone(&processes, Duration::from_secs(5));
        if words.is_some() {
            assert!(scratch.record("record").contains("words"), "held up at message {number}");
        }
        got.push(words.is_some());
    }
    assert_eq!([got[0], got[7]], [false, true], "the messages that begin a session: {got:?}");
}

#[test]
fn the_end_of_its_terminal_ends_it_in_order() {
    if !needs(&[Need::Program("setsid")]) {
        return; // The original exits with 0.
    }
    let scratch = Scratch::new();
    // The terminal must have no other holder: it ends when the test closes it.
    let (terminal, name) = terminal::master();
    // The suite may run below nohup.
    let leader = format!("exec env --default-signal=HUP setsid --ctty --wait \"$0\" \"$@\" <{name}");
    let Bridged { mut client, mut server, tcpreen } =
        bridge(|it| it.output(scratch.path("record")).by_shell(&leader, ""));
    client.send("words");
    server.expect("words");
    drop(terminal);
    client.expect_hang_up();
    server.expect_hang_up();
    let outcome = tcpreen.finish();
    assert_eq!(outcome.code(), 128 + Signal::SIGHUP as i32, "{outcome:?}");
    assert!(outcome.stderr.contains("Caught signal: Hangup\n"), "{outcome:?}");
    let record = scratch.record("record");
    assert!(record.contains("<<< words\nEnd of input: 5 bytes received.\n"), "{record}");
    assert!(record.ends_with("Session ended: stopped by the operator.\nEnd of transmission.\n"), "{record}");
}

/// Those of the terminal and of the operator are for the first process alone.
#[test]
fn only_the_first_process_obeys_signals() {
    let Bridged { mut client, mut server, tcpreen } = bridge(|it| it.args(["-v"]));
    let processes = tcpreen.processes();
    let signals = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGQUIT, Signal::SIGHUP, Signal::SIGUSR1];
    for signal in signals.into_iter().chain([Signal::SIGUSR2]) {
        for pid in processes.iter().filter(|pid| **pid != tcpreen.pid()) {
            nix::sys::signal::kill(*pid, signal).expect("kill");
        }
        client.send("words");
        server.expect("words");
    }
    // The only one of them that the first process ignores, too.
    tcpreen.signal(Signal::SIGUSR2);
    client.send("more");
    server.expect("more");
    assert!(processes.iter().all(|pid| proc::is_alive(*pid)), "a process took one of them for its own");
    let said = tcpreen.stderr();
    assert!(!said.contains("signal") && !said.contains("Sessions:"), "{said}");
    tcpreen.stdout_with("<<< more\n");
}

/// Any other signal from outside is the loss of that process.
#[test]
fn a_process_that_a_signal_from_outside_ends_is_lost() {
    if !needs(&[Need::Root]) {
        return;
    }
    for role in ["logger", "zygote"] {
        let Bridged { client, server, tcpreen } = bridge(|it| it);
        nix::sys::signal::kill(tcpreen.role(role), Signal::SIGALRM).expect("kill");
        let outcome = tcpreen.finish();
        assert_eq!(outcome.code(), 69, "{outcome:?}");
        let lost = format!("lost the {role} (killed by signal 14, SIGALRM)");
        assert!(outcome.stderr.contains(&lost), "{outcome:?}");
        drop((client, server));
    }
    let Bridged { mut client, server, tcpreen } = bridge(|it| it.args(["-v"]));
    nix::sys::signal::kill(tcpreen.busy_worker(), Signal::SIGALRM).expect("kill");
    client.expect_hang_up();
    tcpreen.stdout_with("Session ended abnormally: signal 14 (SIGALRM).");
    drop(server);
}
