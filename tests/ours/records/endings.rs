//! Ends of sessions in records: what the system knows of the connections, and states that take more than two peers.

use std::process::Command;

use crate::ours::records::*;
use crate::support::nobody;
use crate::support::unix::UnixServer;

/// The four numbers of a connection.
fn numbers(object: &Value, side: &str) -> [f64; 4] {
    ["rtt", "rttvar", "retransmissions", "delivery_rate"].map(|key| {
        object[format!("{side}_{key}")].as_f64().unwrap_or_else(|| panic!("{side}_{key}: {object}"))
    })
}

/// Converts a record; what is written must be the same in both ways.
fn converted(scratch: &Scratch, record: &Path, format: &str) -> std::path::PathBuf {
    let output = scratch.path(&format!("converted.{format}"));
    let outcome = Tcpreen::reading([record]).format(format).output(&output).run();
    assert_eq!(outcome.code(), 0, "{outcome:?}");
    output
}

#[test]
fn the_end_has_what_the_system_knows_of_both_connections_and_it_is_never_lost() {
    let scratch = Scratch::new();
    let [lines, packets] = ["lines", "packets"].map(|name| scratch.path(name));
    let outputs = |it: Tcpreen| it.format("json").output(&lines).format("pcapng").output(&packets);
    let Bridged { mut client, mut server, tcpreen } = bridge(|it| outputs(it).sessions(1));
    // Rates and times are of acknowledged data, in both directions.
    for _ in 0..3 {
        client.send("x".repeat(20_000));
        server.expect("x".repeat(20_000));
        server.send("y".repeat(20_000));
        client.expect("y".repeat(20_000));
    }
    drop((client, server));
    tcpreen.finish();
    let all = read(&lines);
    for side in ["client", "server"] {
        assert_eq!(numbers(of(&all, "start")[0], side), [0.0; 4]);
        let [rtt, rttvar, _, rate] = numbers(of(&all, "end")[0], side);
        assert!((1e-6..10.0).contains(&rtt) && (1e-6..10.0).contains(&rttvar), "{side}: {rtt} {rttvar}");
        assert!(rate > 1000.0, "{side}: {rate} bytes per second");
    }
    for event in ["start", "end"] {
        let object = of(&all, event)[0];
        assert!(object["client_rtt"].is_f64() && object["server_rttvar"].is_f64(), "{object}");
        assert!(object["client_retransmissions"].is_u64() && object["server_delivery_rate"].is_u64());
    }
    let by_packets = converted(&scratch, &packets, "json");
    assert_eq!(fs::read(by_packets).expect("lines"), fs::read(&lines).expect("lines"));
    let again = converted(&scratch, &lines, "pcapng");
    assert_eq!(
        fs::read(converted(&scratch, &again, "json")).expect("lines"),
        fs::read(&lines).expect("lines")
    );
}

#[test]
fn nothing_is_known_of_the_connection_to_a_unix_socket() {
    let scratch = Scratch::new();
    let lines = scratch.path("lines");
    let server = UnixServer::listen(scratch.path("server"));
    let tcpreen = Tcpreen::to(scratch.path("server").display()).host("").args(["-p", "unix/tcp"]);
    let tcpreen = tcpreen.format("json").output(&lines).sessions(1).start();
    let mut client = tcpreen.connect();
    let mut peer = server.accept();
    peer.send("words");
    client.expect("words");
    drop((client, peer));
    tcpreen.finish();
    let all = read(&lines);
    let end = of(&all, "end")[0];
    assert_eq!(numbers(end, "server"), [0.0; 4]);
    assert!(numbers(end, "client")[0] > 0.0, "{end}");
}

/// Calls with which a session asks for `TCP_INFO`.
fn questions(format: &str) -> usize {
    let scratch = Scratch::new();
    let trace = scratch.path("trace");
    let listener = Server::listen();
    let strace = format!("exec strace -f -qq -e trace=getsockopt -o {}", trace.display());
    let tcpreen = Tcpreen::to(listener.port()).format(format).output(scratch.path("record")).sessions(1);
    let tcpreen = tcpreen.by_shell(&format!("{strace} \"$0\" \"$@\""), "").start();
    let mut client = tcpreen.connect();
    let mut server = listener.accept();
    client.send("words");
    server.expect("words");
    drop((client, server));
    tcpreen.finish();
    fs::read_to_string(&trace).expect("a trace").lines().filter(|line| line.contains("TCP_INFO")).count()
}

#[test]
fn two_calls_are_the_price_and_only_formats_that_have_them_pay_it() {
    if !needs(&[Need::Root, Need::Program("strace")]) {
        return;
    }
    let formats = ["json", "pcapng", "raw", "view"];
    assert_eq!(formats.map(questions), [2, 2, 0, 0]);
}

/// With too low a limit of descriptors, poll(2) fails.
#[test]
fn a_session_that_the_system_failed_says_why() {
    if !needs(&[Need::Root, Need::Program("setpriv")]) {
        return;
    }
    let scratch = Scratch::new();
    let [lines, packets] = ["lines", "packets"].map(|name| scratch.path(name));
    let outputs = |it: Tcpreen| it.format("json").output(&lines).format("pcapng").output(&packets);
    let Bridged { mut client, mut server, tcpreen } = bridge(|it| outputs(it).sessions(1));
    let (worker, (uid, gid)) = (tcpreen.busy_worker().to_string(), nobody());
    // As the worker's user, who needs no capability for it.
    let account = [format!("--reuid={uid}"), format!("--regid={gid}"), "--clear-groups".into()];
    let limit = ["prlimit", "--nofile=2:2", "--pid", &worker];
    assert!(Command::new("setpriv").args(account).args(limit).status().expect("setpriv").success());
    client.send("words");
    server.expect("words");
    drop((client, server));
    tcpreen.finish();
    let all = read(&lines);
    let end = of(&all, "end")[0];
    assert_eq!((&end["state"], &end["errno"]), (&"failed".into(), &22.into()), "{end}");
    assert_eq!((&end["conn_state"], &end["client_bytes"]), (&"S1".into(), &5.into()), "{end}");
    let by_packets = read(&converted(&scratch, &packets, "json"));
    assert_eq!(of(&by_packets, "end")[0], end);
    if needs(&[Need::Program("tshark")]) {
        assert_eq!(matching(&packets, "tcp.flags.fin == 1 || tcp.flags.reset == 1"), 0, "no peer did that");
    }
}
