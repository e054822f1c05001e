//! SIGUSR1 prints running sessions and totals, and disturbs nothing.

use nix::sys::signal::Signal;

use crate::support::{Bridged, bridge};

#[test]
fn sigusr1_prints_sessions_and_totals_even_with_quiet() {
    // The original ignores it.
    let Bridged { mut client, mut server, tcpreen } = bridge(|it| it.args(["-q", "-f", "count", "-o", "-"]));
    client.send("ping");
    server.expect("ping");
    server.send("pong!");
    client.expect("pong!");
    tcpreen.stdout_with(">>> 5 bytes\n");
    tcpreen.signal(Signal::SIGUSR1);
    let session = tcpreen.stderr_line("Session 1: 127.0.0.1 port ");
    assert!(session.ends_with(" s, 4 bytes received, 5 bytes sent"), "{session}");
    assert!(session.contains(" s, idle for "), "{session}");
    assert_eq!(
        tcpreen.stderr_line("Sessions: "),
        "Sessions: 1 running, 0 ended, 4 bytes received, 5 bytes sent"
    );
    client.send("on it goes");
    server.expect("on it goes");
}

#[test]
fn statistics_mark_totals_known_only_at_the_end() {
    let Bridged { mut client, mut server, tcpreen } = bridge(|it| it.args(["-f", "null"]));
    client.send("ping");
    server.expect("ping");
    tcpreen.signal(Signal::SIGUSR1);
    let totals = tcpreen.stderr_line("Sessions: ");
    assert!(!tcpreen.stderr_line("Session 1: ").contains("idle"));
    assert!(totals.ends_with(" (counted at the end of each side)"), "{totals}");
}
