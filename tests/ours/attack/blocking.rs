//! Peers that block their receivers: floods, channels that are not read, closes that wait.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{Shutdown, shutdown};
use privsep::channel::{Channel, Incoming, Wait};

use crate::ours::attack::NONSENSE;
use crate::ours::attack::logger::Answers;
use crate::ours::attack::logger::Logger;
use crate::ours::attack::logger::answer;
use crate::ours::attack::logger::data;
use crate::ours::attack::on_the_parent::expect_the_end;
use crate::ours::attack::on_the_parent::in_the_place_of;
use crate::ours::attack::on_the_resolver::Resolver;
use crate::ours::attack::on_the_resolver::find;
use crate::ours::attack::on_the_resolver::question;
use crate::ours::attack::on_the_resolver::resolver;
use crate::support::hostile::{self, Lingering, MOST};
use crate::support::peer::{Server, echo_server};
use crate::support::proc;
use crate::support::scratch::Scratch;
use crate::support::skip::{Need, needs};
use crate::support::tcpreen::Tcpreen;
use crate::support::wait::{until, within};
use crate::support::{Bridged, bridge};
use tcpreen::messages::{Address, NameQuestion, ProcessEnd, Record, Side, ToParent};

type ToTheParent = Channel<ToParent, ()>;

fn channel_of(tcpreen: &crate::support::tcpreen::Running, role: &str) -> ToTheParent {
    Channel::adopt(in_the_place_of(tcpreen, role).into()).expect("a channel")
}

/// The only role that may send a descriptor: one in the place of a worker's channel, and too many.
#[test]
fn a_zygote_that_sends_a_lingering_socket_ends_everything_at_once() {
    if !needs(&[Need::Root]) {
        return;
    }
    let born = hostile::encoded(&ToParent::WorkerStarted { pid: 1 });
    for count in [1, 3, MOST] {
        let scratch = Scratch::new();
        let Bridged { mut client, mut server, tcpreen } = bridge(|it| it.output(scratch.path("record")));
        client.send("before");
        server.expect("before");
        let channel = in_the_place_of(&tcpreen, "zygote");
        let _peer = Lingering::new().hand_over(&channel, &born, count);
        expect_the_end(tcpreen, "zygote", &format!("{count} descriptors, one of which lingers"));
        assert!(scratch.record("record").contains("<<< before\n"));
    }
}

#[test]
fn a_logger_that_floods_the_parent_does_not_keep_the_operator_from_it() {
    if !needs(&[Need::Root]) {
        return;
    }
    let echo = echo_server();
    let mut tcpreen = Tcpreen::to(echo.port).start();
    let channel = channel_of(&tcpreen, "logger");
    hostile::flood(&channel, &ToParent::Recorded { sessions: 0 }, || {
        let mut client = tcpreen.connect();
        client.send("hello");
        client.expect("hello");
        tcpreen.signal(Signal::SIGTERM);
        let status = tcpreen.wait_within(Duration::from_secs(20));
        assert_eq!(status.code(), Some(128 + Signal::SIGTERM as i32));
    });
}

/// The parent learns that the role is lost as it sends, and looks for the reason among the messages that wait.
#[test]
fn a_role_that_reads_nothing_more_and_floods_ends_everything_at_once() {
    if !needs(&[Need::Root]) {
        return;
    }
    let echo = echo_server();
    let mut tcpreen = Tcpreen::to(echo.port).at_once(50).start();
    let channel = channel_of(&tcpreen, "zygote");
    let lie = ToParent::Exited { pid: 1, end: ProcessEnd::Status(0) };
    // The zygote itself would see the end of its channel, and exit.
    kill(tcpreen.role("zygote"), Signal::SIGSTOP).expect("kill");
    hostile::flood(&channel, &lie, || {
        shutdown(channel.as_fd().as_raw_fd(), Shutdown::Read).expect("shutdown");
        // They take spare workers, for which others are ordered.
        let clients: Vec<_> = (0..10).map(|_| tcpreen.connect()).collect();
        let status = tcpreen.wait_within(Duration::from_secs(15));
        assert_ne!(status.code(), Some(0), "{}", tcpreen.stderr());
        drop(clients);
    });
    tcpreen.stderr_line("zygote");
}

/// A stopped logger or zygote is in `shutdown`; the resolver is needed by no session.
#[test]
fn a_stopped_resolver_delays_no_session() {
    if !needs(&[Need::Root]) {
        return;
    }
    let echo = echo_server();
    let tcpreen = Tcpreen::to(echo.port).with_names().at_once(60).start();
    kill(tcpreen.role("resolver"), Signal::SIGSTOP).expect("kill");
    for _ in 0..50 {
        let mut client = tcpreen.connect();
        client.send("hello");
        client.expect("hello");
    }
}

#[test]
fn a_resolver_that_reads_no_question_delays_no_record() {
    if !needs(&[Need::Program("setpriv")]) {
        return;
    }
    let (answers, theirs) = Answers::pair().expect("a channel");
    let mut logger = Logger::start(Some((&answers, &theirs)));
    let workers: Vec<_> = (0..300).map(|_| logger.worker()).collect();
    for (number, worker) in &workers {
        worker.send_frame(&data(&format!("words of {number}"))).expect("a logger");
        logger.is_recorded(&format!("meanwhile {number}"));
    }
    // Without an answer they are shown by number.
    let (last, _) = workers.last().expect("a worker");
    let line = format!("[{last}] <<< words of {last}\n");
    until("the last record", || logger.record().contains(&line).then_some(()));
    logger.role.expect_running();
}

/// With `--record-first`: a worker that does not read its acknowledgements, and records without end.
#[test]
fn a_worker_that_reads_no_acknowledgement_delays_no_other_session() {
    if !needs(&[Need::Root]) {
        return;
    }
    let (scratch, listener) = (Scratch::new(), Server::listen());
    let tcpreen = Tcpreen::to(listener.port()).args(["--record-first"]).at_once(4);
    let tcpreen = tcpreen.output(scratch.path("record")).start();
    let (_client, _server) = (tcpreen.connect(), listener.accept());
    let worker = tcpreen.busy_worker();
    let tcp = proc::tcp_sockets();
    let mut sockets = proc::descriptors(worker).into_iter();
    let (number, _) =
        sockets.find(|(_, it)| it.starts_with("socket:") && !tcp.contains(it)).expect("its channel");
    let channel = hostile::steal(worker, number);
    kill(worker, Signal::SIGSTOP).expect("kill");
    let head = hostile::encoded(&Record::Data { from: Side::Client, urgent: false, time: 0 });
    let record = [head.as_slice(), b"x"].concat();
    for _ in 0..5000 {
        hostile::send(&channel, &record, &[]).expect("a logger");
    }
    let (mut client, mut server) = (tcpreen.connect(), listener.accept());
    client.send("bystander");
    server.expect("bystander");
    assert!(scratch.record("record").contains("<<< bystander"));
}

#[test]
fn a_lingering_socket_from_the_logger_ends_the_resolver_at_once() {
    if !needs(&[Need::Program("setpriv")]) {
        return;
    }
    for count in [1, 3, MOST] {
        let (resolver, questions) = resolver();
        let _peer = Lingering::new().hand_over(&questions, &hostile::encoded(&question()), count);
        assert_eq!(resolver.end(), NONSENSE, "{count}");
    }
}

/// Asks for an address in the place of the parent, and waits for it.
#[track_caller]
fn finds(resolver: &Resolver) {
    resolver.send(&find());
    let said = resolver.says();
    assert!(matches!(said, Some((ToParent::Found(_), _))), "{said:?}");
}

/// Names are for display; the parent needs its addresses.
#[test]
fn a_logger_that_floods_the_resolver_or_reads_no_answer_delays_no_address() {
    if !needs(&[Need::Program("setpriv")]) {
        return;
    }
    let (resolver, questions) = resolver();
    let address = Address::V4 { host: Ipv4Addr::LOCALHOST, port: 9 };
    hostile::flood(&questions, &NameQuestion { id: 1, address }, || (0..5).for_each(|_| finds(&resolver)));
    // Nothing has been read so far.
    assert!(matches!(questions.receive(Wait::No), Ok(Incoming::Message(..))));
    finds(&resolver);
}

#[test]
fn answers_that_come_twice_or_for_no_question_change_nothing() {
    if !needs(&[Need::Program("setpriv")]) {
        return;
    }
    let (answers, theirs) = Answers::pair().expect("a channel");
    let mut logger = Logger::start(Some((&answers, &theirs)));
    let (number, worker) = logger.worker();
    for session in [number, number, 1, 1 << 40] {
        answer(&answers, session);
    }
    worker.send_frame(&data("words")).expect("a logger");
    let line = format!("[{number}] <<< words\n");
    within(Duration::from_secs(20), "its record", || logger.record().contains(&line).then_some(()));
    assert_eq!(logger.lines(number).iter().filter(|line| line.contains("Connection from")).count(), 1);
    logger.is_recorded("afterwards");
    logger.role.expect_running();
}
