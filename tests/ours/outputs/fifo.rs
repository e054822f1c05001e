//! A FIFO as an output: only the sessions wait for its reader.

use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::support::daemon::Daemon;
use crate::support::leftovers::Leftovers;
use crate::support::payload::Payload;
use crate::support::peer::{Server, echo_server};
use crate::support::proc;
use crate::support::scratch::Scratch;
use crate::support::skip::{Need, needs};
use crate::support::tcpreen::Tcpreen;
use crate::support::wait::until;

fn fifo(scratch: &Scratch) -> PathBuf {
    let path = scratch.path("pipe");
    mkfifo(&path, Mode::empty()).expect("mkfifo");
    fs::set_permissions(&path, Permissions::from_mode(0o666)).expect("chmod");
    path
}

/// Reads a FIFO to its end.
fn read(path: &Path) -> thread::JoinHandle<String> {
    let path = path.to_owned();
    thread::spawn(move || {
        let mut text = String::new();
        File::open(path).and_then(|mut file| file.read_to_string(&mut text)).expect("the record");
        text
    })
}

#[test]
fn sessions_wait_for_the_reader_and_nothing_else_does() {
    let scratch = Scratch::new();
    let pipe = fifo(&scratch);
    let echo = echo_server();
    let tcpreen =
        Tcpreen::to(echo.port).sessions(1).args(["-q"]).output(&pipe).listen_on("127.0.0.1").start();
    tcpreen.stderr_line(&format!("waiting for a reader of {}", pipe.display()));
    let mut client = tcpreen.connect();
    client.send("words");
    let record = read(&pipe);
    client.expect("words");
    client.finish();
    client.expect_end();
    let outcome = tcpreen.finish();
    assert_eq!(outcome.code(), 0, "{outcome:?}");
    assert_eq!(outcome.stderr.matches("waiting for a reader").count(), 1, "{outcome:?}");
    let record = record.join().expect("the reader");
    assert!(record.contains("<<< words\n") && record.ends_with("End of transmission.\n"), "{record}");
}

#[test]
fn a_signal_ends_everything_while_there_is_no_reader() {
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143), (Signal::SIGKILL, 137)] {
        let scratch = Scratch::new();
        let pipe = fifo(&scratch);
        let mut tcpreen = Tcpreen::to(9).output(&pipe).start();
        tcpreen.stderr_line("waiting for a reader");
        let client = tcpreen.connect();
        let leftovers = Leftovers::of(tcpreen.pid());
        tcpreen.signal(signal);
        let status = tcpreen.wait_within(Duration::from_secs(8));
        let ended = std::os::unix::process::ExitStatusExt::signal(&status).map(|number| 128 + number);
        assert_eq!(status.code().or(ended), Some(code));
        until("the end of all roles", || leftovers.are_gone().then_some(()));
        drop(client);
    }
}

#[test]
fn a_daemon_starts_without_a_reader_and_says_so() {
    let echo = echo_server();
    let daemon = Daemon::new();
    let pipe = daemon.pipe();
    let outcome = daemon.start(daemon.command(echo.port).output(&pipe));
    assert_eq!(outcome.stderr.matches("waiting for a reader").count(), 1, "{outcome:?}");
    let record = read(&pipe);
    daemon.echo("words");
    daemon.signal(Signal::SIGTERM);
    daemon.all_gone();
    assert!(record.join().expect("the reader").contains("<<< words\n"));
}

/// Its `/dev/log` leads nowhere; the error is that of the output.
#[test]
fn a_daemon_without_syslogd_leaves_the_reason_of_its_end_in_a_file() {
    if !needs(&[Need::Root, Need::MountNamespace]) {
        return;
    }
    let echo = echo_server();
    let daemon = Daemon::with_dev_log();
    let (pipe, said) = (daemon.pipe(), daemon.path("said"));
    let reader =
        File::options().read(true).custom_flags(nix::libc::O_NONBLOCK).open(&pipe).expect("a reader");
    let command = daemon.command(echo.port).output(&pipe);
    let command = command.by_shell("", &format!("2>>{}", said.display()));
    daemon.start(command);
    drop(reader);
    let mut client = daemon.connect();
    client.try_send("words");
    client.expect_hang_up();
    daemon.all_gone();
    let said = fs::read_to_string(&said).expect("what it said");
    assert!(said.contains("nothing is told until syslogd is there"), "{said}");
    assert!(said.contains("Log file error: Broken pipe ("), "{said}");
}

#[test]
fn a_reader_that_stops_reading_outlives_neither_the_parent_nor_a_second_signal() {
    for signals in [&[Signal::SIGKILL][..], &[Signal::SIGTERM, Signal::SIGTERM]] {
        let scratch = Scratch::new();
        let pipe = fifo(&scratch);
        let reader = fs::File::options().read(true).write(true).open(&pipe).expect("a reader");
        let server = Server::listen();
        let mut tcpreen = Tcpreen::to(server.port()).args(["-q", "-f", "hex"]).output(&pipe).start();
        let mut client = tcpreen.connect();
        let mut sink = server.accept();
        let sink = thread::spawn(move || sink.read_to_end_hashing());
        client.send_until_stalled(&mut Payload::new(3, u64::MAX), 64 << 20);
        let leftovers = Leftovers::of(tcpreen.pid());
        for signal in signals {
            // Signals of the same kind merge.
            until("a signal that is taken", || {
                let pending = proc::status(tcpreen.pid())
                    .is_none_or(|status| status.get("ShdPnd") != "0000000000000000");
                (!pending).then_some(())
            });
            tcpreen.signal(*signal);
        }
        let status = tcpreen.wait();
        if signals.len() == 2 {
            // Bytes that passed are in no record.
            assert_eq!(status.code(), Some(74), "{}", tcpreen.stderr());
            assert!(tcpreen.stderr().contains("records may be missing"), "{}", tcpreen.stderr());
        }
        until("the end of all roles", || leftovers.are_gone().then_some(()));
        drop((client, reader));
        let _ = sink.join();
    }
}

/// Five seconds for sessions, twenty for records, and one until the logger is killed.
#[test]
fn a_reader_that_stops_reading_holds_the_end_up_for_half_a_minute_at_most() {
    let scratch = Scratch::new();
    let pipe = fifo(&scratch);
    let reader = File::options().read(true).write(true).open(&pipe).expect("a reader");
    let server = Server::listen();
    let mut tcpreen = Tcpreen::to(server.port()).args(["-q", "-f", "hex"]).output(&pipe).start();
    let mut client = tcpreen.connect();
    let mut sink = server.accept();
    let sink = thread::spawn(move || sink.read_to_end_hashing());
    client.send_until_stalled(&mut Payload::new(3, u64::MAX), 64 << 20);
    let leftovers = Leftovers::of(tcpreen.pid());
    let start = Instant::now();
    tcpreen.signal(Signal::SIGTERM);
    let status = tcpreen.wait_within(Duration::from_secs(45));
    assert_eq!(status.code(), Some(74));
    assert!(start.elapsed() > Duration::from_secs(20), "{:?}: it was not waited for", start.elapsed());
    until("the end of all roles", || leftovers.are_gone().then_some(()));
    drop((client, reader));
    let _ = sink.join();
}

#[test]
fn a_logger_that_writes_the_rest_ends_with_its_parent() {
    if !needs(&[Need::Root]) {
        return; // Only root may see that the logger is finishing.
    }
    let scratch = Scratch::new();
    let pipe = fifo(&scratch);
    let reader = fs::File::options().read(true).write(true).open(&pipe).expect("a reader");
    let server = Server::listen();
    let mut tcpreen = Tcpreen::to(server.port()).sessions(1).args(["-q", "-f", "hex"]).output(&pipe).start();
    let mut client = tcpreen.connect();
    let mut peer = server.accept();
    // More than fits into the pipe as text, less than stalls the session.
    client.send("x".repeat(60_000));
    peer.expect("x".repeat(60_000));
    client.finish();
    peer.finish();
    client.expect_end();
    let leftovers = Leftovers::of(tcpreen.pid());
    until("the last session's end", || (!tcpreen.roles().contains_key("worker")).then_some(()));
    kill(tcpreen.pid(), Signal::SIGKILL).expect("kill");
    tcpreen.wait();
    until("the end of all roles", || leftovers.are_gone().then_some(()));
    drop(reader);
}

#[test]
fn a_fifo_has_no_parts_whether_it_has_a_reader_or_not() {
    let scratch = Scratch::new();
    let pipe = fifo(&scratch);
    let outcome = Tcpreen::to(9).args(["--rotate-size", "1M"]).output(&pipe).run();
    assert_eq!(outcome.code(), 64, "{outcome:?}");
    assert!(outcome.stderr.contains("nothing to rotate"), "{outcome:?}");
}

#[test]
fn a_socket_is_refused_and_not_waited_for() {
    let scratch = Scratch::new();
    let path = scratch.path("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&path).expect("bind");
    fs::set_permissions(&path, Permissions::from_mode(0o666)).expect("chmod");
    let outcome = Tcpreen::to(9).output(&path).run();
    assert_eq!(outcome.code(), 73, "{outcome:?}");
    assert!(outcome.stderr.contains("No such device or address"), "{outcome:?}");
}
