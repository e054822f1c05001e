//! Started by inetd: descriptors 0, 1 and 2 are the client, or the listening socket.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use crate::support::daemon::Daemon;
use crate::support::peer;
use crate::support::peer::{Peer, Server, echo_server};
use crate::support::real_server::RealServer;
use crate::support::scratch::Scratch;
use crate::support::skip::{Need, needs};
use crate::support::tcpreen::Tcpreen;
use crate::support::under_test;
use crate::support::wait::until;
use crate::support::{place_of_our_own, proc};

/// A client, and its connection as accepted by inetd.
fn connection() -> (Peer, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port of the kernel's choice");
    let client = Peer::connect(listener.local_addr().expect("getsockname").port());
    (client, listener.accept().expect("accept").0)
}

#[test]
fn a_connection_is_one_session() {
    let (echo, scratch) = (echo_server(), Scratch::new());
    let (client, connection) = connection();
    let port = client.local_port();
    let tcpreen = Tcpreen::to(echo.port).output(scratch.path("record")).by_inetd(connection).spawn();
    client.gets_its_echo();
    assert_eq!(tcpreen.finish().code(), 0);
    let record = scratch.record("record");
    assert!(record.starts_with(&format!("Connection from: 127.0.0.1 port {port}\n")), "{record}");
    assert!(record.ends_with("End of transmission.\n"), "{record}");
}

#[test]
fn a_connection_on_a_unix_socket_is_one_session() {
    let echo = echo_server();
    let (client, connection) = UnixStream::pair().expect("a pair");
    let tcpreen = Tcpreen::to(echo.port).by_inetd(connection).spawn();
    Peer::over_unix(client).gets_its_echo();
    assert_eq!(tcpreen.finish().code(), 0);
}

#[test]
fn the_peers_see_half_closes_and_resets_of_each_other() {
    let server = Server::listen();
    let (mut client, accepted) = connection();
    let tcpreen = Tcpreen::to(server.port()).by_inetd(accepted).spawn();
    let mut peer = server.accept();
    client.send("question");
    client.finish();
    assert_eq!(peer.rest(), b"question");
    peer.send("answer");
    drop(peer);
    assert_eq!(client.rest(), b"answer");
    assert_eq!(tcpreen.finish().code(), 0);

    let (mut client, accepted) = connection();
    let tcpreen = Tcpreen::to(server.port()).by_inetd(accepted).spawn();
    server.accept().reset();
    client.expect_reset();
    assert_eq!(tcpreen.finish().code(), 0);
}

#[test]
fn only_the_worker_holds_the_connection() {
    if !needs(&[Need::Root]) {
        return;
    }
    let server = Server::listen();
    let (mut client, accepted) = connection();
    let tcpreen = Tcpreen::to(server.port()).by_inetd(accepted).spawn();
    let mut peer = server.accept();
    client.send("question");
    peer.expect("question");
    let tcp = proc::tcp_sockets();
    let busy = tcpreen.busy_worker();
    for pid in tcpreen.processes().into_iter().filter(|pid| *pid != busy) {
        let held = proc::descriptors(pid);
        assert!(!held.values().any(|target| tcp.contains(target)), "{pid}: {held:?}");
    }
}

#[test]
fn no_message_reaches_an_inetd_client() {
    let cases: [(&[&str], i32); 6] = [
        (&["--no-such-option"], 64),
        (&["--inetd", "--inetd", "-d"], 64),
        (&["-o", "-"], 64),
        (&["-s", "no-such-host.invalid"], 68),
        (&["-o", "/no/such/directory/file"], 73),
        (&["-v", "-v", "-b", "nonsense"], 64),
    ];
    for (options, status) in cases {
        let (mut client, accepted) = connection();
        let tcpreen = Tcpreen::to(80).host("").args(options).by_inetd(accepted).spawn();
        let outcome = tcpreen.finish();
        assert_eq!(outcome.code(), status, "{options:?}");
        client.expect_end();
    }
}

#[test]
fn without_the_option_a_client_on_the_streams_is_an_error() {
    let (mut client, accepted) = connection();
    let mut tcpreen = Command::new(under_test::binary());
    let copy = || std::os::fd::OwnedFd::from(accepted.try_clone().expect("dup"));
    let status = tcpreen.arg("80").stdin(copy()).stdout(copy()).stderr(copy()).status().expect("it starts");
    assert_eq!(status.code(), Some(64));
    drop((accepted, tcpreen));
    client.expect_end();
}

#[test]
fn a_refusing_server_resets_the_client_and_is_reported_to_syslog() {
    if !needs(&[Need::Root, Need::MountNamespace]) {
        return;
    }
    let daemon = Daemon::with_dev_log();
    let syslogd = daemon.syslogd();
    let refusing = peer::Refusing::new();
    let (mut client, accepted) = connection();
    let tcpreen = daemon.in_front(refusing.port()).by_inetd(accepted).spawn();
    client.expect_reset();
    assert_eq!(tcpreen.finish().code(), 69);
    let message = syslogd.next_with("Connection refused");
    assert!(message.starts_with("<27>tcpreen["), "{message}");
}

#[test]
fn usage_errors_of_an_inetd_service_go_to_syslog() {
    if !needs(&[Need::Root, Need::MountNamespace]) {
        return;
    }
    let daemon = Daemon::with_dev_log();
    let syslogd = daemon.syslogd();
    let (_client, accepted) = connection();
    let tcpreen = daemon.in_front(80).args(["--bogus"]).by_inetd(accepted).spawn();
    assert_eq!(tcpreen.finish().code(), 64);
    let message = syslogd.next();
    assert!(message.starts_with("<27>tcpreen[") && message.contains("'--bogus'"), "{message}");
}

#[test]
fn a_lost_logger_ends_the_program_with_its_exit_status() {
    let server = Server::listen();
    let (mut client, accepted) = connection();
    let tcpreen = Tcpreen::to(server.port()).by_inetd(accepted).spawn();
    let _server = server.accept();
    let logger = tcpreen.role("logger");
    nix::sys::signal::kill(logger, nix::sys::signal::Signal::SIGKILL).expect("kill");
    client.expect_hang_up();
    assert_eq!(tcpreen.finish().code(), 69);
}

#[test]
fn a_client_that_has_reset_already_is_no_failure_and_is_recorded() {
    let (client, accepted) = connection();
    client.reset();
    let scratch = Scratch::new();
    let tcpreen = Tcpreen::to(80).output(scratch.path("record")).by_inetd(accepted).spawn();
    assert_eq!(tcpreen.finish().code(), 0);
    let record = scratch.record("record");
    assert!(record.contains("Session ended: connection reset by the client.\n"), "{record}");
}

#[test]
fn data_of_a_client_that_has_reset_already_is_delivered() {
    let (mut client, accepted) = connection();
    client.send("last words");
    client.reset();
    let (server, scratch) = (Server::listen(), Scratch::new());
    let tcpreen = Tcpreen::to(server.port()).output(scratch.path("record")).by_inetd(accepted).spawn();
    let mut served = server.accept();
    served.expect("last words");
    served.expect_reset();
    assert_eq!(tcpreen.finish().code(), 0);
    let record = scratch.record("record");
    assert!(record.contains("<<< last words") && record.contains("reset by the client"), "{record}");
}

#[test]
fn a_listening_socket_is_served_until_the_end() {
    let echo = echo_server();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port of the kernel's choice");
    let port = listener.local_addr().expect("getsockname").port();
    let tcpreen = Tcpreen::to(echo.port).sessions(2).by_inetd(listener).spawn();
    Peer::connect(port).gets_its_echo();
    Peer::connect(port).gets_its_echo();
    assert_eq!(tcpreen.finish().code(), 0);
}

#[test]
fn descriptor_0_has_to_be_a_stream_socket() {
    let refuses = |tcpreen: Tcpreen, words: &str| {
        let outcome = tcpreen.args(["--inetd"]).listen_on("").run();
        assert_eq!(outcome.code(), 78, "{outcome:?}");
        assert!(outcome.stderr.contains(words), "{outcome:?}");
    };
    refuses(Tcpreen::to(80), "descriptor 0 is no socket");
    refuses(Tcpreen::to(80).by_shell("", "</etc/passwd"), "descriptor 0 is a file");
    refuses(Tcpreen::to(80).by_shell("", "< <(true)"), "descriptor 0 is a pipe");
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    refuses(Tcpreen::to(80).stdin(udp), "descriptor 0 is a datagram socket");
}

/// Starts inetd with a line of contrib/inetd/inetd.conf, set up as the file describes.
#[track_caller]
fn inetd(line: &str, scratch: &Scratch, place: SocketAddr, server: u16) -> RealServer {
    let program = scratch.copy_of_program(0o755);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/inetd/inetd.conf");
    let conf = fs::read_to_string(path).expect("contrib/inetd/inetd.conf");
    let line = conf.lines().find(|it| it.trim_start_matches('#').starts_with(line)).expect("the line");
    let line = format!("{}\n", line.trim_start_matches('#'))
        .replacen("8080", &place.to_string(), 1)
        .replace(" tcpreen /usr/bin/tcpreen", &format!(" nobody {}", program.display()))
        .replace("/var/log/tcpreen", &scratch.path("").display().to_string())
        .replace("127.0.0.1:80", &format!("127.0.0.1:{server}"));
    let conf = scratch.path("inetd.conf");
    fs::write(&conf, line).expect("a file");
    RealServer::start(Command::new("inetd").arg("-i").arg(conf), place)
}

#[test]
fn inetd_starts_one_for_each_client() {
    if !needs(&[Need::Root, Need::Program("inetd")]) {
        return;
    }
    let (echo, scratch, place) = (echo_server(), Scratch::new(), place_of_our_own());
    let inetd = inetd("8080 stream tcp nowait", &scratch, place, echo.port);
    for _ in 0..2 {
        let client = Peer::connect_to(inetd.place());
        let port = client.local_port();
        client.gets_its_echo();
        until("the record of the session", || {
            let mut files = fs::read_dir(scratch.path("")).expect("the directory").flatten();
            let ours =
                files.find(|it| it.file_name().to_string_lossy().ends_with(&format!("-{port}.log")))?;
            let record = fs::read_to_string(ours.path()).expect("a record");
            record.contains("<<< hello\n>>> hello\n").then_some(())
        });
    }
}

#[test]
fn inetd_starts_one_for_all_clients() {
    if !needs(&[Need::Root, Need::Program("inetd")]) {
        return;
    }
    let (echo, scratch, place) = (echo_server(), Scratch::new(), place_of_our_own());
    let inetd = inetd("8080 stream tcp wait", &scratch, place, echo.port);
    let (one, other) = (Peer::connect_to(inetd.place()), Peer::connect_to(inetd.place()));
    other.gets_its_echo();
    one.gets_its_echo();
    let mut processes = proc::of_program(&scratch.path("tcpreen"));
    processes.retain(|pid| proc::is_alive(*pid));
    let parents = processes.iter().filter(|pid| proc::role(**pid).as_deref() == Some(proc::PARENT)).count();
    assert_eq!(parents, 1, "one tcpreen");
    drop(inetd);
    for pid in processes {
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
    }
    assert!(scratch.record("sessions.log").contains("<<< hello"));
}
