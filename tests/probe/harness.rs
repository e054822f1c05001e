//! Runs tcpreen with an assignment for each role, and judges the results.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitCode, Stdio};
use std::thread;

use nix::fcntl::OFlag;
use nix::libc;
use nix::pty::{PtyMaster, grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use skips::{Lack, List};
use tempfile::TempDir;

use super::assignment::VARIABLE;
use super::board::{SharedResults, Verdict};
use super::trial;
use super::{attacks, fault, list};
use privsep::seccomp::{Filter, PROBE, Violation};
use tcpreen::policy::{Extra, Role};

/// Sessions at a time.
const CLIENTS: usize = 8;

pub(crate) fn run() -> ExitCode {
    let roles = [
        "parent",
        "resolver",
        "logger",
        "zygote",
        "worker",
        "converter",
        "parent+",
        "logger+",
        "zygote+",
        "parent=",
        "zygote=",
        "logger!",
        "parent?",
        "logger?",
        "zygote?",
    ];
    // A role that hangs is a failure, by SIGALRM.
    nix::unistd::alarm::set(LIMIT_SECONDS);
    let runs: Vec<_> = roles.map(|role| (role, thread::spawn(move || run_role(role)))).into();
    let mut report = Report::default();
    for (name, test) in TESTS {
        match test() {
            Ok(complaints) => report.add(name, complaints),
            Err(lack) => report.skip(name, lack),
        }
    }
    for (role, run) in runs {
        match run.join() {
            Ok(results) => results.into_iter().for_each(|(name, complaints)| report.add(&name, complaints)),
            Err(_) => report.add(&format!("{role}: runs"), vec!["it did not".into()]),
        }
    }
    report.end()
}

/// Maximum duration of a run, which takes seconds.
const LIMIT_SECONDS: u32 = 600;

/// Name of a test, and its failures.
type Judged = (String, Vec<String>);

#[derive(Default)]
struct Report {
    passed: usize,
    /// Names of the tests that failed.
    failed: Vec<String>,
    ignored: usize,
}

impl Report {
    fn add(&mut self, name: &str, complaints: Vec<String>) {
        println!("test {name} ... {}", if complaints.is_empty() { "ok" } else { "FAILED" });
        complaints.iter().take(12).for_each(|complaint| println!("    {complaint}"));
        if complaints.len() > 12 {
            println!("    and {} more", complaints.len() - 12);
        }
        if complaints.is_empty() { self.passed += 1 } else { self.failed.push(name.to_owned()) }
    }

    fn skip(&mut self, name: &str, lack: Lack) {
        skips::expect_allowed(lack.0);
        List(env!("CARGO_TARGET_TMPDIR")).enter(&format!("probe: {name}"), lack);
        println!("test {name} ... ignored, {}", lack.0);
        self.ignored += 1;
    }

    fn end(self) -> ExitCode {
        let Report { passed, failed, ignored } = self;
        if !failed.is_empty() {
            println!("\nfailures:\n    {}", failed.join("\n    "));
        }
        let verdict = if failed.is_empty() { "ok" } else { "FAILED" };
        let lost = failed.len();
        println!(
            "\ntest result: {verdict}. {passed} passed; {lost} failed; {ignored} ignored; 0 measured; 0 filtered out"
        );
        if lost == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Returns failures, or what the test lacks.
type Test = fn() -> Result<Vec<String>, Lack>;

const TESTS: &[(&str, Test)] = &[
    ("the tables and the second list have the same calls", same_calls),
    ("every row of a table has a reason", every_row_has_a_reason),
    ("the tables compile for aarch64 and riscv64", for_other_architectures),
    ("nothing is forwarded if any step of any role fails", without_a_step),
    ("a wall that is only said to be up is none", a_false_wall),
];

const EXTRAS: [Extra; 15] = [
    Extra::Packets,
    Extra::Descriptors,
    Extra::NssDaemons,
    Extra::Background,
    Extra::SocketFiles,
    Extra::PidFile,
    Extra::SessionFiles,
    Extra::Rotation,
    Extra::Parts,
    Extra::WaitingPipe,
    Extra::TerminalWidth,
    Extra::Sync,
    Extra::Metrics,
    Extra::Syslog,
    Extra::TcpInfo,
];

/// Compiles the tables for architectures with the kernel's generic numbers. Shows that every row not
/// restricted to x86-64 names an existing call and that the filter compiles. Does not cover argument values,
/// which are those of the build machine's C library, nor the calls that a C library makes there.
fn for_other_architectures() -> Result<Vec<String>, Lack> {
    let Ok(header) = std::fs::read_to_string("/usr/include/asm-generic/unistd.h") else {
        return Err(Lack("/usr/include/asm-generic/unistd.h is missing", "apt install linux-libc-dev"));
    };
    let numbers = generic_numbers(&header);
    let number = |name: &str, _: i64| numbers.get(name.trim_start_matches("SYS_")).copied();
    let mut complaints = Vec::new();
    for architecture in ["aarch64", "riscv64"] {
        for role in Role::ALL {
            let extras = EXTRAS.iter().map(|extra| extra.allowed());
            let tables: Vec<_> = role.allowed().iter().copied().chain(extras).collect();
            let filter = Filter::compile(&tables, role.refused(), Violation::Kill, architecture, &number);
            complaints.extend(filter.err().map(|error| format!("{}: {error}", role.name())));
        }
    }
    Ok(complaints)
}

/// `#define __NR_dup3 24`, `#define __NR3264_lseek 62` and `#define __NR_lseek __NR3264_lseek`.
fn generic_numbers(header: &str) -> BTreeMap<&str, i64> {
    let words = header.lines().filter_map(|line| line.strip_prefix("#define __NR")?.split_once(' '));
    let words: Vec<(&str, &str)> = words.map(|(name, value)| (name, value.trim())).collect();
    let number = |name: &str| words.iter().find(|(known, _)| *known == name)?.1.parse::<i64>().ok();
    let named = words.iter().filter_map(|(name, value)| {
        let value = value.parse().ok().or_else(|| number(value.strip_prefix("__NR")?))?;
        Some((name.strip_prefix('_')?, value))
    });
    named.collect()
}

/// Includes the steps that only root takes.
fn without_a_step() -> Result<Vec<String>, Lack> {
    if !nix::unistd::geteuid().is_root() {
        return Err(skips::ROOT);
    }
    Ok(fault::every_step_is_needed())
}

fn a_false_wall() -> Result<Vec<String>, Lack> {
    let cases = ["parent", "resolver", "logger", "zygote"].into_iter();
    let cases = cases.flat_map(|role| fault::WALLS.map(|wall| fault::false_wall(role, wall)));
    Ok(cases.flatten().collect())
}

fn same_calls() -> Result<Vec<String>, Lack> {
    let mut complaints = Vec::new();
    for role in Role::ALL {
        let tables = role.allowed().iter().copied().flatten().map(|row| row.name);
        let table = tables.chain(role.refused().iter().chain([&PROBE]).map(|row| row.name));
        complaints.extend(compared(role.name(), table, list::of(role.name()).iter()));
    }
    for extra in EXTRAS {
        let table = extra.allowed().iter().map(|row| row.name);
        complaints.extend(compared(&format!("{extra:?}"), table, list::of_extra(extra).iter()));
    }
    Ok(complaints)
}

fn compared<'a>(
    whose: &str,
    table: impl Iterator<Item = &'a str>,
    list: impl Iterator<Item = &'a list::Entry>,
) -> Option<String> {
    let table: BTreeSet<&str> = table.collect();
    let list: BTreeSet<&str> = list.map(|entry| entry.name).collect();
    (table != list).then(|| {
        let (more, less): (Vec<_>, Vec<_>) =
            (table.difference(&list).collect(), list.difference(&table).collect());
        format!("{whose}: src/policy.rs has {more:?} more than tests/probe/list.rs, and lacks {less:?}")
    })
}

fn every_row_has_a_reason() -> Result<Vec<String>, Lack> {
    let tables = Role::ALL.iter().flat_map(|role| role.allowed().iter().copied());
    let rows = tables.chain(EXTRAS.iter().map(|extra| extra.allowed())).flatten();
    Ok(rows.filter(|row| row.reason.trim().is_empty()).map(|row| row.name.to_owned()).collect())
}

fn run_role(role: &'static str) -> Vec<Judged> {
    let plan = trial::plan(role);
    let place = TempDir::new().expect("a directory");
    open_to_all(place.path());
    let board = SharedResults::create(&place.path().join("board"));
    let trap = Trap::new();
    let deaths = match role {
        _ if role.ends_with(trial::LOGGED) => start_logged(role, place.path(), &trap),
        _ if role.ends_with(trial::SYNCED) => start_synced(role, place.path(), &trap),
        "converter" => convert(role, place.path(), &trap),
        "worker" => serve(role, place.path(), &trap, plan.len()),
        _ if role.ends_with(trial::LOCAL) => start_local(role, place.path(), &trap),
        _ if role.ends_with('+') => start_daemon(role, place.path(), &trap),
        _ => start(role, place.path(), &trap),
    };
    let mut groups: BTreeMap<&str, (usize, Vec<String>)> = BTreeMap::new();
    for (index, trial) in plan.iter().enumerate() {
        let verdict = match board.verdict(index) {
            Verdict::Unknown(pid) => {
                deaths.get(&pid).map_or(Verdict::Exited, |signal| Verdict::Killed(*signal))
            }
            verdict => verdict,
        };
        let (count, complaints) = groups.entry(trial.group).or_default();
        *count += 1;
        complaints.extend(trial.complaint(verdict));
    }
    let named = |(group, (count, complaints))| (format!("{role}: {group} ({count})"), complaints);
    let untouched = trap.has_caught().then(|| "somebody came".to_owned()).into_iter().collect();
    let trapped = (format!("{role}: no connection was made"), untouched);
    groups.into_iter().map(named).chain([trapped]).collect()
}

fn open_to_all(place: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(place, std::fs::Permissions::from_mode(0o777)).expect("chmod");
}

/// Sockets that must get no connection and no datagram.
struct Trap {
    listener: TcpListener,
    datagrams: UnixDatagram,
    port: u16,
}

impl Trap {
    fn new() -> Trap {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
        listener.set_nonblocking(true).expect("O_NONBLOCK");
        let port = listener.local_addr().expect("its port").port();
        let name = SocketAddr::from_abstract_name(attacks::forbidden_name(port)).expect("a name");
        let datagrams = UnixDatagram::bind_addr(&name).expect("a socket");
        datagrams.set_nonblocking(true).expect("O_NONBLOCK");
        Trap { listener, datagrams, port }
    }

    fn has_caught(&self) -> bool {
        let nobody = |kind: Option<ErrorKind>| kind == Some(ErrorKind::WouldBlock);
        !nobody(self.listener.accept().err().map(|error| error.kind()))
            || !nobody(self.datagrams.recv(&mut [0; 8]).err().map(|error| error.kind()))
    }
}

/// Signals by process, from tcpreen's notices.
type Deaths = BTreeMap<Pid, Signal>;

fn command(role: &str, place: &Path, trap: &Trap) -> Command {
    let mut command = probed(role, place, trap);
    command.args(["-n", "-s", "127.0.0.1", "-f", "null"]);
    command
}

/// tcpreen with the assignment of a role.
fn probed(role: &str, place: &Path, trap: &Trap) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("us"));
    let board = place.join("board");
    command.env(VARIABLE, format!("{} {role} {}", board.display(), trap.port));
    // Backtraces must stay off in spite of these.
    command.env("RUST_BACKTRACE", "full").env("RUST_LIB_BACKTRACE", "1");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Starts tcpreen in the foreground; all attempts are made before it listens.
fn start(role: &str, place: &Path, trap: &Trap) -> Deaths {
    let mut child = command(role, place, trap).args(["9", "127.0.0.1:0"]).spawn().expect("tcpreen");
    let (_, stderr) = listening(&mut child);
    end(child, stderr);
    Deaths::new()
}

/// A record is read, for which there are other processes than for a bridge.
fn convert(role: &str, place: &Path, trap: &Trap) -> Deaths {
    let output = probed(role, place, trap).args(["-q", "--read", "/dev/null"]).output().expect("tcpreen");
    assert!(output.status.success(), "{output:?}");
    Deaths::new()
}

/// Same with `--sandbox=log`.
fn start_logged(role: &str, place: &Path, trap: &Trap) -> Deaths {
    let mut child =
        command(role, place, trap).args(["--sandbox=log", "9", "127.0.0.1:0"]).spawn().expect("tcpreen");
    let (_, stderr) = listening(&mut child);
    end(child, stderr);
    Deaths::new()
}

/// Same between two Unix sockets of packets.
fn start_local(role: &str, place: &Path, trap: &Trap) -> Deaths {
    let mut command = probed(role, place, trap);
    command.args(["-n", "-p", "unix-seqpacket", "-f", "null"]);
    let mut child = command.arg(place.join("server")).arg(place.join("clients")).spawn().expect("tcpreen");
    let (_, stderr) = listening_line(&mut child);
    end(child, stderr);
    Deaths::new()
}

/// Same with `--record-first=sync`.
fn start_synced(role: &str, place: &Path, trap: &Trap) -> Deaths {
    let mut command = command(role, place, trap);
    command.arg("--record-first=sync").arg("-o").arg(place.join("all"));
    let mut child = command.args(["9", "127.0.0.1:0"]).spawn().expect("tcpreen");
    let (_, stderr) = listening(&mut child);
    end(child, stderr);
    Deaths::new()
}

/// Returns the port that it listens on, and the rest of stderr.
fn listening(child: &mut Child) -> (u16, BufReader<ChildStderr>) {
    let (line, stderr) = listening_line(child);
    let port = line.rsplit(' ').next().and_then(|port| port.parse().ok());
    (port.expect("a port"), stderr)
}

fn listening_line(child: &mut Child) -> (String, BufReader<ChildStderr>) {
    let mut stderr = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut said = String::new();
    while stderr.read_line(&mut said).expect("stderr") > 0 {
        let line = said.lines().last().unwrap_or_default();
        if line.starts_with("Listening on") {
            return (line.to_owned(), stderr);
        }
    }
    panic!("it does not listen: {said}");
}

/// Terminates it, and returns the processes that were killed.
fn end(mut child: Child, mut stderr: BufReader<ChildStderr>) -> Deaths {
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).expect("kill");
    let mut said = String::new();
    stderr.read_to_string(&mut said).expect("stderr");
    child.wait().expect("its end");
    said.lines().filter_map(death).collect()
}

/// `Child 4711 killed by signal 31 (Bad system call)…`
fn death(line: &str) -> Option<(Pid, Signal)> {
    let (pid, rest) = line.split_once("Child ")?.1.split_once(" killed by signal ")?;
    let signal: i32 = rest.split([' ', ',']).next()?.parse().ok()?;
    Some((Pid::from_raw(pid.parse().ok()?), Signal::try_from(signal).ok()?))
}

/// Starts a daemon with every optional permission: files per session, files that are reopened, a FIFO, a terminal,
/// figures, syslog, a socket file. It ends after one session.
fn start_daemon(role: &str, place: &Path, trap: &Trap) -> Deaths {
    let socket = place.join("socket");
    let mut command = command(role, place, trap);
    command.arg("-d").args(["-m", "1", "-p", "tcp/unix", "--rotate-size", "1G"]);
    command.arg("--pidfile").arg(place.join("pid")).arg("--metrics").arg(place.join("metrics"));
    let pipe = place.join("pipe");
    mkfifo(&pipe, Mode::empty()).expect("mkfifo");
    fs::set_permissions(&pipe, Permissions::from_mode(0o666)).expect("chmod");
    for name in ["all", "each-%n", "pipe"] {
        command.arg("-o").arg(place.join(name));
    }
    let (_terminal, name) = terminal();
    command.args(["-f", "view", "-o", &name, "-f", "json", "-o"]).arg(place.join("json"));
    let output = command.arg("9").arg(&socket).output().expect("tcpreen");
    assert!(output.status.success(), "{output:?}");
    // The session waits for a reader; the record fits into the pipe's buffer.
    let _reader = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&pipe).expect("the pipe");
    let mut client = std::os::unix::net::UnixStream::connect(&socket).expect("it listens");
    let _ = client.read_to_end(&mut Vec::new());
    Deaths::new()
}

/// A terminal that every user may write to: the end that keeps it alive, and its name.
fn terminal() -> (PtyMaster, String) {
    let terminal = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).expect("a terminal");
    grantpt(&terminal).and_then(|()| unlockpt(&terminal)).expect("its other end");
    let name = ptsname_r(&terminal).expect("its name");
    fs::set_permissions(&name, Permissions::from_mode(0o666)).expect("chmod");
    (terminal, name)
}

/// Serves one session per trial.
fn serve(role: &str, place: &Path, trap: &Trap, sessions: usize) -> Deaths {
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a server");
    let server_port = server.local_addr().expect("its port").port();
    thread::spawn(move || server.incoming().for_each(drop));
    let mut child = command(role, place, trap)
        .args(["-F", &CLIENTS.to_string(), &server_port.to_string(), "127.0.0.1:0"])
        .spawn()
        .expect("tcpreen");
    let (port, stderr) = listening(&mut child);
    // Keeps reading so that tcpreen does not block.
    let stderr = thread::spawn(move || {
        let mut said = Vec::new();
        let mut stderr = stderr;
        stderr.read_to_end(&mut said).map(|_| said)
    });
    let each = sessions.div_ceil(CLIENTS) + 1;
    let clients: Vec<_> =
        (0..CLIENTS).map(|_| thread::spawn(move || (0..each).for_each(|_| visit(port)))).collect();
    clients.into_iter().for_each(|client| client.join().expect("a client"));
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).expect("kill");
    let status = child.wait().expect("its end");
    assert_eq!(status.code(), Some(128 + Signal::SIGTERM as i32), "it served to the end");
    let said = stderr.join().expect("a reader").expect("stderr");
    String::from_utf8_lossy(&said).lines().filter_map(death).collect()
}

/// A client that sends nothing and waits for the end of its session.
fn visit(port: u16) {
    let Ok(mut client) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { return };
    let _ = client.shutdown(Shutdown::Write);
    let _ = client.read_to_end(&mut Vec::new());
}
