//! Invalid command lines: exit status 64, and a pointer to the help.

use crate::compat::diagnostics::fails;
use crate::support::skip::{Need, needs};
use crate::support::tcpreen::Tcpreen;
use crate::support::under_test::{binary, is_original};

pub(crate) const USAGE: i32 = 64;

#[track_caller]
pub(crate) fn misused(args: &[&str], message: &str) {
    fails(Tcpreen::to(80).args(args), USAGE, message);
    let stderr = Tcpreen::to(80).args(args).run().stderr;
    assert!(stderr.lines().any(|line| line.starts_with("Try \"tcp")), "{stderr}");
}

#[test]
fn an_unknown_format() {
    misused(&["-f", "bogus"], "bogus: Unrecognized log format.");
}

#[test]
fn an_unknown_protocol() {
    misused(&["-p", "x"], "x: unknown or unsupported protocol(s).");
}

#[test]
fn an_unknown_option() {
    misused(&["-x"], "invalid option -- 'x'");
    misused(&["--bogus"], "unrecognized option '--bogus'");
}

#[test]
fn too_many_arguments() {
    fails(Tcpreen::to(80).local_port(81).args(["82"]), USAGE, "81: unexpected extra parameter.");
}

#[test]
fn no_argument_at_all() {
    let output = std::process::Command::new(binary()).output().expect("it starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("no server port specified."), "{stderr}");
    assert_eq!(output.status.code(), Some(if is_original() { 1 } else { USAGE }));
}

#[test]
fn numbers_that_are_none() {
    for option in ["-b", "-m", "-F"] {
        for number in ["x", "1x", "9 9", "0x", "1e3"] {
            misused(&[option, number], &format!("{number}: invalid number (or capacity exceeded)."));
        }
    }
}

#[test]
fn an_unknown_user() {
    if !needs(&[Need::Root]) {
        return;
    }
    fails(Tcpreen::to(80).args(["-u", "no-such-user"]), USAGE, "no-such-user: invalid user.");
}
