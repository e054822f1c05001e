//! Promise 29: an output that is slow, stopped or broken delays the peers, and no process grows.

use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::thread;
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::support::payload::Payload;
use crate::support::peer::{Peer, Server};
use crate::support::record::read_labelled_c;
use crate::support::scratch::Scratch;
use crate::support::skip::{Need, long, needs};
use crate::support::tcpreen::{Running, Tcpreen};
use crate::support::terminal;
use crate::support::{Bridged, bridge, nobody, proc};

const MIB: u64 = 1 << 20;

/// Maximum memory of a role, whatever is in flight: the eight batches of the logger and its text, or the two
/// buffers of a worker, with the program and its libraries.
const MOST: u64 = 24 * MIB;

#[track_caller]
fn memory_is_bounded(tcpreen: &Running, when: &str) {
    for (role, processes) in tcpreen.roles() {
        for pid in processes {
            let memory = proc::status(pid).map_or(0, |status| status.memory());
            assert!(memory < MOST, "{when}, the {role} has {memory} bytes");
        }
    }
}

#[test]
fn a_logger_that_is_stopped_holds_the_peers_up_and_loses_nothing() {
    const SESSIONS: u64 = 3;
    let scratch = Scratch::new();
    let server = Server::listen();
    let tcpreen = Tcpreen::to(server.port()).at_once(8).args(["-q", "-f", "C"]);
    let tcpreen = tcpreen.output(scratch.path("record")).start();
    let pairs: Vec<(Peer, Peer)> = (0..SESSIONS).map(|_| (tcpreen.connect(), server.accept())).collect();
    kill(tcpreen.role("logger"), Signal::SIGSTOP).expect("kill");
    let writers = pairs.into_iter().zip(1..).map(|((mut client, server), seed)| {
        thread::spawn(move || {
            client.send_until_stalled(&mut Payload::new(seed, u64::MAX), 64 * MIB);
            (client, server)
        })
    });
    let writers: Vec<_> = writers.collect();
    let stalled: Vec<_> = writers.into_iter().map(|it| it.join().expect("a client")).collect();
    memory_is_bounded(&tcpreen, "with the logger stopped");
    // A new client waits, too.
    let late = tcpreen.connect();
    if long() {
        thread::sleep(Duration::from_secs(10));
        memory_is_bounded(&tcpreen, "after ten seconds");
    }
    kill(tcpreen.role("logger"), Signal::SIGCONT).expect("kill");
    drop((late, server.accept()));
    let ended = stalled.into_iter().map(|(mut client, mut server)| {
        let sent = client.traffic().sent;
        client.finish();
        server.read_to_end_hashing();
        assert_eq!(server.traffic().received, sent);
        drop(server);
        client.expect_end();
        sent
    });
    let mut sent: Vec<_> = ended.collect();
    memory_is_bounded(&tcpreen, "afterwards");
    tcpreen.signal(Signal::SIGTERM);
    assert_eq!(tcpreen.finish().code(), 143);
    let recorded = read_labelled_c(File::open(scratch.path("record")).expect("the record"));
    let mut found: Vec<_> = recorded.into_values().map(|session| session.client()).collect();
    found.retain(|digest| digest.length > 0);
    found.sort();
    sent.sort();
    assert_eq!(found, sent);
}

#[test]
fn a_pipe_without_a_reader_takes_no_memory_in_any_format() {
    let scratch = Scratch::new();
    let pipe = scratch.path("pipe");
    mkfifo(&pipe, Mode::empty()).expect("mkfifo");
    fs::set_permissions(&pipe, Permissions::from_mode(0o666)).expect("chmod");
    let mut reader = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&pipe).expect("a pipe");
    let Bridged { mut client, mut server, tcpreen } =
        bridge(|it| it.args(["-q", "-f", "hex"]).sessions(1).output(&pipe));
    let sink = thread::spawn(move || {
        server.read_to_end_hashing();
        server.traffic().received
    });
    client.send_until_stalled(&mut Payload::new(3, u64::MAX), 64 * MIB);
    memory_is_bounded(&tcpreen, "with nobody reading");
    fcntl(&reader, FcntlArg::F_SETFL(OFlag::empty())).expect("a pipe that blocks");
    let shown = thread::spawn(move || {
        let mut shown = Vec::new();
        reader.read_to_end(&mut shown).map(|_| shown.len() as u64)
    });
    client.finish();
    let sent = client.traffic().sent;
    assert_eq!(sink.join().expect("the server"), sent);
    drop(client);
    assert_eq!(tcpreen.finish().code(), 0);
    // A row of 75 characters has sixteen bytes.
    let shown = shown.join().expect("the reader").expect("the record");
    assert!(shown > sent.length * 75 / 16, "{shown} bytes of hex for {}", sent.length);
}

#[test]
fn a_write_error_of_a_device_is_reported_and_ends_the_sessions() {
    if !needs(&[Need::Root]) {
        return;
    }
    // A terminal that has been closed fails all writes.
    let (terminal, name) = terminal::master();
    nix::unistd::chown(name.as_str(), Some(nobody().0), None).expect("chown");
    let Bridged { mut client, server, tcpreen } =
        bridge(|it| it.args(["-f", "C", "-u", "nobody", "-o", &name]));
    drop(terminal);
    let reader = thread::spawn(move || {
        let mut server = server;
        server.expect_hang_up();
    });
    client.try_send("words");
    client.expect_hang_up();
    reader.join().expect("the server");
    let outcome = tcpreen.finish();
    assert_eq!(outcome.code(), 74, "{outcome:?}");
    let text = format!("Log file error: Input/output error ({name})");
    assert_eq!(outcome.stderr.matches(&text).count(), 1, "{outcome:?}");
}
