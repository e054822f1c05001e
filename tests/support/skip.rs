//! Skips tests that need something this machine lacks, and lists them at the end of the run.
//!
//! In CI (`CI` is set) a skip is a failure, except for the needs named in `TCPREEN_MAY_SKIP`: `root`.

use std::env;
use std::panic::Location;
use std::process::Command;
use std::thread;

use nix::unistd::{AccessFlags, Pid, Uid, User, access};

use super::{proc, suite};

/// Debian's own Python, which has Debian's modules, whatever else is in the search path.
pub const PYTHON: &str = "/usr/bin/python3";

#[derive(Clone, Copy, Debug)]
pub enum Need {
    /// Root, with permission to inspect other processes.
    Root,
    /// A program in the search path.
    Program(&'static str),
    /// A file: its path, and the package that contains it.
    File(&'static str, &'static str),
    /// A module of [`PYTHON`].
    PythonModule(&'static str),
    /// A module of the C library's name service switch.
    NssModule(&'static str),
    /// An entry for this user id in the list of accounts.
    Account,
    /// Permission to create a mount namespace.
    MountNamespace,
    /// Permission to create mount and network namespaces, for `in_a_world_of_its_own`.
    World,
    /// Permission to create a user namespace.
    UserNamespace,
    /// A kernel that refuses descriptors for the receiver (Linux 6.16).
    PassRights,
}

/// Debian packages whose name differs from that of the program.
const PACKAGES: &[(&str, &str)] = &[
    ("cc", "gcc"),
    ("dovecot", "dovecot-imapd dovecot-pop3d"),
    ("inetd", "openbsd-inetd"),
    ("ip", "iproute2"),
    ("ldapwhoami", "ldap-utils"),
    ("mariadb", "mariadb-client-core"),
    ("mariadb-install-db", "mariadb-server-core"),
    ("mariadbd", "mariadb-server-core"),
    ("editcap", "wireshark-common"),
    ("mergecap", "wireshark-common"),
    ("mosquitto_passwd", "mosquitto"),
    ("mosquitto_pub", "mosquitto-clients"),
    ("nginx", "nginx-light"),
    ("pkill", "procps"),
    ("prlimit", "util-linux"),
    ("psql", "postgresql-client"),
    ("redis-benchmark", "redis-tools"),
    ("redis-cli", "redis-tools"),
    ("rsyslogd", "rsyslog"),
    ("setcap", "libcap2-bin"),
    ("setpriv", "util-linux"),
    ("setsid", "util-linux"),
    ("systemd-analyze", "systemd"),
    ("systemd-socket-activate", "systemd"),
];

/// An unmet need.
struct Lack {
    what: String,
    remedy: String,
    /// Accepted in CI, too, because some machines cannot have it.
    accepted: bool,
}

/// Checks every need. If one is not met, lists the test as skipped and returns `false`.
#[track_caller]
pub fn needs(needs: &[Need]) -> bool {
    match needs.iter().find_map(|&need| lacking(need)) {
        None => true,
        Some(lack) => {
            skip(lack);
            false
        }
    }
}

/// Skips the running test for a reason that is not a [`Need`]. Fails in CI.
#[track_caller]
pub fn skipped_because(what: &str, remedy: &str) {
    skip(Lack { what: what.into(), remedy: remedy.into(), accepted: false });
}

#[track_caller]
fn skip(Lack { what, remedy, accepted }: Lack) {
    if !accepted {
        skips::expect_allowed(&what);
    }
    let place = Location::caller().to_string();
    let thread = thread::current();
    // libtest names a thread after its test, except when there is only one thread.
    let test = thread.name().filter(|name| *name != "main").unwrap_or(&place);
    suite::record_skip(test, &what, &remedy);
    println!("skipped: {what}");
}

fn lacking(need: Need) -> Option<Lack> {
    let lack = |what: String, remedy: String| Some(Lack { what, remedy, accepted: false });
    let install = |package: &str| format!("apt install {package}");
    match need {
        Need::Root if Uid::effective().is_root() && may_trace() => None,
        Need::Root if Uid::effective().is_root() => {
            lack("root lacks CAP_SYS_PTRACE here".into(), "run with that capability".into())
        }
        Need::Root => lack(skips::ROOT.0.into(), skips::ROOT.1.into()),
        Need::Program(name) if is_installed(name) => None,
        Need::Program(name) => lack(format!("{name} is not installed"), install(package_of(name))),
        Need::File(path, _) if std::path::Path::new(path).exists() => None,
        Need::File(path, package) => lack(format!("{path} is missing"), install(package)),
        Need::PythonModule(name) if is_importable(name) => None,
        Need::PythonModule(name) => lack(format!("{PYTHON} has no {name}"), install(&python_package(name))),
        Need::NssModule(name) if has_module(name) => None,
        Need::NssModule(name) => {
            lack(format!("libnss_{name}.so.2 is not installed"), install(&module_package(name)))
        }
        Need::Account if User::from_uid(Uid::effective()).is_ok_and(|user| user.is_some()) => None,
        Need::Account => lack("this user id has no account".into(), "run as a user of /etc/passwd".into()),
        Need::MountNamespace if can_unshare(&["--mount", "mount", "-t", "tmpfs", "none", "/tmp"]) => None,
        Need::World if can_unshare(&["--mount", "--net", "mount", "-t", "tmpfs", "none", "/tmp"]) => None,
        Need::MountNamespace | Need::World => expected_nowhere(
            "no namespaces for mounts and networks can be made here",
            "run as root, with CAP_SYS_ADMIN",
        ),
        Need::UserNamespace if can_unshare(&["--user", "true"]) => None,
        Need::UserNamespace => expected_nowhere(
            "no user namespace can be made here",
            "sysctl kernel.unprivileged_userns_clone=1, user.max_user_namespaces",
        ),
        Need::PassRights if can_refuse_descriptors() => None,
        Need::PassRights => expected_nowhere("this kernel has no SO_PASSRIGHTS", "run Linux 6.16 or newer"),
    }
}

/// A lack that is accepted in CI, too.
fn expected_nowhere(what: &str, remedy: &str) -> Option<Lack> {
    Some(Lack { what: what.into(), remedy: remedy.into(), accepted: true })
}

fn package_of(program: &'static str) -> &'static str {
    PACKAGES.iter().find(|(name, _)| *name == program).map_or(program, |(_, package)| package)
}

/// Modules of Python's standard library come with the interpreter.
fn python_package(module: &str) -> String {
    match module {
        "aiosmtpd" | "jsonschema" | "pyftpdlib" => format!("python3-{module}"),
        _ => "python3".into(),
    }
}

/// Checks whether long tests are enabled.
pub fn long() -> bool {
    env::var_os("TCPREEN_LONG").is_some()
}

/// Checks for CAP_SYS_PTRACE, capability 19.
fn may_trace() -> bool {
    let status = proc::status(Pid::this());
    let capabilities = status.map(|status| u64::from_str_radix(status.get("CapEff"), 16));
    capabilities.is_some_and(|bits| bits.is_ok_and(|bits| bits & 1 << 19 != 0))
}

fn can_unshare(arguments: &[&str]) -> bool {
    Command::new("unshare").args(arguments).output().is_ok_and(|output| output.status.success())
}

fn can_refuse_descriptors() -> bool {
    let (one, _other) = std::os::unix::net::UnixStream::pair().expect("a pair");
    privsep::sys::refuse_descriptors(std::os::fd::AsFd::as_fd(&one)).expect("a socket option")
}

fn is_installed(name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|directory| access(&directory.join(name), AccessFlags::X_OK).is_ok())
}

fn is_importable(module: &str) -> bool {
    let python = Command::new(PYTHON).args(["-I", "-c", &format!("import {module}")]).output();
    python.is_ok_and(|output| output.status.success())
}

fn has_module(name: &str) -> bool {
    let directories =
        [format!("/usr/lib/{}-linux-gnu", env::consts::ARCH), "/usr/lib64".into(), "/usr/lib".into()];
    let file = format!("libnss_{name}.so.2");
    directories.iter().any(|directory| std::path::Path::new(directory).join(&file).exists())
}

fn module_package(name: &str) -> String {
    let package = match name {
        "wins" => "winbind",
        "ldap" => "ldapd",
        _ if name.starts_with("mdns") => "mdns",
        _ => name,
    };
    format!("libnss-{package}")
}
