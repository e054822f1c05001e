//! `--print-policy`: prints the permissions of each process in this start, for audits and bug reports. Nothing is
//! bound and no process is started: the output is derived from `src/policy.rs`, like the filters.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};

use nix::unistd::{getgid, getgroups, getuid};
use privsep::confine::{Identity, Root};
use privsep::landlock::{self, Landlock, Probe};
use privsep::memory;
use privsep::seccomp::{Allowed, Argument, Is, PROBE, Refused, Violation};

use crate::config::{self, Approach, Config, Endpoint, Port, Task};
use crate::exit::{Failure, Status};
use crate::format::Format;
use crate::messages::{Hangup, Taken};
use crate::nsswitch;
use crate::parent::startup::identity::{Start, TargetIdentity};
use crate::parent::startup::limits;
use crate::parent::supervisor::sighup;
use crate::policy::{Extra, LOCAL_WORKER_DESCRIPTORS, Role, WORKER_DESCRIPTORS};

/// Prints the policy.
pub(super) fn print(config: &Config, start: Start) -> Result<u8, Failure> {
    let page = page(config, start)?;
    let written = std::io::stdout().write_all(page.as_bytes());
    written.map(|()| 0).map_err(|error| Failure::new(Status::Io, format!("standard output: {error}")))
}

fn page(config: &Config, start: Start) -> Result<String, Failure> {
    let identity = TargetIdentity::choose(start, config.user.as_deref())?.identity;
    let hangup = sighup::meaning().map_err(|error| Failure::new(Status::Os, format!("signals: {error}")))?;
    let sections: String =
        roles(config).iter().map(|role| section(*role, identity, &extras(*role, config, hangup))).collect();
    Ok(format!(
        "tcpreen {} on {}: permissions of each process in this start, once it is confined\n{} {}\n{sections}",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::ARCH,
        match config.sandbox.violation {
            Violation::Kill => "A system call that is not listed kills the process.",
            Violation::Log => "--sandbox=log: a system call that is not listed is done, and logged.",
        },
        kernel()
    ))
}

/// Restrictions that this kernel supports, tried on this process, which only prints afterwards.
fn kernel() -> String {
    let memory = memory::protect();
    let landlock = landlock::restrict(&Landlock::default(), Probe::new()).unwrap_or(landlock::Status::None);
    let word = |is_up| if is_up { "on" } else { "missing" };
    format!(
        "Tried on this kernel: MDWE {}, mseal {}, Landlock {landlock}.",
        word(memory.mdwe),
        word(memory.sealed)
    )
}

/// The roles of this start.
fn roles(config: &Config) -> &'static [Role] {
    match config.task {
        Task::Bridge => &[Role::Parent, Role::Resolver, Role::Logger, Role::Zygote],
        Task::Replay(_) => &[Role::Parent, Role::Resolver, Role::Logger, Role::Zygote, Role::Converter],
        Task::Read(_) | Task::Diff(_) => &[Role::Parent, Role::Logger, Role::Converter],
    }
}

/// Optional permissions of a role in this start, as far as they are known before a file is opened.
fn extras(role: Role, config: &Config, hangup: Hangup) -> Vec<Extra> {
    let files = || config.outputs.iter().filter(|output| matches!(output.target, config::Target::File(_)));
    let per_session = |output: &config::OutputOption| limits::own_files(&output.target) > 0;
    let sockets = !matches!(config.task, Task::Read(_) | Task::Diff(_))
        && [&config.client, &config.server].into_iter().any(is_socket_file);
    let extras = match role {
        Role::Parent => vec![
            (Extra::Background, config.daemon),
            (Extra::SocketFiles, sockets),
            (Extra::PidFile, config.pidfile.is_some()),
            (Extra::Packets, config.has_packets()),
        ],
        Role::Logger => vec![
            (Extra::SessionFiles, files().any(per_session)),
            (Extra::Rotation, hangup == Hangup::Reopens && files().any(|output| !per_session(output))),
            (Extra::Parts, config.rotation.is_wanted() && files().any(|output| !per_session(output))),
            (Extra::WaitingPipe, files().any(|output| is_fifo(&output.target))),
            (Extra::Sync, config.record_first == Some(Taken::OnDisk)),
            (Extra::TerminalWidth, config.outputs.iter().any(shows_view_on_terminal)),
            (Extra::Metrics, config.metrics.is_some()),
            (Extra::Syslog, config.syslog),
        ],
        Role::Resolver => vec![(Extra::NssDaemons, nsswitch::asks_a_daemon())],
        Role::Zygote => {
            vec![(Extra::TcpInfo, config.has_tcp_info()), (Extra::Descriptors, is_local(config))]
        }
        Role::Converter => Vec::new(),
    };
    extras.into_iter().filter_map(|(extra, needed)| needed.then_some(extra)).collect()
}

/// Checks whether both peers are on Unix sockets, according to the command line.
fn is_local(config: &Config) -> bool {
    [&config.client, &config.server].into_iter().all(|endpoint| matches!(endpoint.port, Port::Path(_)))
}

fn shows_view_on_terminal(output: &config::OutputOption) -> bool {
    let is_terminal = output.target == config::Target::Stdout && std::io::stdout().is_terminal();
    is_terminal && output.view.format == Format::View
}

/// Checks whether an output may be a FIFO whose reader may come later.
fn is_fifo(target: &config::Target) -> bool {
    use std::os::unix::fs::FileTypeExt;
    let config::Target::File(path) = target else { return false };
    std::fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo())
}

fn is_socket_file(endpoint: &Endpoint) -> bool {
    endpoint.approach == Approach::Listen
        && matches!(&endpoint.port, Port::Path(path) if !path.as_encoded_bytes().starts_with(b"@"))
}

fn section(role: Role, identity: Identity, extras: &[Extra]) -> String {
    let mut text = match role {
        Role::Zygote => format!("\n{}, and every worker, which it forks\n", role.name()),
        Role::Resolver => format!("\n{}, and every lookup, which it forks\n", role.name()),
        Role::Parent | Role::Logger | Role::Converter => format!("\n{}\n", role.name()),
    };
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<13} {value}");
    };
    line("user", user(identity));
    line("capabilities", "none, and no_new_privs".into());
    line("limits", limits_of(role, extras));
    line(
        "memory",
        "never executable once writable (Linux 6.3); code and constants sealed (Linux 6.10)".into(),
    );
    line("root", root(role, identity));
    line("Landlock", role.reach().into());
    let rows = role.allowed().iter().copied().chain(extras.iter().map(|extra| extra.allowed())).flatten();
    for row in rows {
        let _ = writeln!(text, "  {}", call(row));
    }
    for row in role.refused().iter().chain([&PROBE]) {
        let _ = writeln!(text, "  {}", refusal(row));
    }
    text
}

fn user(identity: Identity) -> String {
    match identity {
        Identity::Become { uid, gid } => format!("{uid}, group {gid}, no other groups"),
        Identity::Keep => {
            let groups = getgroups().unwrap_or_default();
            let others: Vec<String> =
                groups.iter().filter(|group| **group != getgid()).map(ToString::to_string).collect();
            let others = if others.is_empty() { "none".into() } else { others.join(" ") };
            format!("{}, group {}, other groups: {others}", getuid(), getgid())
        }
    }
}

fn limits_of(role: Role, extras: &[Extra]) -> String {
    let mut limits = vec!["RLIMIT_CORE 0".to_owned()];
    limits.extend(role.limits().iter().map(|(resource, value)| format!("{resource:?} {value}")));
    match role {
        Role::Zygote => {
            let is_local = extras.contains(&Extra::Descriptors);
            let most = if is_local { LOCAL_WORKER_DESCRIPTORS } else { WORKER_DESCRIPTORS };
            limits.push(format!("in workers RLIMIT_NPROC 0, RLIMIT_NOFILE {most}"));
        }
        Role::Resolver => limits.push("in lookups RLIMIT_NPROC 0".to_owned()),
        Role::Parent | Role::Logger | Role::Converter => {}
    }
    limits.join(", ")
}

fn root(role: Role, identity: Identity) -> String {
    match (role.root(), identity) {
        (Root::Keep, _) => "the system's",
        (Root::Nothing, Identity::Become { .. }) => "an empty directory, in which nothing can be made",
        (Root::Nothing, Identity::Keep) => "the system's, for want of CAP_SYS_CHROOT",
    }
    .into()
}

/// `socket(0 = 0x2, 1 = 0x80801)   to the server`
fn call(row: &Allowed) -> String {
    let conditions: Vec<String> = row.arguments.iter().map(condition).collect();
    let conditions =
        if conditions.is_empty() { String::new() } else { format!("({})", conditions.join(", ")) };
    let seldom = if row.seldom { " [seldom]" } else { "" };
    let name = row.name.trim_start_matches("SYS_");
    format!("{:<40} {}{seldom}", format!("{name}{conditions}"), row.reason)
}

fn condition(argument: &Argument) -> String {
    let index = argument.index;
    match argument.is {
        Is::Int(value) => format!("{index} = {value:#x}"),
        Is::Long(value) => format!("{index} = {value:#x}"),
        Is::Without(bits) => format!("{index} & {bits:#x} = 0"),
        Is::Itself => format!("{index} = its own pid"),
    }
}

fn refusal(row: &Refused) -> String {
    let errno = nix::errno::Errno::from_raw(row.errno);
    let others = if row.otherwise { " for other arguments" } else { "" };
    format!("{:<40} {}", format!("{} = {errno:?}{others}", row.name.trim_start_matches("SYS_")), row.reason)
}
