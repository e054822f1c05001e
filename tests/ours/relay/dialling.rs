//! Peers that cannot be reached, or only after a while.

use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::sys::socket::{Backlog, listen};

use crate::support::namespace::in_a_world_of_its_own;
use crate::support::peer::{Peer, Refusing, Server};
use crate::support::scratch::Scratch;
use crate::support::skip::{Need, needs};
use crate::support::tcpreen::Tcpreen;
use crate::support::wait::until;
use crate::support::{place_of_our_own, proc, unix};

/// A server whose queue is full: it answers no further client, until `accept` is called.
pub(crate) struct FullServer {
    server: Server,
    _queued: Vec<TcpStream>,
}

impl FullServer {
    pub(super) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of the kernel's choice");
        // Listening again makes the queue as short as it gets.
        listen(&listener, Backlog::new(0).expect("a backlog")).expect("listen");
        let address = listener.local_addr().expect("getsockname");
        let impatient = || TcpStream::connect_timeout(&address, Duration::from_millis(100)).ok();
        let queued = std::iter::from_fn(impatient).collect();
        FullServer { server: Server::over(listener), _queued: queued }
    }

    pub(super) fn port(&self) -> u16 {
        self.server.port()
    }

    /// Takes the next connection out of the queue.
    pub(super) fn next(&self) -> Option<Peer> {
        self.server.accept_now()
    }

    /// Takes the next connection out of the queue; what comes from there soon.
    pub(super) fn next_words(&self) -> Option<Vec<u8>> {
        self.next()?.words_within(Duration::from_millis(200))
    }
}

#[test]
fn a_server_that_comes_back_is_found() {
    // The original may lose the child that was refused, and with it the next client.
    let refusing = Refusing::new();
    let tcpreen = Tcpreen::to(refusing.port()).start();
    tcpreen.expect_refusal();
    let server = refusing.listen();
    let mut client = tcpreen.connect();
    client.send("there you are");
    server.accept().expect("there you are");
}

#[test]
fn a_server_that_does_not_answer_is_given_up_after_the_time_out() {
    let full = FullServer::new();
    let tcpreen = Tcpreen::to(full.server.port()).args(["--connect-timeout", "300ms"]).start();
    let start = Instant::now();
    tcpreen.expect_refusal();
    assert!(start.elapsed() > Duration::from_millis(250), "{:?}", start.elapsed());
    tcpreen.stderr_line(&format!("127.0.0.1 port {}: Connection timed out", full.server.port()));
}

/// A bridge whose server is this host, over IPv4 and over IPv6.
fn to_both_families(port: u16) -> Tcpreen {
    Tcpreen::to(port).host("")
}

/// Listens over IPv6 where something else is over IPv4.
fn beside(port: u16) -> Option<Server> {
    let place = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    TcpListener::bind(place).ok().map(Server::over)
}

#[test]
fn an_address_that_does_not_answer_does_not_keep_the_next_from_being_tried() {
    // The original waits for the system's time-out.
    for at_once in [1, 4] {
        let full = FullServer::new();
        let Some(server) = beside(full.port()) else { continue };
        let tcpreen = to_both_families(full.port()).at_once(at_once).sessions(1).start();
        let start = Instant::now();
        let mut client = tcpreen.connect();
        client.send("hello");
        let mut served = server.accept();
        served.expect("hello");
        assert!(start.elapsed() > Duration::from_millis(200), "{:?}: the first had no time", start.elapsed());
        drop((client, served));
        let outcome = tcpreen.finish();
        assert!(outcome.stdout().contains("Connection to: ::1 port "), "{outcome:?}");
        assert_eq!((outcome.code(), outcome.stderr.contains("timed out")), (0, false), "{outcome:?}");
    }
}

#[test]
fn the_next_address_is_tried_at_once_after_a_refusal() {
    let refusing = Refusing::new();
    let Some(server) = beside(refusing.port()) else { return };
    let tcpreen = to_both_families(refusing.port()).at_once(8).start();
    // Faster than a quarter of a second at least once, however busy the machine is.
    let fastest = (0..8).map(|_| {
        let start = Instant::now();
        let mut client = tcpreen.connect();
        client.send("hello");
        server.accept().expect("hello");
        start.elapsed()
    });
    let fastest = fastest.min().expect("a time");
    assert!(fastest < Duration::from_millis(200), "{fastest:?}");
}

#[test]
fn every_address_that_is_not_reached_is_named_with_its_error() {
    let refusing = Refusing::new();
    let port = refusing.port();
    let tcpreen = to_both_families(port).start();
    tcpreen.expect_refusal();
    tcpreen.stderr_line(&format!(
        "port {port}: 127.0.0.1 port {port}: Connection refused, ::1 port {port}: Connection refused"
    ));
    let full = FullServer::new();
    let port = full.port();
    let tcpreen = to_both_families(port).args(["--connect-timeout", "600ms"]).start();
    tcpreen.expect_refusal();
    tcpreen.stderr_line(&format!("::1 port {port}: Connection refused"));
    tcpreen.stderr_line(&format!("127.0.0.1 port {port}: Connection timed out"));
}

/// A Unix server whose queue is full.
fn full_unix_server() -> (UnixListener, String, Vec<Peer>) {
    let name = unix::abstract_name();
    let address = UnixAddress::from_abstract_name(&name[1..]).expect("an abstract name");
    let listener = UnixListener::bind_addr(&address).expect("a Unix socket");
    listen(&listener, Backlog::new(0).expect("a backlog")).expect("listen");
    let queued = vec![unix::connect_to(&name)];
    (listener, name, queued)
}

#[test]
fn a_unix_server_with_a_full_queue_serves_every_client_in_the_end() {
    for at_once in [1, 4] {
        let (listener, name, queued) = full_unix_server();
        let tcpreen = Tcpreen::to(&name).args(["-p", "unix/tcp"]).host("").at_once(at_once).start();
        let mut clients: Vec<Peer> = (0..4).map(|_| tcpreen.connect()).collect();
        for client in &mut clients {
            client.send("hello");
            client.finish();
        }
        let parent = tcpreen.pid();
        let before = proc::cpu(parent);
        std::thread::sleep(Duration::from_secs(1));
        let used = proc::cpu(parent) - before;
        assert!(used < Duration::from_millis(300), "{used:?} in a second");
        drop(queued);
        // The first that comes out is that which was queued to begin with.
        let mut served = 0;
        while served < 4 {
            let (stream, _) = listener.accept().expect("accept");
            let mut server = Peer::over_unix(stream);
            if server.words_within(Duration::from_secs(10)).as_deref() == Some(b"hello") {
                server.send("welcome");
                served += 1;
            }
        }
        clients.iter_mut().for_each(|client| assert_eq!(client.rest(), b"welcome"));
        assert!(!tcpreen.stderr().contains("unavailable"), "{}", tcpreen.stderr());
    }
}

#[test]
fn a_unix_server_whose_queue_stays_full_is_given_up_after_the_time_out() {
    let (_listener, name, _queued) = full_unix_server();
    let tcpreen = Tcpreen::to(&name).args(["-p", "unix/tcp", "--connect-timeout", "400ms"]).host("").start();
    let start = Instant::now();
    tcpreen.expect_refusal();
    assert!(start.elapsed() > Duration::from_millis(350), "{:?}", start.elapsed());
    tcpreen.stderr_line(&format!("port {name}: Connection timed out"));
}

#[test]
fn a_unix_client_with_a_full_queue_is_connected_to_in_the_end() {
    let (listener, name, _queued) = full_unix_server();
    let server = Server::listen();
    let tcpreen = Tcpreen::to(server.port()).args(["-c", "-p", "tcp/unix"]).listen_on("").local_port(&name);
    let _tcpreen = tcpreen.spawn();
    let mut served = server.accept();
    served.send("hello");
    drop(listener.accept().expect("what was queued"));
    let (stream, _) = listener.accept().expect("accept");
    Peer::over_unix(stream).expect("hello");
}

/// A start between an address and itself.
#[track_caller]
fn expect_loop(tcpreen: Tcpreen) {
    let outcome = tcpreen.run();
    assert!(outcome.stderr.contains("tcpreen itself listens there"), "{outcome:?}");
    assert_eq!(outcome.code(), 64, "{outcome:?}");
}

#[test]
fn a_bridge_to_itself_is_refused_at_the_start() {
    let place = place_of_our_own();
    let at = |host: &str| Tcpreen::to(place.port()).host(host);
    expect_loop(at(&place.ip().to_string()).listen_at(place));
    // On every address, to one of them; and the mirror, -c and -l.
    expect_loop(at("127.0.0.1").listen_on("0.0.0.0").local_port(place.port()));
    expect_loop(at("0.0.0.0").listen_on("0.0.0.0").local_port(place.port()));
    expect_loop(at("::1").listen_on("::").local_port(place.port()));
    expect_loop(at("127.0.0.1").listen_on("::").local_port(place.port()));
    expect_loop(at("").args(["-l", "-c"]).listen_on("127.0.0.1").local_port(place.port()));
    let name = unix::abstract_name();
    expect_loop(Tcpreen::to(&name).args(["-p", "unix"]).host("").listen_on("").local_port(&name));
}

/// The confined parent cannot look up the interface again.
#[test]
fn an_address_with_the_name_of_an_interface_is_looked_up_once() {
    let place = place_of_our_own();
    let Some(free) = beside(place.port()) else { return };
    drop(free);
    let tcpreen = Tcpreen::to(place.port()).host("::1%lo").listen_on("127.0.0.1").args(["-v", "-v"]).start();
    tcpreen.connect().expect_refusal();
    tcpreen.signal(Signal::SIGHUP);
    tcpreen.connect().expect_refusal();
    let Some(server) = beside(place.port()) else { return };
    let mut client = tcpreen.connect();
    client.send("hello");
    server.accept().expect("hello");
}

#[test]
fn a_bridge_to_its_own_socket_under_another_name_is_refused_at_the_start() {
    let scratch = Scratch::new();
    let (socket, link) = (scratch.path("socket"), scratch.path("link"));
    std::os::unix::fs::symlink(&socket, &link).expect("symlink");
    let directory = socket.parent().expect("a directory");
    let detour = directory.join("..").join(directory.file_name().expect("a name")).join("socket");
    for server in [link, detour] {
        let server = server.to_str().expect("UTF-8");
        let tcpreen = Tcpreen::to(server).args(["-p", "unix"]).host("").listen_on("");
        expect_loop(tcpreen.local_port(socket.to_str().expect("UTF-8")));
    }
}

#[test]
fn a_bridge_between_two_addresses_with_one_port_is_no_loop() {
    let (server, place) = (Server::listen(), place_of_our_own());
    let tcpreen = Tcpreen::to(server.port()).listen_on(&place.ip().to_string()).local_port(server.port());
    let tcpreen = tcpreen.start();
    let mut client = tcpreen.connect();
    client.send("hello");
    server.accept().expect("hello");
}

#[test]
fn an_address_of_several_that_leads_back_is_left_out() {
    let port = place_of_our_own().port();
    let Some(server) = beside(port) else { return };
    let tcpreen = to_both_families(port).local_port(port).sessions(1).start();
    let mut client = tcpreen.connect();
    client.send("hello");
    let mut served = server.accept();
    served.expect("hello");
    drop((client, served));
    assert!(tcpreen.finish().stdout().contains("Connection to: ::1 port "));
}

#[test]
fn a_connection_of_a_port_with_itself_is_a_refusal() {
    if !needs(&[Need::Root, Need::Program("ip"), Need::Program("mount")]) {
        return;
    }
    in_a_world_of_its_own(|| {
        // The one port that the system has to give is that of the server, which is down.
        std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "40001 40001").expect("a range of ports");
        let name = unix::abstract_name();
        let tcpreen = Tcpreen::to(40001).args(["-p", "tcp/unix", "-v"]).listen_on("").local_port(&name);
        let tcpreen = tcpreen.sessions(2).spawn();
        tcpreen.stderr_line(&name);
        let mut client = unix::connect_to(&name);
        client.try_send("is this me?");
        client.expect_hang_up();
        tcpreen.stderr_line("127.0.0.1 port 40001: Connection refused");
        assert_eq!(tcpreen.stdout(), "");
        // And the port is free for the real server.
        let server = Server::over(TcpListener::bind("127.0.0.1:40001").expect("the port"));
        std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "40001 40010").expect("a range of ports");
        unix::connect_to(&name).send("hello");
        server.accept().expect("hello");
    });
}

#[test]
fn failed_dialling_is_retried_with_a_delay() {
    for with in [&["-c"][..], &["-c", "-l"]] {
        let (client, server) = (Refusing::new(), Server::listen());
        let port = if with.len() == 1 { server.port() } else { place_of_our_own().port() };
        let tcpreen = Tcpreen::to(port).args(with).local_port(client.port()).sessions(100_000).spawn();
        tcpreen.stderr_line("Connection refused");
        std::thread::sleep(Duration::from_secs(1));
        let attempts = tcpreen.stderr().matches("Connection refused").count();
        assert!((2..=20).contains(&attempts), "{attempts} in about a second, with {with:?}");
    }
}

/// The timer of each established connection over IPv4 with this port at one end: its kind and what is left of it,
/// in hundredths of a second, as `/proc/net/tcp` shows it.
fn timers(port: u16) -> Vec<(u8, u64)> {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("/proc/net/tcp");
    let end = format!(":{port:04X}");
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let rows = rows.filter(|row| row[3] == "01" && (row[1].ends_with(&end) || row[2].ends_with(&end)));
    let timer =
        rows.filter_map(|row| row[5].split_once(':').map(|(kind, left)| (kind.to_owned(), left.to_owned())));
    timer
        .map(|(kind, left)| (kind.parse().expect("a kind"), u64::from_str_radix(&left, 16).expect("a time")))
        .collect()
}

/// The timers of keep-alive on our ends of a session.
fn keepalive_timers(options: &[&str], sessions: u32) -> Vec<u64> {
    let server = Server::listen();
    let tcpreen = Tcpreen::to(server.port()).args(options).at_once(sessions).start();
    let (mut client, mut served) = (tcpreen.connect(), server.accept());
    client.send("hello");
    served.expect("hello");
    let wait = || {
        let timers = [timers(tcpreen.port()), timers(server.port())].concat();
        // Nothing of ours is waiting to be acknowledged any more (1), and no delayed answer either.
        (timers.len() == 4 && timers.iter().all(|(kind, _)| *kind != 1)).then_some(timers)
    };
    let timers = until("the connections of the session", wait);
    timers.into_iter().filter(|(kind, _)| *kind == 2).map(|(_, left)| left).collect()
}

#[test]
fn both_peers_are_probed_when_they_have_long_been_silent() {
    let system = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_keepalive_time").expect("a setting");
    let system = 100 * system.trim().parse::<u64>().expect("a number");
    for sessions in [1, 4] {
        for (options, most) in
            [(&[][..], system), (&["--keepalive", "7"], 700), (&["--keepalive", "2m"], 12_000)]
        {
            let timers = keepalive_timers(options, sessions);
            assert_eq!(timers.len(), 2, "{options:?}");
            assert!(
                timers.iter().all(|left| *left > most / 3 && *left <= most + 100),
                "{timers:?} {options:?}"
            );
        }
        assert_eq!(keepalive_timers(&["--keepalive", "0"], sessions), Vec::<u64>::new());
    }
}

#[test]
fn a_client_that_leaves_while_the_server_is_dialled_makes_room_for_the_next() {
    let full = FullServer::new();
    let tcpreen = Tcpreen::to(full.server.port()).at_once(1).start();
    tcpreen.connect().reset();
    let mut next = tcpreen.connect();
    next.send("hello");
    let received = until("the next client's words", || {
        full.server.accept_now()?.words_within(Duration::from_millis(200))
    });
    assert_eq!(received, b"hello");
}

/// Number of connection attempts to a local port without an answer (SYN_SENT).
fn unanswered(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("/proc/net/tcp");
    table.lines().filter(|line| line.contains(&format!(":{port:04X} 02 "))).count()
}

#[test]
fn a_client_whose_server_is_dialled_at_the_end_is_in_the_record() {
    let full = FullServer::new();
    for drain in [&[][..], &["--drain-timeout", "100ms"]] {
        let dials = unanswered(full.server.port());
        let tcpreen = Tcpreen::to(full.server.port()).format("json").args(drain).start();
        let mut client = tcpreen.connect();
        client.send("hello");
        until("the dial", || (unanswered(full.server.port()) > dials).then_some(()));
        tcpreen.signal(Signal::SIGTERM);
        client.expect_hang_up();
        let record = tcpreen.finish().stdout();
        assert!(record.contains("\"state\":\"stopped\""), "{drain:?}: {record}");
    }
}
