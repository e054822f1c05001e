//! Loss of a process: it ends what depends on it, nothing else, and leaves no process.

use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::support::peer::echo_server;
use crate::support::scratch::Scratch;
use crate::support::tcpreen::Tcpreen;
use crate::support::under_test::known_to_fail_on_original;
use crate::support::wait::within;
use crate::support::{Bridged, bridge, proc};

#[track_caller]
pub(crate) fn all_gone(processes: &[Pid], limit: Duration) {
    within(limit, "the end of all processes", || {
        (!processes.iter().any(|pid| proc::is_alive(*pid))).then_some(())
    });
}

fn ends_in_order(signal: Signal, name: &str) {
    known_to_fail_on_original("it exits with 0", || {
        let scratch = Scratch::new();
        let Bridged { mut client, mut server, tcpreen } = bridge(|it| it.output(scratch.path("record")));
        client.send("words");
        server.expect("words");
        let processes = tcpreen.processes();
        tcpreen.signal(signal);
        client.expect_hang_up();
        server.expect_hang_up();
        let outcome = tcpreen.finish();
        assert_eq!(outcome.code(), 128 + signal as i32, "{outcome:?}");
        assert!(outcome.stderr.contains(&format!("Caught signal: {name}\n")), "{outcome:?}");
        all_gone(&processes, Duration::from_secs(1));
        let record = scratch.record("record");
        assert!(record.contains("<<< words\n"), "{record}");
        assert!(record.ends_with("End of transmission.\n"), "{record}");
    });
}

#[test]
fn an_interrupt_ends_it_in_order() {
    ends_in_order(Signal::SIGINT, "Interrupt");
}

#[test]
fn a_termination_ends_it_in_order() {
    ends_in_order(Signal::SIGTERM, "Terminated");
}

#[test]
fn nothing_is_left_after_the_last_session() {
    let Bridged { client, server, mut tcpreen } = bridge(|it| it.sessions(1));
    let processes = tcpreen.processes();
    drop((client, server));
    assert!(tcpreen.wait().success());
    all_gone(&processes, Duration::from_secs(1));
}

#[test]
fn an_idle_bridge_ends_at_once() {
    let echo = echo_server();
    let mut tcpreen = Tcpreen::to(echo.port).start();
    let processes = tcpreen.processes();
    tcpreen.signal(Signal::SIGTERM);
    tcpreen.wait_within(Duration::from_secs(2));
    all_gone(&processes, Duration::from_secs(1));
}

#[test]
fn children_that_end_together_are_all_replaced() {
    known_to_fail_on_original("it waits for one child at each SIGCHLD", || {
        let echo = echo_server();
        let tcpreen = Tcpreen::to(echo.port).at_once(4).start();
        for _ in 0..60 {
            let mut clients: Vec<_> = (0..4).map(|_| tcpreen.connect()).collect();
            clients.iter_mut().for_each(|client| client.send("hello"));
            clients.iter_mut().for_each(|client| client.expect("hello"));
        }
    });
}
