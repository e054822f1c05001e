//! Command lines with a saved record.

use super::*;
use crate::config::Reading;

fn reading(line: &str) -> Reading {
    match config(line).task {
        Task::Read(reading) => reading,
        _ => panic!("{line}: no record is read"),
    }
}

#[test]
fn every_file_of_a_record_is_read_in_its_order() {
    let files = |names: &[&str]| -> Vec<RecordInput> {
        let file =
            |name: &&str| if *name == "-" { RecordInput::Stdin } else { RecordInput::File(name.into()) };
        names.iter().map(file).collect()
    };
    for (line, names) in [
        ("--read a", &["a"][..]),
        ("--read=a b c d", &["a", "b", "c", "d"]),
        ("a --read b -f hex c -o d --read e", &["a", "b", "c", "e"]),
        ("--read - 80", &["-", "80"]),
        ("--read a -- -b", &["a", "-b"]),
    ] {
        assert_eq!(reading(line).inputs, files(names), "{line}");
    }
    assert_eq!(reading("--read a --session 3,1").sessions, [3, 1]);
    assert!(reading("--read a").sessions.is_empty());
}

#[test]
fn a_record_is_shown_unless_it_is_written_elsewhere() {
    assert_eq!(config("--read a").outputs, [stdout(Format::C)]);
    assert_eq!(config("--read a -f hex").outputs, [stdout(Format::Hex)]);
    assert_eq!(config("--read a -f hex -o b").outputs, [file("b", Format::Hex)]);
    assert_eq!(config("-q --read a").outputs, []);
}

#[test]
fn what_has_to_do_with_peers_makes_no_sense_with_a_record() {
    for option in ["-d", "-c", "-l", "-F 2", "-m 1", "--inetd", "--idle-timeout 1", "-s host"] {
        let error = error(&format!("--read a {option}"));
        assert!(error.ends_with("makes no sense with --read, which meets no peers."), "{option}: {error}");
    }
    assert_eq!(error("--tls-keys k 80"), "--tls-keys: only with --read.");
    assert_eq!(
        error("--read a --tls-keys k -f json -o b"),
        "--tls-keys: needs an output in pcapng (-f pcapng -o FILE)."
    );
    assert_eq!(error("--read - --tls-keys - -f pcapng -o b"), "-: standard input can be read once only.");
    assert_eq!(error("--diff a b --tls-keys k"), "--tls-keys: makes no sense with --diff.");
    let keys = reading("--read a --tls-keys k -f pcapng -o b").keys;
    assert_eq!(keys, Some(RecordInput::File("k".into())));
    assert_eq!(error("--session 1 80"), "--session: only with a record (--read, --replay, --diff).");
    assert_eq!(error("--read - -"), "-: standard input can be read once only.");
    assert_eq!(error("--read - /dev/stdin"), "-: standard input can be read once only.");
    assert_eq!(error("--diff /dev/fd/5 /proc/self/fd/5"), "/dev/fd/5: can be read once only.");
    assert_eq!(error("--read a --session 0"), "0: invalid session numbers.");
    assert_eq!(error("--read a --session 1,x"), "1,x: invalid session numbers.");
}

#[test]
fn numbers_of_sessions_have_a_limit_that_its_error_names() {
    let numbers = |last: u64| (1..=last).map(|number| number.to_string()).collect::<Vec<_>>().join(",");
    let line = |last| format!("--read a --session {}", numbers(last));
    assert_eq!(reading(&line(256)).sessions.len(), 256);
    assert_eq!(error(&line(257)), "--session: 257 numbers are more than 256.");
}

#[test]
fn a_replay_has_a_record_and_a_live_peer() {
    let Task::Replay(replay) = config("--replay=client a host 80 --mask x+ --session 3").task else {
        panic!()
    };
    assert_eq!(
        (replay.side, replay.input, replay.session),
        (Side::Client, RecordInput::File("a".into()), Some(3))
    );
    assert_eq!(
        (replay.pace, replay.wait, replay.masks),
        (Pace::Turns, Duration::from_secs(3), vec!["x+".into()])
    );
    let config_of_client = config("--replay=client a host 80");
    assert_eq!(config_of_client.server.host.as_deref(), Some("host"));
    assert_eq!((config_of_client.server.port, config_of_client.sessions), (Port::Number(80), Some(1)));
    let config_of_server = config("--replay server a 127.0.0.1:8080 --pace=time --wait 1");
    assert_eq!(config_of_server.client.host.as_deref(), Some("127.0.0.1"));
    assert_eq!(
        (config_of_server.client.approach, config_of_server.client.port),
        (Approach::Listen, Port::Number(8080))
    );
}

#[test]
fn what_is_no_replay_and_no_comparison_is_told() {
    assert_eq!(error("--replay=client a"), "--replay: needs client FILE HOST PORT, or server FILE PORT.");
    assert_eq!(
        error("--replay=server a b 80"),
        "--replay: needs client FILE HOST PORT, or server FILE PORT."
    );
    assert_eq!(error("--replay=both a 80"), "both: --replay plays client or server.");
    assert_eq!(
        error("--replay=server a 80 -d"),
        "--daemon: makes no sense with --replay, which has one session."
    );
    assert_eq!(error("--replay=server a 80 --pace=slow"), "slow: --pace is turns, time or fast.");
    assert_eq!(error("--replay=server a 80 --session 1,2"), "--session: one at a time is replayed.");
    assert_eq!(error("--diff a"), "--diff: needs two records.");
    assert_eq!(error("--diff a b -o c"), "--output: makes no sense with --diff, which writes no sessions.");
    assert_eq!(error("--diff --read a b"), "--read, --diff: one of them at a time.");
    assert_eq!(error("--mask x 80"), "--mask: only with --replay or --diff.");
    assert_eq!(
        error("--read --session 7 log"),
        "--session: an option, where a record belongs (a file of that name is ./--session)."
    );
}
