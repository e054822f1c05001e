//! Deadlines: of names, and of the reasons of workers' deaths.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use nix::sys::epoll::EpollTimeout;

use crate::logger::intake::session::LoggedSession;
use crate::logger::intake::{LISTENING, READ_BUDGET, Reader};
use crate::messages::{Address, Level, Name, Side};
use crate::role::RoleError;

impl Reader<'_> {
    pub(super) fn listening(&mut self, address: Address) {
        let id = LISTENING + self.listening.len() as u64;
        match self.names.ask(id, &address) {
            (_, Some(until)) => self.listening.push((id, address, until)),
            (name, None) => self.report_listening(&name, &address),
        }
    }

    fn report_listening(&mut self, name: &Name, address: &Address) {
        self.notes.print(Level::Normal, &format!("Listening on: {name}"));
        if let Some(ip) = address.ip().filter(IpAddr::is_unspecified) {
            let (every, local) = match ip {
                IpAddr::V4(_) => ("every IPv4 address", "127.0.0.1"),
                IpAddr::V6(_) => ("every address", "::1"),
            };
            let text = format!(
                "{ip} is {every} of this host, where others can connect, too (only this host: {local})"
            );
            self.notes.print(Level::Normal, &text);
        }
    }

    pub(super) fn handle_resolver_messages(&mut self) -> Result<(), RoleError> {
        for _ in 0..READ_BUDGET {
            let (id, name) = match self.names.answer() {
                Ok(Some(answer)) => answer,
                Ok(None) => break,
                Err(error) => {
                    let text = format!("the resolver: {error}; peers are shown as numbers from now on");
                    self.notes.print(Level::Error, &text);
                    break;
                }
            };
            if id >= LISTENING {
                if let Some(index) = self.listening.iter().position(|(asked, ..)| *asked == id) {
                    let (_, address, _) = self.listening.remove(index);
                    self.report_listening(&name, &address);
                }
                continue;
            }
            let side = if id % 2 == 0 { Side::Client } else { Side::Server };
            let complete = self.sessions.get_mut(&(id / 2)).is_some_and(|session| session.named(side, name));
            if complete {
                self.begin_in_turn(id / 2);
            }
        }
        Ok(())
    }

    pub(super) fn timeout(&self) -> EpollTimeout {
        let watched = self.watched.iter().filter_map(|number| self.sessions.get(number));
        let waiting = watched.flat_map(|session| {
            let (names, death) = session.deadlines();
            [names, death].into_iter().flatten()
        });
        let first = waiting.chain(self.listening.iter().map(|(.., until)| *until)).min();
        match first {
            None => EpollTimeout::NONE,
            Some(until) => {
                let rest = until.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
                EpollTimeout::try_from(rest).unwrap_or(EpollTimeout::ZERO)
            }
        }
    }

    /// Gives up what is past its deadline.
    pub(super) fn expire(&mut self) {
        let now = Instant::now();
        let late = |until: Option<Instant>| until.is_some_and(|until| until <= now);
        let (sessions, orphaned) = (&self.sessions, self.orphaned);
        // Without a resolver no name comes any more, and without a parent there is no time for it.
        let no_names = orphaned || self.names.are_lost();
        self.watched.retain(|number| sessions.get(number).is_some_and(LoggedSession::has_deadline));
        let watched = self.watched.iter().filter_map(|number| sessions.get(number));
        let overdue: Vec<(u64, bool, bool)> = watched
            .map(|session| {
                let (names, death) = session.deadlines();
                (
                    session.number,
                    late(names) || no_names && names.is_some(),
                    late(death) || orphaned && death.is_some(),
                )
            })
            .filter(|(_, names, death)| *names || *death)
            .collect();
        for (number, names, death) in overdue {
            if names {
                self.names.overdue();
                if let Some(session) = self.sessions.get_mut(&number) {
                    session.stop_waiting();
                }
                self.begin_in_turn(number);
            }
            if death {
                self.end_abnormally(number, "Session ended abnormally.".into());
            }
        }
        while let Some(index) = self.listening.iter().position(|(.., until)| no_names || *until <= now) {
            let (_, address, _) = self.listening.remove(index);
            self.names.overdue();
            self.report_listening(&address.numeric(), &address);
        }
    }
}
