//! Sockets passed by a service manager (socket activation).

use std::fs::File;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::unistd::Pid;

use crate::support::peer::{Peer, Server, echo_server};
use crate::support::scratch::Scratch;
use crate::support::skip::{Need, needs};
use crate::support::tcpreen::Tcpreen;
use crate::support::under_test::binary;
use crate::support::wait::until;
use crate::support::{nobody, place_of_our_own, proc, unix};

fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port of the kernel's choice");
    let port = listener.local_addr().expect("getsockname").port();
    (listener, port)
}

/// Expects the start to fail with this status and message.
#[track_caller]
fn refuses(tcpreen: Tcpreen, words: &str) {
    let outcome = tcpreen.run();
    assert_eq!(outcome.code(), 78, "{outcome:?}");
    assert!(outcome.stderr.contains(words), "{outcome:?}");
}

#[test]
fn a_socket_that_was_handed_over_is_listened_on() {
    let echo = echo_server();
    let (listener, port) = listener();
    let tcpreen = Tcpreen::to(echo.port).with_sockets("any", [listener]).start();
    assert_eq!(tcpreen.port(), port);
    Peer::connect(port).gets_its_echo();
    Peer::connect(port).gets_its_echo();
}

#[test]
fn a_unix_socket_that_was_handed_over_is_served_and_stays_where_it_is() {
    let (echo, scratch) = (echo_server(), Scratch::new());
    let path = scratch.path("socket");
    let listener = UnixListener::bind(&path).expect("bind");
    let tcpreen = Tcpreen::to(echo.port).with_sockets("any", [listener]).sessions(1).spawn();
    unix::connect_to(&path).gets_its_echo();
    assert_eq!(tcpreen.finish().code(), 0);
    assert!(path.exists(), "the socket is not ours");
}

#[test]
fn a_socket_for_another_process_is_ignored() {
    let echo = echo_server();
    let (listener, port) = listener();
    let variables = "export LISTEN_PID=1 LISTEN_FDS=1";
    let tcpreen = Tcpreen::to(echo.port).by_shell(variables, "3<&0 0</dev/null").stdin(listener).start();
    assert_ne!(tcpreen.port(), port);
    tcpreen.connect().gets_its_echo();
}

#[test]
fn a_set_uid_start_ignores_sockets_of_its_caller() {
    if !needs(&[Need::Root]) {
        return;
    }
    let (echo, scratch) = (echo_server(), Scratch::new());
    let (listener, port) = listener();
    let program = scratch.copy_of_program(0o4755);
    let tcpreen = Tcpreen::to(echo.port).binary(program).account(nobody());
    let tcpreen = tcpreen.with_sockets("client", [listener]).start();
    assert_ne!(tcpreen.port(), port);
    Peer::connect(tcpreen.port()).gets_its_echo();
}

#[test]
fn no_role_sees_the_sockets_or_the_variables() {
    if !needs(&[Need::Root]) {
        return;
    }
    let (echo, (listener, _)) = (echo_server(), listener());
    let tcpreen = Tcpreen::to(echo.port).with_sockets("any", [listener]).start();
    let tcp = proc::tcp_sockets();
    for (role, pids) in tcpreen.all_roles().into_iter().filter(|(role, _)| role != "parent") {
        for pid in pids {
            let environment = environment(pid);
            assert!(!environment.contains("LISTEN"), "{role}: {environment}");
            let held = proc::descriptors(pid);
            assert!(!held.values().any(|target| tcp.contains(target)), "{role}: {held:?}");
        }
    }
}

fn environment(pid: Pid) -> String {
    String::from_utf8_lossy(&std::fs::read(format!("/proc/{pid}/environ")).expect("environ")).into_owned()
}

#[test]
fn two_sockets_are_distinguished_by_their_names() {
    let ((clients, client_port), (servers, server_port)) = (listener(), listener());
    let tcpreen = Tcpreen::to(server_port).args(["-l"]).host("");
    let tcpreen = tcpreen.with_sockets("server:client", [servers, clients]).spawn();
    tcpreen.stderr_line(&format!("port {client_port}"));
    tcpreen.stderr_line(&format!("port {server_port}"));
    let (mut client, mut server) = (Peer::connect(client_port), Peer::connect(server_port));
    client.send("question");
    server.expect("question");
    server.send("answer");
    client.expect("answer");
}

#[test]
fn a_socket_for_no_side_or_for_a_side_that_has_one_is_an_error() {
    let tcpreen = |options: &[&str]| Tcpreen::to(80).args(options);
    let one = || listener().0;
    refuses(tcpreen(&["-l"]).with_sockets("any", [one()]), "named client or server with -l");
    refuses(tcpreen(&[]).with_sockets("server", [one()]), "is for the server, which does not come to us");
    refuses(tcpreen(&[]).with_sockets("a:b", [one(), one()]), "is the second one for the client");
    refuses(tcpreen(&["-c"]).local_port(80).with_sockets("a", [one()]), "is unused with -c");
    refuses(tcpreen(&[]).with_sockets("a:b", [one()]), "LISTEN_FDNAMES");
}

#[test]
fn inherited_descriptors_must_be_stream_sockets() {
    let refuses = |socket: OwnedFd, words: &str| {
        refuses(Tcpreen::to(80).with_sockets("any", [socket]), &format!("descriptor 3 (any) is {words}"));
    };
    let unix = |kind| socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
    let inet = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
    refuses(UdpSocket::bind("127.0.0.1:0").expect("a port").into(), "a datagram socket");
    refuses(unix(SockType::Datagram), "a datagram socket");
    refuses(unix(SockType::SeqPacket), "a socket for packets");
    refuses(unix(SockType::Stream), "a socket that neither listens nor is connected");
    refuses(inet, "a socket that neither listens nor is connected");
    refuses(nix::unistd::pipe().expect("a pipe").0, "a pipe");
    refuses(File::open("/etc/passwd").expect("a file").into(), "a file");
    refuses(File::open("/dev/null").expect("a device").into(), "no socket");
}

#[test]
fn a_descriptor_that_is_not_there_is_an_error() {
    refuses(Tcpreen::to(80).by_shell("export LISTEN_PID=$$ LISTEN_FDS=7", "3>&-"), "LISTEN_FDS");
    refuses(Tcpreen::to(80).by_shell("export LISTEN_PID=$$ LISTEN_FDS=many", ""), "LISTEN_FDS");
}

#[test]
fn a_local_port_has_to_be_that_of_the_socket() {
    let echo = echo_server();
    let (one, port) = listener();
    let tcpreen = Tcpreen::to(echo.port).local_port(port).with_sockets("any", [one]).start();
    assert_eq!(tcpreen.port(), port);
    Peer::connect(port).gets_its_echo();
    let (other, other_port) = listener();
    let place = format!("127.0.0.2:{other_port}");
    for typed in ["1", place.as_str(), "unix:/run/x"] {
        let socket = other.try_clone().expect("dup");
        let tcpreen = Tcpreen::to(80).local_port(typed).with_sockets("any", [socket]);
        refuses(tcpreen, &format!("the socket that was handed over is 127.0.0.1 port {other_port}"));
    }
}

#[test]
fn a_connected_socket_is_a_client() {
    let (echo, (listener, port)) = (echo_server(), listener());
    let client = Peer::connect(port);
    let (socket, _) = listener.accept().expect("accept");
    let tcpreen = Tcpreen::to(echo.port).with_sockets("connection", [socket]).spawn();
    client.gets_its_echo();
    let outcome = tcpreen.finish();
    assert_eq!(outcome.code(), 0, "{outcome:?}");
    assert!(!outcome.stderr.contains("Listening"), "{outcome:?}");
}

#[test]
fn a_connected_socket_can_wait_for_its_server() {
    let (listener, port) = listener();
    let mut client = Peer::connect(port);
    let (socket, _) = listener.accept().expect("accept");
    let place = place_of_our_own();
    let tcpreen = Tcpreen::to(place.port()).host(&place.ip().to_string()).args(["-l"]);
    let tcpreen = tcpreen.with_sockets("client", [socket]).spawn();
    tcpreen.stderr_line("Listening on: ");
    client.send("question");
    let mut server = Peer::connect_to(place);
    server.expect("question");
    drop((client, server));
    assert_eq!(tcpreen.finish().code(), 0);
}

/// Starts `systemd-socket-activate`, which waits for a client as systemd does.
#[track_caller]
fn systemd(options: &[&str], tcpreen: &[&str], test: impl FnOnce(Peer)) {
    let place = place_of_our_own();
    let mut systemd = Command::new("systemd-socket-activate");
    systemd.args(["-l", &place.to_string(), "-E", "LC_ALL=C"]).args(options).arg(binary()).args(tcpreen);
    let mut systemd = systemd.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    test(Peer::over(until("systemd-socket-activate", || TcpStream::connect(place).ok())));
    let pid = Pid::from_raw(systemd.id().try_into().expect("a process id"));
    for process in proc::descendants(pid).into_iter().chain([pid]) {
        let _ = nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGKILL);
    }
    systemd.wait().expect("wait");
}

#[test]
fn systemd_hands_its_socket_over_with_the_first_client() {
    if !needs(&[Need::Program("systemd-socket-activate")]) {
        return;
    }
    let server = echo_server().port.to_string();
    systemd(&["--fdname=client"], &["-n", "-q", "-s", "127.0.0.1", &server], Peer::gets_its_echo);
}

#[test]
fn systemd_starts_one_for_each_client() {
    if !needs(&[Need::Program("systemd-socket-activate")]) {
        return;
    }
    let server = echo_server().port.to_string();
    systemd(&["--accept"], &["-n", "-q", "-s", "127.0.0.1", &server], Peer::gets_its_echo);
    systemd(&["--accept", "--inetd"], &["--inetd", "-n", "-s", "127.0.0.1", &server], Peer::gets_its_echo);
}

#[test]
fn the_port_of_a_server_that_refuses_resets_the_client_of_systemd() {
    if !needs(&[Need::Program("systemd-socket-activate")]) {
        return;
    }
    let server = Server::listen().port().to_string(); // and no more
    systemd(&["--accept", "--inetd"], &["--inetd", "-n", "-s", "127.0.0.1", &server], |mut client| {
        client.expect_hang_up();
    });
}
