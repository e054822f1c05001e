//! Injects faults into single steps of the confinement, one role at a time. A seccomp filter plays the
//! kernel, with an error or a false success; the code that has to notice is the real one.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::str::FromStr;

use nix::libc;

use super::assignment::VARIABLE;
use super::raw;

/// Forced result of a system call, of all its calls or of those with one value of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    number: i64,
    argument: Option<(u32, u32)>,
    errno: i32,
}

impl Fault {
    pub(crate) fn install(self) {
        // Without CAP_SYS_ADMIN the kernel takes a filter only from a process that gains no privileges any more.
        if !nix::unistd::geteuid().is_root() {
            nix::sys::prctl::set_no_new_privs().expect("no_new_privs");
        }
        raw::answer(self.number, self.argument, self.errno).expect("a fault");
    }

    fn word(self) -> String {
        let (index, value) = self.argument.map_or((-1, 0), |(index, value)| (index as i32, value));
        format!("{},{index},{value},{}", self.number, self.errno)
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Fault, String> {
        let numbers: Vec<i64> = text.split(',').flat_map(str::parse).collect();
        let [number, index, value, errno] = numbers[..] else { return Err(format!("no fault: {text}")) };
        let argument = (index >= 0).then_some((index as u32, value as u32));
        Ok(Fault { number, argument, errno: errno as i32 })
    }
}

const fn call(number: i64, errno: i32) -> Fault {
    Fault { number, argument: None, errno }
}

const fn with(number: i64, index: u32, value: u32, errno: i32) -> Fault {
    Fault { number, argument: Some((index, value)), errno }
}

/// False success: the call returns 0 without effect.
const LIE: i32 = 0;

/// Step, roles that take it, and the injected fault.
const STEPS: &[(&str, &[&str], Fault)] = &[
    ("no_new_privs", ALL, with(libc::SYS_prctl, 0, libc::PR_SET_NO_NEW_PRIVS as u32, libc::EINVAL)),
    ("no_new_privs", &["parent"], with(libc::SYS_prctl, 0, libc::PR_SET_NO_NEW_PRIVS as u32, LIE)),
    ("core limit", ALL, with(libc::SYS_prlimit64, 1, libc::RLIMIT_CORE, libc::EPERM)),
    ("resource limit", &["resolver"], with(libc::SYS_prlimit64, 1, libc::RLIMIT_NOFILE, libc::EPERM)),
    ("resource limit", &["zygote", "converter"], with(libc::SYS_prlimit64, 1, libc::RLIMIT_AS, libc::EPERM)),
    ("chroot", &["zygote", "converter"], call(libc::SYS_chroot, libc::EPERM)),
    ("chroot", &["zygote", "converter"], call(libc::SYS_chroot, libc::ENOSYS)),
    ("chroot", &["zygote", "converter"], call(libc::SYS_chroot, LIE)),
    ("capability bounding set", ALL, with(libc::SYS_prctl, 0, libc::PR_CAPBSET_DROP as u32, libc::EPERM)),
    ("capability bounding set", ALL, with(libc::SYS_prctl, 0, libc::PR_CAPBSET_DROP as u32, LIE)),
    ("setgroups", ALL, call(libc::SYS_setgroups, libc::EPERM)),
    ("setresgid", ALL, call(libc::SYS_setresgid, libc::EAGAIN)),
    ("setresuid", ALL, call(libc::SYS_setresuid, libc::EAGAIN)),
    ("verify identity", ALL, call(libc::SYS_setresgid, LIE)),
    ("verify identity", ALL, call(libc::SYS_setresuid, LIE)),
    ("capabilities", ALL, call(libc::SYS_capset, libc::EPERM)),
    ("parent death signal", EXECUTED, with(libc::SYS_prctl, 0, libc::PR_SET_PDEATHSIG as u32, libc::EINVAL)),
    ("parent death signal", EXECUTED, with(libc::SYS_prctl, 0, libc::PR_SET_PDEATHSIG as u32, LIE)),
    ("dumpable", ALL, with(libc::SYS_prctl, 0, libc::PR_SET_DUMPABLE as u32, libc::EINVAL)),
    ("seccomp", ALL, call(libc::SYS_seccomp, libc::ENOSYS)),
    ("seccomp", ALL, call(libc::SYS_seccomp, libc::EINVAL)),
    ("seccomp", ALL, call(libc::SYS_seccomp, LIE)),
    ("seccomp", ALL, with(libc::SYS_prctl, 0, libc::PR_GET_SECCOMP as u32, LIE)),
];

const ALL: &[&str] = &["parent", "resolver", "logger", "zygote", "converter"];
const EXECUTED: &[&str] = &["resolver", "logger", "zygote", "converter"];

/// With any step failing in any role, tcpreen does not listen and prints one line with the step and the role.
pub(crate) fn every_step_is_needed() -> Vec<String> {
    let cases =
        STEPS.iter().flat_map(|(step, roles, fault)| roles.iter().map(move |role| (step, role, fault)));
    cases.filter_map(|(step, role, fault)| start(step, role, *fault)).collect()
}

/// Restrictions without which a role runs: its report of each when the system only claims to apply it, and the words
/// that the report must not contain.
pub(crate) const WALLS: [(Fault, &str, &str); 3] = [
    (call(libc::SYS_landlock_restrict_self, LIE), "Landlock none", "Landlock full"),
    (with(libc::SYS_prctl, 0, libc::PR_SET_MDWE as u32, LIE), "without memory that never", "MDWE on"),
    (call(libc::SYS_mseal, LIE), "sealed code", "mseal on"),
];

/// Runs a role in which the wall is only claimed to stand.
pub(crate) fn false_wall(role: &str, (fault, truth, lie): (Fault, &str, &str)) -> Option<String> {
    let mut command = command(role, fault);
    let mut child = command.args(["-v", "-v"]).stderr(Stdio::piped()).spawn().expect("tcpreen");
    let lines = BufReader::new(child.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
    let said: Vec<String> = lines.take_while(|line| !line.starts_with("Listening")).collect();
    child.kill().expect("kill");
    child.wait().expect("its end");
    let honest =
        |line: &String| line.starts_with(&format!("{role}: ")) && line.contains(truth) && !line.contains(lie);
    (!said.iter().any(honest)).then(|| format!("{role}: {said:?}"))
}

fn command(role: &str, fault: Fault) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("us"));
    command.env(VARIABLE, format!("fault {role} {}", fault.word()));
    let arguments: &[&str] = match role {
        "converter" => &["--read", "/dev/null"],
        _ => &["-n", "-s", "127.0.0.1", "9", "127.0.0.1:0"],
    };
    command.args(arguments).stdin(Stdio::null());
    command
}

fn start(step: &str, role: &str, fault: Fault) -> Option<String> {
    let output = command(role, fault).output().expect("tcpreen");
    let said = String::from_utf8_lossy(&output.stderr);
    let named = format!("the {role} cannot be confined: {step}: ");
    let right = output.status.code() == Some(71)
        && said.lines().filter(|line| !line.starts_with("Started as root")).count() == 1
        && said.contains(&named)
        && !said.contains("Listening")
        && output.stdout.is_empty();
    (!right).then(|| format!("{role}, {step}, {fault:?}: {:?} {said}", output.status))
}
