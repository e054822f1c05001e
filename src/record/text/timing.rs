//! With `--time`: the summary of a session's durations.

use std::fmt::Write;

use super::clock::seconds;
use crate::messages::Side;
use crate::record::event::{SessionInfo, Time};
use crate::record::gaps::quantity;

pub(super) struct Timing {
    accepted: Time,
    started: Time,
    /// Time of the last action of a peer.
    last: Time,
    /// Time of the first byte of the server.
    answered: Option<Time>,
    /// The longest time without an action of a peer, and the side that ended it.
    silence: (u64, Option<Side>),
}

impl Timing {
    pub(super) fn new(info: &SessionInfo) -> Timing {
        let (accepted, started) = (info.accepted, info.started);
        Timing { accepted, started, last: started, answered: None, silence: (0, None) }
    }

    /// A side sent something, or finished.
    pub(super) fn acted(&mut self, side: Side, time: Time, sent: bool) {
        self.quiet_until(time, Some(side));
        if sent && side == Side::Server {
            self.answered.get_or_insert(time);
        }
    }

    fn quiet_until(&mut self, time: Time, side: Option<Side>) {
        let silence = time.since(self.last);
        if silence > self.silence.0 {
            self.silence = (silence, side);
        }
        self.last = time;
    }

    /// Returns the line, which begins with `Session took 0.523456 s`.
    pub(super) fn summary(mut self, end: Time, [client, server]: [u64; 2]) -> String {
        self.quiet_until(end, None);
        let mut text = format!("Session took {} s", shown(end.since(self.started)));
        // A String takes everything.
        let _ = write!(text, ", connecting {} s", shown(self.started.since(self.accepted)));
        let _ = write!(text, "; {} received, {} sent", quantity(client), quantity(server));
        if let Some(answered) = self.answered {
            let _ =
                write!(text, "; first byte of the server after {} s", shown(answered.since(self.started)));
        }
        let (silence, side) = self.silence;
        let who = match side {
            Some(Side::Client) => "until the client acted",
            Some(Side::Server) => "until the server acted",
            None => "until the end",
        };
        let _ = write!(text, "; longest silence {} s, {who}.", shown(silence));
        text
    }
}

fn shown(nanos: u64) -> String {
    let mut text = Vec::new();
    seconds(nanos, &mut text);
    // Digits and a point.
    String::from_utf8(text).unwrap_or_default()
}
