//! contrib/logrotate as shipped, with Debian's logrotate, for a daemon started by root.

use std::fs::{self, Permissions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use nix::unistd::Group;

use crate::support::daemon::Daemon;
use crate::support::namespace::{in_a_world_of_its_own, mount_disk, replace_etc};
use crate::support::payload::Payload;
use crate::support::peer::{Peer, Server};
use crate::support::record::read_raw;
use crate::support::skip::{Need, needs};
use crate::support::wait::until;

const NEEDS: [Need; 5] =
    [Need::Root, Need::World, Need::Program("logrotate"), Need::Program("pkill"), Need::Program("ip")];

const CONFIGURATION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/contrib/logrotate/tcpreen");

/// A user id that is not otherwise used.
const ACCOUNT: u32 = 54_321;

/// Runs in namespaces with an account `tcpreen` and its `/var/log/tcpreen`, as the package creates them.
fn with_the_account(test: impl FnOnce(&Path) + Send) {
    in_a_world_of_its_own(|| {
        let [passwd, group] = ["passwd", "group"].map(|name| fs::read_to_string(format!("/etc/{name}")));
        let passwd =
            format!("{}tcpreen:x:{ACCOUNT}:{ACCOUNT}::/:/bin/false\n", passwd.expect("the accounts"));
        let group = format!("{}tcpreen:x:{ACCOUNT}:\n", group.expect("the groups"));
        replace_etc(&[("passwd", &passwd), ("group", &group)]);
        mount_disk("64M", Path::new("/var/log"));
        fs::set_permissions("/var/log", Permissions::from_mode(0o755)).expect("chmod");
        let logs = Path::new("/var/log/tcpreen");
        fs::create_dir(logs).expect("mkdir");
        let adm = Group::from_name("adm").expect("the groups").expect("a group called adm");
        chown(logs, Some(ACCOUNT), Some(adm.gid.as_raw())).expect("chown");
        fs::set_permissions(logs, Permissions::from_mode(0o2750)).expect("chmod");
        test(logs);
    });
}

/// Rotates now, regardless of the date.
#[track_caller]
fn logrotate(daemon: &Daemon, configuration: &Path) {
    let mut command = Command::new("logrotate");
    command.arg("--force").arg("--state").arg(daemon.path("state")).arg(configuration);
    let output = command.output().expect("logrotate starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

/// The whole record: the rotated files, oldest first and uncompressed, and the current one.
fn whole(logs: &Path) -> Vec<u8> {
    let old = |number: u32| logs.join(format!("sessions.log.{number}"));
    let mut bytes = Vec::new();
    for number in (1..=8).rev() {
        let packed = PathBuf::from(format!("{}.gz", old(number).display()));
        if packed.exists() {
            let output = Command::new("gzip").arg("-cd").arg(&packed).output().expect("gzip");
            bytes.extend(output.stdout);
        } else if let Ok(plain) = fs::read(old(number)) {
            bytes.extend(plain);
        }
    }
    bytes.extend(fs::read(logs.join("sessions.log")).expect("the record"));
    bytes
}

/// A daemon of that account, with a session during rotations.
#[track_caller]
fn rotates_exactly(configuration: &str, logs: &Path, at_rest: bool, mode: u32) {
    let daemon = Daemon::new();
    let copy = daemon.path("logrotate.conf");
    fs::write(&copy, configuration).expect("a configuration");
    let server = Server::listen().serve(|mut peer: Peer| {
        peer.read_to_end_hashing();
        peer.traffic()
    });
    let record = logs.join("sessions.log");
    // Without `-u`: root's daemon changes to the account named after the program.
    daemon.start(daemon.command(server.port).at_once(1).format("raw").output(&record));
    let mut client = daemon.connect();
    let mut payload = Payload::new(29, u64::MAX);
    let mut piece = vec![0; 100_000];
    let mut sent = 0;
    for rotation in 0..5 {
        for _ in 0..5 {
            payload.read_exact(&mut piece).expect("a payload never ends");
            client.send(&piece);
            sent += piece.len();
        }
        let arrived = || match at_rest {
            // Markers of the pieces and the frame add to it.
            true => whole(logs).len() > sent,
            false => fs::metadata(&record).is_ok_and(|found| found.len() > 0),
        };
        until("the record", || arrived().then_some(()));
        logrotate(&daemon, &copy);
        let found = until("a new file", || fs::metadata(&record).ok());
        assert_eq!((found.mode() & 0o777, found.uid()), (mode, ACCOUNT), "after rotation {rotation}");
    }
    client.finish();
    client.expect_end();
    assert_eq!(server.result(), {
        let mut traffic = client.traffic();
        std::mem::swap(&mut traffic.sent, &mut traffic.received);
        traffic
    });
    daemon.signal(Signal::SIGTERM);
    daemon.all_gone();
    assert!(logs.join("sessions.log.4.gz").exists());
    let record = whole(logs);
    assert!(!record.contains(&0), "a hole");
    assert_eq!(read_raw(&*record).client(), client.traffic().sent);
}

#[test]
fn a_signal_after_the_rotation_as_shipped_loses_nothing() {
    if !needs(&NEEDS) {
        return;
    }
    with_the_account(|logs| {
        let shipped = fs::read_to_string(CONFIGURATION).expect("the shipped file");
        rotates_exactly(&shipped, logs, false, 0o640);
    });
}

#[test]
fn a_copy_of_a_record_at_rest_loses_nothing() {
    if !needs(&NEEDS) {
        return;
    }
    with_the_account(|logs| {
        let shipped = fs::read_to_string(CONFIGURATION).expect("the shipped file");
        let (before, rest) = shipped.split_once("    sharedscripts").expect("scripts");
        let (_, after) = rest.split_once("endscript").expect("their end");
        rotates_exactly(&format!("{before}    copytruncate{after}"), logs, true, 0o644);
    });
}
