//! `/dev/stdout`, `/dev/stderr`, `/dev/fd/N` and `>(command)`.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::net::UnixStream;

use crate::support::nobody;
use crate::support::peer::echo_server;
use crate::support::scratch::Scratch;
use crate::support::skip::{Need, needs};
use crate::support::tcpreen::{Outcome, Tcpreen};
use crate::support::wait::until;

fn one_session(with: impl FnOnce(Tcpreen) -> Tcpreen) -> Outcome {
    let echo = echo_server();
    let tcpreen = with(Tcpreen::to(echo.port).sessions(1)).start();
    let mut client = tcpreen.connect();
    client.send("words");
    client.expect("words");
    client.finish();
    client.expect_end();
    tcpreen.finish()
}

#[test]
fn the_standard_streams_can_be_named() {
    for name in ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"] {
        let outcome = one_session(|it| it.output(name));
        assert_eq!(outcome.code(), 0, "{outcome:?}");
        assert_eq!(outcome.stdout().matches("<<< words\n").count(), 1, "no display beside it: {outcome:?}");
    }
    let outcome = one_session(|it| it.args(["-q"]).output("/dev/stderr"));
    assert!(outcome.stderr.contains("<<< words\n"), "{outcome:?}");
}

/// The output needs neither a name nor permissions: the socket has no name, and the file belongs to the
/// caller.
#[test]
fn a_descriptor_is_an_output_whatever_it_is() {
    let (mut ours, theirs) = UnixStream::pair().expect("a pair");
    let outcome = one_session(|it| it.stdout(std::os::fd::OwnedFd::from(theirs)).output("/dev/stdout"));
    assert_eq!(outcome.code(), 0, "{outcome:?}");
    let mut text = String::new();
    ours.read_to_string(&mut text).expect("the record");
    assert!(text.contains("<<< words\n"), "{text}");

    let scratch = Scratch::new();
    let file = scratch.path("closed");
    let redirection = format!("9>{} 7>/dev/null", file.display());
    let outcome = one_session(|it| it.args(["-q"]).output("/dev/fd/9").by_shell("umask 377", &redirection));
    assert_eq!(outcome.code(), 0, "{outcome:?}");
    let mut text = String::new();
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("chmod");
    File::open(&file).and_then(|mut file| file.read_to_string(&mut text)).expect("the record");
    assert!(text.contains("<<< words\n"), "{text}");
}

#[test]
fn a_shell_process_substitution_gets_the_record_and_its_end() {
    let scratch = Scratch::new();
    let (copy, done) = (scratch.path("copy"), scratch.path("done"));
    let command = format!("-o >(cat >{}; touch {})", copy.display(), done.display());
    let outcome = one_session(|it| it.args(["-q"]).by_shell("", &command));
    assert_eq!(outcome.code(), 0, "{outcome:?}");
    until("the end of the command", || done.exists().then_some(()));
    assert!(scratch.record("copy").contains("<<< words\n"));
}

#[test]
fn an_unwritable_pidfile_is_an_error() {
    for (name, redirection, code) in [
        ("/dev/fd/9", "9</dev/null", 73),
        ("/dev/fd/9", "9>&-", 73),
        ("/dev/stdin", "", 64),
        ("/dev/fd/0", "", 64),
    ] {
        let outcome = Tcpreen::to(9).output(name).by_shell("", redirection).run();
        assert_eq!(outcome.code(), code, "{outcome:?}");
        assert!(!outcome.stderr.contains("Listening"), "{outcome:?}");
    }
    let outcome = Tcpreen::to(9).args(["-d"]).output("/dev/stdout").run();
    assert_eq!(outcome.code(), 64, "{outcome:?}");
    assert!(outcome.stderr.contains("a daemon has no standard output"), "{outcome:?}");
}

#[test]
fn a_privileged_program_uses_no_descriptor_of_its_caller() {
    if !needs(&[Need::Root]) {
        return;
    }
    let scratch = Scratch::new();
    let program = scratch.copy_of_program(0o4755);
    for name in ["/dev/stdout", "/dev/fd/9"] {
        let tcpreen = Tcpreen::to(9).binary(program.clone()).account(nobody()).output(name);
        let outcome = tcpreen.run();
        assert_eq!(outcome.code(), 73, "{outcome:?}");
        assert!(outcome.stderr.contains("set-uid bit"), "{outcome:?}");
    }
    let outcome = Tcpreen::reading(["/dev/fd/9"]).binary(program).account(nobody()).run();
    assert_eq!(outcome.code(), 66, "{outcome:?}");
    assert!(outcome.stderr.contains("/dev/fd/9: not for a program with a set-uid bit"), "{outcome:?}");
}
