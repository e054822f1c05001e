//! A network and a file system for one test. Needs root.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::panic::resume_unwind;
use std::path::Path;
use std::process::Command;
use std::thread;

use nix::sched::{CloneFlags, unshare};

/// Runs a test in new network and mount namespaces: there is no network but loopback, and mounts are
/// invisible outside. The test's threads and processes share them.
pub fn in_a_world_of_its_own(test: impl FnOnce() + Send) {
    let verdict = thread::scope(|scope| {
        let there = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("new namespaces");
            run("mount", &["--make-rprivate", "/"]);
            run("ip", &["link", "set", "lo", "up"]);
            test();
        });
        there.join()
    });
    verdict.unwrap_or_else(|panic| resume_unwind(panic));
}

#[track_caller]
pub fn run(program: &str, args: &[&str]) {
    let status = Command::new(program).args(args).status().expect("it starts");
    assert!(status.success(), "{program} {args:?}: {status}");
}

/// Mounts an empty disk of this size that is writable for everyone.
#[track_caller]
pub fn mount_disk(size: &str, place: &Path) {
    let place = place.to_str().expect("a path in UTF-8");
    run("mount", &["-t", "tmpfs", "-o", &format!("size={size},mode=777"), "none", place]);
}

/// Replaces `/etc` with one that has the real accounts and otherwise only these files.
#[track_caller]
pub fn replace_etc(files: &[(&str, &str)]) {
    let accounts = ["passwd", "group"].map(|name| (name, fs::read_to_string(Path::new("/etc").join(name))));
    mount_disk("1M", Path::new("/etc"));
    fs::set_permissions("/etc", Permissions::from_mode(0o755)).expect("chmod");
    for (name, text) in &accounts {
        fs::write(Path::new("/etc").join(name), text.as_ref().expect("the accounts")).expect("a file");
    }
    for (name, text) in files {
        fs::write(Path::new("/etc").join(name), text).expect("a file");
    }
}

/// An interface `inner` with 10.9.8.7 and fe80::1.
pub fn add_interface() {
    run("ip", &["link", "add", "inner", "type", "veth", "peer", "name", "outer"]);
    for interface in ["inner", "outer"] {
        run("ip", &["link", "set", interface, "up"]);
    }
    run("ip", &["addr", "add", "10.9.8.7/24", "dev", "inner"]);
    run("ip", &["addr", "add", "fe80::1/64", "dev", "inner", "nodad"]);
}
