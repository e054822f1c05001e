//! The start: notices on a terminal, what a failed one leaves, and kill -9 of the parent at every step.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::support::daemon::Daemon;
use crate::support::skip::{Need, needs};
use crate::support::tcpreen::Tcpreen;
use crate::support::terminal::{Terminal, terminal};
use crate::support::wait::until;
use crate::support::{place_of_our_own, proc};

/// Distance between two kills: every system call of the parent would take hundreds of starts.
const STRIDE: usize = 7;

/// Starts under strace, which kills only the parent at its `number`th system call. Returns whether that came
/// before it listened.
fn killed_at(daemon: &Daemon, number: usize, pipe: &Path) -> bool {
    let strace = format!("exec strace -qq -o /dev/null -e inject=all:signal=SIGKILL:when={number}");
    let tcpreen = Tcpreen::to(9).binary(daemon.path("tcpreen")).output(daemon.path("record")).output(pipe);
    let mut tcpreen = tcpreen.by_shell(&format!("{strace} \"$0\" \"$@\""), "").spawn();
    until("the kill, or the end of the start", || {
        (!tcpreen.is_running() || tcpreen.stderr().contains("Listening on")).then_some(())
    });
    let is_killed = !tcpreen.stderr().contains("Listening on");
    if is_killed {
        assert_eq!(tcpreen.finish().code(), 137);
    }
    is_killed
}

#[test]
fn no_role_outlives_a_parent_that_is_killed_at_any_step_of_the_start() {
    if !needs(&[Need::Root, Need::Program("strace")]) {
        return; // Only root may see whose program a process runs.
    }
    let daemon = Daemon::new();
    let pipe = daemon.path("pipe");
    mkfifo(&pipe, Mode::empty()).expect("mkfifo");
    fs::set_permissions(&pipe, Permissions::from_mode(0o666)).expect("chmod");
    let mut number = 1;
    while killed_at(&daemon, number, &pipe) {
        until(&format!("the end of all roles after call {number}"), || {
            let roles = daemon.processes().into_iter().filter_map(proc::role);
            (roles.filter(|role| role != proc::PARENT).count() == 0).then_some(())
        });
        number += STRIDE;
    }
    assert!(number > 100, "the start has more than {number} steps");
}

#[test]
fn on_a_terminal_that_shows_no_data_v_is_named_once() {
    for (options, times) in [(&[][..], 1), (&["-v"], 0), (&["-f", "null"], 0)] {
        let Terminal { master: _master, slave } = terminal();
        let tcpreen = Tcpreen::to(9).args(options).stdout(slave).start();
        assert_eq!(tcpreen.stderr().matches("add -v to see the data").count(), times, "{options:?}");
    }
    let tcpreen = Tcpreen::to(9).start();
    assert!(!tcpreen.stderr().contains("-v"), "no terminal");
}

#[test]
fn the_port_is_free_at_once_after_a_start_that_failed() {
    let place = place_of_our_own();
    for _ in 0..20 {
        let outcome = Tcpreen::to(9).listen_at(place).output("/nowhere/record").run();
        assert_eq!(outcome.code(), 73, "{outcome:?}");
        TcpListener::bind(place).expect("the port is free");
    }
}
