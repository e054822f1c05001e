//! Names of peers and services, with name servers that are silent or lie. Every test runs in its own
//! namespaces, with its own `/etc` and name server.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6, TcpListener};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};

use crate::support::name_server::{ADDRESS, NameServer, Trick, Zone};
use crate::support::namespace::{add_interface, in_a_world_of_its_own, replace_etc};
use crate::support::peer::{Peer, Server, echo_server};
use crate::support::proc;
use crate::support::sessions::Wrap;
use crate::support::skip::{Need, needs};
use crate::support::tcpreen::{Running, Tcpreen};
use crate::support::under_test::known_to_fail_on_original;
use crate::support::wait::until;

pub(crate) const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
pub(crate) const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 6, 6, 6);

/// Address of the bridge: the namespace has no other listener.
pub(crate) const PLACE: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 8081);

/// Many clients, each of which sends as much as may be held back for one session.
const CLIENTS: usize = 150;
const EACH: usize = 600_000;

/// Maximum delay of a byte, whatever happens to the names.
const AT_ONCE: Duration = Duration::from_millis(500);

/// Maximum wait for a name, with some tolerance for a busy machine.
pub(crate) const NAMED: Duration = Duration::from_millis(3500);

pub(crate) fn with_hosts(hosts: &str, test: impl FnOnce() + Send) {
    if !needs(&[Need::Root, Need::Program("ip"), Need::World]) {
        return;
    }
    in_a_world_of_its_own(|| {
        replace_etc(&[
            ("hosts", hosts),
            ("resolv.conf", &format!("nameserver {ADDRESS}\n")),
            ("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\nservices: files\n"),
            ("services", "bridge 8081/tcp\n"),
        ]);
        test();
    });
}

/// The client's address needs a lookup; other names are in a file.
pub(crate) fn with_names_of_our_own(test: impl FnOnce() + Send) {
    with_hosts("127.0.0.1 localhost\n", test);
}

/// Only the name server knows names.
pub(crate) fn without_hosts(test: impl FnOnce() + Send) {
    with_hosts("", test);
}

fn place() -> SocketAddr {
    PLACE.into()
}

/// Starts a bridge that shows names, without waiting for it.
pub(crate) fn bridge_with_names(server: u16, with: impl FnOnce(Tcpreen) -> Tcpreen) -> Running {
    with(Tcpreen::to(server).with_names()).listen_at(place()).spawn()
}

/// A client at [`CLIENT`].
pub(crate) fn client() -> Peer {
    until("the bridge", || {
        let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).ok()?;
        bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(CLIENT, 0))).expect("bind");
        connect(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(PLACE.0, PLACE.1))).ok()?;
        Some(Peer::over(socket.into()))
    })
}

pub(crate) fn ping(client: &mut Peer) {
    client.send("ping");
    client.expect("ping");
}

/// Returns the client's name in the record of one session, with names from `zone`.
fn shown_client(zone: Zone) -> String {
    let _server = NameServer::answering(zone);
    let echo = echo_server();
    let tcpreen = bridge_with_names(echo.port, |it| it.sessions(1));
    let mut client = client();
    ping(&mut client);
    drop(client);
    let stdout = tcpreen.finish().stdout();
    let from = stdout.lines().next().and_then(|line| line.strip_prefix("Connection from: "));
    from.and_then(|from| from.rsplit_once(" port ")).expect("a first line").0.to_owned()
}

/// Looks up a server with addresses of both families, and the name of a client: by UDP, at two name servers of which
/// the first does not exist, and by TCP.
pub(crate) fn look_everything_up(wrap: Wrap<'_>) {
    with_hosts("127.0.0.1 localhost server.example\n::1 server.example\n", || {
        let name_servers = format!("nameserver ::1\nnameserver {ADDRESS}\n");
        for (name, text) in [("resolv.conf", name_servers.as_str()), ("host.conf", "multi on\n")] {
            std::fs::write(std::path::Path::new("/etc").join(name), text).expect("a file");
        }
        let zone = Zone::default().called(CLIENT, "friend.example").at("friend.example", CLIENT);
        let _server = NameServer::hostile(zone, Trick::Truncates);
        let echo = echo_server();
        let tcpreen = bridge_with_names(echo.port, |it| wrap(it.host("server.example").sessions(1)));
        let mut client = client();
        ping(&mut client);
        drop(client);
        let stdout = tcpreen.finish().stdout();
        assert!(stdout.contains("Connection from: friend.example"), "{stdout}");
    });
}

#[test]
fn peers_and_services_are_shown_by_their_names() {
    with_names_of_our_own(|| {
        let echo = echo_server();
        let tcpreen = bridge_with_names(echo.port, |it| it.sessions(1));
        tcpreen.stderr_line("Listening on: localhost port bridge");
        let mut client = Peer::connect_to(place());
        ping(&mut client);
        let port = client.local_port();
        drop(client);
        let stdout = tcpreen.finish().stdout();
        assert!(stdout.starts_with(&format!("Connection from: localhost port {port}\n")), "{stdout}");
        assert!(stdout.contains(&format!("Connection to: localhost port {}\n", echo.port)), "{stdout}");
    });
}

#[test]
fn a_service_is_understood_by_its_name() {
    with_names_of_our_own(|| {
        let echo = echo_server();
        let tcpreen = Tcpreen::to(echo.port).local_port("bridge").start();
        tcpreen.stderr_line("Listening on: 127.0.0.1 port 8081");
        ping(&mut Peer::connect_to(place()));
    });
}

#[test]
fn a_server_is_found_by_its_name() {
    without_hosts(|| {
        let _server = NameServer::answering(Zone::default().at("server.example", ELSEWHERE));
        let listener = TcpListener::bind((ELSEWHERE, 0)).expect("a port of the kernel's choice");
        let echo = Server::over(listener);
        let tcpreen = Tcpreen::to(echo.port()).host("server.example").sessions(1).start();
        let mut client = tcpreen.connect();
        client.send("ping");
        echo.accept().expect("ping");
        drop(client);
        let stdout = tcpreen.finish().stdout();
        assert!(stdout.contains(&format!("Connection to: {ELSEWHERE} port {}\n", echo.port())), "{stdout}");
    });
}

#[test]
fn a_name_that_resolves_back_is_shown() {
    with_names_of_our_own(|| {
        let zone = Zone::default().called(CLIENT, "friend.example").at("friend.example", CLIENT);
        assert_eq!(shown_client(zone), "friend.example");
    });
}

#[test]
fn a_peer_that_comes_again_soon_is_not_looked_up_again() {
    known_to_fail_on_original("it looks up every client", || {
        with_names_of_our_own(|| {
            let zone = Zone::default().called(CLIENT, "friend.example").at("friend.example", CLIENT);
            let name_server = NameServer::answering(zone);
            let echo = echo_server();
            let tcpreen = bridge_with_names(echo.port, |it| it.sessions(2));
            ping(&mut client());
            tcpreen.stdout_with("Connection from: friend.example port ");
            drop(name_server);
            ping(&mut client());
            let stdout = tcpreen.finish().stdout();
            assert_eq!(stdout.matches("Connection from: friend.example port ").count(), 2, "{stdout}");
        });
    });
}

#[test]
fn a_name_that_resolves_to_another_address_is_not_shown() {
    with_names_of_our_own(|| {
        let zone = Zone::default().called(CLIENT, "bank.example").at("bank.example", ELSEWHERE);
        assert_eq!(shown_client(zone), CLIENT.to_string());
    });
}

#[test]
fn a_name_that_does_not_resolve_is_not_shown() {
    with_names_of_our_own(|| {
        assert_eq!(shown_client(Zone::default().called(CLIENT, "nowhere.example")), CLIENT.to_string());
    });
}

#[test]
fn a_name_that_looks_like_an_address_is_not_shown() {
    with_names_of_our_own(|| {
        let zone = Zone::default().called(CLIENT, "127.6.6.6").at("127.6.6.6", CLIENT);
        assert_eq!(shown_client(zone), CLIENT.to_string());
    });
}

#[test]
fn control_characters_in_a_name_are_escaped_everywhere() {
    with_names_of_our_own(|| {
        for name in ["\x1b[31mred.example", "two\nConnection from: lines.example", "\u{9b}1m.example"] {
            let shown = shown_client(Zone::default().called(CLIENT, name).at(name, CLIENT));
            assert!(!shown.contains(char::is_control), "{shown:?}");
        }
    });
}

#[test]
fn a_peer_with_a_scope_and_without_a_name_is_shown_as_a_number() {
    without_hosts(|| {
        add_interface();
        let _server = NameServer::answering(Zone::default());
        let echo = echo_server();
        let tcpreen = Tcpreen::to(echo.port).with_names().listen_on("fe80::1%inner").local_port(8081);
        let tcpreen = tcpreen.sessions(1).spawn();
        tcpreen.stderr_line("Listening on: fe80::1%");
        let scope = nix::net::if_::if_nametoindex("inner").expect("an interface");
        let ip = "fe80::1".parse().expect("an address");
        ping(&mut Peer::connect_to(SocketAddrV6::new(ip, 8081, 0, scope).into()));
        let outcome = tcpreen.finish();
        assert_eq!(outcome.code(), 0, "{outcome:?}");
        assert!(outcome.stdout().starts_with("Connection from: fe80::1%"), "{outcome:?}");
    });
}

#[test]
fn an_address_without_a_name_is_shown_as_a_number_at_once() {
    with_names_of_our_own(|| {
        let start = Instant::now();
        assert_eq!(shown_client(Zone::default()), CLIENT.to_string());
        assert!(start.elapsed() < Duration::from_millis(1500), "{:?}", start.elapsed());
    });
}

/// 6.7
#[test]
fn with_a_silent_name_server_bytes_pass_at_once() {
    known_to_fail_on_original("it looks names up before anything else", || {
        without_hosts(|| {
            let server = NameServer::silent();
            let echo = echo_server();
            let start = Instant::now();
            let _tcpreen = bridge_with_names(echo.port, |it| it);
            for _ in 0..3 {
                let mut client = client();
                ping(&mut client);
                ping(&mut client);
                drop(client);
                echo.result();
            }
            assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
            until("a question", || (!server.asked().is_empty()).then_some(()));
        });
    });
}

/// 6.7
#[test]
fn with_a_silent_name_server_the_record_has_the_number_soon() {
    known_to_fail_on_original("it loses the address and the port", || {
        with_names_of_our_own(|| {
            let server = NameServer::silent();
            let echo = echo_server();
            let tcpreen = bridge_with_names(echo.port, |it| it.format("C"));
            let mut client = client();
            ping(&mut client);
            let start = Instant::now();
            until("a question", || (!server.asked().is_empty()).then_some(()));
            assert_eq!(tcpreen.stdout(), "", "the name is waited for");
            let stdout = tcpreen.stdout_with("Connection from");
            assert!(start.elapsed() < NAMED, "{:?}", start.elapsed());
            let from = format!("Connection from: {CLIENT} port {}\n", client.local_port());
            assert!(stdout.starts_with(&from), "{stdout}");
            tcpreen.stdout_with("<<< ping\n>>> ping\n");
            ping(&mut client);
        });
    });
}

/// 6.7
#[test]
fn with_a_silent_name_server_it_listens_and_says_so_soon() {
    known_to_fail_on_original("it does not even start", || {
        without_hosts(|| {
            let _server = NameServer::silent();
            let start = Instant::now();
            let tcpreen = bridge_with_names(80, |it| it);
            let line = tcpreen.stderr_line("Listening on: ");
            assert_eq!(line, "Listening on: 127.0.0.1 port 8081");
            assert!(start.elapsed() < NAMED, "{:?}", start.elapsed());
        });
    });
}

/// 6.7
#[test]
fn with_a_silent_name_server_it_ends_soon_with_a_whole_record() {
    known_to_fail_on_original("it stalls for every session", || {
        without_hosts(|| {
            let _server = NameServer::silent();
            let echo = echo_server();
            let start = Instant::now();
            let tcpreen = bridge_with_names(echo.port, |it| it.sessions(5).format("C"));
            let ports: Vec<u16> = std::iter::repeat_with(|| {
                let mut client = client();
                ping(&mut client);
                client.local_port()
            })
            .take(5)
            .collect();
            let outcome = tcpreen.finish();
            assert!(start.elapsed() < NAMED, "{:?}", start.elapsed());
            assert_eq!(outcome.code(), 0);
            let stdout = outcome.stdout();
            let froms = stdout.lines().filter_map(|line| line.strip_prefix("Connection from: "));
            let expected = ports.iter().map(|port| format!("{CLIENT} port {port}"));
            assert_eq!(froms.map(str::to_owned).collect::<Vec<_>>(), expected.collect::<Vec<_>>());
            assert_eq!(stdout.matches("<<< ping\n>>> ping\n").count(), 5, "{stdout}");
        });
    });
}

/// Records that wait for names share one bound across sessions, and the memory is returned.
#[test]
fn with_a_silent_name_server_many_clients_take_bounded_memory() {
    known_to_fail_on_original("it stalls for every session", || {
        with_names_of_our_own(|| {
            let _server = NameServer::silent();
            let sink = Server::listen().serve(|mut peer: Peer| peer.read_to_end_hashing());
            // An output must want the bytes, or only lengths are recorded.
            let outputs = |it: Tcpreen| it.format("raw").output("/dev/null").format("count");
            let tcpreen = bridge_with_names(sink.port, |it| outputs(it.at_once(200)));
            drop(client());
            sink.result();
            let logger = tcpreen.role("logger");
            let memory = || proc::status(logger).expect("a process").memory();
            let before = memory();
            let mut clients: Vec<Peer> = Vec::new();
            let mut most = 0;
            for _ in 0..CLIENTS {
                let mut client = client();
                client.send(vec![b'x'; EACH]);
                clients.push(client);
                most = most.max(memory());
            }
            clients.iter_mut().for_each(Peer::finish);
            (0..CLIENTS).for_each(|_| sink.result());
            most = most.max(memory());
            assert!(most < before + (12 << 20), "{before} grew to {most}");
            drop(clients);
            until("all records", || {
                let stdout = tcpreen.stdout();
                (stdout.matches(&format!("End of input: {EACH} bytes")).count() == CLIENTS).then_some(())
            });
            // Except the batches, 4 MiB in all, which are touched one after the other.
            until("memory as before", || (memory() < before + (10 << 20)).then_some(()));
        });
    });
}

#[test]
fn with_numbers_wanted_no_name_server_is_asked() {
    without_hosts(|| {
        let server = NameServer::silent();
        let echo = echo_server();
        let tcpreen = Tcpreen::to(echo.port).listen_at(place()).sessions(1).start();
        let mut client = client();
        ping(&mut client);
        drop(client);
        let stdout = tcpreen.finish().stdout();
        assert!(stdout.starts_with(&format!("Connection from: {CLIENT} port ")), "{stdout}");
        assert_eq!(server.asked(), Vec::<String>::new());
    });
}

/// A server known by name, whose address may change.
pub(crate) const NAMED_SERVER: &str = "moving.example";

pub(crate) fn hosts(address: &str) -> String {
    format!("127.0.0.1 localhost\n{address} {NAMED_SERVER}\n")
}
