//! Odd surroundings: inherited descriptors, closed streams.

use crate::support::peer::{Peer, echo_server};
use crate::support::tcpreen::Tcpreen;

/// Even where the program cannot open itself again.
#[test]
fn too_low_a_limit_of_descriptors_is_named() {
    for limit in [6, 9, 11, 20] {
        let outcome = Tcpreen::to(9).by_shell(&format!("ulimit -n {limit}"), "").run();
        assert_eq!(outcome.code(), 71, "{outcome:?}");
        assert!(outcome.stderr.starts_with(&format!("the limit of open files is {limit}")), "{outcome:?}");
    }
}

#[test]
fn with_too_few_descriptors_it_reports_that_and_serves() {
    let echo = echo_server();
    let tcpreen = Tcpreen::to(echo.port).at_once(200).by_shell("ulimit -n 100", "").start();
    let stderr = tcpreen.stderr_line("descriptors");
    assert!(stderr.contains("200") && stderr.contains("100"), "{stderr}");
    for _ in 0..10 {
        let mut client = tcpreen.connect();
        client.send("hello");
        client.expect("hello");
    }
}

#[test]
fn a_soft_limit_is_raised_silently() {
    let echo = echo_server();
    let tcpreen = Tcpreen::to(echo.port).at_once(200).by_shell("ulimit -Sn 100", "").start();
    let clients: Vec<Peer> = (0..150)
        .map(|_| {
            let mut client = tcpreen.connect();
            client.send("hello");
            client
        })
        .collect();
    clients.into_iter().for_each(|mut client| client.expect("hello"));
    assert!(!tcpreen.stderr().contains("descriptors"), "{}", tcpreen.stderr());
}
