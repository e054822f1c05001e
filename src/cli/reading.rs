//! `--read`: the files, and which options make no sense with it.

use std::ffi::OsString;

use clap::parser::ValueSource;

use super::Line;
use super::usage::usage;
use super::values;
use crate::config::{Input, Reading, Task};
use crate::exit::Failure;

/// Options about peers, of which a saved record has none to meet.
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

impl Line {
    pub(super) fn task(&self) -> Result<Task, Failure> {
        let mut inputs = self.placed::<Input>("read");
        if inputs.is_empty() {
            return match self.is_given("session") {
                true => Err(usage("--session: only with --read.".to_owned())),
                false => Ok(Task::Bridge),
            };
        }
        if let Some(option) = OF_PEERS.into_iter().find(|option| self.is_given(option)) {
            return Err(usage(format!("--{option}: makes no sense with --read, which meets no peers.")));
        }
        for name in ["SERVERPORT", "LOCALPORT", "extra"] {
            for (place, file) in self.placed::<OsString>(name) {
                inputs.push((place, values::input(file)?));
            }
        }
        inputs.sort_by_key(|(place, _)| *place);
        let inputs: Vec<Input> = inputs.into_iter().map(|(_, input)| input).collect();
        if inputs.iter().filter(|input| **input == Input::Stdin).count() > 1 {
            return Err(usage("-: standard input can be read once only.".to_owned()));
        }
        Ok(Task::Read(Reading { inputs, sessions: self.value("session").unwrap_or_default() }))
    }

    fn is_given(&self, option: &str) -> bool {
        self.typed.value_source(option) == Some(ValueSource::CommandLine)
    }
}
