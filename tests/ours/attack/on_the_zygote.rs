//! A compromised or faulty parent against the zygote and its workers.

use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use nix::unistd::Pid;
use privsep::channel::{Channel, Wait, one_fd};

use crate::ours::attack::NONSENSE;
use crate::support::hostile::{self, MOST, WrongKinds};
use crate::support::nobody;
use crate::support::peer::Peer;
use crate::support::proc;
use crate::support::role::{Role, prepare};
use crate::support::skip::{Need, needs};
use crate::support::wait::within;
use tcpreen::format::CaptureLevel;
use tcpreen::messages::{
    Acknowledge, Prepare, ProcessEnd, Reaping, Record, ToParent, ToWorker, ToZygote, Transport, WorkersNeed,
};

const SESSION: ToWorker = ToWorker::Session {
    need: CaptureLevel::Totals,
    bytes: None,
    idle_ms: None,
    transports: [Transport::Tcp; 2],
    reset: [false; 2],
    acknowledge: Acknowledge::Nothing,
};

type Zygote = Role<ToZygote>;
type Worker = Channel<ToWorker, Record>;

fn first(prepare: Prepare) -> ToZygote {
    let workers = WorkersNeed { tcp_info: false, descriptors: false };
    ToZygote::Prepare { prepare, reaping: Reaping::AtOnce, workers }
}

fn zygote() -> Zygote {
    let zygote = Role::start("zygote");
    zygote.send(&first(prepare()));
    zygote.expect_ready();
    zygote
}

#[track_caller]
fn worker(zygote: &Zygote) -> (i32, Worker) {
    zygote.send(&ToZygote::Fork(1));
    match zygote.says() {
        Some((ToParent::WorkerStarted { pid }, fds)) => {
            (pid, Channel::adopt(one_fd(fds).expect("its channel")).expect("a channel"))
        }
        other => panic!("{other:?}"),
    }
}

/// A connection: the test's end, and the end to be sent.
fn connection() -> (Peer, OwnedFd) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let ours = TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
    (Peer::over(ours), listener.accept().expect("a connection").0.into())
}

/// A session that must not be affected.
struct Bystander {
    _worker: Worker,
    client: Peer,
    server: Peer,
}

impl Bystander {
    fn new(zygote: &Zygote) -> Self {
        let (_, worker) = worker(zygote);
        let (client, one) = connection();
        let (server, other) = connection();
        worker.send_with(&SESSION, &[one.as_fd(), other.as_fd()], Wait::Yes).expect("a worker");
        worker.send(&ToWorker::Proceed).expect("a worker");
        Bystander { _worker: worker, client, server }
    }

    #[track_caller]
    fn is_served(&mut self) {
        self.client.send("question");
        self.server.expect("question");
        self.server.send("answer");
        self.client.expect("answer");
    }
}

/// Expects the worker to reject the message, and the zygote to report its end.
#[track_caller]
fn expect_refused(zygote: &Zygote, worker: i32, what: &str) {
    let said = zygote.says();
    let Some((ToParent::Exited { pid, end }, _)) = said else { panic!("{what}: {said:?}") };
    assert_eq!((pid, end), (worker, ProcessEnd::Status(1)), "{what}");
}

#[test]
fn a_worker_serves_nothing_but_two_streams() {
    if !needs(&[Need::Program("setpriv")]) {
        return;
    }
    let zygote = zygote();
    let mut bystander = Bystander::new(&zygote);
    let kinds = WrongKinds::new();
    for (what, fd) in kinds.iter() {
        for order in 0..2 {
            let (pid, worker) = worker(&zygote);
            let (mut peer, good) = connection();
            let mut fds = [good.as_fd(), fd];
            fds.rotate_left(order);
            worker.send_with(&SESSION, &fds, Wait::Yes).expect("a worker");
            drop(good);
            if matches!(what, "a listening socket" | "an unconnected socket") {
                // A stream, but nothing passes in either direction.
                worker.send(&ToWorker::Proceed).expect("a worker");
                let _ = peer.try_send("words");
                peer.expect_hang_up();
                let said = zygote.says();
                assert!(matches!(said, Some((ToParent::Exited { .. }, _))), "{what}: {said:?}");
            } else {
                expect_refused(&zygote, pid, what);
                peer.expect_hang_up();
            }
        }
        bystander.is_served();
    }
}

#[test]
fn a_worker_takes_one_session_with_two_descriptors_and_no_other_message() {
    if !needs(&[Need::Program("setpriv")]) {
        return;
    }
    let zygote = zygote();
    let mut bystander = Bystander::new(&zygote);
    let good = hostile::encoded(&SESSION);
    let (_peer, stream) = connection();
    let stream = stream.as_raw_fd();
    for message in hostile::malformed(&[SESSION]) {
        for fds in [&[][..], &[stream; 2]] {
            let (pid, worker) = worker(&zygote);
            hostile::send(&worker, &message, fds).expect("a worker");
            expect_refused(&zygote, pid, &format!("{:?}", message.escape_ascii().to_string()));
        }
    }
    for count in [0, 1, 3, MOST] {
        let (pid, worker) = worker(&zygote);
        hostile::send(&worker, &good, &vec![stream; count]).expect("a worker");
        expect_refused(&zygote, pid, &format!("{count} descriptors"));
    }
    bystander.is_served();
}

#[test]
fn a_worker_that_cannot_take_the_descriptors_serves_nothing() {
    if !needs(&[Need::Root, Need::Program("prlimit")]) {
        return;
    }
    let zygote = zygote();
    let mut bystander = Bystander::new(&zygote);
    let (pid, worker) = worker(&zygote);
    let settled = || proc::limit(Pid::from_raw(pid), "Max open files").starts_with("16 ").then_some(());
    within(Duration::from_secs(2), "a worker that waits", settled);
    // In some containers root may not change another process's limits; the same user always may.
    let (uid, gid) = nobody();
    let mut prlimit = Command::new("prlimit");
    prlimit.uid(uid.as_raw()).gid(gid.as_raw()).args(["--pid", &pid.to_string(), "--nofile=4:4"]);
    assert!(prlimit.status().expect("prlimit").success());
    let (mut client, one) = connection();
    let (mut server, other) = connection();
    worker.send_with(&SESSION, &[one.as_fd(), other.as_fd()], Wait::Yes).expect("a worker");
    drop((one, other));
    expect_refused(&zygote, pid, "two descriptors");
    client.expect_hang_up();
    server.expect_hang_up();
    bystander.is_served();
}

#[test]
fn a_worker_in_a_session_accepts_no_message() {
    if !needs(&[Need::Program("setpriv")]) {
        return;
    }
    let zygote = zygote();
    let mut bystander = Bystander::new(&zygote);
    let (other_peer, stream) = connection();
    let again = [stream.as_raw_fd(); 2];
    hostile::send(&bystander._worker, &hostile::encoded(&SESSION), &again).expect("a worker");
    drop(stream);
    // Any message during a session is an order to stop.
    bystander.client.expect_hang_up();
    bystander.server.expect_hang_up();
    let said = zygote.says();
    assert!(matches!(said, Some((ToParent::Exited { end: ProcessEnd::Status(0), .. }, _))), "{said:?}");
    drop(other_peer);
}

/// What it forwarded would be in no record if the parent died.
#[test]
fn a_worker_forwards_nothing_until_the_logger_has_its_session() {
    if !needs(&[Need::Root, Need::Program("setpriv")]) {
        return;
    }
    let zygote = zygote();
    let (pid, worker) = worker(&zygote);
    let (mut client, one) = connection();
    let (mut server, other) = connection();
    client.send("words");
    worker.send_with(&SESSION, &[one.as_fd(), other.as_fd()], Wait::Yes).expect("a worker");
    let socket = proc::descriptors(Pid::this())[&one.as_raw_fd()].clone();
    let pid = Pid::from_raw(pid);
    let waits = || proc::descriptors(pid).values().any(|open| *open == socket) && proc::is_asleep(pid);
    within(Duration::from_secs(5), "a worker that waits", || waits().then_some(()));
    assert_eq!(server.words_within(Duration::from_millis(100)), None);
    worker.send(&ToWorker::Proceed).expect("a worker");
    server.expect("words");
}

/// What is in the queue of a Unix socket may make its last close wait, which must not be the parent's.
#[test]
fn a_worker_keeps_a_unix_socket_until_the_parent_holds_it_no_more() {
    if !needs(&[Need::Root, Need::Program("setpriv")]) {
        return;
    }
    let zygote = zygote();
    let transports = [Transport::Unix, Transport::Tcp];
    let ToWorker::Session { need, bytes, idle_ms, reset, acknowledge, .. } = SESSION else { unreachable!() };
    let session = ToWorker::Session { need, bytes, idle_ms, transports, reset, acknowledge };
    for order in [ToWorker::Close, session] {
        let (pid, worker) = worker(&zygote);
        let (client, ours) = UnixStream::pair().expect("a pair");
        let (mut client, server) = (Peer::over_unix(client), connection());
        let sockets = [ours.as_fd(), server.1.as_fd()];
        let sockets = &sockets[..if order == ToWorker::Close { 1 } else { 2 }];
        let socket = proc::descriptors(Pid::this())[&ours.as_raw_fd()].clone();
        worker.send_with(&order, sockets, Wait::Yes).expect("a worker");
        drop(ours);
        let has_it = || proc::descriptors(Pid::from_raw(pid)).values().any(|open| *open == socket);
        within(Duration::from_secs(5), "a worker that keeps the socket", || has_it().then_some(()));
        // The server leaves: a session would be over.
        drop(server);
        client.expect_no_end(Duration::from_millis(100));
        assert!(has_it(), "{order:?}");
        worker.send(&ToWorker::Proceed).expect("a worker");
        client.expect_hang_up();
        drop(client);
        let said = zygote.says();
        assert!(matches!(said, Some((ToParent::Exited { .. }, _))), "{order:?}: {said:?}");
    }
}

/// Messages that a zygote must reject, with descriptors.
fn nonsense() -> Vec<(Vec<u8>, Vec<RawFd>)> {
    let good = [ToZygote::Fork(1), first(prepare())];
    let mut nonsense: Vec<_> =
        hostile::malformed(&good).into_iter().map(|bytes| (bytes, Vec::new())).collect();
    let [fork, again] = good.map(|message| hostile::encoded(&message));
    nonsense.push((again, Vec::new()));
    nonsense.extend([1, 2, 3, MOST].map(|count| (fork.clone(), vec![0; count])));
    nonsense
}

#[test]
fn invalid_messages_of_the_parent_end_the_zygote_and_its_workers() {
    if !needs(&[Need::Program("setpriv")]) {
        return;
    }
    for (message, fds) in nonsense() {
        let zygote = zygote();
        let (pid, _worker) = worker(&zygote);
        hostile::send(&zygote.channel, &message, &fds).expect("a zygote");
        assert_eq!(zygote.end(), NONSENSE, "{:?} with {}", message.escape_ascii().to_string(), fds.len());
        let gone = || (!proc::is_alive(Pid::from_raw(pid))).then_some(());
        within(Duration::from_secs(1), "the end of its worker", gone);
    }
}

#[test]
fn a_zygote_forks_no_worker_before_it_is_prepared() {
    if !needs(&[Need::Program("setpriv")]) {
        return;
    }
    let zygote: Zygote = Role::start("zygote");
    zygote.send(&ToZygote::Fork(1));
    assert_eq!(zygote.end(), NONSENSE);
}

#[test]
fn a_role_of_another_version_refuses_to_start() {
    if !needs(&[Need::Program("setpriv")]) {
        return;
    }
    let zygote: Zygote = Role::start("zygote");
    let mut other = prepare();
    other.version += 1;
    zygote.send(&first(other));
    match zygote.says() {
        Some((ToParent::Failed(problem), _)) => {
            assert!(format!("{problem:?}").contains("another version"), "{problem:?}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(zygote.end(), NONSENSE);
}
