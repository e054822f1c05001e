//! `--append`, two writers of one file, and one file under two names.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use nix::sys::signal::Signal;

use crate::support::namespace::{in_a_world_of_its_own, mount_disk};
use crate::support::peer;
use crate::support::peer::echo_server;
use crate::support::scratch::Scratch;
use crate::support::skip::{Need, needs};
use crate::support::tcpreen::{Outcome, Tcpreen};
use crate::support::wait::until;

/// One session with an echo server.
fn one_session(with: impl FnOnce(Tcpreen) -> Tcpreen, words: &str) -> Outcome {
    let echo = echo_server();
    let tcpreen = with(Tcpreen::to(echo.port).sessions(1)).start();
    let mut client = tcpreen.connect();
    client.send(words);
    client.expect(words);
    client.finish();
    client.expect_end();
    tcpreen.finish()
}

/// Starts and ends it.
fn started(tcpreen: Tcpreen) -> Outcome {
    let tcpreen = tcpreen.start();
    tcpreen.signal(Signal::SIGTERM);
    tcpreen.finish()
}

fn write(scratch: &Scratch, name: &str, text: &str) {
    fs::write(scratch.path(name), text).expect("a file");
    fs::set_permissions(scratch.path(name), Permissions::from_mode(0o666)).expect("chmod");
}

#[test]
fn append_keeps_the_contents_and_begins_on_a_new_line() {
    let frame = "Connection from: ";
    for (old, start) in [
        ("old\n", format!("old\n{frame}")),
        ("half a line", format!("half a line\n{frame}")),
        ("", frame.to_owned()),
    ] {
        let scratch = Scratch::new();
        write(&scratch, "record", old);
        let link = scratch.path("link");
        symlink("record", &link).expect("a link");
        assert_eq!(one_session(|it| it.args(["--append"]).output(&link), "words").code(), 0);
        let record = scratch.record("record");
        assert!(record.starts_with(&start), "{record}");
        assert!(record.contains("<<< words\n"), "{record}");
    }
}

#[test]
fn append_adds_bytes_and_nothing_else_to_a_stream_of_one_side() {
    let scratch = Scratch::new();
    write(&scratch, "record", "half");
    let with =
        |it: Tcpreen| it.args(["--append", "--only=client", "-f", "raw"]).output(scratch.path("record"));
    one_session(with, "words");
    assert_eq!(scratch.record("record"), "halfwords");
}

#[test]
fn append_does_not_rotate_the_existing_contents() {
    let scratch = Scratch::new();
    write(&scratch, "record", "old\n");
    let with = |it: Tcpreen| it.args(["--append", "--rotate-size", "1M"]).output(scratch.path("record"));
    one_session(with, "words");
    assert!(scratch.record("record").starts_with("old\nConnection from: "));
    assert!(!scratch.path("record.1").exists());
}

#[test]
fn append_to_an_unsuitable_file_is_an_error() {
    let scratch = Scratch::new();
    write(&scratch, "closed", "old");
    fs::set_permissions(scratch.path("closed"), Permissions::from_mode(0o444)).expect("chmod");
    for (name, reason) in [("", "Is a directory"), ("closed", "Permission denied")] {
        let outcome = Tcpreen::to(9).args(["--append"]).output(scratch.path(name)).run();
        assert_eq!(outcome.code(), 73, "{outcome:?}");
        assert!(outcome.stderr.contains(reason), "{outcome:?}");
    }
}

#[test]
fn append_continues_a_record_that_filled_the_disk() {
    if !needs(&[Need::Root, Need::Program("ip"), Need::Program("mount")]) {
        return;
    }
    in_a_world_of_its_own(|| {
        let scratch = Scratch::new();
        let disk = scratch.path("disk");
        fs::create_dir(&disk).expect("mkdir");
        mount_disk("32k", &disk);
        fs::write(disk.join("ballast"), vec![0; 16 << 10]).expect("a file");
        let record = disk.join("record");
        let echo = echo_server();
        let tcpreen = Tcpreen::to(echo.port).args(["--append"]).output(&record).start();
        let mut client = tcpreen.connect();
        while client.try_send(&"x".repeat(1000)) {}
        let outcome = tcpreen.finish();
        assert_eq!(outcome.code(), 74, "{outcome:?}");
        let full = fs::read_to_string(&record).expect("the record");
        fs::remove_file(disk.join("ballast")).expect("room again");
        one_session(|it| it.args(["--append"]).output(&record), "words");
        let all = fs::read_to_string(&record).expect("the record");
        let rest = all.strip_prefix(&full).expect("what filled the disk");
        assert!(rest.starts_with("\nConnection from: ") || rest.starts_with("Connection from: "), "{rest}");
    });
}

#[test]
fn a_second_writer_is_refused_before_anything_is_lost() {
    let scratch = Scratch::new();
    write(&scratch, "other", "kept");
    let echo = echo_server();
    let path = scratch.path("record");
    let tcpreen = Tcpreen::to(echo.port)
        .args(["--rotate-size", "300"])
        .output(&path)
        .output(scratch.path("%n"))
        .start();
    let mut client = tcpreen.connect();
    let say = |client: &mut peer::Peer, words: &str| {
        client.send(words);
        client.expect(words);
    };
    say(&mut client, "first words");
    until("the record", || scratch.record("record").contains("first words").then_some(()));
    until("the session's file", || scratch.path("1").exists().then_some(()));
    symlink(&path, scratch.path("link")).expect("a link");
    for name in ["record", "link", "1"] {
        for option in ["-v", "--append"] {
            let file = scratch.path(name);
            let outcome = Tcpreen::to(9).args([option]).output(scratch.path("other")).output(&file).run();
            assert_eq!(outcome.code(), 73, "{outcome:?}");
            let text = format!("another program, likely a tcpreen, writes it ({})", file.display());
            assert!(outcome.stderr.contains(&text), "{outcome:?}");
        }
    }
    assert_eq!(scratch.record("other"), "kept");
    assert!(scratch.record("record").contains("first words"));
    // The file after a rotation is locked, too.
    until("a part", || {
        say(&mut client, &"x".repeat(100));
        scratch.path("record.1").exists().then_some(())
    });
    until("the new file", || path.exists().then_some(()));
    let outcome = Tcpreen::to(9).output(&path).run();
    assert_eq!(outcome.code(), 73, "{outcome:?}");
    tcpreen.signal(Signal::SIGTERM);
    assert_eq!(tcpreen.finish().code(), 143);
    assert_eq!(started(Tcpreen::to(9).output(&path)).code(), 143, "the lock ends with its owner");
}

#[test]
fn one_file_under_two_names_is_an_error_and_stays_as_it_is() {
    let scratch = Scratch::new();
    write(&scratch, "record", "kept");
    fs::hard_link(scratch.path("record"), scratch.path("hard")).expect("a link");
    symlink("record", scratch.path("soft")).expect("a link");
    let same = scratch.path(".").join(".").join("record");
    for second in [&same, &scratch.path("hard"), &scratch.path("soft")] {
        for options in [&["-q"][..], &["--append"]] {
            let outcome = Tcpreen::to(9).args(options).output(scratch.path("record")).output(second).run();
            assert_eq!(outcome.code(), 64, "{outcome:?}");
            assert!(outcome.stderr.contains("given for two outputs"), "{outcome:?}");
        }
    }
    let (one, other) = (scratch.path("%n.log"), scratch.path(".").join("%n.log"));
    let outcome = Tcpreen::to(9).output(one).output(other).run();
    assert_eq!(outcome.code(), 64, "{outcome:?}");
    assert_eq!(scratch.record("record"), "kept");
}

#[test]
fn a_template_is_checked_for_the_longest_possible_name() {
    // NAME_MAX, less the suffix and the longest number.
    let fits = 255 - 38 - 20;
    let scratch = Scratch::new();
    let name = |length: usize| scratch.path(&("x".repeat(length) + "%n"));
    assert_eq!(started(Tcpreen::to(9).output(name(fits))).code(), 143);
    let outcome = Tcpreen::to(9).output(name(fits + 1)).run();
    assert_eq!(outcome.code(), 73, "{outcome:?}");
    assert!(outcome.stderr.contains("File name too long"), "{outcome:?}");
    assert_eq!(started(Tcpreen::to(9).output(scratch.path(&"x".repeat(255)))).code(), 143);
}
