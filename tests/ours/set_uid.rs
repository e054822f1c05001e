//! Starts with root's power by a user who has none, through the set-uid bit or a file capability. The result
//! is a clean error, or a bridge that is confined like any other; nothing of root's is touched.

use std::fs::{self, Permissions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::{Pid, mkfifo};

use crate::support::launcher::launcher;
use crate::support::peer::{Peer, Service, echo_server};
use crate::support::scratch::Scratch;
use crate::support::skip::{Need, needs};
use crate::support::wait::{PATIENCE, until, within};
use crate::support::{low_port, nobody, place_of_our_own, proc};

const NEEDS: [Need; 3] = [Need::Root, Need::Program("cc"), Need::Program("setcap")];

/// Source of the program's power.
#[derive(Clone, Copy, Debug)]
enum Power {
    SetUid,
    Capability,
}

const POWERS: [Power; 2] = [Power::SetUid, Power::Capability];

/// The program with power, in a directory that is checked for new files.
struct Stage {
    scratch: Scratch,
    program: PathBuf,
    own: Vec<PathBuf>,
}

impl Stage {
    fn new(power: Power) -> Self {
        let scratch = Scratch::new();
        let program = scratch.copy_of_program(if matches!(power, Power::SetUid) { 0o4755 } else { 0o755 });
        if matches!(power, Power::Capability) {
            let given = Command::new("setcap").arg("cap_net_bind_service+ep").arg(&program).status();
            assert!(given.expect("setcap").success(), "a capability for the file");
        }
        let own = vec![program.clone()];
        Stage { scratch, program, own }
    }

    /// Starts it as `nobody`.
    fn command(&self, words: &[&str], arguments: &[&str]) -> Command {
        let (uid, gid) = nobody();
        let mut command = Command::new(launcher());
        command.args(words).arg("--").arg(&self.program).args(arguments);
        command.uid(uid.as_raw()).gid(gid.as_raw()).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn output(&self, words: &[&str], arguments: &[&str]) -> Output {
        self.command(words, arguments).output().expect("it starts")
    }

    /// Expects no new file of root's.
    #[track_caller]
    fn expect_nothing_of_root(&self, what: &str) {
        for entry in fs::read_dir(self.scratch.path("")).expect("the directory").flatten() {
            let owner = entry.metadata().expect("its owner").uid();
            assert!(owner != 0 || self.own.contains(&entry.path()), "{what}: root made {:?}", entry.path());
        }
    }
}

/// A way to start.
#[derive(Clone, Debug, Default)]
struct Way {
    words: Vec<String>,
    environment: Vec<(String, String)>,
    /// The kernel or the loader may refuse the start, with any message.
    may_not_start: bool,
}

impl Way {
    fn words(words: &[&str]) -> Way {
        Way { words: words.iter().map(ToString::to_string).collect(), ..Way::default() }
    }
}

/// Variables that the C library, the loader, Rust, a service manager or the program might obey.
fn hostile_environment(scratch: &Scratch) -> Way {
    let file = |name: &str| scratch.path(name).to_str().expect("UTF-8").to_owned();
    let files = [
        "LD_PRELOAD",
        "LD_AUDIT",
        "LD_LIBRARY_PATH",
        "LD_DEBUG_OUTPUT",
        "LD_PROFILE_OUTPUT",
        "MALLOC_TRACE",
        "TMPDIR",
        "TZ",
        "TZDIR",
        "HOSTALIASES",
        "RESOLV_HOST_CONF",
        "NLSPATH",
        "LOCPATH",
        "GCONV_PATH",
        "GETCONF_DIR",
        "NOTIFY_SOCKET",
        "HOME",
        "XDG_CONFIG_HOME",
        "RUST_BACKTRACE_FILE",
    ];
    let others = [
        ("LD_DEBUG", "all"),
        ("LD_BIND_NOW", "1"),
        ("LD_PROFILE", "libc.so.6"),
        ("LD_SHOW_AUXV", "1"),
        ("GLIBC_TUNABLES", "glibc.malloc.check=3:glibc.malloc.perturb=170:glibc.rtld.nns=99999999999"),
        ("MALLOC_CHECK_", "3"),
        ("MALLOC_ARENA_MAX", "1"),
        ("MALLOC_PERTURB_", "170"),
        ("MALLOC_TOP_PAD_", "0"),
        ("RUST_BACKTRACE", "full"),
        ("RUST_LOG", "trace"),
        ("RUST_MIN_STACK", "1"),
        ("LOCALDOMAIN", "evil.example"),
        ("RES_OPTIONS", "debug attempts:100 timeout:100 ndots:15"),
        ("LISTEN_FDS", "3"),
        ("LISTEN_PID", "1"),
        ("LISTEN_FDNAMES", "a:b:c"),
        ("WATCHDOG_USEC", "1"),
        ("SUDO_UID", "0"),
        ("SUDO_GID", "0"),
        ("SUDO_USER", "root"),
        ("POSIXLY_CORRECT", "1"),
        ("COLUMNS", "0"),
        ("LC_ALL", "../../evil"),
        ("PATH", ""),
        ("IFS", "/"),
        ("", ""),
    ];
    let files = files.map(|name| (name.to_owned(), file(name)));
    let others = others.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Way {
        environment: files.into_iter().chain(others).filter(|it| !it.0.is_empty()).collect(),
        ..Way::default()
    }
}

fn ways(scratch: &Scratch) -> Vec<Way> {
    let plain: [&[&str]; 8] = [
        &["close=0", "close=1", "close=2"],
        &["close=0"],
        &["close=2"],
        &["block"],
        &["ignore"],
        &["block", "ignore", "close=1", "umask=0"],
        &["umask=0"],
        &["channel"],
    ];
    let mut ways: Vec<Way> = plain.map(Way::words).into();
    ways.push(hostile_environment(scratch));
    // FSIZE, CORE, NPROC, MEMLOCK, LOCKS, SIGPENDING, MSGQUEUE, RTTIME: the program can report the error.
    // DATA, STACK, NOFILE, AS: it may not even start. CPU makes the kernel kill it.
    for (resource, may_not_start) in [1, 4, 6, 8, 10, 11, 12, 15]
        .map(|it| (it, false))
        .into_iter()
        .chain([2, 3, 7, 9].map(|it| (it, true)))
    {
        for value in 0..2 {
            let words = vec![format!("limit={resource}={value}")];
            ways.push(Way { words, may_not_start, ..Way::default() });
        }
    }
    ways
}

/// A running start, ended with the test.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let pid = Pid::from_raw(self.0.id().try_into().expect("a number"));
        let family = proc::descendants(pid);
        let _ = self.0.kill();
        for pid in family {
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
        let _ = self.0.wait();
    }
}

/// Starts in this way and checks the result.
#[track_caller]
fn try_way(stage: &Stage, way: &Way, echo: &Service<crate::support::peer::Traffic>) {
    let place = low_port();
    let (ip, port, server) = (place.ip().to_string(), place.port().to_string(), echo.port.to_string());
    let record = stage.scratch.path("record");
    let record = record.to_str().expect("UTF-8");
    let words: Vec<&str> = way.words.iter().map(String::as_str).collect();
    let arguments = ["-n", "-a", &ip, "-s", "127.0.0.1", "-o", record, &server, &port];
    let mut command = stage.command(&words, &arguments);
    command.envs(way.environment.iter().map(|(name, value)| (name, value)));
    let mut started = Started(command.spawn().expect("it starts"));
    let pid = Pid::from_raw(started.0.id().try_into().expect("a number"));
    let outcome = within(PATIENCE, "a bridge or an error", || {
        Peer::try_connect(place).map(Ok).or_else(|| started.0.try_wait().expect("wait").map(Err))
    });
    match outcome {
        Ok(mut client) => {
            let _ = client.try_send("question");
            let served = client.words_within(Duration::from_secs(3)).as_deref() == Some(b"question");
            // The program reports what a limit prevents.
            if served {
                for pid in [pid].into_iter().chain(proc::descendants(pid)) {
                    expect_confined(pid, way);
                }
            } else {
                let mut stderr = started.0.stderr.take().expect("a pipe");
                drop(started);
                let mut said = String::new();
                stderr.read_to_string(&mut said).expect("UTF-8");
                let limited = way.words.iter().any(|word| word.starts_with("limit="));
                assert!(
                    limited && said.lines().any(|line| !line.starts_with("Listening")),
                    "{way:?}: {said}"
                );
            }
        }
        Err(status) => {
            let clean = status.code().is_some_and(|code| (64..=78).contains(&code));
            // 127 is the loader's.
            let foreign = way.may_not_start && (status.signal().is_some() || status.code() >= Some(99));
            assert!(clean || foreign, "{way:?}: {status}");
        }
    }
    stage.expect_nothing_of_root(&format!("{way:?}"));
    let _ = fs::remove_file(record);
}

#[track_caller]
fn expect_confined(pid: Pid, way: &Way) {
    // A worker may have ended in the meantime.
    for thread in proc::threads(pid) {
        assert_eq!(thread.ids("Uid"), [nobody().0.as_raw(); 4], "{way:?}");
        for set in ["CapPrm", "CapEff", "CapInh", "CapAmb"] {
            assert_eq!(thread.get(set), "0000000000000000", "{way:?}: {set}");
        }
        assert_eq!((thread.get("NoNewPrivs"), thread.get("Seccomp")), ("1", "2"), "{way:?}");
    }
}

#[test]
fn every_hostile_start_is_confined_or_a_clean_error() {
    if !needs(&NEEDS) {
        return;
    }
    let echo = echo_server();
    for power in POWERS {
        let stage = Stage::new(power);
        let ways = ways(&stage.scratch);
        ways.iter().for_each(|way| try_way(&stage, way, &echo));
    }
}

#[test]
fn without_arguments_and_with_a_hundred_thousand_it_is_a_usage_error() {
    if !needs(&NEEDS) {
        return;
    }
    for power in POWERS {
        let stage = Stage::new(power);
        for words in [&["no-arguments"][..], &["many-arguments"], &["no-arguments", "close=2", "close=0"]] {
            let output = stage.output(words, &[]);
            assert_eq!(output.status.code(), Some(64), "{words:?}: {output:?}");
        }
        stage.expect_nothing_of_root("arguments");
    }
}

#[test]
fn in_a_directory_that_is_gone_or_closed_it_serves() {
    if !needs(&NEEDS) {
        return;
    }
    let echo = echo_server();
    for power in POWERS {
        for word in ["deleted", "closed"] {
            let stage = Stage::new(power);
            let away = stage.scratch.path("away");
            fs::create_dir(&away).expect("mkdir");
            fs::set_permissions(stage.scratch.path(""), Permissions::from_mode(0o777)).expect("chmod");
            let (uid, gid) = nobody();
            nix::unistd::chown(&away, Some(uid), Some(gid)).expect("chown");
            let place = low_port();
            let (ip, port, server) =
                (place.ip().to_string(), place.port().to_string(), echo.port.to_string());
            let mut command = stage.command(&[word], &["-n", "-a", &ip, "-s", "127.0.0.1", &server, &port]);
            let _started = Started(command.current_dir(&away).spawn().expect("it starts"));
            let mut client = until(word, || Peer::try_connect(place));
            client.send("question");
            client.expect("question");
        }
    }
}

#[test]
fn a_hard_link_in_another_place_is_the_same_program() {
    if !needs(&NEEDS) {
        return;
    }
    let echo = echo_server();
    let mut stage = Stage::new(Power::SetUid);
    let link = stage.scratch.path("elsewhere");
    fs::hard_link(&stage.program, &link).expect("a link");
    fs::remove_file(&stage.program).expect("the first name is gone");
    stage.own = vec![link.clone()];
    stage.program = link;
    try_way(&stage, &Way::default(), &echo);
}

#[test]
fn with_no_new_privileges_the_bit_and_the_capability_give_nothing() {
    if !needs(&NEEDS) {
        return;
    }
    for power in POWERS {
        let stage = Stage::new(power);
        let place = low_port();
        let (ip, port) = (place.ip().to_string(), place.port().to_string());
        let output = stage.output(&["no-new-privs"], &["-n", "-a", &ip, "80", &port]);
        assert_eq!(output.status.code(), Some(77), "{power:?}: {output:?}");
    }
}

#[test]
fn no_output_is_opened_with_more_than_its_callers_rights() {
    if !needs(&NEEDS) {
        return;
    }
    for power in POWERS {
        let mut stage = Stage::new(power);
        let closed = stage.scratch.path("root-only");
        fs::create_dir(&closed).expect("mkdir");
        fs::write(closed.join("file"), "root's").expect("a file");
        fs::set_permissions(&closed, Permissions::from_mode(0o755)).expect("chmod");
        let (fifo, device, link) = (closed.join("fifo"), closed.join("device"), stage.scratch.path("link"));
        mkfifo(&fifo, Mode::S_IRUSR | Mode::S_IWUSR).expect("a pipe");
        // Some containers forbid it.
        let _ = mknod(&device, SFlag::S_IFCHR, Mode::S_IRUSR | Mode::S_IWUSR, makedev(1, 3));
        symlink(closed.join("file"), &link).expect("a link");
        stage.own.extend([closed.clone(), link.clone()]);
        let new = closed.join("new");
        let names = ["/etc/tcpreen-was-here", "/proc/self/fd/3", "/proc/self/fd/4", "/proc/1/oom_score_adj"];
        let places =
            [closed.join("file"), fifo, device, link, new.clone(), closed.clone(), "/dev/mem".into()];
        for path in names.map(PathBuf::from).into_iter().chain(places) {
            let place = place_of_our_own();
            let (ip, port) = (place.ip().to_string(), place.port().to_string());
            let path = path.to_str().expect("UTF-8");
            for format in ["raw", "password"] {
                let arguments = ["-n", "-a", &ip, "-f", format, "-o", path, "80", &port];
                // The launcher's own descriptors are not tested here: it has nothing open there.
                let output = stage.output(&[], &arguments);
                assert_eq!(output.status.code(), Some(73), "{path}: {output:?}");
            }
        }
        assert_eq!(fs::read_to_string(closed.join("file")).expect("it is still there"), "root's");
        assert!(!new.exists() && !Path::new("/etc/tcpreen-was-here").exists());
        stage.expect_nothing_of_root("outputs");
    }
}

#[test]
fn a_set_uid_caller_cannot_select_another_user() {
    if !needs(&NEEDS) {
        return;
    }
    let echo = echo_server();
    for user in ["root", "0", "daemon", "1"] {
        let stage = Stage::new(Power::SetUid);
        let place = low_port();
        let (ip, port, server) = (place.ip().to_string(), place.port().to_string(), echo.port.to_string());
        let arguments = ["-n", "-u", user, "-a", &ip, "-s", "127.0.0.1", &server, &port];
        let mut started = Started(stage.command(&[], &arguments).spawn().expect("it starts"));
        let pid = Pid::from_raw(started.0.id().try_into().expect("a number"));
        let served = until(user, || {
            Peer::try_connect(place).map(Some).or_else(|| started.0.try_wait().expect("wait").map(|_| None))
        });
        if served.is_some() {
            for pid in [pid].into_iter().chain(proc::descendants(pid)) {
                expect_confined(pid, &Way::words(&[user]));
            }
        }
    }
}

/// A bit of the file other than root's set-uid bit.
#[test]
fn other_set_id_bits_are_refused_and_touch_nothing() {
    if !needs(&NEEDS) {
        return;
    }
    let (uid, gid) = nobody();
    const CALLER: u32 = 34568;
    for (owner, group, mode) in
        [(0, gid.as_raw(), 0o2755), (uid.as_raw(), 0, 0o4755), (0, gid.as_raw(), 0o6755)]
    {
        let scratch = Scratch::new();
        let program = scratch.copy_of_program(0o755);
        std::os::unix::fs::chown(&program, Some(owner), Some(group)).expect("chown");
        fs::set_permissions(&program, Permissions::from_mode(mode)).expect("chmod");
        let record = scratch.path("record");
        fs::write(&record, "of the group").expect("a file");
        std::os::unix::fs::chown(&record, Some(uid.as_raw()), Some(gid.as_raw())).expect("chown");
        fs::set_permissions(&record, Permissions::from_mode(0o660)).expect("chmod");
        let record = record.to_str().expect("UTF-8");
        // Also root, when the program takes less power than root has.
        for caller in [CALLER, 0] {
            for arguments in [&["--help"][..], &["-n", "-o", record, "9", "127.0.0.1:0"], &["[logger]"]] {
                if mode == 0o4755 && caller == owner {
                    continue;
                }
                let mut command = Command::new(&program);
                command.args(arguments).uid(caller).gid(caller).stdin(Stdio::null());
                let output = command.output().expect("it starts");
                let is_role = arguments[0].starts_with('[');
                let expected = if is_role { 64 } else { 77 };
                assert_eq!(
                    output.status.code(),
                    Some(expected),
                    "{mode:o} {caller} {arguments:?}: {output:?}"
                );
            }
        }
        assert_eq!(fs::read_to_string(record).expect("a file"), "of the group", "{mode:o}");
    }
}

#[test]
fn a_role_started_by_hand_gives_its_caller_nothing() {
    if !needs(&NEEDS) {
        return;
    }
    for power in POWERS {
        let stage = Stage::new(power);
        for role in ["logger", "resolver", "zygote", "parent", "worker", "", "nonsense"] {
            let argument = format!("[{role}]");
            let arguments = [argument.as_str()];
            for descriptor in ["channel", "stream", "null", "close=3"] {
                let output = stage.output(&[descriptor], &arguments);
                assert_eq!(output.status.code(), Some(64), "{argument} {descriptor}: {output:?}");
                if descriptor == "channel" {
                    continue;
                }
                let output = stage.output(&[descriptor, "no-new-privs"], &arguments);
                assert_eq!(output.status.code(), Some(64), "{argument} {descriptor}: {output:?}");
            }
        }
        stage.expect_nothing_of_root("roles");
    }
}

#[test]
fn a_role_that_accepts_a_manual_start_has_no_privilege() {
    if !needs(&NEEDS) {
        return;
    }
    for power in POWERS {
        let stage = Stage::new(power);
        for role in ["[logger]", "[resolver]", "[zygote]"] {
            let mut command = stage.command(&["channel", "no-new-privs"], &[role]);
            let mut started = Started(command.spawn().expect("it starts"));
            let pid = Pid::from_raw(started.0.id().try_into().expect("a number"));
            // The other end of its channel is closed, so that it exits at once.
            let name = format!("tcpreen-{}", role.trim_matches(['[', ']']));
            let _ = within(PATIENCE, &name, || {
                if let Some(status) = proc::status(pid).filter(|_| proc::is_alive(pid)) {
                    assert_eq!(status.ids("Uid"), [nobody().0.as_raw(); 4], "{role}");
                    assert_eq!(status.get("CapEff"), "0000000000000000", "{role}");
                }
                started.0.try_wait().expect("wait")
            });
        }
    }
}

#[test]
fn a_deleted_or_replaced_program_keeps_its_version() {
    if !needs(&NEEDS) {
        return;
    }
    let echo = echo_server();
    let scratch = Scratch::new();
    let program = scratch.copy_of_program(0o755);
    let tcpreen = crate::support::tcpreen::Tcpreen::to(echo.port).binary(program.clone()).at_once(20).start();
    let exchange = || {
        let mut clients: Vec<Peer> = (0..10).map(|_| tcpreen.connect()).collect();
        clients.iter_mut().for_each(|client| client.send("hello"));
        clients.iter_mut().for_each(|client| client.expect("hello"));
    };
    exchange();
    fs::remove_file(&program).expect("deleted");
    exchange();
    fs::write(&program, "#!/bin/sh\nexit 1\n").expect("another program");
    fs::set_permissions(&program, Permissions::from_mode(0o755)).expect("chmod");
    exchange();
    let other = || Command::new(&program).status().expect("it runs").code();
    assert_eq!(other(), Some(1));
}
