//! Messages of a daemon to syslog, for which it never waits.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::daemon::Daemon;
use crate::support::peer::{Peer, Refusing, Server, echo_server};
use crate::support::skip::{Need, needs};
use crate::support::wait::until;

const NEEDS: [Need; 2] = [Need::Root, Need::MountNamespace];

#[test]
fn the_messages_of_a_daemon_have_their_priorities() {
    if !needs(&NEEDS) {
        return;
    }
    let server = Server::listen();
    let daemon = Daemon::with_dev_log();
    let syslogd = daemon.syslogd();
    let outcome = daemon.start(daemon.command(server.port()).args(["-u", "nobody"]));
    assert_eq!(outcome.stderr, "");
    let parent = daemon.pid();
    let says = |priority: u8, text: &str| {
        assert_eq!(syslogd.next(), format!("<{priority}>tcpreen[{parent}]: {text}"));
    };
    says(29, "starting");
    says(29, &format!("Listening on: {} port {}", daemon.place().ip(), daemon.place().port()));
    let client = daemon.connect();
    let _server = server.accept();
    says(30, &format!("Connection from: 127.0.0.1 port {}", client.local_port()));
    says(30, &format!("Connection to: 127.0.0.1 port {}", server.port()));
    daemon.signal(Signal::SIGUSR1);
    let session = syslogd.next();
    assert!(session.starts_with("<29>") && session.contains("]: Session 1: 127.0.0.1 port "), "{session}");
    says(
        29,
        "Sessions: 1 running, 0 ended, 0 bytes received, 0 bytes sent (counted at the end of each side)",
    );
    daemon.signal(Signal::SIGHUP);
    says(29, "Caught signal: Hangup");
    daemon.signal(Signal::SIGTERM);
    says(29, "Caught signal: Terminated");
    says(29, "stopping");
    daemon.all_gone();
    assert_eq!(syslogd.pending(), [""; 0]);
}

#[test]
fn syslog_replaces_stderr_in_the_foreground() {
    if !needs(&NEEDS) {
        return;
    }
    let echo = echo_server();
    let daemon = Daemon::with_dev_log();
    let syslogd = daemon.syslogd();
    let tcpreen = daemon.foreground(echo.port).args(["--syslog", "-v", "-v", "-u", "nobody"]).spawn();
    assert!(syslogd.next().ends_with("]: starting"));
    let detail = syslogd.next();
    assert!(detail.starts_with("<31>tcpreen[") && detail.contains("]: resolver: uid "), "{detail}");
    assert!(syslogd.next_with("Listening on: ").starts_with("<29>"));
    daemon.echo("words");
    assert!(syslogd.next().starts_with("<30>"), "Connection from");
    assert!(syslogd.next().starts_with("<30>"), "Connection to");
    tcpreen.stdout_with("<<< words\n");
    daemon.signal(Signal::SIGTERM);
    syslogd.next_with("]: Caught signal: Terminated");
    assert!(syslogd.next().ends_with("]: stopping"));
    assert_eq!(tcpreen.finish().stderr, "");
}

#[test]
fn with_quiet_only_errors_reach_syslog() {
    if !needs(&NEEDS) {
        return;
    }
    let refusing = Refusing::new();
    let daemon = Daemon::with_dev_log();
    let syslogd = daemon.syslogd();
    let tcpreen = daemon.foreground(refusing.port()).args(["--syslog", "-q", "-m", "1"]).spawn();
    until("a client", || std::net::TcpStream::connect(daemon.place()).ok());
    let outcome = tcpreen.finish();
    assert_eq!((outcome.code(), &*outcome.stderr), (69, ""));
    let heard = syslogd.pending();
    assert!(heard.len() == 1 && heard[0].starts_with("<27>"), "{heard:?}");
}

#[test]
fn errors_and_warnings_have_their_priorities() {
    if !needs(&NEEDS) {
        return;
    }
    let refusing = Refusing::new();
    let port = refusing.port();
    let daemon = Daemon::with_dev_log();
    let syslogd = daemon.syslogd();
    daemon.start(daemon.command(port).args(["--max-per-client=1"]));
    daemon.expect_refusal();
    let error = syslogd.next_with("refused");
    assert!(error.starts_with("<27>tcpreen["), "{error}");
    assert!(error.ends_with(&format!("]: 127.0.0.1 port {port}: Connection refused")), "{error}");

    let server = refusing.listen();
    let mut client = daemon.connect();
    let _server = server.accept();
    client.send("x");
    daemon.expect_refusal();
    let warning = syslogd.next_with("turned away");
    assert!(warning.starts_with("<28>tcpreen["), "{warning}");

    daemon.kill("worker");
    // Idle workers have ended with it.
    let error = syslogd.next_with("in session 1");
    assert!(error.starts_with("<27>tcpreen["), "{error}");
    assert!(error.ends_with(" killed by signal 9 (Killed) in session 1"), "{error}");
}

#[test]
fn a_lost_role_is_the_last_message_to_syslog() {
    if !needs(&NEEDS) {
        return;
    }
    let daemon = Daemon::with_dev_log();
    let syslogd = daemon.syslogd();
    daemon.start(daemon.command(80));
    daemon.kill("zygote");
    let error = syslogd.next_with("lost the zygote");
    assert!(error.starts_with("<27>tcpreen["), "{error}");
    assert!(syslogd.next().ends_with("]: stopping"));
    daemon.all_gone();
}

#[test]
fn a_lost_resolver_is_reported_as_an_error_and_the_daemon_continues() {
    if !needs(&NEEDS) {
        return;
    }
    let echo = echo_server();
    let daemon = Daemon::with_dev_log();
    let syslogd = daemon.syslogd();
    daemon.start(daemon.command(echo.port));
    daemon.kill("resolver");
    let error = syslogd.next_with("lost the resolver");
    assert!(error.starts_with("<27>tcpreen["), "{error}");
    daemon.echo("served all the same");
}

#[test]
fn without_syslogd_it_starts_reports_that_and_finds_it_later() {
    if !needs(&NEEDS) {
        return;
    }
    let echo = echo_server();
    let daemon = Daemon::with_dev_log();
    let outcome = daemon.start(daemon.command(echo.port));
    assert_eq!(outcome.stderr.matches("/dev/log").count(), 1, "{outcome:?}");
    assert!(outcome.stderr.contains("No such file or directory"), "{outcome:?}");
    daemon.echo("nobody hears of it");
    let syslogd = daemon.syslogd();
    let heard = until("a message", || {
        daemon.echo("somebody does");
        Some(syslogd.pending()).filter(|messages| messages.len() > 1)
    });
    assert!(heard[0].starts_with("<28>"), "{heard:?}");
    assert!(heard[0].ends_with(" messages could not be sent here"), "{heard:?}");
    assert!(heard[1].contains("Connection "), "{heard:?}");
}

#[test]
fn without_dev_log_journald_gets_the_messages() {
    if !needs(&NEEDS) {
        return;
    }
    let echo = echo_server();
    let daemon = Daemon::with_journal();
    let syslogd = daemon.syslogd();
    let outcome = daemon.start(daemon.command(echo.port));
    assert!(!outcome.stderr.contains("nothing is told"), "{outcome:?}");
    syslogd.next_with("Listening on: ");
    daemon.echo("words");
    syslogd.next_with("Connection from: ");
}

/// Where no port was given, it is in syslog alone, with `-q`, too.
#[test]
fn a_daemon_reports_its_dynamic_port_to_syslog() {
    if !needs(&NEEDS) {
        return;
    }
    let echo = echo_server();
    for option in ["-n", "-q"] {
        let daemon = Daemon::with_dev_log();
        let syslogd = daemon.syslogd();
        let outcome = daemon.start(daemon.in_front(echo.port).args(["-d", option]));
        assert_eq!(outcome.stderr.matches("Listening").count(), 0, "{outcome:?}");
        let message = syslogd.next_with("Listening on: 127.0.0.1 port ");
        let port = message.rsplit(' ').next().and_then(|port| port.parse().ok()).expect("a port");
        let mut client = Peer::connect(port);
        client.send("words");
        client.expect("words");
    }
}

#[test]
fn a_syslogd_that_is_restarted_is_found_again() {
    if !needs(&NEEDS) {
        return;
    }
    let echo = echo_server();
    let daemon = Daemon::with_dev_log();
    let mut syslogd = daemon.syslogd();
    daemon.start(daemon.command(echo.port));
    for _ in 0..2 {
        drop(syslogd);
        daemon.echo("nobody hears of it");
        syslogd = daemon.syslogd();
        until("a message", || {
            daemon.echo("somebody does");
            syslogd.pending().into_iter().find(|message| message.contains("Connection "))
        });
    }
}

#[test]
fn a_syslogd_that_is_stuck_delays_nothing() {
    if !needs(&NEEDS) {
        return;
    }
    let echo = echo_server();
    let daemon = Daemon::with_dev_log();
    let syslogd = daemon.syslogd();
    daemon.start_recording(echo.port);
    let start = Instant::now();
    for number in 0..100 {
        daemon.echo(&format!("session {number}"));
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?} for 100 sessions", start.elapsed());
    assert!(syslogd.pending().len() < 100, "it took what it could");
    daemon.echo("it takes some again");
    let heard = syslogd.next_with("messages could not be sent here");
    assert!(heard.starts_with("<28>"), "{heard}");
    syslogd.next_with("Connection from: ");
    until("everything in the record", || {
        let record = daemon.record();
        (0..100).all(|number| record.contains(&format!("session {number}\n"))).then_some(())
    });
}
