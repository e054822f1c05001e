//! Limits and exit statuses that differ from 1.4.4.

use crate::compat::limits::one_session;
use crate::compat::limits::ping_pong;

use crate::support::peer::{Peer, Refusing};
use crate::support::scratch::Scratch;
use crate::support::tcpreen::Tcpreen;
use crate::support::{Bridged, bridge};

/// A reset, a limit and an idle session are ends that the peers or the options brought about.
#[test]
fn sessions_that_peers_or_limits_ended_are_no_failure() {
    type End = fn(Peer, Peer);
    let ends: [(&[&str], End); 5] = [
        (&[], |client, server| drop((client, server))),
        (&[], |client, mut server| {
            client.reset();
            server.expect_reset();
        }),
        (&[], |mut client, server| {
            server.reset();
            client.expect_reset();
        }),
        (&["-b", "1"], |mut client, mut server| {
            client.try_send("words");
            server.expect_hang_up();
            client.expect_hang_up();
        }),
        (&["--idle-timeout", "100ms"], |mut client, mut server| {
            client.expect_hang_up();
            server.expect_hang_up();
        }),
    ];
    for (number, (options, end)) in ends.into_iter().enumerate() {
        let Bridged { client, server, tcpreen } = bridge(|it| it.args(options).sessions(1));
        end(client, server);
        let outcome = tcpreen.finish();
        assert_eq!(outcome.code(), 0, "end {number}: {outcome:?}");
    }
}

#[test]
fn a_dynamic_port_is_announced_even_with_quiet() {
    let Bridged { mut client, mut server, tcpreen } = bridge(|it| it.args(["-q"]).sessions(1));
    ping_pong(&mut client, &mut server);
    let outcome = tcpreen.finish();
    assert_eq!(outcome.stdout(), "");
    assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
}

#[test]
fn an_output_is_exactly_the_file_named() {
    let scratch = Scratch::new();
    std::fs::write(scratch.path("file"), "what was there before").expect("the old file");
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    std::fs::set_permissions(scratch.path("file"), permissions).expect("chmod");
    one_session(|it| it.output(scratch.path("file")));
    let record = scratch.record("file");
    assert!(record.starts_with("Connection from: "), "{record}");
}

#[test]
fn a_refused_session_counts() {
    // The original may lose the child that was refused, and with it the next client.
    let refusing = Refusing::new();
    let tcpreen = Tcpreen::to(refusing.port()).sessions(2).start();
    tcpreen.expect_refusal();
    tcpreen.expect_refusal();
    assert_eq!(tcpreen.finish().code(), 69);
}
