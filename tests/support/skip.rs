//! Tests that need something which is not everywhere say so, loudly, and not at all in CI.

use std::env;
use std::process::Command;

use nix::unistd::{AccessFlags, Uid, access};

use super::under_test::is_original;

/// Debian's own Python, whatever others are in the search path: it is the one that has Debian's modules.
pub const PYTHON: &str = "/usr/bin/python3";

#[derive(Clone, Copy, Debug)]
pub enum Need {
    /// To be root.
    Root,
    /// A program in the search path.
    Program(&'static str),
    /// A module that [`PYTHON`] finds.
    PythonModule(&'static str),
    /// To be able to make a mount namespace.
    MountNamespace,
    /// Our own program: the test is about something the original has never claimed.
    Ours,
}

/// Whether every need is met. If not, the reason is printed; in CI (`CI` is set) what should have
/// been installed there is an error.
#[track_caller]
pub fn needs(needs: &[Need]) -> bool {
    needs.iter().all(|&need| {
        let Some(why) = lacking(need) else { return true };
        let expected_in_ci = matches!(need, Need::Root | Need::Program(_) | Need::PythonModule(_));
        assert!(!(expected_in_ci && env::var_os("CI").is_some()), "cannot be skipped in CI: {why}");
        println!("SKIP: {why}");
        eprintln!("SKIP: {why}");
        false
    })
}

fn lacking(need: Need) -> Option<String> {
    match need {
        Need::Root => (!Uid::effective().is_root()).then(|| "this test needs root".into()),
        Need::Program(name) => (!is_installed(name)).then(|| format!("{name} is not installed")),
        Need::PythonModule(name) => (!is_importable(name)).then(|| format!("{PYTHON} has no {name}")),
        Need::MountNamespace => (!can_unshare()).then(|| "no mount namespace can be made here".into()),
        Need::Ours => is_original().then(|| "the original does not claim to do this".into()),
    }
}

/// Whether long tests are asked for.
pub fn long() -> bool {
    env::var_os("TCPREEN_LONG").is_some()
}

fn can_unshare() -> bool {
    let mount = ["--mount", "mount", "-t", "tmpfs", "none", "/tmp"];
    Command::new("unshare").args(mount).output().is_ok_and(|output| output.status.success())
}

fn is_installed(name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|directory| access(&directory.join(name), AccessFlags::X_OK).is_ok())
}

fn is_importable(module: &str) -> bool {
    let python = Command::new(PYTHON).args(["-I", "-c", &format!("import {module}")]).output();
    python.is_ok_and(|output| output.status.success())
}
