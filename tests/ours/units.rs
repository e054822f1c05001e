//! The units in contrib/systemd: checked by systemd itself, and replayed without it as far as possible.

use std::fs;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::namespace::{in_a_world_of_its_own, mount_disk, run};
use crate::support::peer::{Peer, echo_server};
use crate::support::skip::{Need, PYTHON, needs, skipped_because};
use crate::support::under_test::binary;
use crate::support::wait::{PATIENCE, until};
use crate::support::{low_port, unix};

/// Maximum "exposure" of a service in tenths; 100 is without any protection known to systemd.
const THRESHOLDS: [(&str, u32); 3] =
    [("tcpreen-activated.service", 16), ("tcpreen@.service", 16), ("tcpreen.service", 25)];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/systemd")
}

fn analyze(arguments: &[&str]) -> (bool, String) {
    let mut analyze = Command::new("systemd-analyze");
    let output = analyze.args(arguments).current_dir(folder()).output().expect("systemd-analyze");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    (output.status.success(), said)
}

#[test]
fn the_units_restrict_their_services() {
    if !needs(&[Need::Program("systemd-analyze")]) {
        return;
    }
    for (unit, threshold) in THRESHOLDS {
        let threshold = format!("--threshold={threshold}");
        let (good, said) = analyze(&["security", "--offline=true", &threshold, "--no-pager", unit]);
        assert!(good, "{unit}: {said}");
    }
}

/// Values of a setting of a unit, in their order.
fn setting(unit: &str, name: &str) -> Vec<String> {
    let text = fs::read_to_string(folder().join(unit)).unwrap_or_else(|error| panic!("{unit}: {error}"));
    let values = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    values.map(str::to_owned).collect()
}

/// A restart adds to the record, is not tried where it would be in vain or cost the record that filled the disk, and
/// outlasts a minute without names at boot.
#[test]
fn the_units_keep_the_record_and_outlast_a_minute_without_names() {
    for unit in ["tcpreen.service", "tcpreen-activated.service"] {
        let command = setting(unit, "ExecStart").concat();
        assert!(command.contains(" --append -o /var/log/tcpreen/"), "{unit}: {command}");
        let prevented = setting(unit, "RestartPreventExitStatus").concat();
        for status in ["64", "74", "77", "78"] {
            assert!(prevented.split(' ').any(|it| it == status), "{unit}: {prevented}");
        }
        assert!(!prevented.split(' ').any(|it| it == "68"), "{unit}: a name that is not known yet");
    }
    let after = setting("tcpreen.service", "After").join(" ");
    assert!(after.split(' ').any(|it| it == "nss-lookup.target"), "{after}");
    let number = |name| -> u32 { setting("tcpreen.service", name).concat().parse().expect("a number") };
    let (every, within, times) =
        (number("RestartSec"), number("StartLimitIntervalSec"), number("StartLimitBurst"));
    assert!(every * times > 60 && within > every, "{every} {within} {times}");
    // Each client of the third unit has a file of its own.
    assert!(setting("tcpreen@.service", "ExecStart").concat().contains("%%t-%%a-%%p"));
}

/// systemd complains about programs that are not installed; any other complaint fails the test.
#[test]
fn systemd_accepts_the_units() {
    if !needs(&[Need::Program("systemd-analyze")]) {
        return;
    }
    let units = [
        "tcpreen.service",
        "tcpreen.socket",
        "tcpreen-activated.service",
        "tcpreen@8080.socket",
        "tcpreen@.service",
    ];
    let (_, said) = analyze(&[&["verify", "--man=no"], units.as_slice()].concat());
    let complaints: Vec<&str> =
        said.lines().filter(|line| !line.contains("/usr/bin/tcpreen is not executable")).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

/// A service started as its unit describes, in namespaces with the account tcpreen and its directory.
struct Service {
    process: std::process::Child,
    manager: UnixDatagram,
}

impl Service {
    /// `settings` are those of Environment=.
    #[track_caller]
    fn start(unit: &str, settings: &[String], stdin: Stdio, stderr: Stdio) -> Self {
        let name = unix::abstract_name();
        let address = SocketAddr::from_abstract_name(&name[1..]).expect("an abstract name");
        let manager = UnixDatagram::bind_addr(&address).expect("bind");
        manager.set_read_timeout(Some(PATIENCE)).expect("SO_RCVTIMEO");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/unit.py");
        let mut command = Command::new("unshare");
        command.args(["--mount", PYTHON]).arg(script).arg(folder().join(unit)).args(settings);
        let process = command.env("NOTIFY_SOCKET", &name).stdin(stdin).stderr(stderr).spawn();
        Service { process: process.expect("it starts"), manager }
    }

    #[track_caller]
    fn tells(&self, words: &str) {
        let mut buffer = [0; 4096];
        until(words, || {
            let length = self.manager.recv(&mut buffer).expect("a message to the manager");
            String::from_utf8_lossy(&buffer[..length]).contains(words).then_some(())
        });
    }

    /// Reloads and stops it as systemd does.
    #[track_caller]
    fn reloads_and_stops(mut self) {
        let pid = Pid::from_raw(self.process.id().try_into().expect("a process id"));
        fs::rename("/var/log/tcpreen/sessions.log", "/var/log/tcpreen/sessions.log.1").expect("rename");
        kill(pid, Signal::SIGHUP).expect("kill");
        self.tells("RELOADING=1");
        self.tells("READY=1");
        assert!(Path::new("/var/log/tcpreen/sessions.log").exists());
        kill(pid, Signal::SIGTERM).expect("kill");
        let status = until("the end", || self.process.try_wait().expect("wait"));
        assert_eq!(status.code(), Some(143));
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Performs the set-up that a unit documents, with our program in place of the installed one.
fn set_up() {
    for directory in ["/var/log", "/opt"] {
        mount_disk("10M", Path::new(directory));
    }
    for (file, line) in [
        ("passwd", "tcpreen:x:64711:64711::/nonexistent:/usr/sbin/nologin\n"),
        ("group", "tcpreen:x:64711:\n"),
    ] {
        let text = fs::read_to_string(format!("/etc/{file}")).expect("the accounts");
        fs::write(format!("/opt/{file}"), text + line).expect("a file");
        run("mount", &["--bind", &format!("/opt/{file}"), &format!("/etc/{file}")]);
    }
    fs::create_dir("/var/log/tcpreen").expect("mkdir");
    run("chown", &["64711:64711", "/var/log/tcpreen"]);
    run("mount", &["--bind", &binary().display().to_string(), "/usr/bin/tcpreen"]);
}

fn can_be_played() -> bool {
    if !cfg!(target_arch = "x86_64") {
        skipped_because("the numbers of system calls are those of x86-64", "run on x86-64");
        return false;
    }
    let tools = [Need::Program("systemd-analyze"), Need::Program("tcpreen"), Need::Program("gcc")];
    needs(&[Need::Root, Need::World]) && needs(&tools)
}

#[test]
fn the_activated_service_works_within_its_units_restrictions() {
    if !can_be_played() {
        return;
    }
    in_a_world_of_its_own(|| {
        set_up();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of the kernel's choice");
        let port = listener.local_addr().expect("getsockname").port();
        let server = format!("SERVER=127.0.0.1:{}", echo_server().port);
        let socket = Stdio::from(std::os::fd::OwnedFd::from(listener));
        let options = "OPTIONS=-n -F 64 -f C -v -v -v".to_owned();
        let told = fs::File::create("/opt/stderr").expect("a file");
        let service = Service::start("tcpreen-activated.service", &[server, options], socket, told.into());
        service.tells("READY=1");
        service.tells("WATCHDOG=1");
        Peer::connect(port).gets_its_echo();
        until("the record", || {
            let record = fs::read_to_string("/var/log/tcpreen/sessions.log").ok()?;
            record.contains("<<< hello").then_some(())
        });
        let told = fs::read_to_string("/opt/stderr").expect("what was told");
        assert!(told.contains("parent: uid 64711, MDWE on, seccomp on"), "{told}");
        assert!(!told.contains("Landlock none"), "{told}");
        service.reloads_and_stops();
    });
}

#[test]
fn the_root_daemon_works_within_its_units_restrictions() {
    if !can_be_played() {
        return;
    }
    in_a_world_of_its_own(|| {
        set_up();
        let place = low_port();
        let settings = [format!("SERVER=127.0.0.1:{}", echo_server().port), format!("LISTEN={place}")];
        let service = Service::start("tcpreen.service", &settings, Stdio::null(), Stdio::inherit());
        service.tells("READY=1");
        service.tells("WATCHDOG=1");
        Peer::connect_to(place).gets_its_echo();
        service.reloads_and_stops();
    });
}

#[test]
fn the_per_client_service_works_within_its_units_restrictions() {
    if !can_be_played() {
        return;
    }
    in_a_world_of_its_own(|| {
        set_up();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of the kernel's choice");
        let client = Peer::connect(listener.local_addr().expect("getsockname").port());
        let (connection, _) = listener.accept().expect("accept");
        let port = client.local_port();
        let settings = [format!("SERVER=127.0.0.1:{}", echo_server().port)];
        let socket = Stdio::from(std::os::fd::OwnedFd::from(connection));
        let mut service = Service::start("tcpreen@.service", &settings, socket, Stdio::inherit());
        client.gets_its_echo();
        let status = until("the end", || service.process.try_wait().expect("wait"));
        assert_eq!(status.code(), Some(0));
        let mut files = fs::read_dir("/var/log/tcpreen").expect("the directory").flatten();
        let ours = format!("-127.0.0.1-{port}.log");
        assert!(files.any(|it| it.file_name().to_string_lossy().ends_with(&ours)), "a record");
    });
}
