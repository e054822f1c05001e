//! The assignment of a process of the probe: `PROBE=RESULTS ROLE PORT` in the environment of tcpreen's
//! parent, or `PROBE=fault ROLE FAULT`. Roles get an environment of their own, so they read that of their
//! parent.

use std::path::PathBuf;
use std::sync::OnceLock;

use super::board::SharedResults;
use super::fault::Fault;
use super::trial::{self, Trial};

pub(crate) const VARIABLE: &str = "PROBE";

pub(crate) struct Assignment {
    role: String,
    board: Option<SharedResults>,
    pub(crate) fault: Option<Fault>,
    /// Port that no connection may ever reach.
    pub(crate) port: u16,
    plan: Vec<Trial>,
}

static ASSIGNMENT: OnceLock<Assignment> = OnceLock::new();

/// Reads the assignment. Returns `true` if this process is to run as tcpreen.
pub(crate) fn accept() -> bool {
    let is_role = std::env::args_os().nth(1).is_some_and(|first| privsep::role::asked_for(&first).is_some());
    let words = match is_role {
        true => of_parent().unwrap_or_default(),
        false => std::env::var(VARIABLE).unwrap_or_default(),
    };
    let assignment = match words.split(' ').collect::<Vec<_>>()[..] {
        ["fault", role, fault] => Some(Assignment {
            role: role.to_owned(),
            board: None,
            fault: Some(fault.parse().expect("a fault")),
            port: 0,
            plan: Vec::new(),
        }),
        [board, role, port] => Some(Assignment {
            role: role.trim_end_matches(['+', trial::LOCAL, trial::LOGGED, trial::SYNCED]).to_owned(),
            board: Some(SharedResults::open(&PathBuf::from(board))),
            fault: None,
            port: port.parse().expect("a port"),
            plan: trial::plan(role),
        }),
        _ => None,
    };
    if let Some(assignment) = assignment {
        let _ = ASSIGNMENT.set(assignment);
    }
    is_role || ASSIGNMENT.get().is_some()
}

fn of_parent() -> Option<String> {
    let environment = std::fs::read(format!("/proc/{}/environ", nix::unistd::getppid())).ok()?;
    let text = String::from_utf8(environment).ok()?;
    text.split('\0').find_map(|entry| entry.strip_prefix(VARIABLE)?.strip_prefix('=').map(str::to_owned))
}

/// Returns the assignment if it is for this role.
pub(crate) fn of(role: &str) -> Option<&'static Assignment> {
    ASSIGNMENT.get().filter(|assignment| assignment.role == role)
}

pub(crate) fn current() -> &'static Assignment {
    ASSIGNMENT.get().expect("an assignment")
}

impl Assignment {
    pub(crate) fn board(&self) -> &SharedResults {
        self.board.as_ref().expect("a board")
    }

    pub(crate) fn plan(&self) -> &[Trial] {
        &self.plan
    }
}
