//! The list of skipped tests that all test binaries of one `cargo test` share. The last of them, `tcpreen`,
//! prints it; the binaries of one run are those that the same cargo has started.

#![allow(unreachable_pub, reason = "a module of three test binaries")]

use std::env;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::parent_id;
use std::path::PathBuf;

const PREFIX: &str = "skipped-tests.";

/// What a test lacks, and the remedy.
#[derive(Clone, Copy, Debug)]
pub struct Lack(pub &'static str, pub &'static str);

/// To be root. In CI no other lack than those that `TCPREEN_MAY_SKIP` names is accepted.
pub const ROOT: Lack = Lack("root is needed", "run as root");

/// Fails in CI, where nothing may be missing but what is named.
#[track_caller]
pub fn expect_allowed(lack: &str) {
    let allowed = lack == ROOT.0 && env::var_os("TCPREEN_MAY_SKIP").is_some_and(|may| may == "root");
    assert!(allowed || env::var_os("CI").is_none(), "cannot be skipped in CI: {lack}");
}

/// Enters a test, what it lacks, and the remedy. Where no file can be made, the test's own line has to do.
#[allow(dead_code, reason = "called by the other binaries")]
pub fn enter(test: &str, Lack(lack, remedy): Lack) {
    let path = place().join(format!("{PREFIX}{}", parent_id()));
    if let Ok(mut list) = File::options().append(true).create(true).open(path) {
        let _ = list.write_all(line(test, lack, remedy).as_bytes());
    }
}

pub fn line(test: &str, lack: &str, remedy: &str) -> String {
    format!("{test}\t{lack}\t{remedy}\n")
}

/// What the binaries before this one have entered. Removes the list, and those of other runs that never came here.
#[allow(dead_code, reason = "called by the last binary")]
pub fn take() -> String {
    let own = format!("{PREFIX}{}", parent_id());
    let mut text = String::new();
    for entry in fs::read_dir(place()).into_iter().flatten().flatten() {
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

fn place() -> PathBuf {
    env!("CARGO_TARGET_TMPDIR").into()
}
