//! Sessions that together make the roles use all their permissions.

use std::fs::{self, File, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};

use super::payload::Payload;
use super::peer::{Peer, Refusing, Server, echo_server};
use super::scratch::Scratch;
use super::tcpreen::{Outcome, Tcpreen};
use super::unix::{self, UnixServer};
use super::wait::until;

/// Changes the command line of a session: another binary, strace, more options.
pub type Wrap<'a> = &'a (dyn Fn(Tcpreen) -> Tcpreen + Sync);

/// Sessions of several kinds: orderly, with an urgent byte, and reset.
pub fn plain(wrap: Wrap<'_>) -> Outcome {
    let echo = echo_server();
    let tcpreen = Tcpreen::to(echo.port).args(["-v", "-v"]).host("localhost").sessions(4);
    let tcpreen = wrap(tcpreen).start();
    for _ in 0..3 {
        let mut client = tcpreen.connect();
        client.send("words");
        client.expect("words");
        client.send_urgent(b'!');
        client.finish();
        client.rest();
    }
    let mut client = tcpreen.connect();
    client.send("words");
    client.expect("words");
    client.reset();
    tcpreen.finish()
}

/// A session with enough bytes to use a pipe.
pub fn bulk(wrap: Wrap<'_>) -> Outcome {
    let echo = echo_server();
    let tcpreen = wrap(Tcpreen::to(echo.port).format("null").sessions(1)).start();
    tcpreen.connect().exchange(Payload::new(7, 8 << 20)).expect("an echo");
    tcpreen.finish()
}

fn converse(mut client: Peer, mut server: Peer) {
    client.send("words");
    server.expect("words");
    client.finish();
    server.expect_end();
    server.finish();
    client.rest();
}

/// Sessions with a server of each other family.
pub fn families(scratch: &Scratch, wrap: Wrap<'_>) {
    let server = Server::over(TcpListener::bind("[::1]:0").expect("a port"));
    let tcpreen = Tcpreen::to(server.port()).host("::1").args(["--keepalive", "9"]).sessions(1);
    let tcpreen = wrap(tcpreen).start();
    converse(tcpreen.connect(), server.accept());
    tcpreen.finish();
    let path = scratch.path("server");
    let server = UnixServer::listen(&path);
    let tcpreen = Tcpreen::to(path.display()).args(["-p", "unix/tcp"]).host("").sessions(1);
    let tcpreen = wrap(tcpreen).start();
    converse(tcpreen.connect(), server.accept());
    tcpreen.finish();
}

/// A session with a server that refuses: the client gets a reset.
pub fn refusal(scratch: &Scratch, wrap: Wrap<'_>) {
    let (pidfile, closed) = (scratch.path("refusing"), Refusing::new());
    let tcpreen = Tcpreen::to(closed.port()).args(["--pidfile".as_ref(), pidfile.as_os_str()]);
    let tcpreen = wrap(tcpreen).start();
    tcpreen.expect_refusal();
    let pid = fs::read_to_string(&pidfile).expect("a process id");
    kill(Pid::from_raw(pid.trim().parse().expect("a number")), Signal::SIGTERM).expect("kill");
    tcpreen.finish();
}

/// Option of [`outputs`], besides its files.
pub const FIRST: &str = "--record-first=sync";

/// A session with a terminal, a file whose records reach the disk first, and a FIFO that has no reader yet.
pub fn outputs(scratch: &Scratch, wrap: Wrap<'_>) {
    let (pipe, echo) = (scratch.path("pipe"), echo_server());
    mkfifo(&pipe, Mode::empty()).expect("mkfifo");
    fs::set_permissions(&pipe, Permissions::from_mode(0o666)).expect("chmod");
    let terminal = openpty(None, None).expect("a terminal");
    let tcpreen =
        Tcpreen::to(echo.port).args([FIRST, "-f", "view", "-o", "-", "-f", "C"]).env("TERM", "xterm");
    let tcpreen = tcpreen.output(scratch.path("synced")).output(&pipe).sessions(1);
    let tcpreen = wrap(tcpreen.stdout(terminal.slave)).start();
    tcpreen.stderr_line("waiting for a reader of");
    let mut client = tcpreen.connect();
    client.send("words");
    let _reader = File::open(&pipe).expect("the FIFO");
    client.expect("words");
    client.finish();
    client.rest();
    tcpreen.finish();
}

/// Reads a saved record, compares it with itself, and plays it.
pub fn records(scratch: &Scratch, wrap: Wrap<'_>) {
    let record = saved(scratch);
    for record in [&record, &with_a_long_line(scratch, &record)] {
        let outcome = wrap(Tcpreen::reading([record])).run();
        assert_eq!(outcome.code(), 0, "{outcome:?}");
    }
    let outcome =
        wrap(Tcpreen::replaying(["--diff".as_ref(), record.as_os_str(), record.as_os_str()]).listen_on(""))
            .run();
    assert_eq!(outcome.code(), 0, "{outcome:?}");
    let echo = echo_server();
    let port = echo.port.to_string();
    let arguments = ["--replay=client".as_ref(), record.as_os_str(), "127.0.0.1".as_ref(), port.as_ref()];
    let outcome = wrap(Tcpreen::replaying(arguments).listen_on("")).run();
    assert_eq!(outcome.code(), 0, "{outcome:?}");
}

/// Path of the record of one session with an echo server.
pub fn saved(scratch: &Scratch) -> PathBuf {
    let (record, echo) = (scratch.path("record"), echo_server());
    let tcpreen = Tcpreen::to(echo.port).format("json").output(&record).sessions(1).start();
    let mut client = tcpreen.connect();
    client.send("words");
    client.expect("words");
    client.finish();
    client.rest();
    tcpreen.finish();
    record
}

/// The same record with a line so large that the converter's buffer grows by `mremap`.
fn with_a_long_line(scratch: &Scratch, record: &Path) -> PathBuf {
    let (long, text) = (scratch.path("long"), fs::read_to_string(record).expect("a record"));
    fs::write(&long, text.replacen('{', &format!("{{{}", " ".repeat(300_000)), 1)).expect("a file");
    long
}

/// Options that finish parts and remove old ones.
pub const PARTS: [&str; 4] = ["--rotate-size", "400", "--rotate-count", "1"];

/// The highest number of a part, 0 if there is none.
fn newest_part(file: &Path) -> u32 {
    let siblings = fs::read_dir(file.parent().expect("a directory")).expect("a directory");
    let parts = siblings.filter_map(|entry| {
        let path = entry.ok()?.path();
        let number = path.extension()?.to_str()?.parse().ok()?;
        (path.with_extension("") == file).then_some(number)
    });
    parts.max().unwrap_or(0)
}

/// A daemon with every optional permission, whose logs are rotated.
pub fn daemon(scratch: &Scratch, wrap: Wrap<'_>) {
    let [socket, all, each] = ["socket", "all", "each-%n"].map(|name| scratch.path(name));
    let echo = echo_server();
    let pidfile = scratch.path("pid");
    let tcpreen = Tcpreen::to(echo.port).listen_on("").args(["-d", "-m", "2", "-p", "tcp/unix"]);
    let tcpreen = tcpreen.args(["--pidfile".as_ref(), pidfile.as_os_str()]).output(&all).output(&each);
    let tcpreen = tcpreen.args(PARTS);
    let running = wrap(tcpreen.local_port(socket.display())).spawn();
    let mut client = until("a daemon", || unix::try_connect(&socket));
    client.send("words");
    client.expect("words");
    let pid = fs::read_to_string(&pidfile).expect("a process id");
    fs::rename(&all, scratch.path("rotated")).expect("rotated");
    kill(Pid::from_raw(pid.trim().parse().expect("a number")), Signal::SIGHUP).expect("kill");
    until("the new file", || all.exists().then_some(()));
    for number in 1..=2 {
        let words = "words".repeat(100);
        client.send(&words);
        client.expect(&words);
        // A piece and its echo are in one part or two, and only the last part stays.
        until("a part", || (newest_part(&all) >= number).then_some(()));
    }
    client.finish();
    client.rest();
    let mut client = until("another session", || unix::try_connect(&socket));
    client.finish();
    client.rest();
    running.finish();
    until("its end", || (!pidfile.exists()).then_some(()));
}
