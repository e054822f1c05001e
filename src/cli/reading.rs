//! `--read`, `--replay` and `--diff`: the records, and the options that exclude them.

use std::collections::HashSet;
use std::ffi::OsString;
use std::time::Duration;

use clap::parser::ValueSource;

use super::Line;
use super::usage::usage;
use super::values;
use crate::cli::endpoint;
use crate::cli::endpoint::Given;
use crate::config::{Approach, Diff, Endpoint, Reading, RecordInput, Replay, Task};
use crate::exit::{Failure, Status};
use crate::messages::{Pace, Side};

/// Options about peers, which a run with a saved record does not have.
const OF_PEERS: [&str; 17] = [
    "accept",
    "server",
    "protocol",
    "connect",
    "listen",
    "bytes",
    "fork",
    "max-per-client",
    "maxconn",
    "connect-timeout",
    "idle-timeout",
    "drain-timeout",
    "keepalive",
    "daemon",
    "inetd",
    "pidfile",
    "syslog",
];

/// Options that exclude a replay, which has one session.
const OF_SEVERAL: [&str; 10] = [
    "connect",
    "listen",
    "fork",
    "max-per-client",
    "maxconn",
    "drain-timeout",
    "daemon",
    "inetd",
    "pidfile",
    "bytes",
];

/// Options that exclude a comparison, in addition to those about peers.
const OF_OUTPUTS: [&str; 9] =
    ["format", "output", "only", "match", "metrics", "append", "rotate-size", "rotate-time", "rotate-count"];

/// Options of comparisons only.
const OF_COMPARISONS: [(&str, &str); 3] =
    [("pace", "--replay"), ("wait", "--replay"), ("mask", "--replay or --diff")];

/// Time limit of the live peer without `--wait`.
const WAIT: Duration = Duration::from_secs(3);

impl Line {
    pub(super) fn task(&self) -> Result<Task, Failure> {
        let tasks = ["read", "replay", "diff"].into_iter().filter(|task| self.is_given(task));
        let task = match tasks.collect::<Vec<_>>()[..] {
            [] => self.bridge()?,
            ["read"] => self.reading().map(Task::Read)?,
            ["replay"] => self.replay().map(Task::Replay)?,
            ["diff"] => self.diff().map(Task::Diff)?,
            [one, other, ..] => return Err(usage(format!("--{one}, --{other}: one of them at a time."))),
            [other] => return Err(usage(format!("--{other}: unknown."))),
        };
        self.check_streams(&task)?;
        Ok(task)
    }

    /// Rejects a stream that is to be read twice, and in a start with more privileges than the caller's the caller's
    /// open descriptors, as for outputs.
    fn check_streams(&self, task: &Task) -> Result<(), Failure> {
        let mut earlier = HashSet::new();
        for input in task.inputs() {
            let (number, name) = match input {
                RecordInput::File(_) => continue,
                RecordInput::Stdin => (0, "-: standard input".to_owned()),
                RecordInput::Descriptor(number) => (*number, format!("/dev/fd/{number}:")),
            };
            if number != 0 && self.circumstances.is_secure {
                let text = format!("{name} not for a program with a set-uid bit or a file capability.");
                return Err(Failure::new(Status::NoInput, text));
            }
            if !earlier.insert(number) {
                return Err(usage(format!("{name} can be read once only.")));
            }
        }
        Ok(())
    }

    fn bridge(&self) -> Result<Task, Failure> {
        if self.is_given("session") {
            return Err(usage("--session: only with a record (--read, --replay, --diff).".to_owned()));
        }
        if self.is_given("tls-keys") {
            return Err(usage("--tls-keys: only with --read.".to_owned()));
        }
        let needs = OF_COMPARISONS.into_iter().find(|(option, _)| self.is_given(option));
        match needs {
            Some((option, task)) => Err(usage(format!("--{option}: only with {task}."))),
            None => Ok(Task::Bridge),
        }
    }

    /// Rejects options that do not apply to a task.
    fn refuse(&self, options: &[&str], why: &str) -> Result<(), Failure> {
        match options.iter().find(|option| self.is_given(option)) {
            Some(option) => Err(usage(format!("--{option}: makes no sense with {why}."))),
            None => Ok(()),
        }
    }

    fn replay(&self) -> Result<Replay, Failure> {
        self.refuse(&OF_SEVERAL, "--replay, which has one session")?;
        self.refuse(&["tls-keys"], "--replay")?;
        let side = self.value("replay").unwrap_or(Side::Client);
        let places = self.positionals();
        let most = if side == Side::Client { 3 } else { 2 };
        let file = places.first().filter(|_| (2..=most).contains(&places.len()));
        let Some(file) = file else {
            return Err(usage("--replay: needs client FILE HOST PORT, or server FILE PORT.".to_owned()));
        };
        let sessions: Vec<u64> = self.value("session").unwrap_or_default();
        if sessions.len() > 1 {
            return Err(usage("--session: one at a time is replayed.".to_owned()));
        }
        Ok(Replay {
            side,
            input: values::input(file.clone())?,
            session: sessions.first().copied(),
            pace: self.value("pace").unwrap_or(Pace::Turns),
            wait: self.value("wait").unwrap_or(WAIT),
            masks: self.masks(),
        })
    }

    fn diff(&self) -> Result<Diff, Failure> {
        self.refuse(&OF_PEERS, "--diff, which meets no peers")?;
        self.refuse(&OF_OUTPUTS, "--diff, which writes no sessions")?;
        self.refuse(&["pace", "wait", "tls-keys"], "--diff")?;
        let inputs = self.positionals().into_iter().map(values::input).collect::<Result<Vec<_>, _>>()?;
        if inputs.len() != 2 || inputs == [RecordInput::Stdin, RecordInput::Stdin] {
            return Err(usage("--diff: needs two records.".to_owned()));
        }
        Ok(Diff { inputs, sessions: self.value("session").unwrap_or_default(), masks: self.masks() })
    }

    fn masks(&self) -> Vec<String> {
        self.placed::<String>("mask").into_iter().map(|(_, mask)| mask).collect()
    }

    /// Positional arguments in order.
    fn positionals(&self) -> Vec<OsString> {
        let mut placed: Vec<(usize, OsString)> =
            ["SERVERPORT", "LOCALPORT", "extra"].into_iter().flat_map(|name| self.placed(name)).collect();
        placed.sort_by_key(|(place, _)| *place);
        placed.into_iter().map(|(_, argument)| argument).collect()
    }

    /// The live peer of a replay.
    pub(super) fn live_peer(&self, replay: &Replay) -> Result<Endpoint, Failure> {
        let places = self.positionals();
        let (host, place) = match &places[1..] {
            [host, port] => (Some(host.to_string_lossy().into_owned()), port),
            [place, ..] => (None, place),
            [] => return Err(usage("--replay: needs a peer.".to_owned())),
        };
        let (server, client) = self.families();
        endpoint::endpoint(match replay.side {
            Side::Client => Given {
                approach: Approach::Connect,
                family: server,
                host: host.or_else(|| self.value("server")),
                place,
            },
            Side::Server => {
                Given { approach: Approach::Listen, family: client, host: self.value("accept"), place }
            }
        })
    }

    fn reading(&self) -> Result<Reading, Failure> {
        self.refuse(&OF_PEERS, "--read, which meets no peers")?;
        self.refuse(&["pace", "wait", "mask"], "--read")?;
        let mut inputs = self.placed::<RecordInput>("read");
        for name in ["SERVERPORT", "LOCALPORT", "extra"] {
            for (place, file) in self.placed::<OsString>(name) {
                inputs.push((place, values::input(file)?));
            }
        }
        inputs.sort_by_key(|(place, _)| *place);
        let inputs: Vec<RecordInput> = inputs.into_iter().map(|(_, input)| input).collect();
        let keys: Option<RecordInput> = self.value("tls-keys");
        Ok(Reading { inputs, sessions: self.value("session").unwrap_or_default(), keys })
    }

    pub(super) fn is_given(&self, option: &str) -> bool {
        self.typed.value_source(option) == Some(ValueSource::CommandLine)
    }
}
