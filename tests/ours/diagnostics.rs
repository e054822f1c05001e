//! Bad input to options that 1.4.4 does not have.

pub(crate) mod surroundings;
pub(crate) mod usage;

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::peer::Refusing;
use crate::support::scratch::Scratch;
use crate::support::skip::{Need, needs};
use crate::support::tcpreen::Tcpreen;
use crate::support::wait::until;
use crate::support::{low_port, nobody};

#[test]
fn the_error_for_a_privileged_port_lists_three_remedies() {
    if !needs(&[Need::Root]) {
        return;
    }
    let scratch = Scratch::new();
    let tcpreen = Tcpreen::to(80).binary(scratch.copy_of_program(0o755)).account(nobody());
    let said = tcpreen.listen_at(low_port()).run().stderr;
    for way in ["start tcpreen as root", "setcap cap_net_bind_service", "systemd or inetd"] {
        assert!(said.contains(way), "{way}: {said}");
    }
}

#[test]
fn messages_are_english_in_every_locale() {
    for locale in ["de_DE.UTF-8", "C.UTF-8", "POSIX", "no such locale"] {
        let refusing = Refusing::new();
        let tcpreen = Tcpreen::to(refusing.port()).args(["-v"]).sessions(1);
        let tcpreen = tcpreen.env("LC_ALL", locale).env("LANG", locale).env("LANGUAGE", "de:fr").start();
        tcpreen.expect_refusal();
        let outcome = tcpreen.finish();
        assert!(outcome.stderr.ends_with(": Connection refused\n"), "{locale}: {outcome:?}");
    }
}

#[test]
fn outputs_that_cannot_be_created() {
    // The original finds out when a client comes.
    let scratch = Scratch::new();
    std::fs::write(scratch.path("file"), "").expect("a file");
    let cases = [
        ("missing/record", "No such file or directory"),
        ("file/record", "Not a directory"),
        (".", "Is a directory"),
        (&"n".repeat(300), "File name too long"),
    ];
    for (name, reason) in cases {
        cannot_create(&scratch.path(name), reason);
    }
}

#[test]
fn an_output_where_only_root_may_write() {
    if !needs(&[Need::Root]) {
        return;
    }
    let scratch = Scratch::new();
    let directory = scratch.path("root-only");
    std::fs::create_dir(&directory).expect("mkdir");
    std::fs::set_permissions(&directory, PermissionsExt::from_mode(0o755)).expect("chmod");
    cannot_create(&directory.join("record"), "Permission denied");
    assert!(!directory.join("record").exists());
}

#[test]
fn a_denied_output_names_the_user_the_reason_and_the_owner() {
    if !needs(&[Need::Root]) {
        return;
    }
    let scratch = Scratch::new();
    let [open, closed] = ["open", "closed"].map(|name| scratch.path(name));
    for (directory, mode) in [(&open, 0o755), (&closed, 0o700)] {
        std::fs::create_dir(directory).expect("mkdir");
        std::fs::set_permissions(directory, PermissionsExt::from_mode(mode)).expect("chmod");
    }
    std::fs::create_dir(closed.join("below")).expect("mkdir");
    std::fs::write(open.join("file"), "root's").expect("a file");
    let program = scratch.copy_of_program(0o755);
    let file = open.join("file");
    for (path, owned) in [
        (open.join("record"), &open),
        (open.join("record-%n"), &open),
        (closed.join("below/record"), &closed),
        (file.clone(), &file),
    ] {
        let owner = format!("; {} belongs to root", owned.display());
        let by = |tcpreen: Tcpreen, who: &str| {
            let outcome = tcpreen.output(&path).run();
            let words =
                format!("Log file error: Permission denied ({})\nDenied for {who}{owner}\n", path.display());
            assert!(outcome.stderr.contains(&words), "{words}: {outcome:?}");
            assert_eq!(outcome.code(), 73);
        };
        let choose = "which tcpreen became (choose another with -u)";
        by(Tcpreen::to(80).args(["-u", "nobody"]), &format!("nobody, {choose}"));
        by(Tcpreen::to(80).args(["-u", "4711"]), &format!("uid 4711, {choose}"));
        by(Tcpreen::to(80).binary(program.clone()).account(nobody()), "nobody");
    }
}

#[test]
fn the_target_user_is_reported_before_outputs_are_opened() {
    if !needs(&[Need::Root]) {
        return;
    }
    let said = Tcpreen::to(80).output("/no/such/directory/record").run().stderr;
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("Started as root: going on as ") && lines.len() == 2, "{said}");
    let quiet = Tcpreen::to(80).args(["-q"]).output("/no/such/directory/record").run().stderr;
    assert!(quiet.starts_with("Log file error: "), "{quiet}");
}

#[track_caller]
fn cannot_create(path: &Path, reason: &str) {
    let outcome = Tcpreen::to(80).output(path).run();
    assert!(outcome.stderr.contains(&format!("Log file error: {reason}")), "{outcome:?}");
    assert!(!outcome.stderr.contains("Listening on"), "{outcome:?}");
    assert!(!outcome.stderr.contains("panicked"), "{outcome:?}");
    assert_eq!(outcome.code(), 73);
}

#[test]
fn an_output_that_cannot_be_created_leaves_the_port_free() {
    let place = crate::support::place_of_our_own();
    assert_eq!(Tcpreen::to(80).listen_at(place).output("/dev/null/record").run().code(), 73);
    // A role that was being started when the parent failed has the socket open until it has executed.
    until("the port to be free", || TcpListener::bind(place).ok());
}

#[test]
fn every_client_of_an_unreachable_server_is_reported() {
    // The original may lose the child that was refused, and with it the next client.
    let refusing = Refusing::new();
    let tcpreen = Tcpreen::to(refusing.port()).sessions(3).start();
    for _ in 0..3 {
        tcpreen.expect_refusal();
    }
    let stderr = tcpreen.finish().stderr;
    assert_eq!(stderr.matches("Connection refused\n").count(), 3, "{stderr}");
}
