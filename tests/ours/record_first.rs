//! `--record-first`: what a peer has, every output has, whatever ends first. Without it, what may be missing is bounded;
//! and in any case a session has its files before a byte of it passes.

pub(crate) mod names;

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{Signal, kill};

use crate::support::namespace::{in_a_world_of_its_own, mount_disk};
use crate::support::payload::Payload;
use crate::support::peer::{Peer, Server, echo_server};
use crate::support::scratch::Scratch;
use crate::support::skip::{Need, needs};
use crate::support::tcpreen::{Outcome, Running, Tcpreen};
use crate::support::wait::{PATIENCE, until};
use crate::support::{Bridged, bridge};

pub(crate) const RECORD_FIRST: &str = "--record-first";

/// Maximum loss without the option, as documented: for all sessions, and for each.
const LOST_AT_MOST: usize = (8 + 3) << 20;

/// A client that sends as fast as it can, and all that its server has got so far.
pub(crate) struct Load {
    tcpreen: Running,
    received: Arc<AtomicUsize>,
    server: JoinHandle<Vec<u8>>,
    client: JoinHandle<()>,
}

impl Load {
    /// At most `most` bytes, by writes of `piece`.
    #[track_caller]
    fn start(piece: usize, most: usize, with: impl FnOnce(Tcpreen) -> Tcpreen) -> Load {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("getsockname").port();
        let tcpreen = with(Tcpreen::to(port)).args(["-f", "null", "--only", "both"]).start();
        let received = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&received);
        let client = TcpStream::connect(("127.0.0.1", tcpreen.port())).expect("connect");
        let server = listener.accept().expect("accept").0;
        let server = thread::spawn(move || receive_all(server, &count));
        let client = thread::spawn(move || send_all(client, piece, most));
        Load { tcpreen, received, server, client }
    }

    #[track_caller]
    fn wait_for(&self, bytes: usize) {
        until("bytes at the server", || (self.received.load(Ordering::Relaxed) >= bytes).then_some(()));
    }

    /// Data received by the server, at the end of its connection.
    fn received(self) -> (Vec<u8>, Running) {
        let received = self.server.join().expect("the server");
        self.client.join().expect("the client");
        (received, self.tcpreen)
    }
}

fn receive_all(mut stream: TcpStream, count: &AtomicUsize) -> Vec<u8> {
    stream.set_read_timeout(Some(PATIENCE)).expect("SO_RCVTIMEO");
    let (mut all, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return all,
            Ok(length) => all.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => panic!("no end of the session"),
            Err(_) => return all,
        }
        count.store(all.len(), Ordering::Relaxed);
    }
}

fn send_all(mut stream: TcpStream, piece: usize, most: usize) {
    stream.set_write_timeout(Some(PATIENCE)).expect("SO_SNDTIMEO");
    let mut payload = Payload::new(1, most as u64);
    let mut buffer = vec![0; piece];
    while let Ok(length @ 1..) = payload.read(&mut buffer) {
        if stream.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
    let _ = stream.shutdown(Shutdown::Write);
    // The end of the session.
    let _ = io::copy(&mut stream, &mut io::sink());
}

/// The client's bytes alone.
pub(crate) fn bytes_of_the_client(it: Tcpreen, path: impl AsRef<std::path::Path>) -> Tcpreen {
    it.args(["--only", "client"]).format("raw").output(path)
}

#[track_caller]
fn expect_recorded(received: &[u8], record: &[u8]) {
    assert!(received.len() <= record.len(), "{} bytes passed, {} recorded", received.len(), record.len());
    assert!(record[..received.len()] == *received, "other bytes are recorded than passed");
}

#[track_caller]
fn a_killed_process_has_recorded_what_passed(role: &str, option: &str) {
    if !needs(&[Need::Root]) {
        return; // Only root may look into our processes for the one to kill.
    }
    let scratch = Scratch::new();
    let path = scratch.path("record");
    let load = Load::start(10_000, 1 << 30, |it| bytes_of_the_client(it, &path).args([option]));
    load.wait_for(300_000);
    let victims = match role {
        "all" => load.tcpreen.processes(),
        "worker" => vec![load.tcpreen.busy_worker()],
        role => vec![load.tcpreen.role(role)],
    };
    for pid in victims {
        let _ = kill(pid, Signal::SIGKILL);
    }
    let (received, tcpreen) = load.received();
    // At once: the record is not what is written after the end.
    expect_recorded(&received, &fs::read(&path).expect("the record"));
    drop(tcpreen);
}

#[test]
fn what_passed_is_recorded_although_the_logger_is_killed() {
    a_killed_process_has_recorded_what_passed("logger", RECORD_FIRST);
}

#[test]
fn what_passed_is_recorded_although_the_parent_is_killed() {
    a_killed_process_has_recorded_what_passed("parent", RECORD_FIRST);
}

#[test]
fn what_passed_is_recorded_although_the_worker_is_killed() {
    a_killed_process_has_recorded_what_passed("worker", RECORD_FIRST);
}

#[test]
fn what_passed_is_recorded_although_the_zygote_is_killed() {
    a_killed_process_has_recorded_what_passed("zygote", RECORD_FIRST);
}

/// Which costs names only.
#[test]
fn what_passes_is_recorded_although_the_resolver_is_killed() {
    let scratch = Scratch::new();
    let path = scratch.path("record");
    let load =
        Load::start(10_000, 3_000_000, |it| bytes_of_the_client(it, &path).args([RECORD_FIRST]).sessions(1));
    // Before the load has passed: it is over soon.
    let resolver = load.tcpreen.role("resolver");
    load.wait_for(300_000);
    kill(resolver, Signal::SIGKILL).expect("kill");
    let (received, tcpreen) = load.received();
    assert_eq!(received.len(), 3_000_000);
    expect_recorded(&received, &fs::read(&path).expect("the record"));
    assert_eq!(tcpreen.finish().code(), 0);
}

#[test]
fn what_passed_is_recorded_although_all_processes_are_killed() {
    a_killed_process_has_recorded_what_passed("all", RECORD_FIRST);
}

#[test]
fn what_passed_is_recorded_on_disk_although_the_logger_is_killed() {
    a_killed_process_has_recorded_what_passed("logger", "--record-first=sync");
}

/// Without the option, the bound that the manual has.
#[test]
fn a_killed_logger_takes_no_more_along_than_the_bound() {
    if !needs(&[Need::Root]) {
        return;
    }
    let scratch = Scratch::new();
    let path = scratch.path("record");
    let load = Load::start(256 * 1024, 1 << 30, |it| bytes_of_the_client(it, &path));
    load.wait_for(20 << 20);
    kill(load.tcpreen.role("logger"), Signal::SIGKILL).expect("kill");
    let (received, _tcpreen) = load.received();
    let record = fs::read(&path).expect("the record");
    assert!(received.len() <= record.len() + LOST_AT_MOST, "{} of {}", record.len(), received.len());
}

#[test]
fn an_output_that_takes_nothing_lets_no_more_pass_than_the_bound() {
    let load = Load::start(256 * 1024, 1 << 30, |it| bytes_of_the_client(it, "/dev/full"));
    let (received, tcpreen) = load.received();
    assert!(received.len() <= LOST_AT_MOST, "{} bytes", received.len());
    assert_eq!(tcpreen.finish().code(), 74);
}

#[test]
fn with_record_first_an_output_that_takes_nothing_lets_nothing_pass() {
    let load = Load::start(1000, 1 << 20, |it| bytes_of_the_client(it, "/dev/full").args([RECORD_FIRST]));
    let (received, tcpreen) = load.received();
    assert_eq!(received.len(), 0);
    let outcome = tcpreen.finish();
    assert_eq!(outcome.code(), 74, "{outcome:?}");
    assert!(outcome.stderr.contains("No space left on device (/dev/full)"), "{outcome:?}");
}

/// Wherever the end of the disk is: a limit of the file's size stands for it.
#[test]
fn with_record_first_a_file_that_may_not_grow_has_all_that_passed() {
    if !needs(&[Need::Program("prlimit")]) {
        return;
    }
    for most in [0, 1, 999, 1000, 1001, 4096, 70_000, 300_001] {
        let scratch = Scratch::new();
        let path = scratch.path("record");
        let limit = format!("prlimit --pid $$ --fsize={most}");
        let load = Load::start(1000, 1 << 20, |it| {
            bytes_of_the_client(it, &path).args([RECORD_FIRST]).by_shell(&limit, "")
        });
        let (received, tcpreen) = load.received();
        expect_recorded(&received, &fs::read(&path).expect("the record"));
        assert!(received.len() <= most, "{most}: {}", received.len());
        assert_eq!(tcpreen.finish().code(), 74, "{most}");
    }
}

/// Wherever its end lies in a page, and with one file for each session as with one for all.
#[test]
fn with_record_first_a_full_disk_has_all_that_passed() {
    if !needs(&[Need::Root, Need::World, Need::Program("ip"), Need::Program("mount")]) {
        return;
    }
    in_a_world_of_its_own(|| {
        for (ballast, name) in
            [(0, "record"), (4095, "%n"), (4097, "record"), (65_535, "record"), (131_072, "%n")]
        {
            let scratch = Scratch::new();
            let disk = scratch.path("disk");
            fs::create_dir(&disk).expect("mkdir");
            mount_disk("128k", &disk);
            fs::write(disk.join("ballast"), vec![0; ballast]).expect("a file");
            let load = Load::start(1000, 1 << 20, |it| {
                bytes_of_the_client(it, disk.join(name)).args([RECORD_FIRST])
            });
            let (received, tcpreen) = load.received();
            let outcome = tcpreen.finish();
            assert_eq!(outcome.code(), 74, "{ballast}: {outcome:?}");
            let record = fs::read(disk.join(name.replace("%n", "1"))).expect("the record");
            expect_recorded(&received, &record);
            assert!(record.len() <= 131_072 - ballast, "{ballast}: {}", record.len());
        }
    });
}

/// All outputs have it, not only the first one.
#[test]
fn with_record_first_the_slowest_output_decides() {
    let scratch = Scratch::new();
    let (mut reader, writer) = io::pipe().expect("a pipe");
    fcntl(&writer, FcntlArg::F_SETPIPE_SZ(4096)).expect("a small pipe");
    let listener = Server::listen();
    let tcpreen = Tcpreen::to(listener.port())
        .args([RECORD_FIRST, "--idle-timeout=500ms", "--only=client", "-f", "raw"])
        .output(scratch.path("record"))
        .args(["-o", "-"])
        .stdout(writer)
        .start();
    let mut client = tcpreen.connect();
    let mut server = listener.accept();
    client.send("a".repeat(1000));
    server.expect("a".repeat(1000));
    let more = "b".repeat(5000);
    client.send(&more);
    until("the record in the file", || (scratch.record_bytes("record").len() == 6000).then_some(()));
    // Longer than --idle-timeout, which is about peers.
    server.expect_silence(Duration::from_secs(1));
    let mut read = vec![0; 6000];
    reader.read_exact(&mut read).expect("the record in the pipe");
    server.expect(&more);
    server.send("answer");
    client.expect("answer");
}

/// Half-closes, both directions at once, and more than any buffer holds.
#[test]
fn with_record_first_the_traffic_is_exact() {
    for option in [RECORD_FIRST, "--record-first=sync"] {
        for format in ["raw", "count", "null"] {
            let scratch = Scratch::new();
            let echo = echo_server();
            let tcpreen = Tcpreen::to(echo.port)
                .args([option])
                .format(format)
                .output(scratch.path("record"))
                .output(scratch.path("session-%n.%d"))
                .at_once(4)
                .start();
            let clients: Vec<_> = (0..4)
                .map(|seed| {
                    let client = tcpreen.connect();
                    thread::spawn(move || {
                        client.exchange(Payload::new(seed, 3_000_000)).expect("an exchange")
                    })
                })
                .collect();
            for client in clients {
                let traffic = client.join().expect("a client");
                assert_eq!(traffic.sent, traffic.received, "{option} {format}");
                assert_eq!(traffic.sent.length, 3_000_000);
            }
        }
    }
}

#[test]
fn a_limit_and_a_reset_pass_with_record_first() {
    let Bridged { mut client, mut server, tcpreen } = bridge(|it| it.args([RECORD_FIRST, "-v", "-b", "10"]));
    client.send("1234567890");
    server.expect("1234567890");
    server.expect_end();
    client.expect_hang_up();
    tcpreen.stdout_with("byte limit reached");
    let Bridged { mut client, mut server, tcpreen } = bridge(|it| it.args([RECORD_FIRST, "-v"]));
    client.send("words");
    client.reset();
    server.expect("words");
    server.expect_reset();
    tcpreen.stdout_with("connection reset by the client");
}

/// `fdatasync` fails where the disk does: with `sync`, before anything has passed.
#[test]
fn with_sync_nothing_passes_that_is_not_on_the_disk() {
    if !needs(&[Need::Root, Need::Program("strace")]) {
        return;
    }
    let outcome = with_failing_fdatasync("--record-first=sync");
    assert_eq!(outcome.0, 0, "{:?}", outcome.1);
    assert_eq!(outcome.1.code(), 74, "{:?}", outcome.1);
    assert!(outcome.1.stderr.contains("Log file error: Input/output error"), "{:?}", outcome.1);
    let outcome = with_failing_fdatasync(RECORD_FIRST);
    assert_eq!((outcome.0, outcome.1.code()), (5000, 0), "{:?}", outcome.1);
}

/// Number of forwarded bytes out of 5000, and the end. A call that strace makes fail has no number when the
/// filter sees it, so that the filter has to permit it.
fn with_failing_fdatasync(option: &str) -> (usize, Outcome) {
    let scratch = Scratch::new();
    let strace =
        "exec strace -f -qq -o /dev/null -e trace=fdatasync -e inject=fdatasync:error=EIO \"$0\" \"$@\"";
    let load = Load::start(1000, 5000, |it| {
        bytes_of_the_client(it, scratch.path("record"))
            .args([option, "--sandbox=log"])
            .sessions(1)
            .by_shell(strace, "")
    });
    let (received, tcpreen) = load.received();
    (received.len(), tcpreen.finish())
}

/// With every way of waiting for the record.
#[test]
fn a_session_whose_files_cannot_be_made_is_refused() {
    for options in [&[][..], &[RECORD_FIRST], &["-F", "3"]] {
        let scratch = Scratch::new();
        let directory = scratch.path("sessions");
        fs::create_dir(&directory).expect("mkdir");
        fs::set_permissions(&directory, PermissionsExt::from_mode(0o777)).expect("chmod");
        let listener = Server::listen();
        let tcpreen = Tcpreen::to(listener.port())
            .args(options)
            .output(scratch.path("record"))
            .output(directory.join("%n"))
            .start();
        fs::remove_dir(&directory).expect("rmdir");
        let mut client = Peer::connect_to((Ipv4Addr::LOCALHOST, tcpreen.port()).into());
        let mut server = listener.accept();
        // A send after the reset takes the error away.
        if client.try_send("words") {
            client.expect_reset();
        }
        assert_eq!(server.words_within(PATIENCE), None, "{options:?}");
        let outcome = tcpreen.finish();
        assert_eq!(outcome.code(), 74, "{options:?}: {outcome:?}");
        let error = format!("Log file error: No such file or directory ({})", directory.join("1").display());
        assert!(outcome.stderr.contains(&error), "{outcome:?}");
        let record = scratch.record("record");
        assert!(record.contains("Session ended: an output cannot be written any more.\n"), "{record}");
    }
}

/// Likewise the file of a session that goes on for longer than its directory.
#[test]
fn the_files_of_a_session_are_there_before_its_first_byte() {
    let scratch = Scratch::new();
    let Bridged { mut client, mut server, tcpreen } =
        bridge(|it| it.format("raw").output(scratch.path("%n.%d")));
    client.send("words");
    server.expect("words");
    let names = ["1.client", "1.server"].map(|name| scratch.path(name));
    assert!(names.iter().all(|name| name.exists()));
    drop((client, server, tcpreen));
}

/// A pipe that is read is an output like any other, and has no disk.
#[test]
fn with_sync_pipes_and_terminals_are_outputs_still() {
    let Bridged { mut client, mut server, tcpreen } = bridge(|it| it.args(["--record-first=sync", "-v"]));
    client.send("words");
    server.expect("words");
    assert!(tcpreen.stdout_with("<<< words").contains("Connection from: "));
}
