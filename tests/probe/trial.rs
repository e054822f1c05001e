//! Attempts, and how each must end.

use super::board::{Outcome, Verdict};
use super::list::{self, Entry, Rule};
use super::{attacks, raw};
use nix::libc;
use nix::sys::signal::Signal;
use tcpreen::policy::Extra;

/// Extends beyond the highest system call number of any kernel.
const NUMBERS: std::ops::Range<i64> = 0..600;

/// Return paths of the kernel's probes, which no filter sees since Linux 6.14 and 6.18: uretprobe and uprobe.
pub(crate) const UNSEEN: [i64; 2] = [335, 336];

/// One attempt of a confined process.
pub(crate) struct Trial {
    /// The test to which the attempt belongs.
    pub(crate) group: &'static str,
    pub(crate) what: String,
    deed: Deed,
    expected: Expected,
}

#[derive(Clone, Copy)]
enum Deed {
    Call(i64, [u64; 6]),
    /// A call that is answered with this error.
    Refused(i64, [u64; 6], i32),
    /// Through the 32-bit entry point.
    Int0x80(u32),
    /// A sequence of calls; `true` if it ended as it should.
    Attack(fn() -> bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Killed by the filter.
    Killed,
    /// Not killed by the filter; any other end is accepted.
    Lives,
    /// Killed by the filter or the processor.
    Fails,
    /// Survives and reports success.
    Holds,
    /// Same as `Holds`, or killed.
    InVain,
    /// Ends as a bug, not as an attack.
    Crashes,
}

impl Trial {
    pub(crate) fn perform(&self) -> Outcome {
        match self.deed {
            Deed::Call(number, arguments) => {
                let _ = raw::call(number, arguments);
                Outcome::CameBack
            }
            Deed::Refused(number, arguments, errno) => {
                let result = raw::call(number, arguments);
                judged(result.is_err_and(|error| error.raw_os_error() == Some(errno)))
            }
            Deed::Int0x80(number) => {
                raw::int_0x80(number);
                Outcome::CameBack
            }
            Deed::Attack(attack) => judged(attack()),
        }
    }

    /// Describes the failure, if the verdict is not the expected one.
    pub(crate) fn complaint(&self, verdict: Verdict) -> Option<String> {
        let right = match self.expected {
            Expected::Killed => verdict == Verdict::Killed(Signal::SIGSYS),
            Expected::Lives => !matches!(verdict, Verdict::Killed(Signal::SIGSYS) | Verdict::Untried),
            Expected::Fails => {
                matches!(verdict, Verdict::Killed(Signal::SIGSYS | Signal::SIGSEGV | Signal::SIGILL))
            }
            Expected::Holds => verdict == Verdict::Told(Outcome::AsHoped),
            Expected::InVain => matches!(
                verdict,
                Verdict::Told(Outcome::AsHoped) | Verdict::Killed(Signal::SIGSYS | Signal::SIGILL)
            ),
            Expected::Crashes => matches!(verdict, Verdict::Killed(Signal::SIGABRT | Signal::SIGSEGV)),
        };
        (!right).then(|| format!("{}: {verdict:?}, not {:?}", self.what, self.expected))
    }
}

fn judged(well: bool) -> Outcome {
    if well { Outcome::AsHoped } else { Outcome::Otherwise }
}

/// Names of the tests that every role has.
const GROUPS: [&str; 7] = [
    "a call outside the list is fatal",
    "a call on the list is survived",
    "a call with permitted arguments is survived",
    "a call with other arguments is fatal",
    "calls of other architectures are fatal",
    "a bug ends as a bug in any environment",
    "with --sandbox=log a call outside the list is survived",
];
pub(crate) const NUMBERS_DIE: &str = GROUPS[0];
const LIST_LIVES: &str = GROUPS[1];
const GOOD_PASS: &str = GROUPS[2];
const BAD_DIE: &str = GROUPS[3];
const OTHER_ABIS: &str = GROUPS[4];
const LOG: &str = GROUPS[6];
pub(crate) const BUGS: &str = GROUPS[5];

/// Suffix of a role that runs between two Unix sockets of packets.
pub(crate) const LOCAL: char = '=';

/// Suffix of a role that runs with `--sandbox=log`.
pub(crate) const LOGGED: char = '?';

/// Suffix of a role that runs with `--record-first=sync`, without the options that need the same call.
pub(crate) const SYNCED: char = '!';

/// All trials of a role, in an order that tcpreen and the test share. `role+` selects those of optional
/// permissions.
pub(crate) fn plan(role: &str) -> Vec<Trial> {
    match role {
        "parent=" => return of_extras(&[Extra::Packets]),
        "zygote=" => return of_extras(&[Extra::Descriptors]),
        _ => {}
    }
    match role.strip_suffix('+') {
        Some("parent") => of_extras(&[Extra::Background, Extra::SocketFiles, Extra::PidFile]),
        Some("zygote") => of_extras(&[Extra::TcpInfo]),
        Some("logger") => of_extras(&[
            Extra::SessionFiles,
            Extra::Rotation,
            Extra::Parts,
            Extra::WaitingPipe,
            Extra::TerminalWidth,
            Extra::Sync,
            Extra::Metrics,
            Extra::Syslog,
        ]),
        _ if role.ends_with(SYNCED) => of_extras(&[Extra::Sync]),
        _ if role.ends_with(LOGGED) => vec![call(LOG, libc::SYS_getuid, [0; 6], Expected::Lives)],
        _ => of_role(role),
    }
}

fn of_extras(extras: &[Extra]) -> Vec<Trial> {
    let mut good = Vec::new();
    let mut bad = Vec::new();
    for extra in extras {
        for entry in list::of_extra(*extra) {
            good.extend(passing(entry));
            bad.extend(dying(entry));
        }
    }
    good.into_iter().chain(bad).collect()
}

fn of_role(role: &str) -> Vec<Trial> {
    let list = list::of(role);
    let always = |number| list.iter().any(|e| e.number == number && !matches!(e.rule, Rule::When(..)));
    let mut trials: Vec<Trial> = NUMBERS
        .filter(|number| !always(*number) && !UNSEEN.contains(number))
        .map(|number| call(NUMBERS_DIE, number, [u64::MAX; 6], Expected::Killed))
        .collect();
    for entry in &list {
        trials.extend(passing(entry));
        if !always(entry.number) {
            trials.extend(dying(entry));
        }
        trials.push(call(OTHER_ABIS, entry.number | raw::X32, [u64::MAX; 6], Expected::Killed));
    }
    trials.extend((512..548).map(|number| call(OTHER_ABIS, number | raw::X32, [0; 6], Expected::Killed)));
    // exit, write, getpid, getuid, gettid, exit_group and an unassigned number.
    trials.extend([1, 4, 20, 24, 224, 252, 9999].map(|number| Trial {
        group: OTHER_ABIS,
        what: format!("int 0x80 with {number}"),
        deed: Deed::Int0x80(number),
        expected: Expected::Fails,
    }));
    let attacks = attacks::of(role).into_iter();
    trials.extend(attacks.map(|(group, what, attack, expected)| Trial {
        group,
        what: what.to_owned(),
        deed: Deed::Attack(attack),
        expected,
    }));
    trials
}

fn call(group: &'static str, number: i64, arguments: [u64; 6], expected: Expected) -> Trial {
    let shown: Vec<String> = arguments.iter().map(|argument| format!("{:#x}", *argument as i64)).collect();
    let what = format!("call {number:#x} = {number} ({})", shown.join(", "));
    Trial { group, what, deed: Deed::Call(number, arguments), expected }
}

fn passing(entry: &Entry) -> Vec<Trial> {
    let named = |trial: Trial| Trial { what: format!("{}: {}", entry.name, trial.what), ..trial };
    match entry.rule {
        Rule::Always => vec![named(call(LIST_LIVES, entry.number, [u64::MAX; 6], Expected::Lives))],
        Rule::Refused(errno) => vec![refused(entry, [u64::MAX; 6], errno)],
        Rule::Otherwise(errno, bad) => bad.iter().map(|given| refused(entry, padded(given), errno)).collect(),
        Rule::When(good, _) => {
            let calls =
                good.iter().map(|given| call(GOOD_PASS, entry.number, padded(given), Expected::Lives));
            calls.map(named).collect()
        }
    }
}

fn refused(entry: &Entry, arguments: [u64; 6], errno: i32) -> Trial {
    Trial {
        group: LIST_LIVES,
        what: format!("{} refused ({arguments:x?})", entry.name),
        deed: Deed::Refused(entry.number, arguments, errno),
        expected: Expected::Holds,
    }
}

fn dying(entry: &Entry) -> Vec<Trial> {
    let Rule::When(_, bad) = entry.rule else { return Vec::new() };
    let calls = bad.iter().map(|given| call(BAD_DIE, entry.number, padded(given), Expected::Killed));
    calls.map(|trial| Trial { what: format!("{}: {}", entry.name, trial.what), ..trial }).collect()
}

fn padded(given: &[i64]) -> [u64; 6] {
    let mut arguments = [u64::MAX; 6];
    for (argument, value) in arguments.iter_mut().zip(given) {
        *argument = *value as u64;
    }
    arguments
}
