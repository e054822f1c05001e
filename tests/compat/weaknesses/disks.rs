//! 6.8, 6.12, 6.15, 6.16: contents of a record's file, their time, their permissions, and a full disk.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use nix::sys::signal::{Signal, kill};

use crate::support::namespace::{in_a_world_of_its_own, mount_disk};
use crate::support::scratch::Scratch;
use crate::support::skip::{Need, needs};
use crate::support::tcpreen::Tcpreen;
use crate::support::under_test::known_to_fail_on_original;
use crate::support::wait::until;
use crate::support::{Bridged, bridge, nobody};

#[test]
fn a_full_disk_is_reported_once_and_sets_the_exit_status() {
    if !needs(&[Need::Root, Need::Program("ip"), Need::World]) {
        return;
    }
    known_to_fail_on_original("it never looks", || {
        in_a_world_of_its_own(|| {
            let scratch = Scratch::new();
            let disk = scratch.path("disk");
            fs::create_dir(&disk).expect("mkdir");
            mount_disk("16k", &disk);
            overflows(|it| it.output(disk.join("record")), "No space left on device");
            assert!(fs::metadata(disk.join("record")).expect("the record").len() > 4096);
        });
    });
}

#[test]
fn a_file_at_its_size_limit_is_reported_once_and_sets_the_exit_status() {
    known_to_fail_on_original("SIGXFSZ kills it", || {
        let scratch = Scratch::new();
        let limit = "ulimit -f 16";
        overflows(|it| it.output(scratch.path("record")).by_shell(limit, ""), "File too large");
        assert!(fs::metadata(scratch.path("record")).expect("the record").len() > 4096);
    });
}

/// Sends more than the output accepts: the session ends, `reason` is reported once, and the exit status shows
/// it.
#[track_caller]
fn overflows(with: impl FnOnce(Tcpreen) -> Tcpreen, reason: &str) {
    let Bridged { mut client, mut server, tcpreen } =
        bridge(|it| with(it.format("raw")).args(["-f", "null"]));
    let reader = std::thread::spawn(move || server.expect_hang_up());
    for _ in 0..64 {
        if !client.try_send(&"x".repeat(1024)) {
            break;
        }
    }
    client.expect_hang_up();
    reader.join().expect("the server saw the end");
    let outcome = tcpreen.finish();
    assert_eq!(outcome.stderr.matches(reason).count(), 1, "{outcome:?}");
    assert!(!outcome.stderr.contains("panicked"), "{outcome:?}");
    assert_eq!(outcome.code(), 74, "{outcome:?}");
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("the output").mode() & 0o7777
}

#[test]
fn a_file_with_passwords_is_its_owners_alone() {
    known_to_fail_on_original("it is a file like any other", || {
        let scratch = Scratch::new();
        let [plain, new, old] = ["plain", "new", "old"].map(|name| scratch.path(name));
        fs::write(&old, "").expect("a file");
        fs::set_permissions(&old, PermissionsExt::from_mode(0o644)).expect("chmod");
        let root = nix::unistd::Uid::effective().is_root();
        if root {
            let (uid, gid) = nobody();
            chown(&old, Some(uid.as_raw()), Some(gid.as_raw())).expect("chown");
        }
        let Bridged { client, server, tcpreen } = bridge(|it| {
            let it = if root { it.args(["-u", "nobody"]) } else { it };
            it.by_shell("umask 022", "").output(&plain).format("password").output(&new).output(&old)
        });
        assert_eq!([mode(&plain), mode(&new), mode(&old)], [0o644, 0o600, 0o600]);
        drop((client, server, tcpreen));
    });
}

#[test]
fn a_killed_worker_takes_nothing_from_the_file() {
    if !needs(&[Need::Root]) {
        return; // Only root may look into our processes for the one to kill.
    }
    known_to_fail_on_original("up to 4096 bytes are in the buffer of the child", || {
        let scratch = Scratch::new();
        let Bridged { mut client, mut server, tcpreen } = bridge(|it| it.output(scratch.path("record")));
        let words = "words ".repeat(500);
        client.send(&words);
        server.expect(&words);
        kill(tcpreen.busy_worker(), Signal::SIGKILL).expect("kill");
        client.expect_hang_up();
        let record = until("the record", || {
            Some(scratch.record("record")).filter(|record| record.ends_with("End of transmission.\n"))
        });
        assert_eq!(record.matches("words ").count(), 500, "{record}");
        assert!(record.contains("signal 9"), "{record}");
    });
}

#[test]
fn a_record_is_in_its_file_while_the_session_is_open() {
    known_to_fail_on_original("it writes after 4096 bytes or at the end", || {
        let scratch = Scratch::new();
        let Bridged { mut client, mut server, tcpreen } = bridge(|it| it.output(scratch.path("record")));
        client.send("words");
        server.expect("words");
        until("the record", || scratch.record("record").ends_with("<<< words\n").then_some(()));
        drop(tcpreen);
    });
}

#[test]
fn the_next_run_starts_the_file_again() {
    known_to_fail_on_original("it appends where a port comes again", || {
        let scratch = Scratch::new();
        for number in 0..2 {
            let Bridged { mut client, mut server, tcpreen } =
                bridge(|it| it.output(scratch.path("record")).sessions(1));
            let words = format!("run {number}");
            client.send(&words);
            server.expect(&words);
            drop((client, server));
            tcpreen.finish();
        }
        let record = scratch.record("record");
        assert!(record.contains("<<< run 1\n") && !record.contains("run 0"), "{record}");
        assert_eq!(record.matches("Connection from: ").count(), 1, "{record}");
        assert_eq!(fs::read_dir(scratch.path("")).expect("the directory").count(), 1);
    });
}
