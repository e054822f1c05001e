//! Renewed lookups: when none of a peer's addresses was reachable, and on SIGHUP. The client that triggered one is
//! refused nevertheless, because sessions never wait for a lookup.

use std::time::{Duration, Instant};

use privsep::text::Text;

use super::{Phase, Supervisor};
use crate::config::Endpoint;
use crate::messages::{Address, Level, Side, ToResolver};
use crate::parent::net::address::{interleave, label, may_move, question};

/// Minimum time between two questions.
const PAUSE: Duration = Duration::from_secs(3);

/// State of renewed lookups.
#[derive(Default)]
pub(super) struct LookupState {
    /// Lookups that are due, for client and server.
    wanted: [bool; 2],
    /// The unanswered question, at most one.
    asked: Option<Side>,
    /// Earliest time of the next question.
    next: Option<Instant>,
}

impl Supervisor<'_> {
    fn endpoint(&self, side: Side) -> &Endpoint {
        match side {
            Side::Client => &self.config.client,
            Side::Server => &self.config.server,
        }
    }

    /// Schedules a lookup of a peer that was given by name.
    pub(super) fn want_lookup(&mut self, side: Side) {
        if may_move(self.endpoint(side)) {
            self.lookup.wanted[side as usize] = true;
        }
    }

    /// Sends the question that is due.
    pub(super) fn look_up(&mut self) {
        if self.next_lookup().is_none_or(|due| due > Instant::now()) {
            return;
        }
        let sides = [Side::Client, Side::Server];
        let Some(side) = sides.into_iter().find(|side| self.lookup.wanted[*side as usize]) else { return };
        self.lookup.wanted[side as usize] = false;
        self.lookup.next = Some(Instant::now() + PAUSE);
        let question = ToResolver::Find(question(self.endpoint(side)));
        // A lost or busy resolver costs this question and no session.
        if self.roles.resolver.as_ref().is_some_and(|resolver| resolver.send_now(&question).is_ok()) {
            self.lookup.asked = Some(side);
        }
    }

    /// Time of the next question, if one is pending.
    pub(super) fn next_lookup(&self) -> Option<Instant> {
        let idle = self.phase == Phase::Serving && self.lookup.asked.is_none();
        (idle && self.lookup.wanted.contains(&true)).then(|| self.lookup.next.unwrap_or_else(Instant::now))
    }

    /// Applies the resolver's answer; returns `false` if it was not asked for or does not match.
    pub(super) fn found(&mut self, answer: Result<Vec<Address>, Text>) -> bool {
        let Some(side) = self.lookup.asked.take() else { return false };
        let label = label(self.endpoint(side));
        let known = match side {
            Side::Client => &self.client_addresses,
            Side::Server => &self.server_addresses,
        };
        let addresses = match answer {
            Ok(addresses) if fits(known, &addresses) => interleave(addresses),
            Ok(_) => return false,
            Err(why) => {
                self.notice(Level::Detail, format!("{label}: {why}; keeping the previous addresses"));
                return true;
            }
        };
        if **known == *addresses {
            return true;
        }
        let list: Vec<String> = addresses.iter().map(Address::to_string).collect();
        self.notice(Level::Normal, format!("{label}: now at {}", list.join(", ")));
        match side {
            Side::Client => self.client_addresses = addresses.into(),
            Side::Server => self.server_addresses = addresses.into(),
        }
        true
    }
}

/// Checks that an answer is about the same service: a compromised resolver must not redirect connections to
/// another port or to a Unix socket.
fn fits(known: &[Address], addresses: &[Address]) -> bool {
    let is_known = |address: &Address| known.iter().any(|known| known.port() == address.port());
    !addresses.is_empty() && addresses.iter().all(|address| address.ip().is_some() && is_known(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_about_another_service_does_not_fit() {
        let v4 = |host: u8, port| Address::V4 { host: [192, 0, 2, host].into(), port };
        let known = [v4(1, 80)];
        assert!(fits(&known, &[v4(2, 80), v4(3, 80)]));
        for other in [vec![], vec![v4(1, 81)], vec![v4(2, 80), Address::Unix(b"/run/x".to_vec())]] {
            assert!(!fits(&known, &other), "{other:?}");
        }
    }
}
