//! Obstacles: existing names, directories without permission, invalid templates.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::ours::templates::ask;
use crate::ours::templates::files;
use crate::ours::templates::names;
use crate::ours::templates::one_session;
use crate::support::peer::echo_server;
use crate::support::scratch::Scratch;
use crate::support::tcpreen::Tcpreen;
use crate::support::wait::until;

#[test]
fn a_file_that_is_there_is_left_alone() {
    let scratch = Scratch::new();
    fs::write(scratch.path("1"), "old").expect("a file");
    fs::set_permissions(scratch.path("1"), Permissions::from_mode(0o666)).expect("chmod");
    assert_eq!(one_session(&scratch, "%n", |it| it).code(), 0);
    assert_eq!(names(&scratch), ["1", "1-1"]);
    assert_eq!(scratch.record("1"), "old");
    assert!(scratch.record("1-1").contains("<<< question\n"));
}

#[test]
fn a_planted_link_is_not_followed() {
    let (scratch, elsewhere) = (Scratch::new(), Scratch::new());
    fs::write(elsewhere.path("victim"), "precious").expect("a file");
    fs::set_permissions(elsewhere.path("victim"), Permissions::from_mode(0o666)).expect("chmod");
    symlink(elsewhere.path("victim"), scratch.path("1")).expect("a link");
    symlink(elsewhere.path("nowhere"), scratch.path("1-1")).expect("a link");
    assert_eq!(one_session(&scratch, "%n", |it| it).code(), 0);
    assert_eq!(elsewhere.record("victim"), "precious");
    assert_eq!(names(&elsewhere), ["victim"]);
    assert!(fs::symlink_metadata(scratch.path("1")).expect("the link").is_symlink());
    assert!(scratch.record("1-2").contains("<<< question\n"));
}

#[test]
fn a_hundred_files_of_the_same_name_do_not_lose_a_session() {
    let scratch = Scratch::new();
    fs::write(scratch.path("1"), "old").expect("a file");
    for number in 1..100 {
        fs::write(scratch.path(&format!("1-{number}")), "old").expect("a file");
    }
    assert_eq!(one_session(&scratch, "%n", |it| it).code(), 0);
    let new: Vec<_> = files(&scratch).into_iter().filter(|(_, bytes)| bytes != b"old").collect();
    assert!(
        matches!(new.as_slice(), [(name, _)] if name.starts_with("1-2") && name.ends_with("Z-1")),
        "{new:?}"
    );
}

#[test]
fn an_unwritable_directory_is_reported_at_the_start() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("closed")).expect("a directory");
    fs::set_permissions(scratch.path("closed"), Permissions::from_mode(0o555)).expect("chmod");
    fs::write(scratch.path("file"), "").expect("a file");
    let long = "x".repeat(250) + "%n";
    for (name, reason) in [
        ("closed/%n", "Permission denied"),
        ("missing/%n", "No such file or directory"),
        ("file/%n", "Not a directory"),
        (&long, "File name too long"),
    ] {
        let path = scratch.path(name);
        let outcome = Tcpreen::to(80).output(&path).run();
        assert_eq!(outcome.code(), 73, "{outcome:?}");
        let text = format!("Log file error: {reason} ({})", path.display());
        assert!(outcome.stderr.contains(&text), "{outcome:?}");
        assert!(!outcome.stderr.contains("Listening on"), "{outcome:?}");
    }
}

#[test]
fn an_invalid_template_is_a_usage_error() {
    let scratch = Scratch::new();
    for (name, part) in [
        ("%x", "%x means nothing"),
        ("%", "% at the end"),
        ("%n%%%", "% at the end"),
        ("%n/file", "% in the directory"),
    ] {
        fs::write(scratch.path("other"), "old").expect("a file");
        fs::set_permissions(scratch.path("other"), Permissions::from_mode(0o666)).expect("chmod");
        let outcome = Tcpreen::to(80).output(scratch.path("other")).output(scratch.path(name)).run();
        assert_eq!(outcome.code(), 64, "{outcome:?}");
        assert!(outcome.stderr.contains("Log file error: "), "{outcome:?}");
        assert!(outcome.stderr.contains(part), "{outcome:?}");
        assert_eq!(scratch.record("other"), "old", "nothing is opened before all names are right");
    }
    let stderr = Tcpreen::to(80).output(scratch.path("%x")).run().stderr;
    assert!(["%n", "%a", "%p", "%t", "%d", "%%"].iter().all(|allowed| stderr.contains(allowed)), "{stderr}");
}

#[test]
fn a_session_that_cannot_be_recorded_ends_everything() {
    let scratch = Scratch::new();
    let echo = echo_server();
    let tcpreen = Tcpreen::to(echo.port).at_once(3).output(scratch.path("%n")).start();
    let mut recorded = ask(&tcpreen, "recorded");
    until("the first file", || scratch.path("1").exists().then_some(()));
    fs::set_permissions(scratch.path(""), Permissions::from_mode(0o555)).expect("chmod");
    let mut second = tcpreen.connect();
    second.try_send("unrecorded");
    recorded.expect_hang_up();
    let outcome = tcpreen.finish();
    fs::set_permissions(scratch.path(""), Permissions::from_mode(0o777)).expect("chmod");
    assert_eq!(outcome.code(), 74, "{outcome:?}");
    let told = format!("Log file error: Permission denied ({})\n", scratch.path("2").display());
    assert_eq!(outcome.stderr.matches(&told).count(), 1, "{outcome:?}");
    assert_eq!(names(&scratch), ["1"]);
    assert!(scratch.record("1").ends_with("End of transmission.\n"), "{}", scratch.record("1"));
}

#[test]
fn files_count_where_descriptors_are_few() {
    let scratch = Scratch::new();
    let echo = echo_server();
    let tcpreen = Tcpreen::to(echo.port).at_once(200).output(scratch.path("%n.%d"));
    let tcpreen = tcpreen.by_shell("ulimit -n 200", "").start();
    let said = tcpreen.stderr_line("file descriptors");
    let (_, number) = said.split_once("serving ").expect("a number");
    let number: usize = number.split(' ').next().expect("a word").parse().expect("digits");
    assert!((20..=45).contains(&number), "a channel and two files each: {said}");
    let clients: Vec<_> = (0..number).map(|_| ask(&tcpreen, "hello")).collect();
    until("two files of each", || (names(&scratch).len() == 2 * number).then_some(()));
    drop(clients);
    // Closed descriptors are available again.
    for _ in 0..number {
        drop(ask(&tcpreen, "again"));
    }
    assert!(!tcpreen.stderr().contains("Log file error"), "{}", tcpreen.stderr());
}
