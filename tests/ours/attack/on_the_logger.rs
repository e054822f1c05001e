//! Compromised workers, resolver or parent against the logger.

use std::os::fd::AsFd;

use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, kill};
use privsep::channel::{Frame, Wait};
use privsep::role::CHANNEL_FD;
use privsep::wire;

use crate::ours::attack::NONSENSE;
use crate::ours::attack::logger::Answers;
use crate::ours::attack::logger::CLOSED;
use crate::ours::attack::logger::DATA;
use crate::ours::attack::logger::ENDED;
use crate::ours::attack::logger::Logger;
use crate::ours::attack::logger::PASSED;
use crate::ours::attack::logger::Worker;
use crate::ours::attack::logger::answer;
use crate::ours::attack::logger::begin;
use crate::ours::attack::logger::data;
use crate::ours::attack::logger::prepared;
use crate::ours::attack::logger::shown_in;
use crate::support::hostile::{self, Lingering, MOST, WrongKinds};
use crate::support::peer::Server;
use crate::support::proc;
use crate::support::scratch::Scratch;
use crate::support::skip::{Need, needs};
use crate::support::tcpreen::Tcpreen;
use crate::support::wait::until;
use crate::support::{Bridged, bridge};
use tcpreen::format::Format;
use tcpreen::messages::{Name, NameAnswer, OutputTarget, Record, ToLogger};

/// Sequences of messages, the last of which is a violation.
fn offences() -> Vec<Vec<(Vec<u8>, usize)>> {
    let [passed, ended, closed] = [PASSED, ENDED, CLOSED].map(|record| hostile::encoded(&record));
    let bare = |message: &Vec<u8>| (message.clone(), 0);
    let mut offences: Vec<Vec<_>> = hostile::malformed(&[PASSED, ENDED, CLOSED])
        .into_iter()
        .filter(|message| !matches!(wire::decode_head(message), Ok((Record::Data { .. }, _))))
        .map(|message| vec![(message, 0)])
        .collect();
    let word = data("word");
    for end in [vec![bare(&ended)], vec![bare(&word), bare(&closed)]] {
        for more in [&word, &passed, &ended] {
            offences.push(end.iter().cloned().chain([bare(more)]).collect());
        }
    }
    offences.push(vec![bare(&closed), bare(&closed)]);
    offences.push(vec![bare(&hostile::encoded(&DATA))]);
    offences.push(vec![bare(&vec![0; Record::LONGEST + 1])]);
    offences.extend([1, 2, 3, MOST].map(|count| vec![(word.clone(), count)]));
    offences
}

#[test]
fn a_worker_that_violates_the_protocol_is_disconnected_alone() {
    if !needs(&[Need::Root, Need::Program("setpriv")]) {
        return; // Only root may count what a process of ours has open.
    }
    let mut logger = Logger::start(None);
    let (before, memory) = (logger.descriptors(), logger.memory());
    let offences = offences();
    for offence in &offences {
        let (number, worker) = logger.worker();
        let null = std::fs::File::open("/dev/null").expect("/dev/null");
        for (message, count) in offence {
            let fds = vec![std::os::fd::AsRawFd::as_raw_fd(&null); *count];
            hostile::send(&worker, message, &fds).expect("a logger");
        }
        let closed = until("the end of its channel", || match worker.receive_frame(&mut [0; 8], Wait::No) {
            Ok(Frame::Nothing) => None,
            other => Some(matches!(other, Ok(Frame::Closed))),
        });
        assert!(closed, "{offence:?}");
        until("the end of its session", || (logger.descriptors() == before).then_some(()));
        // A session that has reported its end is over: later messages are not recorded.
        let over = offence.len() > 1 && offence[offence.len() - 2].0 == hostile::encoded(&CLOSED);
        let told = || logger.lines(number).iter().filter(|line| line.contains("broke the protocol")).count();
        logger.is_recorded(&format!("after {number}"));
        assert_eq!(told(), usize::from(!over), "{offence:?}: {:?}", logger.lines(number));
    }
    assert!(logger.memory() < memory + (8 << 20), "{} bytes after {memory}", logger.memory());
    let said = logger.lines(1).iter().filter(|line| line.starts_with("<<< ")).count();
    assert_eq!(said, 1 + offences.len());
    logger.role.expect_running();
}

#[test]
fn a_worker_disconnected_during_a_lookup_is_reported_once() {
    if !needs(&[Need::Program("setpriv")]) {
        return;
    }
    let (answers, theirs) = Answers::pair().expect("a channel");
    let mut logger = Logger::start(Some((&answers, &theirs)));
    let (number, worker) = logger.worker();
    for _ in 0..5 {
        let _ = worker.send_frame(&[0xff; 16]);
    }
    logger.is_recorded("meanwhile");
    answer(&answers, number);
    until("the end of the session", || {
        logger.lines(number).last().is_some_and(|line| line.contains("End of transmission")).then_some(())
    });
    logger.is_recorded("afterwards");
    let told: Vec<String> = logger.lines(number);
    assert_eq!(told.iter().filter(|line| line.contains("broke the protocol")).count(), 1, "{told:?}");
    assert_eq!(told.iter().filter(|line| line.contains("End of transmission")).count(), 1, "{told:?}");
}

#[test]
fn a_resolver_that_violates_the_protocol_is_disconnected_without_loss_of_records() {
    if !needs(&[Need::Root, Need::Program("setpriv")]) {
        return;
    }
    let name = Name { node: "node".into(), service: "service".into() };
    let good = NameAnswer { id: 2, name };
    let malformed = hostile::malformed(std::slice::from_ref(&good));
    let good = hostile::encoded(&good);
    let nonsense = malformed.into_iter().map(|message| (message, 0));
    for (message, count) in nonsense.chain([1, 2, 3, MOST].map(|count| (good.clone(), count))) {
        let (answers, theirs) = Answers::pair().expect("a channel");
        let mut logger = Logger::start(Some((&answers, &theirs)));
        drop(theirs);
        let before = logger.descriptors();
        hostile::send(&answers, &message, &vec![0; count]).expect("a logger");
        let what = format!("{:?} with {count}", message.escape_ascii().to_string());
        until(&what, || (logger.descriptors() == before - 1).then_some(()));
        logger.is_recorded("goes on");
        logger.role.expect_running();
    }
}

#[test]
fn a_lingering_socket_from_a_worker_delays_no_record() {
    if !needs(&[Need::Program("setpriv")]) {
        return;
    }
    let mut logger = Logger::start(None);
    for count in [1, 3, MOST] {
        let (_, worker) = logger.worker();
        let _peer = Lingering::new().hand_over(&worker, &data("words"), count);
        logger.is_recorded(&format!("with {count}"));
    }
    logger.role.expect_running();
}

#[test]
fn a_lingering_socket_from_the_resolver_delays_no_record() {
    if !needs(&[Need::Program("setpriv")]) {
        return;
    }
    let name = Name { node: "node".into(), service: "service".into() };
    let answer = hostile::encoded(&NameAnswer { id: 2, name });
    for count in [1, 3, MOST] {
        let (answers, theirs) = Answers::pair().expect("a channel");
        let mut logger = Logger::start(Some((&answers, &theirs)));
        let _peer = Lingering::new().hand_over(&answers, &answer, count);
        logger.is_recorded("goes on");
        logger.role.expect_running();
    }
}

/// With the real processes: the worker's own connection, and a worker that is gone when its message is read.
#[test]
fn a_lost_workers_connection_delays_no_other_session() {
    if !needs(&[Need::Root]) {
        return;
    }
    let scratch = Scratch::new();
    let listener = Server::listen();
    let tcpreen = Tcpreen::to(listener.port()).at_once(4).output(scratch.path("record")).start();
    let (_client, _server) = (tcpreen.connect(), listener.accept());
    let worker = tcpreen.busy_worker();
    let tcp = proc::tcp_sockets();
    let sockets = proc::descriptors(worker).into_iter().filter(|(_, target)| target.starts_with("socket:"));
    let (streams, channels): (Vec<_>, Vec<_>) = sockets.partition(|(_, target)| tcp.contains(target));
    let channel = hostile::steal(worker, channels[0].0);
    let stolen: Vec<_> = streams.iter().map(|(number, _)| hostile::steal(worker, *number)).collect();
    hostile::let_descriptors_through(tcpreen.role("logger"));
    stolen.iter().for_each(hostile::make_linger);
    kill(worker, Signal::SIGSTOP).expect("kill");
    let raw: Vec<_> = stolen.iter().map(std::os::fd::AsRawFd::as_raw_fd).collect();
    kill(worker, Signal::SIGKILL).expect("kill");
    until("the end of the worker", || (!proc::is_alive(worker)).then_some(()));
    // The logger may have closed the channel already, and then receives neither.
    let _ = hostile::send(&channel, &data("words"), &raw);
    drop((stolen, channel));
    let (mut client, mut server) = (tcpreen.connect(), listener.accept());
    client.send("bystander");
    server.expect("bystander");
    until("its record", || scratch.record("record").contains("<<< bystander").then_some(()));
    tcpreen.signal(Signal::SIGTERM);
    assert_eq!(tcpreen.finish().code(), 128 + Signal::SIGTERM as i32);
}

#[test]
fn the_kernel_refuses_descriptors_where_none_may_come() {
    if !needs(&[Need::Root, Need::PassRights]) {
        return;
    }
    let Bridged { mut client, mut server, tcpreen } = bridge(|it| it.args(["-v"]));
    let worker = tcpreen.busy_worker();
    let tcp = proc::tcp_sockets();
    let mut refused = 0;
    for pid in [worker, tcpreen.role("logger"), tcpreen.role("resolver")] {
        for (number, target) in proc::descriptors(pid) {
            // The logger's other channels lead to the resolver, which is tested from its own end, and to the
            // worker.
            let other = pid == tcpreen.role("logger") && number != CHANNEL_FD;
            if number <= 2 || !target.starts_with("socket:") || tcp.contains(&target) || other {
                continue;
            }
            let sent = hostile::send(hostile::steal(pid, number), &[0; 16], &[0]);
            assert_eq!(sent, Err(nix::errno::Errno::EPERM), "{pid}: {number} {target}");
            refused += 1;
        }
    }
    assert!(refused >= 3, "{refused} ends");
    client.send("words");
    server.expect("words");
}

#[test]
fn records_that_wait_for_names_are_written_when_the_parent_is_lost() {
    if !needs(&[Need::Program("setpriv")]) {
        return;
    }
    let (answers, theirs) = Answers::pair().expect("a channel");
    let mut logger = Logger::start(Some((&answers, &theirs)));
    let (number, worker) = logger.worker();
    worker.send_frame(&data("said before")).expect("a logger");
    let Logger { role, scratch, bystander, .. } = logger;
    // The end of the parent is also that of all workers.
    drop((worker, bystander));
    role.hang_up();
    assert_eq!(role.end(), 0);
    let record = scratch.record("record");
    assert!(record.contains(&format!("[{number}] <<< said before\n")), "{record}");
}

#[test]
fn a_resolver_that_floods_the_logger_holds_up_no_record() {
    if !needs(&[Need::Program("setpriv")]) {
        return;
    }
    let (answers, theirs) = Answers::pair().expect("a channel");
    let logger = Logger::start(Some((&answers, &theirs)));
    let name = Name { node: "n".repeat(1000), service: "s".repeat(1000) };
    hostile::flood(&answers, &NameAnswer { id: 1 << 50, name }, || {
        for number in 0..20 {
            logger.is_recorded(&format!("word {number}"));
        }
    });
}

#[test]
fn a_logger_that_gets_invalid_messages_exits_with_the_record_complete() {
    if !needs(&[Need::Program("setpriv")]) {
        return;
    }
    let good = [begin(7), ToLogger::Stop { number: 1 }];
    let malformed = hostile::malformed(&good);
    let good = good.map(|message| hostile::encoded(&message));
    let nonsense = malformed.into_iter().map(|message| (message, 0));
    let late = [
        ToLogger::Serve,
        ToLogger::Output { target: OutputTarget::Stdout, view: shown_in(Format::Raw) },
        prepared(),
    ];
    let late = late.iter().map(|message| (hostile::encoded(message), 0));
    let again = [(hostile::encoded(&begin(1)), 1), (hostile::encoded(&begin(u64::MAX)), 1)];
    let counts = [0, 2, 3, MOST].map(|count| (good[0].clone(), count));
    let bare = [1, 2, 3, MOST].map(|count| (good[1].clone(), count));
    for (message, count) in nonsense.chain(late).chain(again).chain(counts).chain(bare) {
        let logger = Logger::start(None);
        let (channel, _other) = Worker::pair().expect("a channel");
        let fds = vec![std::os::fd::AsRawFd::as_raw_fd(&channel.as_fd()); count];
        hostile::send(&logger.role.channel, &message, &fds).expect("a logger");
        let Logger { role, scratch, .. } = logger;
        assert_eq!(role.end(), NONSENSE, "{:?} with {count}", message.escape_ascii().to_string());
        assert!(scratch.record("record").contains("[1] <<< a first word\n"));
    }
}

#[test]
fn a_logger_accepts_only_a_channel_as_a_workers_end() {
    if !needs(&[Need::Program("setpriv")]) {
        return;
    }
    for (what, fd) in WrongKinds::new().iter() {
        let mut logger = Logger::start(None);
        logger.begin(&fd);
        assert_eq!(logger.role.end(), NONSENSE, "{what}");
    }
}

#[test]
fn an_output_is_open_in_the_logger_alone_and_only_to_be_added_to() {
    if !needs(&[Need::Root]) {
        return;
    }
    let scratch = Scratch::new();
    let path = scratch.path("record");
    let names = scratch.path("%n");
    let Bridged { mut client, mut server, tcpreen } = bridge(|it| it.output(&path).output(&names));
    client.send("words");
    server.expect("words");
    until("the file of the session", || scratch.path("1").exists().then_some(()));
    for (role, pids) in tcpreen.roles() {
        for pid in pids {
            let flags = [&path, &scratch.path("1")].map(|path| proc::open_flags(pid, path));
            if role != "logger" {
                assert_eq!(flags, [None, None], "{role}");
                continue;
            }
            for flags in flags {
                let flags = OFlag::from_bits_truncate(flags.expect("the logger has it open"));
                assert!(flags.contains(OFlag::O_WRONLY | OFlag::O_APPEND), "{flags:?}");
                assert!(!flags.contains(OFlag::O_RDWR), "{flags:?}");
            }
        }
    }
}
