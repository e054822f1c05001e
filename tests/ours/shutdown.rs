//! Shutdown on request: `--drain-timeout`, and the signals.

use std::time::Duration;

use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{SockType, getsockopt, setsockopt, sockopt};
use nix::unistd::Pid;
use privsep::channel::Channel;

use crate::support::payload::Payload;
use crate::support::peer::{Peer, Server};
use crate::support::scratch::Scratch;
use crate::support::skip::{Need, needs};
use crate::support::tcpreen::{Running, Tcpreen};
use crate::support::wait::within;
use crate::support::{hostile, proc, unix};
use tcpreen::messages::{Record, Side, ToWorker};

/// Time for sessions after the signal, with some tolerance for a busy machine.
const SESSIONS: Duration = Duration::from_secs(15);

/// Time for sessions and records together, likewise.
const DOCUMENTED: Duration = Duration::from_secs(40);

/// A bridge with one session, after a terminating signal.
fn told_to_end(patience: &str, signal: Signal, scratch: &Scratch) -> (Peer, Running, Peer) {
    let server = Server::listen();
    let tcpreen = Tcpreen::to(server.port()).args(["--drain-timeout", patience]).at_once(4);
    let tcpreen = tcpreen.output(scratch.path("record")).start();
    let (mut client, mut peer) = (tcpreen.connect(), server.accept());
    client.send("before");
    peer.expect("before");
    tcpreen.signal(signal);
    tcpreen.stderr_line("Caught signal: ");
    (client, tcpreen, peer)
}

#[test]
fn sessions_may_finish_and_no_new_ones_begin() {
    for (signal, status) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130)] {
        let scratch = Scratch::new();
        let (mut client, mut tcpreen, mut server) = told_to_end("1m", signal, &scratch);
        let place = std::net::SocketAddr::from(([127, 0, 0, 1], tcpreen.port()));
        assert!(Peer::try_connect(place).is_none(), "nobody is taken in any more");
        client.send("after");
        server.expect("after");
        assert!(tcpreen.is_running());
        drop(client);
        server.expect_end();
        drop(server);
        assert_eq!(tcpreen.finish().code(), status);
        let record = scratch.record("record");
        assert!(record.contains("<<< after") && record.ends_with("End of transmission.\n"), "{record}");
    }
}

#[test]
fn a_second_signal_ends_them_in_order() {
    let scratch = Scratch::new();
    let (mut client, tcpreen, mut server) = told_to_end("1m", Signal::SIGTERM, &scratch);
    tcpreen.signal(Signal::SIGTERM);
    client.expect_hang_up();
    server.expect_hang_up();
    assert_eq!(tcpreen.finish().code(), 143);
    assert!(scratch.record("record").ends_with("End of transmission.\n"));
}

#[test]
fn sessions_are_ended_after_the_drain_timeout() {
    let scratch = Scratch::new();
    let (mut client, tcpreen, mut server) = told_to_end("300ms", Signal::SIGTERM, &scratch);
    client.expect_hang_up();
    server.expect_hang_up();
    let outcome = tcpreen.finish();
    assert_eq!(outcome.code(), 143, "{outcome:?}");
    assert!(outcome.stderr.contains("Time to finish is over; sessions left: 1"), "{outcome:?}");
    assert!(scratch.record("record").ends_with("End of transmission.\n"));
}

#[test]
fn without_sessions_nothing_is_waited_for() {
    let tcpreen = Tcpreen::to(80).args(["--drain-timeout", "1m"]).start();
    tcpreen.signal(Signal::SIGTERM);
    assert_eq!(tcpreen.finish().code(), 143);
}

#[test]
fn sigquit_does_not_drain() {
    let scratch = Scratch::new();
    let (mut client, tcpreen, _server) = told_to_end("1m", Signal::SIGQUIT, &scratch);
    client.expect_hang_up();
    assert_eq!(tcpreen.finish().code(), 131);
}

#[test]
fn a_client_whose_server_has_not_connected_is_closed() {
    let names = [unix::abstract_name(), unix::abstract_name()];
    let tcpreen = Tcpreen::to(&names[0]).local_port(&names[1]).listen_on("").host("");
    let tcpreen = tcpreen.args(["-l", "--drain-timeout", "1m"]).spawn();
    tcpreen.stderr_line(&names[1]);
    let mut client = unix::connect_to(&names[1]);
    client.send("anybody?");
    tcpreen.signal(Signal::SIGTERM);
    client.expect_hang_up();
    let mut tcpreen = tcpreen;
    tcpreen.wait_within(Duration::from_secs(5));
}

#[track_caller]
fn all_gone(processes: &[Pid]) {
    within(Duration::from_secs(5), "the end of all processes", || {
        (!processes.iter().any(|pid| proc::is_alive(*pid))).then_some(())
    });
}

/// Tampers with the worker of one session, then sends a signal. The other session is recorded completely, and
/// no process is left. Returns the record of the first.
fn ends_although(format: &str, tamper: impl FnOnce(&Running, Pid, &mut Peer)) -> Option<(String, String)> {
    if !needs(&[Need::Root]) {
        return None;
    }
    let (server, scratch) = (Server::listen(), Scratch::new());
    let tcpreen = Tcpreen::to(server.port()).at_once(4).format(format);
    let mut tcpreen = tcpreen.output(scratch.path("record")).start();
    let (mut client, mut served) = (tcpreen.connect(), server.accept());
    client.send("one");
    served.expect("one");
    let worker = tcpreen.busy_worker();
    let (mut other, mut other_served) = (tcpreen.connect(), server.accept());
    other.send("two");
    other_served.expect("two");
    tamper(&tcpreen, worker, &mut client);
    let processes = tcpreen.processes();
    tcpreen.signal(Signal::SIGTERM);
    other.expect_hang_up();
    other_served.expect_hang_up();
    tcpreen.wait_within(SESSIONS);
    all_gone(&processes);
    client.expect_hang_up();
    let outcome = tcpreen.finish();
    assert_eq!(outcome.code(), 143, "{outcome:?}");
    let record = scratch.record("record");
    let second: Vec<_> = record.lines().filter(|line| line.starts_with("[2] ")).collect();
    assert_eq!(second.last(), Some(&"[2] End of transmission."), "{record}");
    Some((record, outcome.stderr))
}

#[test]
fn a_stopped_worker_is_killed_at_the_deadline_with_a_note_in_the_record() {
    let ended = ends_although("C", |_, worker, _| kill(worker, Signal::SIGSTOP).expect("kill"));
    let Some((record, stderr)) = ended else { return };
    assert!(record.contains("[2] <<< two\n") && record.contains("[1] <<< one\n"), "{record}");
    assert!(record.contains("[1] Session ended abnormally: signal 9 (Killed).\n"), "{record}");
    assert!(stderr.contains("session 1 has not ended in time: killed\n"), "{stderr}");
}

/// The only channel of a worker.
fn channel_of(worker: Pid) -> Channel<Record, ToWorker> {
    let found = proc::descriptors(worker).into_iter().filter(|(_, target)| target.starts_with("socket:"));
    let mut sockets = found.map(|(number, _)| hostile::steal(worker, number));
    let channel = sockets.find(|socket| getsockopt(socket, sockopt::SockType) == Ok(SockType::SeqPacket));
    Channel::adopt(channel.expect("a channel").into()).expect("a channel")
}

#[test]
fn a_worker_that_floods_the_logger_is_killed_at_the_deadline() {
    let mut flood = None;
    ends_although("null", |_, worker, _| {
        let channel = channel_of(worker);
        kill(worker, Signal::SIGSTOP).expect("kill");
        let frame = hostile::encoded(&Record::Passed { from: Side::Client, bytes: 1, time: 0 });
        // As the worker itself would, for as long as it lives.
        flood = Some(std::thread::spawn(move || {
            while proc::is_alive(worker) {
                (0..1000).for_each(|_| drop(channel.send_frame(&frame)));
            }
        }));
    });
    if let Some(thread) = flood {
        thread.join().expect("no panic");
    }
}

#[test]
fn a_worker_that_lingers_over_a_peer_that_never_reads_ends_in_time() {
    ends_although("null", |_, worker, client| {
        // The server's end accepts all that fits into its buffers, and then the worker waits.
        client.send_until_stalled(&mut Payload::new(1, 1 << 30), 1 << 30);
        let found = proc::descriptors(worker).into_iter().filter(|(_, target)| target.starts_with("socket:"));
        let sockets = found.map(|(number, _)| hostile::steal(worker, number));
        let linger = libc::linger { l_onoff: 1, l_linger: 600 };
        for socket in sockets.filter(|socket| getsockopt(socket, sockopt::SockType) == Ok(SockType::Stream)) {
            setsockopt(&socket, sockopt::Linger, &linger).expect("SO_LINGER");
        }
    });
}

/// Stops a role, then sends a signal. Only the other session's record is left.
fn ends_without(role: &str, limit: Duration, status: i32) {
    let (server, scratch) = (Server::listen(), Scratch::new());
    let tcpreen = Tcpreen::to(server.port()).at_once(4).output(scratch.path("record")).start();
    let (mut client, mut served) = (tcpreen.connect(), server.accept());
    client.send("one");
    served.expect("one");
    let processes = tcpreen.processes();
    kill(tcpreen.role(role), Signal::SIGSTOP).expect("kill");
    tcpreen.signal(Signal::SIGTERM);
    let mut tcpreen = tcpreen;
    tcpreen.wait_within(limit);
    all_gone(&processes);
    client.expect_hang_up();
    served.expect_hang_up();
    let outcome = tcpreen.finish();
    assert_eq!(outcome.code(), status, "{outcome:?}");
    let record = scratch.record("record");
    assert!(record.contains("<<< one\n"), "{record}");
    assert!(status != 143 || record.ends_with("End of transmission.\n"), "{record}");
}

#[test]
fn with_the_resolver_stopped_it_ends_in_time() {
    ends_without("resolver", SESSIONS, 143);
}

#[test]
fn with_the_zygote_stopped_it_ends_in_time() {
    ends_without("zygote", SESSIONS, 143);
}

#[test]
fn with_the_logger_stopped_it_ends_in_time_and_nothing_is_left() {
    ends_without("logger", DOCUMENTED, 74);
}
