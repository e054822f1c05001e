//! Promise 30 with rsyslogd: absent, restarted or stuck, it delays nothing, and later gets the number of lost
//! messages.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::daemon::Daemon;
use crate::support::peer::echo_server;
use crate::support::rsyslog::Rsyslogd;
use crate::support::skip::{Need, needs};
use crate::support::wait::until;

const NEEDS: [Need; 3] = [Need::Root, Need::MountNamespace, Need::Program("rsyslogd")];

#[test]
fn rsyslogd_files_a_daemon_under_its_facility_name_and_levels() {
    if !needs(&NEEDS) {
        return;
    }
    let echo = echo_server();
    let daemon = Daemon::with_dev_log();
    let rsyslogd = daemon.rsyslogd();
    daemon.start(daemon.command(echo.port).args(["-u", "nobody"]));
    let parent = daemon.pid();
    daemon.echo("words");
    daemon.signal(Signal::SIGTERM);
    daemon.all_gone();
    assert_eq!(rsyslogd.message("starting"), format!("daemon.notice tcpreen[{parent}]: starting"));
    let from = format!("daemon.info tcpreen[{parent}]: Connection from: 127.0.0.1 port ");
    assert!(rsyslogd.message("Connection from").starts_with(&from));
    rsyslogd.message("]: stopping");
}

#[test]
fn a_line_that_is_too_long_arrives_in_pieces() {
    if !needs(&NEEDS) {
        return;
    }
    let echo = echo_server();
    let daemon = Daemon::with_dev_log();
    let rsyslogd = daemon.rsyslogd();
    let place = (0..6).fold(daemon.path("deep"), |place, _| place.join("d".repeat(240)));
    fs::create_dir_all(&place).expect("mkdir");
    fs::set_permissions(&place, Permissions::from_mode(0o777)).expect("chmod");
    let record = place.join("re\ncord");
    daemon.start(daemon.command(echo.port).args(["-u", "nobody"]).output(&record));
    fs::rename(&record, place.join("old")).expect("rename");
    fs::set_permissions(&place, Permissions::from_mode(0o755)).expect("chmod");
    daemon.signal(Signal::SIGHUP);
    let first = rsyslogd.message("Log file error: Permission denied (/");
    rsyslogd.message("going on with the old file");
    let rest: Vec<String> = rsyslogd.messages();
    let rest: Vec<&str> =
        rest.iter().filter_map(|line| Some(line.split_once("]: (continued) ")?.1)).collect();
    let text = [first.split_once("error: ").expect("a text").1, &rest.concat()].concat();
    let shown = record.to_string_lossy().escape_default().to_string().replace("\\n", "\\\\n");
    let whole = format!("Permission denied ({}): going on with the old file", shown.replace("\\\\n", "\\n"));
    assert!(!rest.is_empty() && first.len() < 1024);
    assert_eq!(text, whole);
}

#[test]
fn a_late_or_restarted_rsyslogd_gets_the_number_of_lost_messages() {
    if !needs(&NEEDS) {
        return;
    }
    let echo = echo_server();
    let daemon = Daemon::with_dev_log();
    let outcome = daemon.start(daemon.command(echo.port).args(["-u", "nobody"]));
    assert!(outcome.stderr.contains("/dev/log: "), "{outcome:?}");
    let mut sessions = 0;
    for _ in 0..2 {
        daemon.echo("nobody hears of it");
        let rsyslogd = daemon.rsyslogd();
        let before = told(&rsyslogd);
        until("messages", || {
            daemon.echo("somebody does");
            sessions += 1;
            (told(&rsyslogd) > before).then_some(())
        });
        sessions += 1;
        everything_is_told(&daemon, &rsyslogd, &mut sessions);
    }
}

#[test]
fn a_stuck_rsyslogd_delays_nothing_and_gets_the_number_of_lost_messages() {
    if !needs(&NEEDS) {
        return;
    }
    let echo = echo_server();
    let daemon = Daemon::with_dev_log();
    let rsyslogd = daemon.rsyslogd();
    daemon.start(daemon.command(echo.port).args(["-u", "nobody"]));
    rsyslogd.message("Listening on");
    rsyslogd.signal(Signal::SIGSTOP);
    let start = Instant::now();
    let mut sessions = queue() / 2 + 20;
    for _ in 0..sessions {
        daemon.echo("words");
    }
    assert!(start.elapsed() < Duration::from_secs(8), "{:?} for {sessions} sessions", start.elapsed());
    rsyslogd.signal(Signal::SIGCONT);
    everything_is_told(&daemon, &rsyslogd, &mut sessions);
    rsyslogd.message(MISSED);
}

const MISSED: &str = " messages could not be sent here";

/// Number of datagrams that a Unix socket queues.
fn queue() -> usize {
    let limit = fs::read_to_string("/proc/sys/net/unix/max_dgram_qlen").expect("a limit");
    limit.trim().parse().expect("a number")
}

/// Number of messages received, and of messages reported as lost.
fn told(rsyslogd: &Rsyslogd) -> usize {
    let missed = |message: &String| {
        let number = message.strip_suffix(MISSED)?.rsplit(' ').next()?;
        number.parse().ok()
    };
    rsyslogd.messages().iter().map(|message| missed(message).unwrap_or(1)).sum()
}

/// Expects start, address, and two messages per session, or their number. Losses while other messages wait
/// are reported with the next session.
#[track_caller]
fn everything_is_told(daemon: &Daemon, rsyslogd: &Rsyslogd, sessions: &mut usize) {
    until("everything", || {
        daemon.echo("so much was missed");
        *sessions += 1;
        let patience = Instant::now() + Duration::from_millis(500);
        while told(rsyslogd) < 2 + 2 * *sessions && Instant::now() < patience {
            thread::sleep(Duration::from_millis(5));
        }
        (told(rsyslogd) >= 2 + 2 * *sessions).then_some(())
    });
    assert_eq!(told(rsyslogd), 2 + 2 * *sessions);
}
