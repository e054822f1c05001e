//! Descriptors that pass over Unix sockets: the record of them, and peers that send what is hard to close.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::libc;
use nix::sys::eventfd::EventFd;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::Signal;
use nix::sys::socket::{setsockopt, sockopt};
use nix::unistd::{Pid, Uid};
use privsep::sys::{MOST_RIGHTS, Rights, receive_rights, send_rights};

use crate::support::proc;
use crate::support::scratch::Scratch;
use crate::support::skip::{Need, PYTHON, needs};
use crate::support::tcpreen::{Running, Tcpreen};
use crate::support::wait::{until, within};

/// A bridge between two Unix sockets.
struct Local {
    scratch: Scratch,
    listener: UnixListener,
    tcpreen: Running,
}

impl Local {
    fn start(with: impl FnOnce(Tcpreen, &Scratch) -> Tcpreen) -> Local {
        let scratch = Scratch::new();
        let (server, clients) = (scratch.path("server"), scratch.path("clients"));
        let listener = UnixListener::bind(&server).expect("a path");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        fs::set_permissions(&server, mode).expect("chmod");
        let it = Tcpreen::to(server.display()).args(["-p", "unix", "-n"]).host("").listen_on("");
        let tcpreen = with(it.local_port(clients.display()), &scratch).spawn();
        tcpreen.stderr_line("Listening on: ");
        Local { scratch, listener, tcpreen }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path(name)
    }

    fn session(&self) -> (UnixStream, UnixStream) {
        let client = UnixStream::connect(self.path("clients")).expect("it listens");
        (client, self.listener.accept().expect("a connection").0)
    }

    /// The worker of the only open session.
    fn worker(&self) -> Pid {
        until("a worker with its session", || {
            let workers = self.tcpreen.roles().remove("worker")?;
            workers.into_iter().find(|pid| proc::descriptors(*pid).len() >= 6)
        })
    }
}

fn send(to: &UnixStream, bytes: &[u8], fds: &[OwnedFd]) {
    let sent = until("room", || send_rights(to.as_fd(), bytes, fds, false).ok());
    assert_eq!(sent, bytes.len());
}

fn receive(from: &UnixStream) -> Rights {
    until("something", || receive_rights(from.as_fd(), &mut [0; 4096]).ok())
}

fn memory() -> OwnedFd {
    memfd_create(c"tcpreen-test", MFdFlags::MFD_CLOEXEC).expect("a file in memory")
}

fn copy(fd: BorrowedFd<'_>) -> OwnedFd {
    fd.try_clone_to_owned().expect("dup")
}

/// One of each kind, in the order of [`WORDS`].
fn one_of_each(scratch: &Scratch) -> Vec<OwnedFd> {
    let path = scratch.path("a file");
    fs::write(&path, "contents").expect("a file");
    vec![
        UnixStream::pair().expect("a pair").0.into(),
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port").into(),
        File::open(&path).expect("a file").into(),
        memory(),
        File::open(scratch.path("")).expect("a directory").into(),
        nix::unistd::pipe2(OFlag::O_CLOEXEC).expect("a pipe").0,
        File::open("/dev/null").expect("a device").into(),
        EventFd::new().expect("an eventfd").into(),
    ]
}

/// Number of descriptors of a process, without the epoll instance that a worker makes for a session of many messages.
fn held(pid: Pid) -> usize {
    proc::descriptors(pid).values().filter(|target| *target != "anon_inode:[eventpoll]").count()
}

const WORDS: &str =
    "(FD socket) x 2 (FD file) (FD memfd) (FD directory) (FD pipe) (FD device) (FD anonymous)";

#[test]
fn the_record_has_the_kind_of_each_at_its_place_and_every_format_keeps_it() {
    let local = Local::start(|it, scratch| {
        let it = it.format("C").output(scratch.path("text")).format("json").output(scratch.path("json"));
        let it = it.format("pcapng").output(scratch.path("pcapng"));
        it.format("view").output(scratch.path("view")).format("count").sessions(1)
    });
    let (client, server) = local.session();
    let fds = one_of_each(&local.scratch);
    (&client).write_all(b"before").expect("a server");
    server.set_read_timeout(Some(Duration::from_secs(20))).expect("a time");
    (&server).read_exact(&mut [0; 6]).expect("bytes");
    send(&client, b"with", &fds);
    assert_eq!(receive(&server).fds.len(), fds.len());
    send(&server, b"back", &fds[..1]);
    assert_eq!(receive(&client).fds.len(), 1);
    drop((client, server));
    let Local { scratch, tcpreen, .. } = local;
    let shown = tcpreen.finish().stdout();
    let notes = [format!("{WORDS} from the client"), "(FD socket) from the server".to_owned()];
    let expected = ["<<< before", &notes[0], "<<< with", &notes[1], ">>> back"].join("\n");
    let text = fs::read_to_string(scratch.path("text")).expect("a record");
    assert!(text.contains(&expected), "{text}");
    assert!(notes.iter().all(|note| shown.contains(note)), "count: {shown}");
    let view = fs::read_to_string(scratch.path("view")).expect("a record");
    assert!(notes.iter().all(|note| view.contains(note)) && view.contains("done, after"), "{view}");
    let json = fs::read_to_string(scratch.path("json")).expect("a record");
    assert!(notes.iter().all(|note| json.contains(&format!("\"message\":\"{note}\""))), "{json}");
    assert_eq!(read(&scratch.path("pcapng"), "json"), json, "through pcapng");
    assert_eq!(read(&scratch.path("json"), "C").replace("[1] ", ""), text, "through json");
}

/// A saved record in another format.
fn read(record: &PathBuf, format: &str) -> String {
    let outcome = Tcpreen::reading([record]).format(format).run();
    assert_eq!(outcome.code(), 0, "{outcome:?}");
    outcome.stdout()
}

#[test]
fn none_stays_open_in_worker_or_parent() {
    if !needs(&[Need::Root]) {
        return;
    }
    let local = Local::start(|it, _| it.format("null"));
    let (client, server) = local.session();
    let worker = local.worker();
    let parent = local.tcpreen.pid();
    let passed =
        |pid| proc::descriptors(pid).values().filter(|target| target.contains("tcpreen-test")).count();
    let fds: Vec<OwnedFd> = (0..MOST_RIGHTS).map(|_| memory()).collect();
    for round in 0..300 {
        let (from, to) = if round % 2 == 0 { (&client, &server) } else { (&server, &client) };
        send(from, b"x", &fds);
        assert_eq!(receive(to).fds.len(), MOST_RIGHTS, "round {round}");
    }
    drop(fds);
    until("every descriptor to be closed", || ([worker, parent].map(passed) == [0; 2]).then_some(()));
}

#[test]
fn with_few_descriptors_it_passes_what_fits_and_says_so() {
    let local = Local::start(|it, _| {
        // Descriptors in flight count for their user: other tests have one together.
        let user: &[&str] = if Uid::effective().is_root() { &["-u", "40321"] } else { &[] };
        it.by_shell("ulimit -n 100", "").args(user).format("C").sessions(1)
    });
    let (client, server) = local.session();
    send(&client, b"few", &[memory(), memory()]);
    assert_eq!(receive(&server).fds.len(), 2);
    let many: Vec<OwnedFd> = (0..MOST_RIGHTS).map(|_| memory()).collect();
    send(&client, b"many", &many);
    let received = receive(&server);
    assert_eq!(received.bytes, 4);
    assert!((1..100).contains(&received.fds.len()), "{}", received.fds.len());
    drop((client, server));
    let shown = local.tcpreen.finish().stdout();
    assert!(shown.contains("(FD) from the client: not passed on\n"), "{shown}");
}

#[test]
fn to_a_server_on_tcp_they_are_closed_and_the_record_says_so() {
    let scratch = Scratch::new();
    let clients = scratch.path("clients");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    for format in ["C", "count"] {
        let it = Tcpreen::to(port).args(["-p", "tcp/unix"]).listen_on("").local_port(clients.display());
        let tcpreen = it.format(format).sessions(1).spawn();
        tcpreen.stderr_line("Listening on: ");
        let client = UnixStream::connect(&clients).expect("it listens");
        let mut server = listener.accept().expect("a connection").0;
        send(&client, b"bytes", &[memory()]);
        server.read_exact(&mut [0; 5]).expect("bytes");
        drop((client, server));
        let shown = tcpreen.finish().stdout();
        assert!(shown.contains("(FD) from the client: not passed on\n<<< "), "{format}: {shown}");
    }
}

#[test]
fn a_receiver_that_takes_none_gets_the_bytes() {
    if !needs(&[Need::PassRights]) {
        return;
    }
    let local = Local::start(|it, _| it.format("C").sessions(1));
    let (client, server) = local.session();
    assert!(privsep::sys::refuse_descriptors(server.as_fd()).expect("a socket"));
    send(&client, b"bytes", &[memory(), memory()]);
    let received = receive(&server);
    assert_eq!((received.bytes, received.fds.len()), (5, 0));
    drop((client, server));
    let shown = local.tcpreen.finish().stdout();
    let expected =
        "(FD memfd) x 2 from the client\n<<< bytes\n2 descriptors from the client: not passed on\n";
    assert!(shown.contains(expected), "{shown}");
}

#[test]
fn what_a_gone_receiver_did_not_get_is_in_the_record() {
    let local = Local::start(|it, _| it.format("null").sessions(1));
    let (client, server) = local.session();
    let fds = [memory()];
    // Every message has one, so that the message for which the server's queue has no room has one, too.
    let is_full = || send_rights(client.as_fd(), b"x", &fds, false).is_err();
    until("full queues", || {
        (is_full() && {
            thread::sleep(Duration::from_millis(100));
            is_full()
        })
        .then_some(())
    });
    drop(server);
    drop(client);
    let shown = local.tcpreen.finish().stdout();
    assert!(shown.contains("\n1 descriptor from the client: not passed on\n"), "{shown}");
    assert!(shown.contains("Session ended: connection closed by the server."), "{shown}");
}

/// A bridge must serve others, and end when it is told to, whatever its descriptors are.
fn is_unharmed(local: Local, hostile: (UnixStream, UnixStream)) {
    let (mut client, mut server) = local.session();
    client.write_all(b"words").expect("a bridge");
    server.set_read_timeout(Some(Duration::from_secs(20))).expect("a time");
    server.read_exact(&mut [0; 5]).expect("words");
    drop((client, server));
    let mut tcpreen = local.tcpreen;
    tcpreen.signal(Signal::SIGTERM);
    tcpreen.wait_within(Duration::from_secs(20));
    drop(hostile);
}

#[test]
fn a_flood_to_a_server_that_does_not_read_fills_no_table() {
    if !needs(&[Need::Root]) {
        return;
    }
    let local = Local::start(|it, _| it.format("null").at_once(4));
    let (client, server) = local.session();
    let worker = local.worker();
    let before = held(worker);
    let fds: Vec<OwnedFd> = (0..MOST_RIGHTS).map(|_| memory()).collect();
    let mut passed = 0;
    // The sender has a limit of its own: those on their way count for its user.
    while passed < 40 && send_rights(client.as_fd(), b"x", &fds, false).is_ok() {
        passed += 1;
        let now = held(worker);
        assert!(now <= before + 2 * MOST_RIGHTS, "{now} descriptors");
    }
    assert!(passed >= 2, "{passed}");
    // What was taken is delivered when the server reads.
    (0..passed).for_each(|at| assert_eq!(receive(&server).fds.len(), MOST_RIGHTS, "{at} of {passed}"));
    until("every descriptor to be closed", || (held(worker) == before).then_some(()));
    is_unharmed(local, (client, server));
}

#[test]
fn a_connection_whose_close_waits_holds_nobody_up() {
    let local = Local::start(|it, _| it.format("null").at_once(4));
    let (client, server) = local.session();
    // A receiver that does not read, and more than it has room for.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let mut slow = TcpStream::connect(listener.local_addr().expect("an address")).expect("it listens");
    let deaf = listener.accept().expect("a connection").0;
    slow.set_nonblocking(true).expect("O_NONBLOCK");
    while let Ok(1..) = slow.write(&[0; 65536]) {}
    setsockopt(&slow, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 600 }).expect("SO_LINGER");
    let descriptor = OwnedFd::from(slow);
    // The server leaves, so that the worker is the last to hold it.
    server.shutdown(std::net::Shutdown::Read).expect("shutdown");
    send(&client, b"take this", &[copy(descriptor.as_fd())]);
    let closer = thread::spawn(move || drop(descriptor));
    is_unharmed(local, (client, server));
    drop(deaf);
    closer.join().expect("an end");
}

#[test]
fn the_other_end_of_the_bridge_itself_does_not_keep_a_session_open() {
    if !needs(&[Need::Root]) {
        return;
    }
    let local = Local::start(|it, _| it.format("null").at_once(4).args(["--idle-timeout", "1s"]));
    let (client, server) = local.session();
    let worker = local.worker();
    // In the queue of the server, which does not read, a cycle would be complete.
    send(&client, b"x", &[copy(client.as_fd())]);
    send(&server, b"x", &[copy(server.as_fd())]);
    drop(client);
    within(Duration::from_secs(20), "the end of the worker", || (!proc::is_alive(worker)).then_some(()));
    let parent = local.tcpreen.pid();
    let sockets = || proc::descriptors(parent).values().filter(|it| it.starts_with("socket:")).count();
    let before = sockets();
    let other = local.session();
    drop(other);
    until("the sockets to be closed", || (sockets() <= before + 2).then_some(()));
    is_unharmed(local, (UnixStream::pair().expect("a pair").0, server));
}

/// A message bus without an account for the bridge's user.
const BUS: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>unix:path=SOCKET</listen>
  <auth>ANONYMOUS</auth>
  <allow_anonymous/>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>"#;

#[test]
fn a_descriptor_goes_over_a_message_bus_and_back() {
    if !needs(&[Need::Program("dbus-daemon"), Need::File(PYTHON, "python3")]) {
        return;
    }
    let scratch = Scratch::new();
    let [settings, bus, clients] = ["bus.conf", "bus", "clients"].map(|name| scratch.path(name));
    fs::write(&settings, BUS.replace("SOCKET", &bus.display().to_string())).expect("a file");
    let mut daemon = Command::new("dbus-daemon");
    daemon.arg("--config-file").arg(&settings).arg("--nofork").stdin(Stdio::null()).stderr(Stdio::null());
    let mut daemon = daemon.spawn().expect("dbus-daemon");
    until("the bus", || UnixStream::connect(&bus).ok());
    let it = Tcpreen::to(bus.display()).args(["-p", "unix"]).host("").listen_on("").sessions(1);
    let tcpreen = it.format("count").local_port(clients.display()).spawn();
    tcpreen.stderr_line("Listening on: ");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/bus.py");
    let client = Command::new(PYTHON).arg("-I").arg(script).arg(&clients).output().expect("python");
    daemon.kill().and_then(|()| daemon.wait()).expect("its end");
    assert_eq!(String::from_utf8_lossy(&client.stdout), "over the bus\n", "{client:?}");
    let shown = tcpreen.finish().stdout();
    for note in ["(FD memfd) from the client", "(FD memfd) from the server"] {
        assert!(shown.contains(note), "{shown}");
    }
}
