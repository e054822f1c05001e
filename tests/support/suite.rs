//! Runs the suite below a process that reports, after the last test, skipped tests and what the tests left
//! behind.
//!
//! libtest has no hook for its end. Before its `main`, this binary starts itself a second time, as its own
//! child: the child is libtest, the first process is the [`Supervisor`]. As the subreaper of all processes
//! that the tests start, it adopts every orphan, daemons included, without having to inspect any of them. The
//! child gets a `TMPDIR` of its own, so that every leftover file of a test is found, too.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, exit};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::prctl::{set_child_subreaper, set_pdeathsig};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, Uid};
use skips::List;
use tempfile::TempDir;

use super::{proc, under_test};

const LIST: List = List(env!("CARGO_TARGET_TMPDIR"));

/// Environment variable with the directory of this run; set for the child only.
const VARIABLE: &str = "TCPREEN_SUITE";

/// libtest's number of tests at a time.
const THREADS: &str = "RUST_TEST_THREADS";

/// Tests wait for events most of the time: one test at a time, the whole suite uses less than half
/// of a core.
const TESTS_PER_CORE: usize = 2;

/// Exit status of a failed run, same as libtest's.
const FAILED: i32 = 101;

/// Time for processes to end after a test has killed them.
const GRACE: Duration = Duration::from_secs(10);

ctor::declarative::ctor! {
    /// SAFETY: with the GNU C library, arguments, environment and allocator are initialised before the
    /// constructors of a program run, and nothing here needs more of Rust's runtime.
    #[ctor(unsafe)]
    fn before_main() {
        begin();
    }
}

fn begin() {
    if env::var_os(VARIABLE).is_some() {
        let _ = set_pdeathsig(Signal::SIGKILL);
        return;
    }
    exit(supervise().unwrap_or_else(|error| {
        eprintln!("the suite cannot be started: {error}");
        FAILED
    }))
}

/// Directory for files that several tests share; removed with the run.
pub fn shared() -> PathBuf {
    run_directory().join("shared")
}

fn run_directory() -> PathBuf {
    env::var_os(VARIABLE).expect("set before libtest starts").into()
}

/// Adds a skipped test to the list printed at the end.
pub fn record_skip(test: &str, lack: &str, remedy: &str) {
    let line = skips::line(test, lack, remedy);
    let list = File::options().append(true).create(true).open(run_directory().join("skipped"));
    list.and_then(|mut list| list.write_all(line.as_bytes())).expect("the list of skipped tests");
}

fn supervise() -> io::Result<i32> {
    set_child_subreaper(true)?;
    let supervisor =
        Supervisor { directory: tempfile::Builder::new().prefix("tcpreen.").tempdir_in(open_place())? };
    supervisor.prepare()?;
    let child = supervisor.start()?;
    let status = wait_for(child)?;
    Ok(supervisor.report(status))
}

/// Directory for temporary files. A role that has dropped root must be able to pass every directory above it.
fn open_place() -> PathBuf {
    let passable = |place: &PathBuf| {
        place
            .ancestors()
            .all(|above| fs::metadata(above).is_ok_and(|it| it.permissions().mode() & 0o001 != 0))
    };
    let usual = env::temp_dir();
    if !Uid::effective().is_root() || passable(&usual) {
        return usual;
    }
    ["/tmp", "/var/tmp", "/dev/shm"].map(PathBuf::from).into_iter().find(passable).unwrap_or(usual)
}

struct Supervisor {
    directory: TempDir,
}

impl Supervisor {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn prepare(&self) -> io::Result<()> {
        fs::set_permissions(self.directory.path(), Permissions::from_mode(0o755))?;
        for (name, mode) in [("tmp", 0o1777), ("shared", 0o755)] {
            fs::create_dir(self.path(name))?;
            fs::set_permissions(self.path(name), Permissions::from_mode(mode))?;
        }
        Ok(())
    }

    fn start(&self) -> io::Result<Pid> {
        let mut libtest = Command::new(env::current_exe()?);
        libtest.args(env::args_os().skip(1).collect::<Vec<OsString>>());
        if under_test::is_original() {
            libtest.args(["--skip", "ours::"]);
        }
        if env::var_os(THREADS).is_none() {
            let cores = thread::available_parallelism().map_or(1, usize::from);
            libtest.env(THREADS, (cores * TESTS_PER_CORE).to_string());
        }
        libtest.env(VARIABLE, self.directory.path()).env("TMPDIR", self.path("tmp"));
        let child = libtest.spawn()?;
        Ok(Pid::from_raw(child.id().cast_signed()))
    }

    /// Prints the report and returns the exit status of the run.
    fn report(&self, status: ExitStatus) -> i32 {
        let own = fs::read_to_string(self.path("skipped")).unwrap_or_default();
        print_skips(&(LIST.take() + &own));
        let leftovers: Vec<String> = processes_left().into_iter().chain(self.files_left()).collect();
        for leftover in &leftovers {
            eprintln!("left behind: {leftover}");
        }
        let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(FAILED);
        // 1.4.4 leaves children behind, which is no failure of this suite.
        let failed = !leftovers.is_empty() && !under_test::is_original();
        if failed {
            eprintln!("\nsuite result: FAILED. {} left behind by tests", leftovers.len());
        }
        if code == 0 && failed { FAILED } else { code }
    }

    fn files_left(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("tmp")).into_iter().flatten().flatten();
        entries.map(|entry| format!("file {}", contents(&entry.path()))).collect()
    }
}

/// A path and, for a directory, some of its entries, whose names identify the test.
fn contents(path: &Path) -> String {
    let entries = fs::read_dir(path).into_iter().flatten().flatten().take(6);
    let names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    format!("{} [{}]", path.display(), names.join(" "))
}

/// Reaps every orphan until the child itself ends.
fn wait_for(child: Pid) -> io::Result<ExitStatus> {
    loop {
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, code)) if pid == child => return Ok(ExitStatus::from_raw(code << 8)),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => {
                return Ok(ExitStatus::from_raw(signal as i32));
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Descriptions of the processes that outlive their tests. Ends them.
fn processes_left() -> Vec<String> {
    let start = Instant::now();
    let mut found = BTreeMap::new();
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Err(Errno::ECHILD) => return found.into_values().collect(),
            Ok(WaitStatus::StillAlive) => {}
            _ => continue,
        }
        if start.elapsed() > GRACE {
            for pid in proc::descendants(Pid::this()).into_iter().filter(|pid| proc::is_alive(*pid)) {
                found.entry(pid).or_insert_with(|| format!("process {pid}: {}", proc::command_line(pid)));
                let _ = kill(pid, Signal::SIGKILL);
            }
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Prints the number of skipped tests, by reason, and the remedy for each.
fn print_skips(list: &str) {
    let mut tests = BTreeSet::new();
    let mut reasons: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for line in list.lines() {
        if let [test, lack, remedy] = line.splitn(3, '\t').collect::<Vec<_>>()[..] {
            tests.insert(test);
            reasons.entry((lack, remedy)).or_default().insert(test);
        }
    }
    if tests.is_empty() {
        return;
    }
    let mut reasons: Vec<_> = reasons.into_iter().map(|(reason, tests)| (tests.len(), reason)).collect();
    reasons.sort_by(|one, other| other.cmp(one));
    let s = if tests.len() == 1 { "" } else { "s" };
    eprintln!("skipped: {} test{s}, counted as passed or ignored above", tests.len());
    for (count, (lack, remedy)) in reasons {
        eprintln!("{count:>6}  {lack:<44} {remedy}");
    }
}
