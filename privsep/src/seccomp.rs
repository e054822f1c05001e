//! System call filters, compiled from tables that give a reason for each call. The only module that uses
//! seccompiler.

use std::collections::BTreeMap;
use std::io;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};
use serde::{Deserialize, Serialize};

use crate::sys;

/// Result of `PR_GET_SECCOMP` under a filter.
pub const MODE_FILTER: i32 = 2;

/// A system call that a role may make, with the reason.
#[derive(Clone, Copy, Debug)]
pub struct Allowed {
    pub name: &'static str,
    pub number: i64,
    /// Conditions that must all hold; several rows for one call are alternatives.
    pub arguments: &'static [Argument],
    /// Not made in ordinary sessions, only with another libc, in an emergency, or in other configurations.
    pub seldom: bool,
    /// The row exists on this architecture only (`cfg`); others have no such call number.
    pub only_here: bool,
    pub reason: &'static str,
}

/// A condition on one argument, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argument {
    pub index: u8,
    pub is: Is,
}

/// Comparison of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Is {
    /// An `int`: the low 32 bits.
    Int(u32),
    /// A pointer, size or long: all 64 bits.
    Long(u64),
    /// None of these bits of an `int`.
    Without(u32),
    /// The process that compiles the filter. A forked child inherits that process id, not its own.
    Itself,
}

/// A call that fails with an error instead of killing, because libc makes it and handles the error.
#[derive(Clone, Copy, Debug)]
pub struct Refused {
    pub name: &'static str,
    pub number: i64,
    pub errno: i32,
    /// Spares the arguments that a row of [`Allowed`] permits for the call.
    pub otherwise: bool,
    pub reason: &'static str,
}

/// A call that every filter refuses and no role needs: with it a process tests that its filter is on, independently
/// of the system's report. The kernel itself never returns this error for the call.
pub const PROBE: Refused = Refused {
    name: "SYS_getpgid",
    number: libc::SYS_getpgid,
    errno: libc::ENOANO,
    otherwise: false,
    reason: "called once the filter is on, to find out whether it is",
};

/// Writes a table of [`Allowed`] calls: `SYS_read => "reason"`, or `SYS_ioctl(1 is Int(5)) => "…"`, with
/// `seldom` before the reason if ordinary sessions do not make the call.
#[macro_export]
macro_rules! allow {
    ($($(#[$meta:meta])* $name:ident $(($($index:literal is $is:expr),+))? => $($seldom:ident)? $reason:literal),* $(,)?) => {
        &[$($(#[$meta])* $crate::seccomp::Allowed {
            name: stringify!($name),
            #[allow(clippy::unnecessary_cast)]
            number: $crate::libc::$name as i64,
            arguments: &[$($($crate::seccomp::Argument { index: $index, is: $is }),+)?],
            seldom: $crate::is_there!($($seldom)?),
            only_here: $crate::is_there!($($meta)*),
            reason: $reason,
        }),*]
    };
}

/// Checks whether a macro received an argument.
#[doc(hidden)]
#[macro_export]
macro_rules! is_there {
    () => {
        false
    };
    (seldom) => {
        true
    };
    ($meta:meta) => {
        true
    };
}

/// Writes a table of [`Refused`] calls: `SYS_clone3 with ENOSYS => "reason"`, or `SYS_ioctl otherwise ENOTTY
/// => "…"` for a call that is allowed with some arguments.
#[macro_export]
macro_rules! refuse {
    ($($(#[$meta:meta])* $name:ident $how:ident $errno:ident => $reason:literal),* $(,)?) => {
        &[$($(#[$meta])* $crate::seccomp::Refused {
            name: stringify!($name),
            number: $crate::libc::$name as i64,
            errno: $crate::libc::$errno,
            otherwise: $crate::is_otherwise!($how),
            reason: $reason,
        }),*]
    };
}

/// Checks whether a refusal spares the allowed arguments.
#[doc(hidden)]
#[macro_export]
macro_rules! is_otherwise {
    (with) => {
        false
    };
    (otherwise) => {
        true
    };
}

/// Action on a call that is in none of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Violation {
    Kill,
    /// The call is executed, and recorded in the kernel's log. For finding a missing row; not a sandbox.
    Log,
}

/// A compiled filter: a call outside its tables kills the process, or is logged.
pub struct Filter {
    /// One filter per errno. Installed before `kill`, because the strongest action wins and `kill` allows these
    /// calls.
    refuse: Vec<BpfProgram>,
    kill: BpfProgram,
    violation: Violation,
}

impl Filter {
    /// Compiles tables for the architecture that this program was built for.
    pub fn new(allowed: &[&[Allowed]], refused: &[Refused], violation: Violation) -> io::Result<Filter> {
        Filter::compile(allowed, refused, violation, std::env::consts::ARCH, &|_, here| Some(here))
    }

    /// Compiles tables for any architecture. `number` maps the name of a call and its number here to its
    /// number there. Rows that exist on this architecture only are left out elsewhere. Argument values stay
    /// those of this architecture.
    pub fn compile(
        allowed: &[&[Allowed]],
        refused: &[Refused],
        violation: Violation,
        architecture: &str,
        number: &dyn Fn(&str, i64) -> Option<i64>,
    ) -> io::Result<Filter> {
        let elsewhere = architecture != std::env::consts::ARCH;
        let renumbered = |row: &Allowed| match number(row.name, row.number) {
            Some(number) => Ok(Allowed { number, ..*row }),
            None => Err(io::Error::other(format!("{} is not there on {architecture}", row.name))),
        };
        let rows = allowed.iter().copied().flatten().filter(|row| !(elsewhere && row.only_here));
        let allowed: Vec<Allowed> = rows.map(renumbered).collect::<io::Result<_>>()?;
        let refused = refused.iter().chain([&PROBE]).map(|row| match number(row.name, row.number) {
            Some(number) => Ok(Refused { number, ..*row }),
            None => Err(io::Error::other(format!("{} is not there on {architecture}", row.name))),
        });
        let refused: Vec<Refused> = refused.collect::<io::Result<_>>()?;
        let architecture = TargetArch::try_from(architecture).map_err(io::Error::other)?;
        let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
        for row in allowed.iter().filter(|row| !row.arguments.is_empty()) {
            rules.entry(row.number).or_default().push(rule(row.arguments)?);
        }
        // Added last, because a call that one row allows with any arguments is allowed regardless of other rows; to
        // seccompiler that is a call without rules.
        for row in allowed.iter().filter(|row| row.arguments.is_empty()) {
            rules.insert(row.number, Vec::new());
        }
        for row in &refused {
            rules.insert(row.number, Vec::new());
        }
        let action = match violation {
            Violation::Kill => SeccompAction::KillProcess,
            Violation::Log => SeccompAction::Log,
        };
        let kill = program(rules, action, SeccompAction::Allow, architecture)?;
        let mut by_errno: BTreeMap<i32, BTreeMap<i64, Vec<SeccompRule>>> = BTreeMap::new();
        for row in &refused {
            let spared = allowed.iter().filter(|other| row.otherwise && other.number == row.number);
            let spared: Vec<Vec<Argument>> = spared.map(|other| other.arguments.to_vec()).collect();
            let rules = none_of(&spared)?;
            if rules.is_empty() {
                return Err(io::Error::other(format!("{} is allowed with any arguments", row.name)));
            }
            // To seccompiler, an empty rule always matches.
            let rules = rules.into_iter().filter(|conditions| !conditions.is_empty());
            let rules = rules.map(|conditions| SeccompRule::new(conditions).map_err(io::Error::other));
            let rules = rules.collect::<io::Result<_>>()?;
            by_errno.entry(row.errno).or_default().insert(row.number, rules);
        }
        let refuse = by_errno
            .into_iter()
            .map(|(errno, rules)| {
                program(rules, SeccompAction::Allow, SeccompAction::Errno(errno as u32), architecture)
            })
            .collect::<io::Result<_>>()?;
        Ok(Filter { refuse, kill, violation })
    }

    /// Installs the filter for every thread of this process, and checks that it is in force: an outer filter can
    /// make the system call return a false success.
    pub fn install(&self) -> io::Result<Violation> {
        for program in self.refuse.iter().chain([&self.kill]) {
            seccompiler::apply_filter_all_threads(program).map_err(io::Error::other)?;
        }
        let answer = sys::probe(PROBE.number).err().and_then(|error| error.raw_os_error());
        if sys::seccomp_mode()? != MODE_FILTER || answer != Some(PROBE.errno) {
            return Err(io::Error::other("the system says that the filter is on, and it is not"));
        }
        Ok(self.violation)
    }
}

/// Makes clone3 fail with ENOSYS for this process and its descendants. Where another filter forbids it with
/// EPERM, as older container profiles do, libc cannot create threads. Of two filters that return an error,
/// the newer one takes precedence.
pub fn hide_clone3() -> io::Result<()> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH).map_err(io::Error::other)?;
    #[allow(clippy::unnecessary_cast)]
    let rules = BTreeMap::from([(libc::SYS_clone3 as i64, Vec::new())]);
    let answer = SeccompAction::Errno(libc::ENOSYS as u32);
    let filter = program(rules, SeccompAction::Allow, answer, architecture)?;
    seccompiler::apply_filter_all_threads(&filter).map_err(io::Error::other)
}

fn rule(arguments: &[Argument]) -> io::Result<SeccompRule> {
    let conditions = arguments.iter().map(condition).collect::<io::Result<_>>()?;
    SeccompRule::new(conditions).map_err(io::Error::other)
}

fn condition(argument: &Argument) -> io::Result<SeccompCondition> {
    let (length, operation, value) = match argument.is {
        Is::Int(value) => (SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value.into()),
        Is::Long(value) => (SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, value),
        Is::Itself => (SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, std::process::id().into()),
        Is::Without(bits) => (SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(bits.into()), 0),
    };
    SeccompCondition::new(argument.index, length, operation, value).map_err(io::Error::other)
}

/// Returns the alternatives under which none of the rows matches, as a decision tree: the product of all
/// negations would exceed the size of a filter.
fn none_of(rows: &[Vec<Argument>]) -> io::Result<Vec<Vec<SeccompCondition>>> {
    let Some(&first) = rows.first().and_then(|row| row.first()) else {
        return Ok(if rows.is_empty() { vec![Vec::new()] } else { Vec::new() });
    };
    let possible = rows.iter().filter(|row| !row.iter().any(|other| first.excludes(other)));
    let if_it_holds: Vec<Vec<Argument>> =
        possible.map(|row| row.iter().copied().filter(|other| *other != first).collect()).collect();
    let if_not: Vec<Vec<Argument>> = rows.iter().filter(|row| !row.contains(&first)).cloned().collect();
    let mut alternatives = Vec::new();
    if !if_it_holds.iter().any(Vec::is_empty) {
        for rest in none_of(&if_it_holds)? {
            alternatives.push([vec![condition(&first)?], rest].concat());
        }
    }
    for negation in negations(&first)? {
        for rest in none_of(&if_not)? {
            alternatives.push([vec![negation.clone()], rest].concat());
        }
    }
    Ok(alternatives)
}

impl Argument {
    /// Checks whether the two conditions exclude each other.
    fn excludes(&self, other: &Argument) -> bool {
        let exact = |argument: &Argument| matches!(argument.is, Is::Int(_) | Is::Long(_));
        self.index == other.index && self.is != other.is && exact(self) && exact(other)
    }
}

/// Returns the alternatives under which a condition does not hold.
fn negations(argument: &Argument) -> io::Result<Vec<SeccompCondition>> {
    let (length, operation, values) = match argument.is {
        Is::Int(value) => (SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, vec![value.into()]),
        Is::Long(value) => (SeccompCmpArgLen::Qword, SeccompCmpOp::Ne, vec![value]),
        Is::Itself => (SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, vec![std::process::id().into()]),
        Is::Without(bits) => {
            let set = (0..32).map(|bit| 1 << bit).filter(|bit| bits & bit != 0);
            let conditions = set.map(|bit: u32| {
                let operation = SeccompCmpOp::MaskedEq(bit.into());
                SeccompCondition::new(argument.index, SeccompCmpArgLen::Dword, operation, bit.into())
            });
            return conditions.collect::<Result<_, _>>().map_err(io::Error::other);
        }
    };
    let conditions = values
        .into_iter()
        .map(|value| SeccompCondition::new(argument.index, length.clone(), operation.clone(), value));
    conditions.collect::<Result<_, _>>().map_err(io::Error::other)
}

fn program(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    matched: SeccompAction,
    architecture: TargetArch,
) -> io::Result<BpfProgram> {
    let filter = SeccompFilter::new(rules, otherwise, matched, architecture).map_err(io::Error::other)?;
    filter.try_into().map_err(io::Error::other)
}
