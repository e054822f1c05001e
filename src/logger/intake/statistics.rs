//! Output for SIGUSR1: a line for each running session, and the totals.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::logger::intake::session::LoggedSession;
use crate::record::{Meeting, quantity};

/// Sessions that are over.
#[derive(Default)]
pub(in crate::logger) struct Statistics {
    ended: u64,
    /// From clients, from servers.
    bytes: [u64; 2],
}

impl Statistics {
    /// A session is over.
    pub(in crate::logger) fn add(&mut self, session: &LoggedSession) {
        // An unreachable server is reported when that happens.
        if session.meeting() == Meeting::Refused {
            return;
        }
        self.ended += 1;
        for (sum, bytes) in self.bytes.iter_mut().zip(session.bytes()) {
            *sum = sum.saturating_add(bytes);
        }
    }

    /// The lines, running sessions in their order first. What passes is `counted` while it does only where
    /// an output wants to know; otherwise each side's total comes at its end.
    pub(in crate::logger) fn lines<'a>(
        &self,
        running: impl Iterator<Item = &'a LoggedSession>,
        counted: bool,
    ) -> Vec<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.lines_at(now, running, counted)
    }

    /// As [`Statistics::lines`], at `now` in seconds since the epoch.
    fn lines_at<'a>(
        &self,
        now: u64,
        running: impl Iterator<Item = &'a LoggedSession>,
        counted: bool,
    ) -> Vec<String> {
        let mut running: Vec<&LoggedSession> = running.collect();
        running.sort_unstable_by_key(|session| session.number);
        let mut all = self.bytes;
        let mut lines = Vec::with_capacity(running.len() + 1);
        for session in &running {
            let [client, server] = session.names();
            let seconds = now.saturating_sub(session.started());
            let bytes = session.bytes();
            // If totals are only known at the end of a side, idleness is unknown.
            let idle =
                if counted { format!(", idle for {} s", session.idle().as_secs()) } else { String::new() };
            lines.push(format!(
                "Session {}: {client} to {server}, {seconds} s{idle}, {}",
                session.number,
                passed(bytes)
            ));
            for (sum, bytes) in all.iter_mut().zip(bytes) {
                *sum = sum.saturating_add(bytes);
            }
        }
        let hint = if counted { "" } else { " (counted at the end of each side)" };
        lines.push(format!(
            "Sessions: {} running, {} ended, {}{hint}",
            running.len(),
            self.ended,
            passed(all)
        ));
        lines
    }
}

/// As in the frame lines: input is what comes from clients.
fn passed([client, server]: [u64; 2]) -> String {
    format!("{} received, {} sent", quantity(client), quantity(server))
}

#[cfg(test)]
mod tests {
    use privsep::channel::Channel;

    use super::*;
    use crate::logger::intake::session::tests::info;
    use crate::record::{SessionInfo, Time};

    fn line(started: u64, now: u64) -> String {
        let (channel, _) = Channel::pair().expect("a pair");
        let info = SessionInfo { started: Time::from_nanos(started * 1_000_000_000), ..info() };
        let session = LoggedSession::new(info, Some(channel), None);
        Statistics::default().lines_at(now, [&session].into_iter(), true).remove(0)
    }

    #[test]
    fn the_age_of_a_session_is_counted_from_its_start() {
        for (started, now, age) in [(100, 100, 0), (100, 101, 1), (100, 4000, 3900), (100, 99, 0)] {
            let line = line(started, now);
            assert!(line.contains(&format!(", {age} s, idle for 0 s, ")), "{line}");
        }
    }
}
