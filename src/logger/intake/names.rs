//! Names of peers: requested from the resolver, awaited for a limited time, and cached.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use privsep::channel::{Channel, ChannelError, Incoming, Wait, no_fds};

use crate::messages::{Address, Name, NameAnswer, NameQuestion};

pub(in crate::logger) type Resolver = Channel<NameQuestion, NameAnswer>;

/// Time to wait for a name; after it the number is recorded. A dead name server delays a name by no more.
const PATIENCE: Duration = Duration::from_secs(2);

/// Cache lifetime of a name. A lookup costs more than the rest of a short session, and names rarely change
/// within a minute.
const KNOWN: Duration = Duration::from_secs(60);

/// Negative-cache lifetime. Short, because the name server may have failed temporarily.
const UNKNOWN: Duration = Duration::from_secs(10);

/// Names remembered, and questions under way.
const MOST: usize = 1024;

/// Cache of names by numeric address.
#[derive(Default)]
struct Memory(HashMap<String, (String, Instant)>);

impl Memory {
    fn recall(&self, number: &str, now: Instant) -> Option<String> {
        self.0.get(number).filter(|(_, until)| *until > now).map(|(name, _)| name.clone())
    }

    fn keep(&mut self, number: String, name: String, now: Instant) {
        if self.0.len() >= MOST {
            self.0.retain(|_, (_, until)| *until > now);
        }
        // With that many peers, asks again rather than grow.
        if self.0.len() >= MOST {
            self.0.clear();
        }
        let good_for = if name == number { UNKNOWN } else { KNOWN };
        self.0.insert(number, (name, now + good_for));
    }
}

/// Client of the resolver.
pub(in crate::logger) struct NameClient {
    /// `None` with `-n`.
    resolver: Option<Resolver>,
    /// An answer was overdue, and none has come since: later names are not awaited.
    silent: bool,
    /// Unanswered questions by their id, with the numeric address.
    asked: VecDeque<(u64, Name)>,
    nodes: Memory,
    services: Memory,
}

impl NameClient {
    pub(in crate::logger) fn new(resolver: Option<Resolver>) -> NameClient {
        let (nodes, services) = (Memory::default(), Memory::default());
        NameClient { resolver, silent: false, asked: VecDeque::new(), nodes, services }
    }

    /// Returns the known name of an address and, if the resolver had to be asked, the deadline for its answer.
    pub(in crate::logger) fn ask(&mut self, id: u64, address: &Address) -> (Name, Option<Instant>) {
        let (number, now) = (address.numeric(), Instant::now());
        let Some(resolver) = self.resolver.as_ref().filter(|_| address.ip().is_some()) else {
            return (number, None);
        };
        if let Some(name) = self.recall(&number, address, now) {
            return (name, None);
        }
        let question = NameQuestion { id, address: address.clone() };
        // A resolver that does not keep up counts as one that does not answer.
        if resolver.send_with(&question, &[], Wait::No).is_err() {
            return (number, None);
        }
        // The oldest of the maximum number of questions will not be answered.
        if self.asked.len() >= MOST {
            self.asked.pop_front();
        }
        self.asked.push_back((id, number.clone()));
        (number, (!self.silent).then(|| now + PATIENCE))
    }

    fn recall(&self, number: &Name, address: &Address, now: Instant) -> Option<Name> {
        let node = self.nodes.recall(&number.node, now)?;
        let service = if address.may_be_a_service() {
            self.services.recall(&number.service, now)?
        } else {
            number.service.clone()
        };
        Some(Name { node, service })
    }

    fn remember(&mut self, id: u64, name: &Name) {
        let Some(index) = self.asked.iter().position(|(asked, _)| *asked == id) else { return };
        let Some((_, number)) = self.asked.remove(index) else { return };
        let now = Instant::now();
        self.nodes.keep(number.node, name.node.clone(), now);
        self.services.keep(number.service, name.service.clone(), now);
    }

    /// The next answer. A resolver that violates the protocol is disconnected: no record may depend on it.
    pub(in crate::logger) fn answer(&mut self) -> Result<Option<(u64, Name)>, ChannelError> {
        let Some(resolver) = &self.resolver else { return Ok(None) };
        let received = resolver.receive(Wait::No).and_then(|incoming| match incoming {
            Incoming::Message(answer, fds) => no_fds(fds).map(|()| Incoming::Message(answer, [None, None])),
            other => Ok(other),
        });
        match received {
            Ok(Incoming::Message(NameAnswer { id, name }, _)) => {
                self.silent = false;
                self.remember(id, &name);
                Ok(Some((id, name)))
            }
            Ok(Incoming::Nothing) => Ok(None),
            // The parent sees it, too, and ends all of us.
            Ok(Incoming::Closed) => {
                self.resolver = None;
                Ok(None)
            }
            Err(error) => {
                self.resolver = None;
                Err(error)
            }
        }
    }

    /// Checks whether the resolver is gone.
    pub(in crate::logger) fn are_lost(&self) -> bool {
        self.resolver.is_none()
    }

    /// An answer did not come in time.
    pub(in crate::logger) fn overdue(&mut self) {
        self.silent = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_good_for_a_minute_and_that_there_is_none_for_less() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        memory.keep("192.0.2.1".into(), "friend.example".into(), now);
        memory.keep("192.0.2.2".into(), "192.0.2.2".into(), now);
        let soon = now + UNKNOWN;
        assert_eq!(memory.recall("192.0.2.1", soon).as_deref(), Some("friend.example"));
        assert_eq!(memory.recall("192.0.2.2", now).as_deref(), Some("192.0.2.2"));
        assert_eq!(memory.recall("192.0.2.2", soon), None);
        assert_eq!(memory.recall("192.0.2.1", now + KNOWN), None);
        assert_eq!(memory.recall("192.0.2.3", now), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        for number in 0..3 * MOST {
            memory.keep(number.to_string(), "name".into(), now);
            assert!(memory.0.len() <= MOST);
            assert!(memory.recall(&number.to_string(), now).is_some());
        }
    }

    #[test]
    fn only_what_was_asked_is_remembered_and_once() {
        let (resolver, other) = Resolver::pair().expect("a pair");
        let mut names = NameClient::new(Some(resolver));
        let address = |last| Address::V4 { host: [192, 0, 2, last].into(), port: 40000 };
        let named = |node: &str| Name { node: node.into(), service: "40000".into() };
        assert_eq!(names.ask(1, &address(1)).0, named("192.0.2.1"));
        for (id, node) in [(2, "stranger.example"), (1, "friend.example"), (1, "liar.example")] {
            other.send(&NameAnswer { id, name: named(node) }).expect("room");
            assert!(names.answer().expect("an answer").is_some());
        }
        assert_eq!(names.ask(3, &address(1)), (named("friend.example"), None));
        assert!(names.ask(4, &address(2)).1.is_some());
    }

    #[test]
    fn the_port_of_a_client_is_no_service() {
        let (resolver, other) = Resolver::pair().expect("a pair");
        let mut names = NameClient::new(Some(resolver));
        let at = |port| Address::V4 { host: [192, 0, 2, 1].into(), port };
        names.ask(1, &at(80));
        let name = Name { node: "friend.example".into(), service: "http".into() };
        other.send(&NameAnswer { id: 1, name: name.clone() }).expect("room");
        names.answer().expect("an answer");
        assert_eq!(names.ask(2, &at(80)), (name, None));
        assert_eq!(names.ask(3, &at(50080)).0.to_string(), "friend.example port 50080");
        assert!(names.ask(4, &at(8080)).1.is_some(), "a port that may be that of a service");
    }
}
