//! Sessions that between them make the roles do what they can do.

use std::fs;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::payload::Payload;
use super::peer::echo_server;
use super::scratch::Scratch;
use super::tcpreen::{Outcome, Tcpreen};
use super::unix;
use super::wait::until;

/// Decides how the program is started: by which binary, under strace, with more options.
pub type Wrap<'a> = &'a dyn Fn(Tcpreen) -> Tcpreen;

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

/// Enough bytes to go through a pipe.
pub fn bulk(wrap: Wrap<'_>) -> Outcome {
    let echo = echo_server();
    let tcpreen = wrap(Tcpreen::to(echo.port).format("null").sessions(1)).start();
    tcpreen.connect().exchange(Payload::new(7, 8 << 20)).expect("an echo");
    tcpreen.finish()
}

/// Options that finish parts, and remove old ones.
pub const PARTS: [&str; 4] = ["--rotate-size", "400", "--rotate-count", "1"];

/// The number of the last part, 0 where there is none.
fn newest_part(file: &Path) -> u32 {
    let siblings = fs::read_dir(file.parent().expect("a directory")).expect("a directory");
    let parts = siblings.filter_map(|entry| {
        let path = entry.ok()?.path();
        let number = path.extension()?.to_str()?.parse().ok()?;
        (path.with_extension("") == file).then_some(number)
    });
    parts.max().unwrap_or(0)
}

/// A daemon with each thing that a run may add, whose logs are rotated.
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
        // A piece and its echo are one part or two, and only the last one stays.
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
