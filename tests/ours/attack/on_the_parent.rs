//! A compromised zygote, logger or resolver against the parent. A zygote or a logger ends everything, the
//! error names the role, and the record is complete; a resolver only costs names.

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use privsep::channel::Channel;
use privsep::confine::{SandboxStatus, Unrestricted};
use privsep::seccomp::Violation;

use crate::ours::attack::NONSENSE;
use crate::support::hostile::{self, Lingering, MOST, WrongKinds};
use crate::support::leftovers::Leftovers;
use crate::support::peer::echo_server;
use crate::support::scratch::Scratch;
use crate::support::skip::{Need, needs};
use crate::support::tcpreen::{Running, Tcpreen};
use crate::support::wait::{until, within};
use crate::support::{Bridged, bridge, proc};
use tcpreen::messages::{Address, Problem, ProcessEnd, Record, ToParent, ToWorker};

/// Descriptor of a role's channel.
const CHANNEL: RawFd = 3;

pub(crate) fn in_the_place_of(tcpreen: &Running, role: &str) -> OwnedFd {
    hostile::steal(tcpreen.role(role), CHANNEL)
}

/// One message of each kind that this role may not send once it serves.
fn out_of_order(role: &str) -> Vec<ToParent> {
    let sandbox_status = SandboxStatus {
        landlock: privsep::landlock::Status::Full { abi: 7 },
        seccomp: Violation::Kill,
        kept: Unrestricted::default(),
        memory: privsep::memory::Memory::default(),
    };
    let mut messages = vec![
        ToParent::Ready { sandbox_status },
        ToParent::Failed(Problem::Confine("no".into())),
        ToParent::Found(vec![Address::Unix(Vec::new())]),
        ToParent::NotFound { reason: "no".into() },
        ToParent::WorkerStarted { pid: 1 },
        ToParent::ForkFailed { errno: 1 },
        ToParent::OutputsWait,
        ToParent::OutputsOpen,
        ToParent::Finished,
    ];
    if role != "zygote" {
        messages.push(ToParent::Exited { pid: 1, end: ProcessEnd::Status(0) });
    }
    if role != "logger" {
        messages.push(ToParent::OutputLost);
    }
    messages
}

fn nonsense(role: &str) -> Vec<(Vec<u8>, usize)> {
    let good = match role {
        "zygote" => ToParent::Exited { pid: 1, end: ProcessEnd::Status(0) },
        _ => ToParent::OutputLost,
    };
    let malformed = hostile::malformed(std::slice::from_ref(&good));
    let good = hostile::encoded(&good);
    let late = out_of_order(role).iter().map(hostile::encoded).collect::<Vec<_>>();
    // A zygote may report a worker that is gone, without a descriptor or with one, which is then invalid.
    let counts = if role == "zygote" { &[3, MOST][..] } else { &[1, 2, 3, MOST] };
    let with_descriptors = counts.iter().map(|count| (good.clone(), *count));
    late.into_iter().chain(malformed).map(|message| (message, 0)).chain(with_descriptors).collect()
}

/// Expects everything to end, with an error that names `role`.
#[track_caller]
pub(crate) fn expect_the_end(mut tcpreen: Running, role: &str, what: &str) {
    let processes = Leftovers::of(tcpreen.pid());
    let status = tcpreen.wait_within(Duration::from_secs(3));
    assert_eq!(status.code(), Some(NONSENSE), "{what}: {}", tcpreen.stderr());
    tcpreen.stderr_line(&format!("the {role}: "));
    within(Duration::from_secs(1), "the end of all processes", || processes.are_gone().then_some(()));
}

/// Without waiting for the peer of a received connection.
#[test]
fn a_logger_that_sends_a_lingering_socket_ends_everything_at_once() {
    if !needs(&[Need::Root]) {
        return;
    }
    for count in [1, 3, MOST] {
        let scratch = Scratch::new();
        let Bridged { mut client, mut server, tcpreen } = bridge(|it| it.output(scratch.path("record")));
        client.send("before");
        server.expect("before");
        let channel = in_the_place_of(&tcpreen, "logger");
        hostile::let_descriptors_through(tcpreen.pid());
        let _peer = Lingering::new().hand_over(&channel, &hostile::encoded(&ToParent::Alive), count);
        expect_the_end(tcpreen, "logger", &format!("{count} descriptors, one of which lingers"));
        assert!(scratch.record("record").contains("<<< before\n"));
    }
}

#[test]
fn a_lingering_socket_from_the_resolver_delays_no_session() {
    if !needs(&[Need::Root]) {
        return;
    }
    for count in [1, 3, MOST] {
        let echo = echo_server();
        let tcpreen = Tcpreen::to(echo.port).at_once(4).start();
        let channel = in_the_place_of(&tcpreen, "resolver");
        hostile::let_descriptors_through(tcpreen.pid());
        let _peer = Lingering::new().hand_over(&channel, &hostile::encoded(&ToParent::Alive), count);
        tcpreen.stderr_line("the resolver: ");
        let mut client = tcpreen.connect();
        client.send("after");
        client.expect("after");
    }
}

fn a_role_that_talks_nonsense(role: &'static str) {
    if !needs(&[Need::Root]) {
        return;
    }
    let nonsense = nonsense(role);
    let try_one = |(message, count): &(Vec<u8>, usize)| {
        let scratch = Scratch::new();
        let Bridged { mut client, mut server, tcpreen } = bridge(|it| it.output(scratch.path("record")));
        client.send("before");
        server.expect("before");
        let channel = in_the_place_of(&tcpreen, role);
        // Older kernels do not refuse them.
        hostile::let_descriptors_through(tcpreen.pid());
        hostile::send(&channel, message, &vec![0; *count]).expect("a parent");
        let what = format!("{:?} with {count}", message.escape_ascii().to_string());
        expect_the_end(tcpreen, role, &what);
        client.expect_hang_up();
        server.expect_hang_up();
        assert!(scratch.record("record").contains("<<< before\n"), "{what}");
    };
    thread::scope(|scope| {
        for part in nonsense.chunks(nonsense.len().div_ceil(4)) {
            scope.spawn(move || part.iter().for_each(try_one));
        }
    });
}

#[test]
fn invalid_messages_of_the_zygote_end_everything() {
    a_role_that_talks_nonsense("zygote");
}

#[test]
fn invalid_messages_of_the_logger_end_everything() {
    a_role_that_talks_nonsense("logger");
}

#[test]
fn invalid_messages_of_the_resolver_cost_only_names() {
    if !needs(&[Need::Root]) {
        return;
    }
    let nonsense = nonsense("resolver");
    let try_one = |(message, count): &(Vec<u8>, usize)| {
        let Bridged { mut client, mut server, tcpreen } = bridge(|it| it);
        let resolver = tcpreen.role("resolver");
        let channel = in_the_place_of(&tcpreen, "resolver");
        hostile::let_descriptors_through(tcpreen.pid());
        let _ = hostile::send(&channel, message, &vec![0; *count]);
        tcpreen.stderr_line("the resolver: ");
        within(Duration::from_secs(3), "the end of the resolver", || {
            proc::status(resolver).is_none().then_some(())
        });
        client.send("after");
        server.expect("after");
        assert_eq!(tcpreen.stderr().matches("the resolver: ").count(), 1, "{}", tcpreen.stderr());
    };
    thread::scope(|scope| {
        for part in nonsense.chunks(nonsense.len().div_ceil(4)) {
            scope.spawn(move || part.iter().for_each(try_one));
        }
    });
}

#[test]
fn a_resolver_that_floods_the_parent_costs_only_names() {
    if !needs(&[Need::Root]) {
        return;
    }
    let echo = echo_server();
    let tcpreen = Tcpreen::to(echo.port).start();
    let channel = in_the_place_of(&tcpreen, "resolver");
    let channel: Channel<ToParent, ()> = Channel::adopt(channel.into()).expect("a channel");
    hostile::flood(&channel, &ToParent::Alive, || {
        tcpreen.stderr_line("the resolver: ");
        let mut client = tcpreen.connect();
        client.send("hello");
        client.expect("hello");
    });
}

/// The parent waits for a worker, and the zygote is stopped before it can fork one.
fn waiting_for_a_worker() -> (Running, OwnedFd) {
    let echo = echo_server();
    let tcpreen = Tcpreen::to(echo.port).at_once(50).start();
    let zygote = tcpreen.role("zygote");
    let channel = in_the_place_of(&tcpreen, "zygote");
    let workers = || tcpreen.roles().get("worker").is_some_and(|workers| workers.len() >= 4).then_some(());
    until("the spare workers", workers);
    kill(zygote, Signal::SIGSTOP).expect("kill");
    // Each takes a spare worker, for which another is requested.
    let mut clients: Vec<_> = (0..3).map(|_| tcpreen.connect()).collect();
    clients.iter_mut().for_each(|client| client.send("hello"));
    clients.iter_mut().for_each(|client| client.expect("hello"));
    (tcpreen, channel)
}

#[test]
fn a_worker_with_an_invalid_channel_ends_everything() {
    if !needs(&[Need::Root]) {
        return;
    }
    let born = hostile::encoded(&ToParent::WorkerStarted { pid: 1 });
    thread::scope(|scope| {
        let kinds = WrongKinds::new();
        let wrong = kinds.iter().map(|(what, fd)| (what, vec![fd.try_clone_to_owned().expect("a copy")]));
        let counts = [0, 2, 3].map(|count| ("a number", vec![count; count]));
        let counts = counts.map(|(what, fds)| {
            let copy = |_| Channel::<Record, ToWorker>::pair().expect("a pair").0.into_socket();
            (what, fds.into_iter().map(copy).collect())
        });
        for (what, fds) in wrong.chain(counts).collect::<Vec<_>>() {
            let born = &born;
            scope.spawn(move || {
                let (tcpreen, channel) = waiting_for_a_worker();
                let raw: Vec<_> = fds.iter().map(AsRawFd::as_raw_fd).collect();
                hostile::send(&channel, born, &raw).expect("a parent");
                kill(tcpreen.role("zygote"), Signal::SIGCONT).expect("kill");
                expect_the_end(tcpreen, "zygote", &format!("{what}, {} of them", fds.len()));
            });
        }
    });
}

#[test]
fn a_worker_reported_twice_ends_everything() {
    if !needs(&[Need::Root]) {
        return;
    }
    let (tcpreen, channel) = waiting_for_a_worker();
    let busy = tcpreen.all_roles()["worker"][0].as_raw();
    let (_worker, end) = Channel::<Record, ToWorker>::pair().expect("a pair");
    let again = hostile::encoded(&ToParent::WorkerStarted { pid: busy });
    hostile::send(&channel, &again, &[end.as_fd().as_raw_fd()]).expect("a parent");
    kill(tcpreen.role("zygote"), Signal::SIGCONT).expect("kill");
    expect_the_end(tcpreen, "zygote", "born twice");
}

#[test]
fn a_zygote_that_floods_the_parent_does_not_keep_the_operator_from_it() {
    if !needs(&[Need::Root]) {
        return;
    }
    let echo = echo_server();
    let mut tcpreen = Tcpreen::to(echo.port).start();
    let channel = in_the_place_of(&tcpreen, "zygote");
    let channel: Channel<ToParent, ()> = Channel::adopt(channel.into()).expect("a channel");
    let lie = ToParent::Exited { pid: 1, end: ProcessEnd::Status(0) };
    hostile::flood(&channel, &lie, || {
        let mut client = tcpreen.connect();
        client.send("hello");
        client.expect("hello");
        tcpreen.signal(Signal::SIGTERM);
        let status = tcpreen.wait_within(Duration::from_secs(8));
        assert_eq!(status.code(), Some(128 + Signal::SIGTERM as i32));
    });
}

/// While a stopped worker keeps the end from coming before its time is over.
#[test]
fn a_role_that_floods_the_parent_after_term_does_not_put_off_the_end() {
    if !needs(&[Need::Root]) {
        return;
    }
    let floods = [
        ("zygote", ToParent::Exited { pid: 1, end: ProcessEnd::Status(0) }),
        ("logger", ToParent::Recorded { sessions: 0 }),
        ("resolver", ToParent::Alive),
    ];
    // All at the same time: each waits for the end of its session's time.
    thread::scope(|scope| {
        for (role, message) in floods {
            scope.spawn(move || flood_after_term(role, &message));
        }
    });
}

fn flood_after_term(role: &str, message: &ToParent) {
    let Bridged { client, server, mut tcpreen } = bridge(|it| it);
    kill(tcpreen.busy_worker(), Signal::SIGSTOP).expect("kill");
    let channel: Channel<ToParent, ()> =
        Channel::adopt(in_the_place_of(&tcpreen, role).into()).expect("a channel");
    tcpreen.signal(Signal::SIGTERM);
    tcpreen.stderr_line("Caught signal");
    hostile::flood(&channel, message, || {
        let status = tcpreen.wait_within(Duration::from_secs(20));
        assert_eq!(status.code(), Some(128 + Signal::SIGTERM as i32), "{role}: {}", tcpreen.stderr());
    });
    drop((client, server));
}
