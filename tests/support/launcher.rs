//! `tests/support/launcher.c`, compiled once: starts a program in ways that no shell can.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use super::suite;

static LAUNCHER: LazyLock<PathBuf> = LazyLock::new(|| {
    let program = suite::shared().join("launcher");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/launcher.c");
    let status = Command::new("cc").arg("-o").arg(&program).arg(source).status().expect("cc");
    assert!(status.success(), "the launcher compiles");
    fs::set_permissions(&program, Permissions::from_mode(0o755)).expect("chmod");
    program
});

/// Path of the compiled program. Needs `cc`.
pub fn launcher() -> &'static Path {
    &LAUNCHER
}
