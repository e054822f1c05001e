//! Selects the role of this process, and prints the error with which it ends.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use crate::cli::{self, Action, StartupContext};
use crate::exit::{Failure, Status};
use crate::hooks::Hooks;
use crate::parent::{self, Start, Streams};
use crate::policy::Role;
use crate::role::RoleError;
use crate::{converter, demo, logger, resolver, zygote};

/// Runs the process that the command line asks for, with hooks.
pub fn run_with<H: Hooks>() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if let [_, only] = arguments.as_slice()
        && let Some(name) = privsep::role::asked_for(only)
    {
        return be::<H>(name);
    }
    // stderr may be connected to a peer: without /dev/null nothing can be printed.
    let Ok(streams) = Streams::find() else { return ExitCode::from(Status::Os as u8) };
    match command::<H>(arguments, streams) {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            streams.print(&failure.text);
            ExitCode::from(failure.status as u8)
        }
    }
}

/// Runs the action that the command line selects.
fn command<H: Hooks>(arguments: Vec<OsString>, streams: Streams) -> Result<u8, Failure> {
    let has_colors = has_colors();
    let surroundings = parent::tidy_up()?;
    let circumstances = StartupContext {
        may_select_user: surroundings.start == Start::Root,
        stdout_is_a_peers: streams.stdout,
        stderr_is_a_peers: streams.stderr,
        stdout_is_a_terminal: std::io::stdout().is_terminal(),
        has_colors,
        has_sockets: !surroundings.sockets.is_empty(),
        is_secure: privsep::sys::is_secure_start(),
    };
    let action = cli::parse(arguments, circumstances)?;
    match action {
        Action::Run(config) => {
            config.remarks.iter().for_each(|remark| streams.print(remark));
            parent::run::<H>(*config, surroundings)
        }
        Action::Help(text) | Action::Version(text) => show(&text),
        Action::Demo => demo::run(surroundings.start),
    }
}

/// Checks that the environment permits colours: no NO_COLOR, and a terminal that has colours.
fn has_colors() -> bool {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    variable("NO_COLOR").is_none() && variable("TERM").is_some_and(|terminal| terminal != "dumb")
}

fn show(text: &str) -> Result<u8, Failure> {
    let written = std::io::stdout().write_all(text.as_bytes());
    written.map(|()| 0).map_err(|error| Failure::new(Status::Io, format!("standard output: {error}")))
}

/// Runs a role. A role that fails has reported the error to the parent, or has no parent; the status is for
/// the parent only.
fn be<H: Hooks>(name: &str) -> ExitCode {
    let Ok(entry) = privsep::role::Entry::check() else {
        let _ = writeln!(std::io::stderr(), "[{name}] is no port: a role is started by tcpreen itself.");
        return ExitCode::from(Status::Usage as u8);
    };
    let role = Role::ALL.into_iter().find(|role| role.name() == name);
    let result = match role {
        Some(Role::Resolver) => resolver::live::<H>(entry),
        Some(Role::Logger) => logger::live::<H>(entry),
        Some(Role::Zygote) => zygote::live::<H>(entry),
        Some(Role::Converter) => converter::live::<H>(entry),
        Some(Role::Parent) | None => Err(RoleError::Protocol),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(Status::Software as u8),
    }
}
