//! Selects the program under test.

use std::env;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    Ours,
    /// tcpreen 1.4.4
    Original,
}

static PROGRAM: LazyLock<Program> = LazyLock::new(|| {
    let version = Command::new(binary()).arg("-V").output().expect("the program under test runs");
    if version.stdout.starts_with(b"TCP re-engineering tool 1.4.4") {
        Program::Original
    } else {
        Program::Ours
    }
});

/// The program under test.
pub fn binary() -> PathBuf {
    env::var_os("TCPREEN_UNDER_TEST").map_or_else(|| env!("CARGO_BIN_EXE_tcpreen").into(), PathBuf::from)
}

pub fn under_test() -> Program {
    *PROGRAM
}

pub fn is_original() -> bool {
    under_test() == Program::Original
}

/// Runs a test that 1.4.4 cannot pass because of `why`; passing it is an error.
#[track_caller]
pub fn known_to_fail_on_original(why: &str, test: impl FnOnce()) {
    if !is_original() {
        return test();
    }
    let verdict = panic::catch_unwind(AssertUnwindSafe(test));
    assert!(verdict.is_err(), "the original passes now, although: {why}");
    println!("as expected of the original: {why}");
}
