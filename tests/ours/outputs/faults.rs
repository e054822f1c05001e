//! Outputs that fail during a session: the error of the disk or network file system is reported and sets the
//! exit status.

use std::fs;
use std::path::Path;

use crate::support::scratch::Scratch;
use crate::support::skip::{Need, needs};
use crate::support::terminal::terminal;
use crate::support::wait::until;
use crate::support::{Bridged, bridge};

/// `errno` from the second write to the file on. A call that strace makes fail has no number any more when the filter
/// sees it, so that the filter has to let it pass.
fn failing(errno: &str, path: &Path) -> String {
    format!(
        "exec strace -f -qq -o /dev/null -P {} -e trace=write -e inject=write:error={errno}:when=2+ \"$0\" \"$@\"",
        path.display()
    )
}

#[test]
fn what_the_disk_says_is_told_once_and_remembered() {
    if !needs(&[Need::Root, Need::Program("strace")]) {
        return;
    }
    let errors =
        [("EIO", "Input/output error"), ("ESTALE", "Stale file handle"), ("EDQUOT", "Disk quota exceeded")];
    for (errno, text) in errors {
        let scratch = Scratch::new();
        let path = scratch.path("record");
        let Bridged { mut client, mut server, tcpreen } = bridge(|it| {
            it.args(["--sandbox=log"])
                .output(&path)
                .output(scratch.path("other"))
                .by_shell(&failing(errno, &path), "")
        });
        until("the first write", || scratch.record("record").contains("Transmission follows").then_some(()));
        client.send("words");
        server.expect_hang_up();
        client.expect_hang_up();
        let outcome = tcpreen.finish();
        let told = format!("Log file error: {text} ({})", path.display());
        assert_eq!(outcome.stderr.matches(&told).count(), 1, "{errno}: {outcome:?}");
        assert_eq!(outcome.code(), 74, "{errno}: {outcome:?}");
        let other = scratch.record("other");
        assert!(other.contains("<<< words\n"), "{errno}: {other}");
        assert!(
            other.ends_with("an output cannot be written any more.\nEnd of transmission.\n"),
            "{errno}: {other}"
        );
    }
}

/// Not the controlling one, whose end is a signal.
#[test]
fn a_terminal_that_goes_away_is_an_error_of_the_output() {
    let scratch = Scratch::new();
    let terminal = terminal();
    let Bridged { mut client, mut server, tcpreen } =
        bridge(|it| it.args(["-v"]).output(scratch.path("record")).stdout(terminal.slave));
    client.send("words");
    server.expect("words");
    until("the record", || scratch.record("record").contains("<<< words").then_some(()));
    drop(terminal.master);
    client.try_send("more");
    client.expect_hang_up();
    let outcome = tcpreen.finish();
    assert_eq!(outcome.code(), 74, "{outcome:?}");
    assert_eq!(
        outcome.stderr.matches("Log file error: Input/output error (standard output)").count(),
        1,
        "{outcome:?}"
    );
    let record = scratch.record("record");
    assert!(record.ends_with("an output cannot be written any more.\nEnd of transmission.\n"), "{record}");
}

/// NFS without its lock daemon, and some FUSE servers.
#[test]
fn a_file_system_without_locks_is_written_without() {
    if !needs(&[Need::Root, Need::Program("strace")]) {
        return;
    }
    for errno in ["ENOLCK", "EOPNOTSUPP", "ENOSYS"] {
        let scratch = Scratch::new();
        let strace = format!(
            "exec strace -f -qq -o /dev/null -e trace=flock -e inject=flock:error={errno} \"$0\" \"$@\""
        );
        let Bridged { mut client, mut server, tcpreen } = bridge(|it| {
            it.args(["--sandbox=log"])
                .output(scratch.path("record"))
                .output(scratch.path("%n"))
                .sessions(1)
                .by_shell(&strace, "")
        });
        client.send("words");
        server.expect("words");
        drop((client, server));
        let outcome = tcpreen.finish();
        assert_eq!(outcome.code(), 0, "{errno}: {outcome:?}");
        for name in ["record", "1"] {
            assert!(scratch.record(name).ends_with("End of transmission.\n"), "{errno}");
        }
    }
}

/// The file has no name any more, and takes what comes.
#[test]
fn a_directory_that_is_removed_meanwhile_is_no_error_of_a_file_that_is_open() {
    let scratch = Scratch::new();
    let directory = scratch.path("directory");
    fs::create_dir(&directory).expect("mkdir");
    fs::set_permissions(&directory, std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("chmod");
    let Bridged { mut client, mut server, tcpreen } =
        bridge(|it| it.output(directory.join("record")).output(scratch.path("other")).sessions(1));
    fs::remove_dir_all(&directory).expect("rm -r");
    client.send("words");
    server.expect("words");
    drop((client, server));
    let outcome = tcpreen.finish();
    assert_eq!(outcome.code(), 0, "{outcome:?}");
    assert!(!outcome.stderr.contains("Log file error"), "{outcome:?}");
    assert!(scratch.record("other").contains("<<< words\n"));
}
