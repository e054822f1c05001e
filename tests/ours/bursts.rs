//! Limits on clients and sessions, and the rate limiting of their notices.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::support::peer::{Peer, Server, echo_server};
use crate::support::tcpreen::Tcpreen;
use crate::support::unix;
use crate::support::wait::until;

fn times(text: &str, part: &str) -> usize {
    text.lines().filter(|line| line.contains(part)).count()
}

#[test]
fn clients_beyond_max_per_client_are_rejected_with_one_notice() {
    let server = Server::listen();
    let tcpreen = Tcpreen::to(server.port()).args(["--max-per-client", "2"]).at_once(10).start();
    let sessions = [(); 2].map(|()| (tcpreen.connect(), server.accept()));
    for _ in 0..20 {
        tcpreen.expect_refusal();
    }
    // Reported at once; the others at the end of the burst, here that of the program.
    tcpreen.stderr_line("127.0.0.1: turned away, as more than --max-per-client allows");
    assert_eq!(times(&tcpreen.stderr(), "turned away"), 1);
    drop(sessions);
    let place = ([127, 0, 0, 1], tcpreen.port()).into();
    until("room for the client", || {
        // A rejected client may be reset before it is connected.
        let mut client = Peer::try_connect(place)?;
        client.try_send("hello");
        server.accept_now().map(|mut server| server.expect("hello"))
    });
    tcpreen.signal(nix::sys::signal::Signal::SIGTERM);
    let outcome = tcpreen.finish();
    let summary = outcome.stderr.lines().find(|line| line.ends_with(" more)")).expect("a summary");
    let more = summary.rsplit('(').next().and_then(|it| it.strip_suffix(" more)")).expect("a number");
    assert!(more.parse::<u32>().expect("a number") >= 19, "{outcome:?}");
    assert_eq!(times(&outcome.stderr, "turned away"), 2, "{outcome:?}");
}

#[test]
fn other_clients_are_not_affected() {
    let server = Server::listen();
    let tcpreen = Tcpreen::to(server.port()).args(["--max-per-client", "1"]).at_once(10).start();
    let _session = (tcpreen.connect(), server.accept());
    tcpreen.expect_refusal();
    let mut client = from("127.0.0.2", tcpreen.port());
    client.send("hello");
    server.accept().expect("hello");
}

fn from(address: &str, port: u16) -> Peer {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};
    use std::os::fd::AsRawFd;
    let socket =
        socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
    let own: SocketAddr = format!("{address}:0").parse().expect("an address");
    let SocketAddr::V4(own) = own else { panic!("IPv4") };
    bind(socket.as_raw_fd(), &SockaddrIn::from(own)).expect("bind");
    connect(socket.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, port)).expect("connect");
    Peer::over(TcpStream::from(socket))
}

#[test]
fn a_flood_from_one_address_keeps_no_other_client_out() {
    for at_once in [1, 3] {
        let server = Server::listen();
        let tcpreen = Tcpreen::to(server.port()).args(["--max-per-client", "1"]).at_once(at_once).start();
        // All places are taken, one of them by the address of the flood.
        let mut sessions = vec![(tcpreen.connect(), server.accept())];
        for other in 1..at_once {
            sessions.push((from(&format!("127.0.1.{other}"), tcpreen.port()), server.accept()));
        }
        for _ in 0..30 {
            tcpreen.expect_refusal();
        }
        let mut fair = from("127.0.0.2", tcpreen.port());
        fair.send("hello");
        tcpreen.stderr_line("the next client waits");
        for _ in 0..30 {
            tcpreen.expect_refusal();
        }
        from("127.0.0.2", tcpreen.port()).expect_refusal();
        assert!(server.accept_now().is_none(), "more than -F");
        drop(sessions.pop());
        server.accept().expect("hello");
        assert_eq!(times(&tcpreen.stderr(), "(-F)"), 1, "{}", tcpreen.stderr());
    }
}

#[test]
fn queued_clients_are_served_in_order_or_closed() {
    let server = Server::listen();
    let tcpreen = Tcpreen::to(server.port()).args(["--max-per-client", "1"]).at_once(2).sessions(5).start();
    let waiting = |number: u8| from(&format!("127.0.1.{number}"), tcpreen.port());
    let first = (tcpreen.connect(), server.accept());
    let _second = (waiting(9), server.accept());
    // A client that leaves frees its share, and is recorded.
    waiting(1).reset();
    tcpreen.stdout_with("Session ended: connection reset by the client.\n");
    let mut clients = [1, 2, 3].map(waiting);
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(format!("I am {number}"));
    }
    drop(first);
    for (number, client) in clients.iter_mut().enumerate().take(2) {
        server.accept().expect(format!("I am {number}"));
        client.finish();
    }
    // That was the fifth session, the last one that may begin.
    clients[2].expect_refusal();
}

#[test]
fn a_signal_closes_queued_clients() {
    for drain in [&[][..], &["--drain-timeout", "1m"]] {
        let server = Server::listen();
        let tcpreen = Tcpreen::to(server.port()).args(["--max-per-client", "1"]).args(drain).start();
        let first = (tcpreen.connect(), server.accept());
        let mut waiting = from("127.0.0.2", tcpreen.port());
        tcpreen.stderr_line("the next client waits");
        tcpreen.signal(nix::sys::signal::Signal::SIGTERM);
        waiting.expect_refusal();
        drop(first);
        assert_eq!(tcpreen.finish().code(), 143);
    }
}

#[test]
fn unix_clients_count_as_one_address() {
    let (echo, name) = (echo_server(), unix::abstract_name());
    let tcpreen = Tcpreen::to(echo.port).args(["--max-per-client", "1"]).at_once(10).listen_on("");
    let tcpreen = tcpreen.local_port(&name).spawn();
    tcpreen.stderr_line(&name);
    let mut one = unix::connect_to(&name);
    one.send("hello");
    one.expect("hello");
    unix::connect_to(&name).expect_hang_up();
    tcpreen.stderr_line("Unix clients: turned away");
}

#[test]
fn waiting_clients_are_reported_once() {
    let server = Server::listen();
    let tcpreen = Tcpreen::to(server.port()).at_once(2).start();
    let sessions = [(); 2].map(|()| (tcpreen.connect(), server.accept()));
    assert_eq!(times(&tcpreen.stderr(), "(-F)"), 0, "nobody waits");
    let mut waiting: Vec<Peer> = (0..5).map(|_| tcpreen.connect()).collect();
    tcpreen.stderr_line("2 sessions at a time (-F): the next client waits");
    waiting.iter_mut().for_each(|client| client.send("hello"));
    drop(sessions);
    for mut client in waiting {
        let mut served = server.accept();
        served.expect("hello");
        drop(served);
        client.expect_end();
    }
    assert_eq!(times(&tcpreen.stderr(), "(-F)"), 1, "{}", tcpreen.stderr());
}

#[test]
fn a_server_that_does_not_answer_is_reported_once_for_many_clients() {
    // A full queue: the kernel lets further clients wait.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).expect("a number"))
        .expect("listen");
    let place = listener.local_addr().expect("getsockname");
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&place, Duration::from_millis(200)) {
        waiting.push(stream);
    }
    let tcpreen = Tcpreen::to(place.port()).args(["--connect-timeout", "100ms"]).at_once(10).start();
    let clients: Vec<Peer> = (0..5).map(|_| tcpreen.connect()).collect();
    clients.into_iter().for_each(|mut client| client.expect_refusal());
    tcpreen.signal(nix::sys::signal::Signal::SIGTERM);
    let outcome = tcpreen.finish();
    assert_eq!(times(&outcome.stderr, "Connection timed out"), 2, "{outcome:?}");
    assert!(outcome.stderr.contains("Connection timed out (4 more)"), "{outcome:?}");
}
