//! Everyday traffic keeps to the tables, whatever the environment: the kernel logs no call, and kills no process.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::Command;
use std::thread;

use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, setsockopt, socket,
    sockopt,
};

use crate::support::launcher::launcher;
use crate::support::scratch::Scratch;
use crate::support::sessions;
use crate::support::skip::{Need, needs, skipped_because};
use crate::support::tcpreen::Tcpreen;
use crate::support::wait::until;

/// Records of the kernel's audit system, as it multicasts them (`AUDIT_NLGRP_READLOG`): unlike those in the kernel's
/// log they are not rationed.
struct AuditRecords(OwnedFd);

impl AuditRecords {
    fn open() -> nix::Result<AuditRecords> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let records = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkAudit)?;
        setsockopt(&records, sockopt::RcvBuf, &(1 << 22))?;
        bind(records.as_raw_fd(), &NetlinkAddr::new(0, 1))?;
        Ok(AuditRecords(records))
    }

    /// Those about one of these programs that came before the control's, which is made to log a call now.
    fn about(&self, programs: &[&Path], control: &Path) -> Vec<String> {
        let log = format!("log={}", libc::SYS_exit_group);
        let status = Command::new(launcher()).args([&log, "--"]).arg(control).status().expect("the launcher");
        assert!(status.success(), "{status}");
        let mut found = Vec::new();
        until("the control's record", || {
            let record = self.next()?;
            let is_about = |program: &&Path| record.contains(&format!("exe=\"{}\"", program.display()));
            if programs.iter().any(is_about) {
                found.push(record.clone());
            }
            is_about(&control).then_some(())
        });
        found
    }

    fn next(&self) -> Option<String> {
        let mut record = [0; 8192];
        // An overrun (ENOBUFS) is reported once, and others follow.
        let length = recv(self.0.as_raw_fd(), &mut record, MsgFlags::empty()).unwrap_or(0);
        // Behind the head of a netlink message.
        (length > 16).then(|| String::from_utf8_lossy(&record[16..length]).into_owned())
    }
}

/// A program of the system under a name of the test's own.
fn copy_of(program: &str, scratch: &Scratch, name: &str) -> std::path::PathBuf {
    let copy = scratch.path(name);
    fs::copy(program, &copy).expect("a copy");
    copy
}

#[test]
fn with_an_open_sandbox_everyday_sessions_leave_no_record() {
    if !needs(&[Need::Root, Need::Program("cc")]) {
        return;
    }
    let records = match AuditRecords::open() {
        Ok(records) => records,
        Err(errno) => return skipped_because(&format!("the audit records: {errno}"), "CAP_AUDIT_READ"),
    };
    let scratch = Scratch::new();
    let program = scratch.copy_of_program(0o755);
    let control = copy_of("/bin/true", &scratch, "control");
    let open = |tcpreen: Tcpreen| tcpreen.binary(program.clone()).args(["--sandbox=log"]);
    sessions::plain(&open);
    sessions::bulk(&open);
    sessions::daemon(&scratch, &open);
    let found = records.about(&[&program], &control);
    assert!(found.is_empty(), "{found:#?}");
}

/// Variables of the caller that change the C library: malloc, locales, time zones, resolver, dynamic linker; and Rust.
const VARIATIONS: &[(&str, &str)] = &[
    ("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0:glibc.malloc.arena_max=1"),
    ("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=1:glibc.malloc.trim_threshold=1"),
    ("GLIBC_TUNABLES", "glibc.malloc.top_pad=16777216:glibc.malloc.perturb=85"),
    ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"),
    ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=2"),
    ("GLIBC_TUNABLES", "glibc.malloc.check=3"),
    ("GLIBC_TUNABLES", "glibc.pthread.rseq=0:glibc.pthread.mutex_spin_count=0"),
    ("GLIBC_TUNABLES", "glibc.rtld.optional_static_tls=4096:glibc.elision.enable=1"),
    ("GLIBC_TUNABLES", "nonsense"),
    ("MALLOC_ARENA_MAX", "1"),
    ("MALLOC_ARENA_TEST", "1"),
    ("MALLOC_CHECK_", "3"),
    ("MALLOC_MMAP_MAX_", "0"),
    ("MALLOC_MMAP_THRESHOLD_", "1"),
    ("MALLOC_PERTURB_", "170"),
    ("MALLOC_TOP_PAD_", "16777216"),
    ("MALLOC_TRIM_THRESHOLD_", "0"),
    ("LC_ALL", "C"),
    ("LC_ALL", "C.UTF-8"),
    ("LC_ALL", "de_DE.UTF-8"),
    ("LC_ALL", "no_SUCH@locale"),
    ("LANG", "ja_JP.eucJP"),
    ("LANGUAGE", "de:fr"),
    ("TZ", "UTC"),
    ("TZ", "Europe/Berlin"),
    ("TZ", ":/etc/localtime"),
    ("TZ", "../../../etc/passwd"),
    ("TZ", "<+03>-3<+04>,M3.5.0/2,M10.5.0/3"),
    ("TZ", ""),
    ("LOCPATH", "/nowhere"),
    ("RES_OPTIONS", "edns0 use-vc rotate timeout:1"),
    ("LOCALDOMAIN", "example"),
    ("HOSTALIASES", "/etc/hosts"),
    ("LD_BIND_NOW", "1"),
    ("RUST_BACKTRACE", "full"),
    ("RUST_MIN_STACK", "65536"),
];

#[test]
fn whatever_the_environment_no_process_breaks_its_sandbox() {
    thread::scope(|scope| {
        for share in VARIATIONS.chunks(VARIATIONS.len().div_ceil(3)) {
            scope.spawn(move || {
                for &(name, value) in share {
                    let outcome = sessions::plain(&|tcpreen| tcpreen.env(name, value));
                    let stderr = &outcome.stderr;
                    assert_eq!(outcome.code(), 0, "{name}={value}: {outcome:?}");
                    assert!(
                        !stderr.contains("signal") && !stderr.contains("lost"),
                        "{name}={value}: {stderr}"
                    );
                }
            });
        }
    });
}
