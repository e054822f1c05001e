//! Tests the sandbox from inside: this binary starts itself as a role, locks itself, and attempts what is
//! forbidden. It does not use libtest, because a process with threads must not fork.

use std::ffi::{CString, OsString};
use std::fs::{File, Permissions};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::mpsc;

use nix::errno::Errno;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Uid, setresuid};
use privsep::channel::{Channel, ChannelError, Incoming, Wait, no_fds, one_fd};
use privsep::confine::{Confined, Identity, Privileges, Root, StepError, drop_privileges};
use privsep::landlock::Landlock;
use privsep::role::{Entry, argument, asked_for};
use privsep::seccomp::{Allowed, Filter, Is, Refused, Violation};
use privsep::spawn::{Program, Streams};
use privsep::{allow, refuse};
use skips::{Lack, List};

const SKIPPED: List = List(env!("CARGO_TARGET_TMPDIR"));

const ALLOWED: &[Allowed] = allow![
    SYS_exit_group => "the end",
    SYS_write => "last words",
    SYS_sendmsg => "messages",
    SYS_recvmsg => "messages",
    SYS_close => "descriptors end",
    SYS_fcntl => "debug builds look at descriptors",
    SYS_munmap => "heap",
    SYS_mmap(2 is Is::Without(libc::PROT_EXEC as u32)) => "heap, never executable",
    SYS_brk => "heap",
    SYS_madvise => "heap",
    SYS_futex => "threads",
    SYS_sigaltstack => "end of main",
    SYS_rt_sigprocmask => "abort",
    SYS_rt_sigaction => "abort",
    SYS_gettid => "abort",
    SYS_getpid => "abort",
    SYS_tgkill(2 is Is::Int(libc::SIGABRT as u32)) => "abort",
    SYS_prctl(0 is Is::Int(libc::PR_GET_SECCOMP as u32)) => "the probe that asks for it",
    SYS_mprotect => "the probe that asks for it",
    SYS_getppid(0 is Is::Int(1), 1 is Is::Int(1)) => "never true: the row below is what counts",
    SYS_getppid => "the probe that asks for it",
];

const REFUSED: &[Refused] = refuse![SYS_getcwd with ENOSYS => "the probe that asks for it"];

/// Action of a probe once it is locked; `true` if it returned with the right result.
type Probe = fn(&Channel<u32, u32>, &Confined) -> bool;

const PROBES: &[(&str, Probe, Expected)] = &[
    ("sends and receives", answers, Expected::Fine),
    ("is under a filter", |_, _| privsep::confine::filtered().is_ok_and(|on| on), Expected::Fine),
    ("is refused softly", |_, _| std::env::current_dir().is_err(), Expected::Fine),
    (
        "calls what one row allows and another restricts",
        |_, _| privsep::sys::parent().as_raw() > 0,
        Expected::Fine,
    ),
    ("opens a file", |_, _| File::open("/dev/null").is_ok(), Expected::Killed),
    ("makes a socket", |_, _| std::net::UdpSocket::bind("127.0.0.1:0").is_ok(), Expected::Killed),
    ("makes a process", |_, _| Command::new("/bin/true").spawn().is_ok(), Expected::Killed),
    ("makes a thread", |_, _| std::thread::Builder::new().spawn(|| ()).is_ok(), Expected::Killed),
    ("kills", |_, _| nix::sys::signal::kill(nix::unistd::Pid::this(), None).is_ok(), Expected::Killed),
    ("calls with a forbidden argument", |_, _| nix::sys::prctl::get_dumpable().is_ok(), Expected::Killed),
    ("has writable memory made executable", memory_stays_data, Expected::Fine),
    ("has its own code made writable", code_stays_code, Expected::Fine),
    ("aborts", |_, _| std::process::abort(), Expected::Aborted),
];

/// Required end of a probe.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Expected {
    Fine,
    Killed,
    Aborted,
}

fn answers(channel: &Channel<u32, u32>, _locked: &Confined) -> bool {
    matches!(channel.receive(Wait::Yes), Ok(Incoming::Message(7, _))) && channel.send(&8).is_ok()
}

/// The filter allows the call; the kernel refuses it where the role reported MDWE.
fn memory_stays_data(_channel: &Channel<u32, u32>, locked: &Confined) -> bool {
    let page = vec![0u8; 3 * raw::PAGE];
    let start = (page.as_ptr() as usize).next_multiple_of(raw::PAGE);
    let refused = raw::protect(start, libc::PROT_READ | libc::PROT_EXEC) == Err(Errno::EACCES);
    refused == locked.sandbox_status.memory.mdwe
}

fn code_stays_code(_channel: &Channel<u32, u32>, locked: &Confined) -> bool {
    let start = code_stays_code as *const () as usize / raw::PAGE * raw::PAGE;
    // The protection that it has: harmless where it is not refused.
    let refused = raw::protect(start, libc::PROT_READ | libc::PROT_EXEC) == Err(Errno::EPERM);
    refused == locked.sandbox_status.memory.sealed
}

/// Calls with arguments that no safe function takes.
#[allow(unsafe_code)]
mod raw {
    use nix::errno::Errno;

    pub(super) const PAGE: usize = 4096;

    pub(super) fn protect(page: usize, protection: i32) -> Result<(), Errno> {
        // SAFETY: the pages that are given stay readable, and nothing writes to them afterwards.
        let result = unsafe { libc::mprotect(page as *mut libc::c_void, PAGE, protection) };
        Errno::result(result).map(drop)
    }

    pub(super) fn set_inheritable(fd: i32) {
        // SAFETY: clears a flag.
        unsafe { libc::fcntl(fd, libc::F_SETFD, 0) };
    }
}

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if let Some(name) = arguments.get(1).and_then(|only| asked_for(only)) {
        return be(name);
    }
    if arguments.get(1).is_some_and(|only| only == WHO) {
        return who();
    }
    let [mut passed, mut failed, mut ignored] = [0; 3];
    let mut run = |name: &str, test: &dyn Fn() -> Ending| {
        let (count, word) = match std::panic::catch_unwind(std::panic::AssertUnwindSafe(test)) {
            Ok(Ending::Passed) => (&mut passed, "ok".to_owned()),
            Ok(Ending::Skipped(lack)) => {
                SKIPPED.enter(&format!("cage: {name}"), lack);
                (&mut ignored, format!("ignored, {}", lack.0))
            }
            Err(_) => (&mut failed, "FAILED".to_owned()),
        };
        *count += 1;
        println!("test {name} ... {word}");
    };
    for (name, _, expected) in PROBES {
        run(&format!("a locked role that {name}: {expected:?}"), &|| probe(name, *expected));
    }
    for (name, test) in TESTS {
        run(name, test);
    }
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {verdict}. {passed} passed; {failed} failed; {ignored} ignored; 0 measured; 0 filtered out"
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Result of a test that did not fail.
enum Ending {
    Passed,
    Skipped(Lack),
}

/// Starts a probe, exchanges messages with it, and checks its end.
fn probe(name: &str, expected: Expected) -> Ending {
    let program = Program::current("cage").expect("the program");
    let (pid, channel) = program.start::<u32, u32>(name, Streams::Output, &[]).expect("a role");
    let _ = channel.send(&7);
    let status = waitpid(pid, None).expect("its end");
    let ended = match status {
        WaitStatus::Exited(_, 0) => Expected::Fine,
        WaitStatus::Signaled(_, nix::sys::signal::Signal::SIGSYS, _) => Expected::Killed,
        WaitStatus::Signaled(_, nix::sys::signal::Signal::SIGABRT, _) => Expected::Aborted,
        other => panic!("{other:?}"),
    };
    assert_eq!(ended, expected);
    Ending::Passed
}

/// Argument with which [`regain`] starts a copy of this binary.
const WHO: &str = "who";

/// Environment variable with which [`regain`] finds the set-uid copy of this binary.
const COPY: &str = "CAGE_SET_UID_COPY";

/// Makes a copy of this binary with root's set-uid bit, outside the build directory: a role that has dropped
/// root may be unable to enter the directories above that, and would fail for that reason only.
fn set_uid_copy() -> Option<(tempfile::TempDir, PathBuf)> {
    ["/tmp", "/var/tmp", "/dev/shm"].into_iter().find_map(|place| {
        let directory = tempfile::tempdir_in(place).ok()?;
        let copy = directory.path().join("cage-set-uid");
        std::fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).ok()?;
        std::fs::copy(std::env::current_exe().ok()?, &copy).ok()?;
        std::fs::set_permissions(&copy, Permissions::from_mode(0o4755)).ok()?;
        // Checks that the copy gives root without a drop; otherwise the test would prove nothing.
        let given = Command::new(&copy).arg(WHO).uid(65534).status().ok()?;
        (given.code() == Some(1)).then_some((directory, copy))
    })
}

/// Drops privileges, but does not confine itself further: tries to become root again, directly and through a
/// set-uid file.
fn regain() -> ExitCode {
    let root = Uid::from_raw(0);
    drop_privileges(&privileges()).expect("dropped");
    if setresuid(root, root, root).is_ok() || nix::unistd::seteuid(root).is_ok() {
        return ExitCode::from(1);
    }
    let copy = std::env::var_os(COPY).expect("the path of the copy");
    panic!("{}", Command::new(copy).arg(WHO).exec());
}

/// Reports whether the caller is root.
fn who() -> ExitCode {
    ExitCode::from(u8::from(nix::unistd::geteuid().is_root()))
}

fn skip(lack: Lack) -> Ending {
    skips::expect_allowed(lack.0);
    Ending::Skipped(lack)
}

fn dropped_for_good() -> Ending {
    if !nix::unistd::geteuid().is_root() {
        return skip(skips::ROOT);
    }
    let Some((_directory, copy)) = set_uid_copy() else {
        return skip(Lack("no directory has working set-uid files", "mount /tmp or /var/tmp without nosuid"));
    };
    let environment = CString::new(format!("{COPY}={}", copy.display())).expect("a path without NUL");
    let (pid, _channel) = Program::current("cage")
        .expect("the program")
        .start::<u32, u32>("regain", Streams::Output, &[environment])
        .expect("a role");
    let ended = waitpid(pid, None);
    assert!(matches!(ended, Ok(WaitStatus::Exited(_, 0))), "{ended:?}");
    Ending::Passed
}

/// Runs a probe.
fn be(name: &str) -> ExitCode {
    let Ok(entry) = Entry::check() else { return ExitCode::from(64) };
    if name == "regain" {
        return regain();
    }
    let channel: Channel<u32, u32> = entry.open(c"probe").expect("the channel");
    let in_time = mpsc::channel::<()>();
    let started = mpsc::channel::<()>();
    // Created before the filter and active after it: the filter has to cover the thread, too.
    let thread = (name == "thread").then(|| {
        let (go, up) = (in_time.1, started.0);
        std::thread::spawn(move || {
            let _ = up.send(());
            let _ = go.recv();
            File::open("/dev/null").is_ok()
        })
    });
    if thread.is_some() {
        let _ = started.1.recv();
    }
    let locked: Confined = lock().unwrap_or_else(|error| panic!("{error}"));
    if let Some(thread) = thread {
        drop(in_time.0);
        return ExitCode::from(u8::from(thread.join().is_err()) + 1);
    }
    let probe = PROBES.iter().find(|(probe, ..)| *probe == name).expect("a known probe").1;
    ExitCode::from(u8::from(!probe(&channel, &locked)))
}

fn privileges() -> Privileges<'static> {
    let root = nix::unistd::geteuid().is_root();
    let identity = if root { Identity::Become { uid: 65534, gid: 65534 } } else { Identity::Keep };
    Privileges { identity, root: Root::Keep, limits: &[], parent: None }
}

fn lock() -> Result<Confined, StepError> {
    let filter = Filter::new(&[ALLOWED], REFUSED, Violation::Kill).expect("a filter");
    drop_privileges(&privileges())?.fence(&Landlock::default())?.lock(&filter)
}

type Test = fn() -> Ending;

const TESTS: &[(&str, Test)] = &[
    ("a thread created before the filter is inside it", || probe("thread", Expected::Killed)),
    ("a role started by hand is rejected", role_by_hand),
    ("dropped root cannot be regained, even without a filter", dropped_for_good),
    ("a descriptor arrives unchanged", descriptor_arrives),
    ("descriptors beyond the permitted two are closed, and the message is refused", too_many_descriptors),
    ("an oversized message is refused", too_long),
    ("messages of a peer that has ended are still received", last_words),
    ("every number of descriptors with every fit of the message is received without a leak", all_messages),
    ("a descriptor is taken over once, and none that has an owner", taken_over_once),
    ("a process of several threads is not alone", not_alone),
    ("only standard streams are replaced", only_streams),
    ("a message carries no more descriptors than it may", only_two_sent),
];

fn role_by_hand() -> Ending {
    let status = Command::new(std::env::current_exe().expect("us"))
        .arg(argument("sends and receives"))
        .status()
        .expect("it runs");
    assert_eq!(status.code(), Some(64));
    Ending::Passed
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("/proc").count()
}

fn descriptor_arrives() -> Ending {
    let (one, other) = Channel::<u32, u32>::pair().expect("a pair");
    let null = File::open("/dev/null").expect("null");
    one.send_with(&5, &[null.as_fd()], Wait::Yes).expect("sent");
    let Ok(Incoming::Message(5, fds)) = other.receive(Wait::Yes) else { panic!("no message") };
    let found =
        File::from(one_fd(fds).expect("one descriptor").accept().expect("it")).metadata().expect("it");
    let null = null.metadata().expect("null");
    assert_eq!(std::os::unix::fs::MetadataExt::rdev(&found), std::os::unix::fs::MetadataExt::rdev(&null));
    Ending::Passed
}

fn too_many_descriptors() -> Ending {
    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
    use std::os::fd::AsRawFd;
    for count in [1, 2, 3, 4, 100, 253] {
        let (one, other) = Channel::<u32, u32>::pair().expect("a pair");
        let before = open_descriptors();
        let fds = vec![one.as_fd().as_raw_fd(); count];
        let bytes = 5u32.to_le_bytes();
        let part = [std::io::IoSlice::new(&bytes)];
        let control = [ControlMessage::ScmRights(&fds)];
        sendmsg::<()>(one.as_fd().as_raw_fd(), &part, &control, MsgFlags::empty(), None).expect("sent");
        match other.receive(Wait::Yes) {
            Ok(Incoming::Message(5, fds)) => {
                assert!(count <= 2, "{count} descriptors came through");
                assert!(no_fds(fds).is_err());
            }
            Err(ChannelError::Descriptors) => assert!(count > 2),
            _ => panic!("{count}: neither a message nor an error"),
        }
        assert_eq!(open_descriptors(), before, "{count} descriptors: some stayed open");
    }
    Ending::Passed
}

/// All that `receive` keeps account of: each number of descriptors that the kernel passes (`SCM_MAX_FD` is 253), with
/// a message that is empty, fits exactly, and is cut off, into either buffer for control data.
fn all_messages() -> Ending {
    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
    use privsep::sys::{receive, receive_from_parent};
    use std::os::fd::{AsRawFd, BorrowedFd};
    type Receive = fn(BorrowedFd<'_>, &mut [u8], libc::c_int) -> std::io::Result<privsep::sys::Received>;
    let before = open_descriptors();
    for (receive, room) in [(receive as Receive, 253), (receive_from_parent as Receive, 4)] {
        for (count, length) in (0..=253).flat_map(|count| [1, 8, 9].map(|length| (count, length))) {
            let (one, other) = Channel::<u32, u32>::pair().expect("a pair");
            let fds = vec![one.as_fd().as_raw_fd(); count];
            let part = [std::io::IoSlice::new(&[7u8; 9][..length])];
            let control = [ControlMessage::ScmRights(&fds)];
            let control = if count == 0 { &control[..0] } else { &control };
            let sender = one.as_fd().as_raw_fd();
            sendmsg::<()>(sender, &part, control, MsgFlags::empty(), None).expect("sent");
            let mut buffer = [0; 8];
            let received = receive(other.as_fd(), &mut buffer, 0).expect("received");
            let came = received.fds.iter().flatten().count();
            assert_eq!(received.bytes, length.min(8), "{count}, {length}");
            assert_eq!(came, count.min(2), "{count}, {length}");
            assert_eq!(received.intact, count <= 2 && length <= 8, "{count} of {room}, {length}");
            assert!(buffer[..length.min(8)].iter().all(|byte| *byte == 7));
        }
        assert_eq!(open_descriptors(), before, "some stayed open");
    }
    Ending::Passed
}

fn taken_over_once() -> Ending {
    use privsep::sys::inherited;
    use std::os::fd::{AsRawFd, IntoRawFd};
    for owned in [File::open("/dev/null").expect("null"), File::open("/proc/self/stat").expect("stat")] {
        assert!(inherited(owned.as_raw_fd()).is_err(), "it has an owner");
        let number = owned.into_raw_fd();
        raw::set_inheritable(number);
        let taken = inherited(number).expect("nothing owns it now");
        assert_eq!(taken.as_raw_fd(), number);
        assert!(inherited(number).is_err(), "it was taken over already");
        drop(taken);
        assert!(inherited(number).is_err(), "it is closed");
    }
    for number in [-1, 0, 1, 2, i32::MAX] {
        assert!(inherited(number).is_err(), "{number}");
    }
    Ending::Passed
}

fn not_alone() -> Ending {
    assert!(privsep::sys::Alone::check().is_ok());
    let (stop, stopped) = mpsc::channel::<()>();
    let other = std::thread::spawn(move || stopped.recv().is_err());
    assert!(privsep::sys::Alone::check().is_err());
    drop(stop);
    other.join().expect("its end");
    Ending::Passed
}

fn only_streams() -> Ending {
    let null = File::open("/dev/null").expect("null");
    for streams in [-1..=2, 0..=3, 3..=3] {
        let tried = std::panic::catch_unwind(|| privsep::sys::replace_streams(null.as_fd(), streams));
        assert!(tried.is_err());
    }
    Ending::Passed
}

fn only_two_sent() -> Ending {
    let (one, _other) = Channel::<u32, u32>::pair().expect("a pair");
    let tried = std::panic::catch_unwind(|| privsep::sys::send(one.as_fd(), b"7", &[one.as_fd(); 3], 0));
    assert!(tried.is_err());
    Ending::Passed
}

fn too_long() -> Ending {
    let (one, other) = Channel::<u32, u32>::pair().expect("a pair");
    one.send_frame(&vec![0; privsep::wire::LIMIT + 1]).expect("sent");
    assert!(matches!(other.receive(Wait::Yes), Err(ChannelError::Descriptors)));
    Ending::Passed
}

fn last_words() -> Ending {
    let (one, other) = Channel::<u32, u32>::pair().expect("a pair");
    other.send(&1).expect("something that is never read");
    one.send(&9).expect("the last words");
    drop(one);
    assert!(matches!(other.receive(Wait::Yes), Ok(Incoming::Message(9, _))));
    assert!(matches!(other.receive(Wait::Yes), Ok(Incoming::Closed)));
    Ending::Passed
}
