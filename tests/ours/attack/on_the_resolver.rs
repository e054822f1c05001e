//! A compromised parent or logger against the resolver.

use std::net::Ipv4Addr;
use std::os::fd::AsFd;

use privsep::channel::{Channel, Wait};

use crate::ours::attack::NONSENSE;
use crate::support::hostile::{self, MOST, WrongKinds};
use crate::support::role::{Role, prepare};
use crate::support::skip::{Need, needs};
use tcpreen::messages::{Address, Find, IpFamily, NameAnswer, NameQuestion, ToResolver};

pub(crate) type Resolver = Role<ToResolver>;
pub(super) type Questions = Channel<NameQuestion, NameAnswer>;

pub(crate) fn resolver() -> (Resolver, Questions) {
    let resolver = Role::start("resolver");
    let (questions, theirs) = Questions::pair().expect("a channel");
    let prepare = ToResolver::Prepare(prepare());
    resolver.channel.send_with(&prepare, &[theirs.as_fd()], Wait::Yes).expect("a resolver");
    resolver.expect_ready();
    (resolver, questions)
}

pub(crate) fn find() -> ToResolver {
    let (host, service) = (Some("127.0.0.1".into()), Some("9".into()));
    ToResolver::Find(Find { host, service, family: IpFamily::Any, listen: false })
}

pub(crate) fn question() -> NameQuestion {
    NameQuestion { id: 7, address: Address::V4 { host: Ipv4Addr::LOCALHOST, port: 9 } }
}

#[test]
fn invalid_messages_of_the_parent_end_the_resolver() {
    if !needs(&[Need::Program("setpriv")]) {
        return;
    }
    let good = [find(), ToResolver::Prepare(prepare())];
    let malformed = hostile::malformed(&good);
    let [find, again] = good.map(|message| hostile::encoded(&message));
    let nonsense = malformed.into_iter().chain([again]).map(|message| (message, 0));
    for (message, count) in nonsense.chain([1, 2, 3, MOST].map(|count| (find.clone(), count))) {
        let (resolver, _questions) = resolver();
        hostile::send(&resolver.channel, &message, &vec![0; count]).expect("a resolver");
        assert_eq!(resolver.end(), NONSENSE, "{:?} with {count}", message.escape_ascii().to_string());
    }
}

#[test]
fn invalid_messages_of_the_logger_end_the_resolver() {
    if !needs(&[Need::Program("setpriv")]) {
        return;
    }
    let good = hostile::encoded(&question());
    let nonsense = hostile::malformed(&[question()]).into_iter().map(|message| (message, 0));
    for (message, count) in nonsense.chain([1, 2, 3, MOST].map(|count| (good.clone(), count))) {
        let (resolver, questions) = resolver();
        hostile::send(&questions, &message, &vec![0; count]).expect("a resolver");
        assert_eq!(resolver.end(), NONSENSE, "{:?} with {count}", message.escape_ascii().to_string());
    }
}

#[test]
fn a_resolver_accepts_only_a_channel_as_the_loggers_end() {
    if !needs(&[Need::Program("setpriv")]) {
        return;
    }
    for (what, fd) in WrongKinds::new().iter() {
        let resolver = Resolver::start("resolver");
        let prepare = ToResolver::Prepare(prepare());
        resolver.channel.send_with(&prepare, &[fd], Wait::Yes).expect("a resolver");
        assert_eq!(resolver.end(), NONSENSE, "{what}");
    }
}
