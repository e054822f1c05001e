//! `contrib/pipelines`: records on their way to collectors.

use std::fs::{self, Permissions};
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::peer::{Peer, Server};
use crate::support::place_of_our_own;
use crate::support::scratch::Scratch;
use crate::support::skip::{Need, needs};
use crate::support::tcpreen::Tcpreen;
use crate::support::wait::until;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/contrib/pipelines");

/// rsyslogd with a configuration of ours, in which some places are others; ended when dropped.
struct Rsyslogd(Child);

impl Rsyslogd {
    fn start(name: &str, scratch: &Scratch, changes: &[(&str, String)]) -> Self {
        let shipped = fs::read_to_string(Path::new(FOLDER).join(name)).expect("a configuration");
        let mut text = shipped.clone();
        for (from, to) in changes {
            assert!(text.contains(from), "{name} has no {from}");
            text = text.replace(from, to);
        }
        let work = scratch.path(&format!("{name}.d"));
        fs::create_dir(&work).expect("a folder");
        let work_directory = format!("global(workDirectory=\"{}\")\n", work.display());
        let configuration = work.join("rsyslog.conf");
        fs::write(&configuration, work_directory + &text).expect("a configuration");
        let mut command = Command::new("rsyslogd");
        command.arg("-n").arg("-f").arg(&configuration).arg("-i").arg(work.join("pid"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Rsyslogd(command.spawn().expect("rsyslogd starts"))
    }
}

impl Drop for Rsyslogd {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.0.id() as i32), Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

/// Sends pieces of all kinds, more than a part of the record takes.
fn talk(client: &mut Peer, server: &mut Peer) {
    let long: Vec<u8> = (0..200_000u32).map(|at| (at * 7 % 251) as u8).collect();
    for piece in
        [&b"GET / HTTP/1.0\r\n\r\n"[..], "é \u{202e}\"\\ \t#011 %s\r\n".as_bytes(), b"\0\x1b[2J\xff", &long]
    {
        client.send(piece);
        server.expect(piece);
        server.send(piece);
        client.expect(piece);
    }
}

/// Lines of the finished parts of a record, oldest first.
fn finished_lines(record: &Path) -> Vec<String> {
    let parts = (1..).map(|part| PathBuf::from(format!("{}.{part}", record.display())));
    parts.take_while(|part| part.exists()).flat_map(|part| lines(&part)).collect()
}

fn lines(file: &Path) -> Vec<String> {
    let bytes = fs::read(file).unwrap_or_default();
    String::from_utf8_lossy(&bytes).split_inclusive('\n').map(str::to_owned).collect()
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

/// The sender and the collector, with files of this test: what arrived here, and there.
struct Chain {
    _sender: Rsyslogd,
    _collector: Rsyslogd,
    socket: PathBuf,
    arrived: [PathBuf; 2],
}

impl Chain {
    fn start(scratch: &Scratch, logs: &Path) -> Chain {
        const EVENTS: &str = "/var/log/tcpreen-events.json";
        let [here, there, socket] = ["here", "there", "socket"].map(|name| scratch.path(name));
        let place = place_of_our_own();
        let port = format!("\"{}\"", place.port());
        let listen = format!("{port} address=\"{}\"", place.ip());
        let changes = [("\"10514\"", listen), (EVENTS, there.display().to_string())];
        let collector = Rsyslogd::start("rsyslog-collector.conf", scratch, &changes);
        until("the collector", || TcpStream::connect(place).ok());
        let changes = [
            ("collector.example", place.ip().to_string()),
            ("\"10514\"", port),
            (EVENTS, here.display().to_string()),
            ("/run/tcpreen-events", socket.display().to_string()),
            ("/var/log/tcpreen/", format!("{}/", logs.display())),
        ];
        let sender = Rsyslogd::start("rsyslog-sender.conf", scratch, &changes);
        until("the sender", || UnixStream::connect(&socket).ok());
        Chain { _sender: sender, _collector: collector, socket, arrived: [here, there] }
    }

    /// Waits until all of it has arrived in both files. rsyslog may read two parts of a record at a time.
    #[track_caller]
    fn expect(&self, lines: &[String]) {
        for file in &self.arrived {
            until(&format!("{} events in {}", lines.len(), file.display()), || {
                (self::lines(file).len() >= lines.len()).then_some(())
            });
            assert!(sorted(self::lines(file)) == sorted(lines.to_vec()), "{}", file.display());
        }
    }
}

#[test]
fn rsyslog_takes_every_event_into_a_file_and_to_a_second_rsyslog() {
    if !needs(&[Need::Program("rsyslogd")]) {
        return;
    }
    let scratch = Scratch::new();
    let logs = scratch.path("logs");
    fs::create_dir(&logs).expect("a folder");
    fs::set_permissions(&logs, Permissions::from_mode(0o777)).expect("chmod");
    let record = logs.join("sessions.json");
    let chain = Chain::start(&scratch, &logs);
    let listener = Server::listen();
    let tcpreen = Tcpreen::to(listener.port()).format("json").output(&record);
    let tcpreen = tcpreen.args(["--rotate-size", "1M"]).sessions(2).start();
    for _ in 0..2 {
        let (mut client, mut server) = (tcpreen.connect(), listener.accept());
        (0..3).for_each(|_| talk(&mut client, &mut server));
    }
    assert_eq!(tcpreen.finish().code(), 0);
    let mut written = finished_lines(&record);
    assert!(written.len() > 10, "{}", written.len());
    chain.expect(&written);
    // The rest through the socket, as a pipe has it.
    let rest = lines(&record);
    let mut socket = UnixStream::connect(&chain.socket).expect("the sender");
    socket.write_all(rest.concat().as_bytes()).expect("the sender");
    drop(socket);
    written.extend(rest);
    chain.expect(&written);
}
