//! A peer that has moved: its name is looked up again when none of its addresses could be reached, and on
//! SIGHUP. The client that found out is refused all the same: nobody waits for a lookup.

use std::time::{Duration, Instant};

use super::{Phase, Supervisor};
use crate::config::Endpoint;
use crate::messages::{Address, Level, Side, ToResolver};
use crate::parent::address::{interleave, label, may_move, question};

/// Shortest time between two questions.
const PAUSE: Duration = Duration::from_secs(3);

/// Which names are to be looked up again.
#[derive(Default)]
pub(super) struct Lookup {
    /// Of the client, of the server.
    wanted: [bool; 2],
    /// The question that the resolver has not answered yet. There is never a second one.
    asked: Option<Side>,
    /// No question before then.
    next: Option<Instant>,
}

impl Supervisor<'_> {
    fn endpoint(&self, side: Side) -> &Endpoint {
        match side {
            Side::Client => &self.config.client,
            Side::Server => &self.config.server,
        }
    }

    /// Looks a peer up again as soon as that may be, if it was given by name.
    pub(super) fn want_lookup(&mut self, side: Side) {
        if may_move(self.endpoint(side)) {
            self.lookup.wanted[side as usize] = true;
        }
    }

    /// Asks the resolver what is due.
    pub(super) fn look_up(&mut self) {
        if self.next_lookup().is_none_or(|due| due > Instant::now()) {
            return;
        }
        let sides = [Side::Client, Side::Server];
        let Some(side) = sides.into_iter().find(|side| self.lookup.wanted[*side as usize]) else { return };
        self.lookup.wanted[side as usize] = false;
        self.lookup.next = Some(Instant::now() + PAUSE);
        let question = ToResolver::Find(question(self.endpoint(side)));
        // A resolver that is lost, or takes nothing now, costs this question and no session.
        if self.roles.resolver.as_ref().is_some_and(|resolver| resolver.send_now(&question).is_ok()) {
            self.lookup.asked = Some(side);
        }
    }

    /// When the next question is due, if there is one and it may be asked.
    pub(super) fn next_lookup(&self) -> Option<Instant> {
        let idle = self.phase == Phase::Serving && self.lookup.asked.is_none();
        (idle && self.lookup.wanted.contains(&true)).then(|| self.lookup.next.unwrap_or_else(Instant::now))
    }

    /// Takes the answer of the resolver; false if there was no question, or the answer does not fit it.
    pub(super) fn found(&mut self, answer: Result<Vec<Address>, String>) -> bool {
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
                self.notice(Level::Detail, format!("{label}: {why}; still taken for what it was"));
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

/// Whether an answer can be one about the same service: a resolver that has been taken over must not aim us at
/// another port or at a Unix socket.
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
