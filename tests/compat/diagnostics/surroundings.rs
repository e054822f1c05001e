//! Unusual environments: descriptors missing, too many or too few, and a stdout that accepts nothing.

use std::fs::File;
use std::io::pipe;
use std::thread;

use crate::support::payload::Payload;
use crate::support::peer::{Peer, Server};
use crate::support::record::read_raw;
use crate::support::skip::{Need, needs};
use crate::support::tcpreen::Tcpreen;
use crate::support::under_test::known_to_fail_on_original;
use crate::support::wait::until;
use crate::support::{Bridged, bridge, place_of_our_own, proc};

#[test]
fn with_any_of_the_three_streams_closed_the_traffic_is_exact() {
    known_to_fail_on_original("it writes into whatever got the number", || {
        for closed in 0..8 {
            let streams = ["0<&-", "1>&-", "2>&-"].into_iter().enumerate();
            let closing: Vec<&str> = streams
                .filter(|(bit, _)| closed >> bit & 1 == 1)
                .map(|(_, redirection)| redirection)
                .collect();
            serves_exactly(&closing.join(" "));
        }
    });
}

#[track_caller]
fn serves_exactly(redirections: &str) {
    let listener = Server::listen();
    let place = place_of_our_own();
    let tcpreen = Tcpreen::to(listener.port()).listen_at(place).args(["-v"]);
    let _running = tcpreen.by_shell("", redirections).spawn();
    let mut client = until("the bridge", || Peer::try_connect(place));
    let mut server = listener.accept();
    client.send("question");
    client.finish();
    assert_eq!(server.rest(), b"question", "{redirections}");
    server.send("answer");
    server.finish();
    assert_eq!(client.rest(), b"answer", "{redirections}");
}

#[test]
fn with_a_thousand_descriptors_inherited_it_serves() {
    if !needs(&[Need::Program("bash")]) {
        return;
    }
    known_to_fail_on_original("descriptors beyond 1023 break its select", || {
        let many = "ulimit -Sn 4096 && for i in $(seq 1000); do exec {fd}</dev/null; done";
        let Bridged { mut client, mut server, tcpreen } = bridge(|it| it.by_shell(many, ""));
        client.send("question");
        server.expect("question");
        for pid in tcpreen.processes() {
            let open = proc::descriptors(pid).len();
            assert!(open < 64, "{open} descriptors in {pid}");
        }
    });
}

#[test]
fn a_full_device_as_stdout_is_reported_once_and_sets_the_exit_status() {
    known_to_fail_on_original("it never looks", || {
        let full = File::options().write(true).open("/dev/full").expect("/dev/full");
        let Bridged { mut client, server, tcpreen } = bridge(|it| it.args(["-v"]).sessions(1).stdout(full));
        client.try_send("into the void");
        drop(server);
        client.expect_hang_up();
        let outcome = tcpreen.finish();
        assert_eq!(outcome.stderr.matches("No space left on device").count(), 1, "{outcome:?}");
        assert!(!outcome.stderr.contains("panicked"), "{outcome:?}");
        assert_eq!(outcome.code(), 74);
    });
}

#[test]
fn a_closed_stdout_is_reported_once_and_sets_the_exit_status() {
    known_to_fail_on_original("SIGPIPE kills the session", || {
        let (reader, writer) = pipe().expect("a pipe");
        let Bridged { mut client, mut server, tcpreen } =
            bridge(|it| it.args(["-v"]).sessions(1).stdout(writer));
        client.send("seen");
        server.expect("seen");
        drop(reader);
        client.try_send("unseen");
        drop(server);
        client.expect_hang_up();
        let outcome = tcpreen.finish();
        assert_eq!(outcome.stderr.matches("Broken pipe").count(), 1, "{outcome:?}");
        assert_eq!(outcome.code(), 74);
    });
}

#[test]
fn a_stdout_without_a_reader_stalls_the_session_and_loses_nothing() {
    let (reader, writer) = pipe().expect("a pipe");
    let Bridged { mut client, mut server, tcpreen } =
        bridge(|it| it.format("raw").sessions(1).stdout(writer));
    let sink = thread::spawn(move || {
        server.read_to_end_hashing();
        server.traffic().received
    });
    client.send_until_stalled(&mut Payload::new(5, u64::MAX), 256 << 20);
    let recorded = thread::spawn(move || read_raw(reader).client());
    client.finish();
    let sent = client.traffic().sent;
    assert_eq!(sink.join().expect("the server"), sent);
    drop(client);
    assert_eq!(tcpreen.finish().code(), 0);
    assert_eq!(recorded.join().expect("the reader"), sent);
}
