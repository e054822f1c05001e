//! The list of skipped tests that all test binaries of one `cargo test` share. The last of them, `tcpreen`,
//! prints it; the binaries of one run have the same cargo as their parent.

#![forbid(unsafe_code)]

use std::env;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::parent_id;
use std::path::PathBuf;

const PREFIX: &str = "skipped-tests.";

/// An unmet need of a test, and the remedy.
#[derive(Clone, Copy, Debug)]
pub struct Lack(pub &'static str, pub &'static str);

/// Root. In CI every other lack fails the test, and this one does unless `TCPREEN_MAY_SKIP` allows it.
pub const ROOT: Lack = Lack("root is needed", "run as root");

/// Fails in CI, unless this lack is allowed there.
#[track_caller]
pub fn expect_allowed(lack: &str) {
    let allowed = lack == ROOT.0 && env::var_os("TCPREEN_MAY_SKIP").is_some_and(|may| may == "root");
    assert!(allowed || env::var_os("CI").is_none(), "cannot be skipped in CI: {lack}");
}

/// The line of a skipped test.
pub fn line(test: &str, lack: &str, remedy: &str) -> String {
    format!("{test}\t{lack}\t{remedy}\n")
}

/// The list, in the directory that cargo gives to integration tests: `List(env!("CARGO_TARGET_TMPDIR"))`.
#[derive(Clone, Copy, Debug)]
pub struct List(pub &'static str);

impl List {
    /// Adds a test, what it lacks, and the remedy. Errors are ignored: the test's own line of output remains.
    pub fn enter(self, test: &str, Lack(lack, remedy): Lack) {
        let path = PathBuf::from(self.0).join(format!("{PREFIX}{}", parent_id()));
        if let Ok(mut list) = File::options().append(true).create(true).open(path) {
            let _ = list.write_all(line(test, lack, remedy).as_bytes());
        }
    }

    /// Returns what the binaries before this one have entered. Removes the list, and those of other runs that were
    /// never printed.
    pub fn take(self) -> String {
        let own = format!("{PREFIX}{}", parent_id());
        let mut text = String::new();
        for entry in fs::read_dir(self.0).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(cargo) = name.strip_prefix(PREFIX) else { continue };
            if name == own {
                text = fs::read_to_string(entry.path()).unwrap_or_default();
            } else if PathBuf::from("/proc").join(cargo).exists() {
                continue;
            }
            let _ = fs::remove_file(entry.path());
        }
        text
    }
}
