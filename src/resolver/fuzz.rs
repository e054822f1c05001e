//! Runs the resolver's loop with a parent and a logger that send arbitrary messages. The loop must end at the first
//! protocol violation or when the parent leaves, and must answer each question once.
//!
//! Lookups are not forked: those that need no name server are done here, the others count as lookups that
//! hang.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;

use privsep::channel::{Channel, Incoming, Wait};
use privsep::confine::Identity;
use privsep::seccomp::Violation;
use privsep::wire;
use serde::de::DeserializeOwned;

use super::desk::{Desk, QUEUE};
use super::lookup::Question;
use super::{LoggerChannel, Parent, lookup};
use crate::fuzz::{FuzzInput, alone, descriptors, send, text};
use crate::messages::{
    Address, Find, IpFamily, NameAnswer, NameQuestion, Prepare, Sandbox, ToParent, ToResolver, VERSION,
};
use crate::role::RoleError;

/// Number of messages in one run: more than the queue holds, and no more than two channels hold.
const MOST: usize = QUEUE + 32;

pub fn fuzz(data: &[u8]) {
    let open = descriptors();
    play(&mut FuzzInput::new(data));
    assert_eq!(descriptors(), open, "descriptors are left over");
}

fn play(script: &mut FuzzInput<'_>) {
    let (parent, ours) = Parent::pair().expect("a pair");
    let (logger, asking) = LoggerChannel::pair().expect("a pair");
    let mut cast =
        ResolverActors { parent: ours, logger: asking, said: Said::default(), asked: Said::default() };
    let has_logger = script.byte() & 1 == 0;
    for _ in 0..MOST {
        let Some(what) = script.next() else { break };
        cast.act(what, script);
    }
    cast.parent.finish_sending().expect("a channel");
    let mut desk = Desk::new(parent, has_logger.then_some(logger), alone());
    let ended = listen(&mut desk);
    cast.judge(ended.is_ok(), has_logger);
    while let Some(question) = desk.next() {
        if stays_here(&question) {
            let answer = lookup::answer(&question);
            // A logger that has closed its end receives no answer.
            let needed = matches!(question, Question::Find(_)) || !cast.asked.over;
            desk.answer(question, Some(answer)).expect("room");
            let answers = cast.answers();
            assert!(answers == 1 || (answers == 0 && !needed), "{answers} answers to one question");
        }
    }
}

/// Receives as the resolver does, until the parent has closed its end.
fn listen(desk: &mut Desk) -> Result<(), RoleError> {
    while desk.receive_from_parent()? {
        desk.receive_from_logger()?;
    }
    Ok(())
}

/// Checks that a question needs no name server.
fn stays_here(question: &Question) -> bool {
    match question {
        Question::Find(find) => find.host.as_ref().is_none_or(|host| host.parse::<IpAddr>().is_ok()),
        Question::Name(question) => question.address.ip().is_none_or(|ip| ip.is_unspecified()),
    }
}

/// Messages of one sender up to the first protocol violation, or to the end.
#[derive(Default)]
struct Said {
    nonsense: bool,
    /// Later messages are not received.
    over: bool,
}

impl Said {
    fn raw<T: DeserializeOwned>(&mut self, bytes: &[u8], fds: u8, sense: impl Fn(&T) -> bool) {
        let message = wire::decode::<T>(bytes);
        // An empty message ends a channel.
        let closes = bytes.is_empty() && fds == 0;
        if !self.over {
            self.nonsense = !closes && (fds > 0 || !message.is_ok_and(|message| sense(&message)));
            self.over = closes || self.nonsense;
        }
    }
}

/// The peers of the resolver.
struct ResolverActors {
    parent: Channel<ToResolver, ToParent>,
    logger: Channel<NameQuestion, NameAnswer>,
    said: Said,
    asked: Said,
}

impl ResolverActors {
    fn act(&mut self, what: u8, script: &mut FuzzInput<'_>) {
        let argument = script.byte();
        match what % 6 {
            0 | 1 => self.send_message(&ToResolver::Find(find(argument, script))),
            2 => {
                let question = NameQuestion { id: argument.into(), address: address(argument, script) };
                self.logger.send_with(&question, &[], Wait::No).expect("room");
            }
            3 if argument & 0x70 == 0 => self.send_message(&ToResolver::Prepare(prepare())),
            4 => {
                let (bytes, fds) = (script.bytes(), argument % 4);
                self.asked.raw(bytes, fds, |_: &NameQuestion| true);
                send(&self.logger, bytes, self.parent.as_fd(), fds);
            }
            _ => {
                let (bytes, fds) = (script.bytes(), argument % 4);
                self.track(bytes, fds);
                send(&self.parent, bytes, self.logger.as_fd(), fds);
            }
        }
    }

    fn send_message(&mut self, message: &ToResolver) {
        let mut room = [0; wire::LIMIT];
        let length = wire::encode(message, &mut room).expect("a message");
        self.track(&room[..length], 0);
        self.parent.send_with(message, &[], Wait::No).expect("room");
    }

    fn track(&mut self, bytes: &[u8], fds: u8) {
        self.said.raw(bytes, fds, |message| !matches!(message, ToResolver::Prepare(_)));
    }

    fn judge(&self, in_order: bool, has_logger: bool) {
        let asked_nonsense = has_logger && self.asked.nonsense;
        assert!(!(in_order && self.said.nonsense), "nonsense of the parent went unnoticed");
        assert!(in_order || self.said.nonsense || asked_nonsense, "ended without a reason");
        // Only the parent is answered, and only when the queue was full.
        assert!(self.answers() <= MOST - QUEUE, "answers to what was not looked up");
    }

    /// Number of answers received.
    fn answers(&self) -> usize {
        count(&self.parent) + count(&self.logger)
    }
}

fn count<Out, In: DeserializeOwned>(channel: &Channel<Out, In>) -> usize {
    let mut count = 0;
    while let Incoming::Message(..) = channel.receive(Wait::No).expect("an answer") {
        count += 1;
    }
    count
}

fn find(argument: u8, script: &mut FuzzInput<'_>) -> Find {
    let host = match argument & 3 {
        0 => None,
        1 => Some("127.0.0.1".to_owned()),
        2 => Some("::1".to_owned()),
        _ => Some(text(script)),
    };
    let service = match argument >> 2 & 3 {
        0 => None,
        1 => Some("9".to_owned()),
        2 => Some("http".to_owned()),
        _ => Some(text(script)),
    };
    let family = match argument >> 4 & 3 {
        0 | 1 => IpFamily::Any,
        2 => IpFamily::Ipv4,
        _ => IpFamily::Ipv6,
    };
    Find { host, service, family, listen: argument & 0x40 != 0 }
}

fn address(argument: u8, script: &mut FuzzInput<'_>) -> Address {
    let port = argument.into();
    match argument % 4 {
        0 => Address::V4 { host: Ipv4Addr::LOCALHOST, port },
        1 => Address::V4 { host: Ipv4Addr::UNSPECIFIED, port },
        2 => Address::V6 { host: Ipv6Addr::UNSPECIFIED, port, scope: script.byte().into() },
        _ => Address::Unix(script.bytes().to_vec()),
    }
}

fn prepare() -> Prepare {
    let sandbox = Sandbox { violation: Violation::Kill, full: false };
    Prepare { version: VERSION, parent: 0, identity: Identity::Keep, sandbox }
}
