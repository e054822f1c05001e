//! Files of Unix sockets: rules that 1.4.4 does not have.

use crate::compat::modes::socket_files::at;
use crate::compat::modes::socket_files::is_served;
use crate::compat::modes::socket_files::started;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use nix::sys::signal::Signal;

use crate::support::nobody;
use crate::support::peer::echo_server;
use crate::support::scratch::Scratch;
use crate::support::skip::{Need, needs};

#[test]
fn it_belongs_to_the_user_who_serves() {
    if !needs(&[Need::Root]) {
        return;
    }
    let scratch = Scratch::new();
    let path = scratch.path("clients");
    let _tcpreen = started(at(&path, 80).args(["-u", "nobody"]));
    assert_eq!(fs::metadata(&path).expect("a socket").uid(), nobody().0.as_raw());
}

#[test]
fn a_socket_in_a_root_directory_is_created_by_root_and_replaced_by_the_next_start() {
    if !needs(&[Need::Root]) {
        return;
    }
    let scratch = Scratch::new();
    let echo = echo_server();
    let directory = scratch.path("of-root");
    fs::create_dir(&directory).expect("mkdir");
    // The serving user may not even enter it.
    fs::set_permissions(&directory, PermissionsExt::from_mode(0o700)).expect("chmod");
    let path = directory.join("clients");
    for _ in 0..2 {
        let tcpreen = started(at(&path, echo.port).args(["-u", "nobody"]));
        assert_eq!(fs::metadata(&path).expect("a socket").uid(), 0);
        is_served(&path);
        tcpreen.signal(Signal::SIGTERM);
        assert_eq!(tcpreen.finish().code(), 143);
        assert!(path.exists(), "who serves may not remove it");
    }
}

#[test]
fn a_failure_after_it_was_made_removes_it() {
    let scratch = Scratch::new();
    let path = scratch.path("clients");
    assert_eq!(at(&path, 80).output("/dev/null/record").run().code(), 73);
    assert!(!path.exists());
}
