//! `--record-first=sync`: a file that was not there before is on the disk with its name, which is in its directory.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::sys::signal::Signal;

use crate::ours::record_first::Load;
use crate::ours::record_first::RECORD_FIRST;
use crate::ours::record_first::bytes_of_the_client;
use crate::support::peer::echo_server;
use crate::support::proc;
use crate::support::scratch::Scratch;
use crate::support::skip::{Need, needs};
use crate::support::tcpreen::Tcpreen;
use crate::support::wait::until;

const SYNC: &str = "--record-first=sync";

const STRACE: [Need; 2] = [Need::Root, Need::Program("strace")];

/// Runs under strace, which writes the calls that make, rename and synchronise files to `trace`.
fn watched(tcpreen: Tcpreen, trace: &Path) -> Tcpreen {
    let strace = format!(
        "exec strace -f -qq -y -e trace=openat,renameat2,fsync,fdatasync -o {} \"$0\" \"$@\"",
        trace.display()
    );
    tcpreen.by_shell(&strace, "")
}

/// Number of synchronisations of the directory, and of new files that none has followed.
fn synchronised(trace: &Path, directory: &Path) -> (usize, usize) {
    let text = fs::read_to_string(trace).expect("a trace");
    let directory = format!("<{}>", directory.display());
    let (mut synchronised, mut open) = (0, 0);
    for line in text.lines() {
        if line.contains("fsync(") && line.contains(&directory) {
            (synchronised, open) = (synchronised + 1, 0);
        } else if line.contains("O_CREAT") && line.contains(directory.trim_end_matches('>')) {
            open += 1;
        }
    }
    (synchronised, open)
}

/// Two sessions, recorded in `names`, with as many rotations by signal; the directory, once all is over.
#[track_caller]
fn two_sessions(options: &[&str], names: &[&str], rotate: bool) -> (usize, usize) {
    let (scratch, records) = (Scratch::new(), Scratch::new());
    let (echo, trace) = (echo_server(), scratch.path("trace"));
    let place = fs::canonicalize(records.path("")).expect("the directory");
    let mut tcpreen = Tcpreen::to(echo.port).args(options).args(["-q", "-f", "raw"]);
    for name in names {
        tcpreen = tcpreen.output(place.join(name));
    }
    let tcpreen = watched(tcpreen, &trace).sessions(2).start();
    for round in 0..2 {
        let mut client = tcpreen.connect();
        client.send("words");
        client.expect("words");
        if rotate && round == 0 {
            fs::rename(place.join("record"), place.join("rotated")).expect("rename");
            let program = until("the program", || proc::descendants(tcpreen.pid()).first().copied());
            nix::sys::signal::kill(program, Signal::SIGHUP).expect("kill");
            until("the new file", || place.join("record").exists().then_some(()));
        }
        client.finish();
        client.expect_end();
    }
    assert_eq!(tcpreen.finish().code(), 0);
    synchronised(&trace, &place)
}

#[test]
fn the_directory_of_each_new_file_is_synchronised_after_it() {
    if !needs(&STRACE) {
        return;
    }
    for (names, rotate, times) in [
        (&["record"][..], false, 1),
        (&["%n"], false, 2),
        // The names of both directions at once.
        (&["%n.%d"], false, 2),
        (&["record", "%n"], false, 3),
        (&["record"], true, 2),
    ] {
        assert_eq!(two_sessions(&[SYNC], names, rotate), (times, 0), "{names:?} {rotate}");
    }
    for option in [RECORD_FIRST, "-n"] {
        assert_eq!(two_sessions(&[option], &["record", "%n"], false).0, 0, "{option}");
    }
}

/// With or without the option: a part that has a number is on the disk.
#[test]
fn the_directory_of_each_part_is_synchronised_after_it() {
    if !needs(&STRACE) {
        return;
    }
    for options in [&["--rotate-size=20"][..], &["--rotate-size=20", SYNC]] {
        let (times, open) = two_sessions(options, &["record"], false);
        let at_start = usize::from(options.contains(&SYNC));
        assert!(times > at_start, "{options:?}: {times}");
        assert!(open <= 1 - at_start, "{options:?}: {open}");
    }
}

/// The error of the directory is that of the output, before a byte has passed.
#[test]
fn nothing_passes_into_a_file_whose_name_is_not_on_the_disk() {
    if !needs(&STRACE) {
        return;
    }
    let scratch = Scratch::new();
    let strace = "exec strace -f -qq -o /dev/null -e trace=fsync -e inject=fsync:error=EIO \"$0\" \"$@\"";
    let load = Load::start(1000, 5000, |it| {
        bytes_of_the_client(it, scratch.path("%n")).args([SYNC, "--sandbox=log"]).by_shell(strace, "")
    });
    let (received, tcpreen) = load.received();
    assert_eq!(received.len(), 0);
    let outcome = tcpreen.finish();
    assert_eq!(outcome.code(), 74, "{outcome:?}");
    let error = format!("Log file error: Input/output error ({})", scratch.path("1").display());
    assert!(outcome.stderr.contains(&error), "{outcome:?}");
    // One file for all sessions is made at the start.
    let outcome = Tcpreen::to(9).args([SYNC]).output(scratch.path("record")).by_shell(strace, "").run();
    assert_eq!(outcome.code(), 73, "{outcome:?}");
    assert!(outcome.stderr.contains("Input/output error"), "{outcome:?}");
}

#[test]
fn a_directory_that_may_not_be_read_cannot_be_synchronised() {
    let scratch = Scratch::new();
    let closed = scratch.path("closed");
    fs::create_dir(&closed).expect("mkdir");
    fs::set_permissions(&closed, PermissionsExt::from_mode(0o333)).expect("chmod");
    for name in ["record", "%n"] {
        let outcome = Tcpreen::to(9).args([SYNC]).output(closed.join(name)).run();
        assert_eq!(outcome.code(), 73, "{outcome:?}");
        assert!(outcome.stderr.contains("Permission denied"), "{outcome:?}");
    }
    let running = Tcpreen::to(9).args([RECORD_FIRST]).output(closed.join("record")).start();
    running.signal(Signal::SIGTERM);
    assert_eq!(running.finish().code(), 143);
    fs::set_permissions(&closed, PermissionsExt::from_mode(0o700)).expect("chmod");
}
