//! The file of a Unix listener: its owner, and that no other file is ever lost.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use nix::sys::signal::Signal;

use crate::support::leftovers::Leftovers;
use crate::support::peer::echo_server;
use crate::support::scratch::Scratch;
use crate::support::tcpreen::{Running, Tcpreen};
use crate::support::under_test::{is_original, known_to_fail_on_original};
use crate::support::unix::connect_to;

pub(crate) fn at(path: &Path, server: u16) -> Tcpreen {
    Tcpreen::to(server).args(["-p", "tcp/unix"]).listen_on("").local_port(path.display())
}

pub(crate) fn started(tcpreen: Tcpreen) -> Running {
    let running = tcpreen.spawn();
    running.stderr_line("Listening on: ");
    running
}

#[track_caller]
pub(crate) fn is_served(path: &Path) {
    let mut client = connect_to(path);
    client.send("hello");
    client.expect("hello");
}

/// Expects the start to fail because of the file at `path`.
#[track_caller]
fn is_in_use(path: &Path) {
    let outcome = at(path, 80).run();
    let message = format!("port {}: Address already in use", path.display());
    assert!(outcome.stderr.contains(&message), "{outcome:?}");
    assert_eq!(outcome.code(), if is_original() { 0 } else { 69 });
}

#[test]
fn the_mode_of_the_pidfile_follows_the_umask() {
    for (umask, mode) in [("000", 0o777), ("027", 0o750), ("077", 0o700)] {
        let scratch = Scratch::new();
        let path = scratch.path("clients");
        let _tcpreen = started(at(&path, 80).by_shell(&format!("umask {umask}"), ""));
        assert_eq!(fs::metadata(&path).expect("a socket").mode() & 0o7777, mode, "{umask}");
    }
}

#[test]
fn it_is_gone_after_the_last_session() {
    let scratch = Scratch::new();
    let path = scratch.path("clients");
    let echo = echo_server();
    let tcpreen = started(at(&path, echo.port).sessions(1));
    is_served(&path);
    assert_eq!(tcpreen.finish().code(), 0);
    assert!(!path.exists());
}

#[test]
fn it_is_gone_after_a_signal() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let scratch = Scratch::new();
        let path = scratch.path("clients");
        let mut tcpreen = started(at(&path, 80));
        assert!(path.exists());
        tcpreen.signal(signal);
        tcpreen.wait();
        assert!(!path.exists(), "{signal}");
    }
}

#[test]
fn a_relative_path_is_that_of_the_start() {
    let scratch = Scratch::new();
    let echo = echo_server();
    let tcpreen = Tcpreen::to(echo.port).args(["-p", "tcp/unix"]).listen_on("").local_port("clients");
    let change = format!("cd '{}'", scratch.path("").display());
    let mut tcpreen = started(tcpreen.by_shell(&change, ""));
    is_served(&scratch.path("clients"));
    tcpreen.signal(Signal::SIGTERM);
    tcpreen.wait();
    assert!(!scratch.path("clients").exists());
}

#[test]
fn a_stale_socket_is_replaced() {
    known_to_fail_on_original("to it any file is an address in use", || {
        let scratch = Scratch::new();
        let path = scratch.path("clients");
        drop(UnixListener::bind(&path).expect("a socket"));
        fs::set_permissions(&path, PermissionsExt::from_mode(0o777)).expect("chmod");
        let echo = echo_server();
        let tcpreen = started(at(&path, echo.port).sessions(1));
        is_served(&path);
        assert_eq!(tcpreen.finish().code(), 0);
    });
}

#[test]
fn the_socket_of_a_killed_bridge_is_replaced() {
    known_to_fail_on_original("to it any file is an address in use", || {
        let scratch = Scratch::new();
        let path = scratch.path("clients");
        let mut killed = started(at(&path, 80));
        let _leftovers = Leftovers::of(killed.pid());
        killed.signal(Signal::SIGKILL);
        killed.wait();
        drop(killed);
        assert!(path.exists());
        let echo = echo_server();
        let _tcpreen = started(at(&path, echo.port));
        is_served(&path);
    });
}

/// 6.2: a second start removes the socket of the first.
#[test]
fn a_socket_in_use_is_an_error_and_stays_in_use() {
    known_to_fail_on_original("it unlinks what it could not bind to", || {
        let scratch = Scratch::new();
        let path = scratch.path("clients");
        let echo = echo_server();
        let _tcpreen = started(at(&path, echo.port));
        is_in_use(&path);
        is_served(&path);
    });
}

/// 6.2: any existing file is removed.
#[test]
fn a_file_that_is_no_socket_is_an_error_and_stays_as_it_is() {
    known_to_fail_on_original("it unlinks what it could not bind to", || {
        let scratch = Scratch::new();
        let path = scratch.path("precious");
        fs::write(&path, "content").expect("a file");
        is_in_use(&path);
        assert_eq!(fs::read_to_string(&path).expect("the file"), "content");
    });
}

#[test]
fn a_link_is_an_error_and_stays_with_what_it_leads_to() {
    known_to_fail_on_original("it unlinks what it could not bind to", || {
        let scratch = Scratch::new();
        let stale = scratch.path("stale");
        drop(UnixListener::bind(&stale).expect("a socket"));
        for target in ["missing", "stale"] {
            let link = scratch.path("link");
            symlink(scratch.path(target), &link).expect("a link");
            is_in_use(&link);
            assert_eq!(fs::read_link(&link).expect("the link"), scratch.path(target));
            fs::remove_file(&link).expect("unlink");
        }
        assert!(fs::metadata(&stale).expect("the socket").file_type().is_socket());
    });
}

#[test]
fn a_directory_is_an_error() {
    let scratch = Scratch::new();
    let path = scratch.path("directory");
    fs::create_dir(&path).expect("mkdir");
    is_in_use(&path);
    assert!(path.is_dir());
}

#[test]
fn a_file_that_took_its_place_is_not_removed_at_the_end() {
    known_to_fail_on_original("it unlinks the path, whatever is there", || {
        for signal in [Signal::SIGTERM, Signal::SIGINT] {
            let scratch = Scratch::new();
            let path = scratch.path("clients");
            let mut tcpreen = started(at(&path, 80));
            fs::remove_file(&path).expect("unlink");
            fs::write(&path, "precious").expect("another file");
            fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).expect("chmod");
            tcpreen.signal(signal);
            tcpreen.wait();
            let content = fs::read_to_string(&path);
            assert_eq!(content.expect("only our own socket is ours to remove"), "precious");
        }
    });
}
