//! Records that are right, cut anywhere, and wrong in every way.

use super::*;
use crate::messages::{Address, Side};
use crate::record::{Kind, Time};

/// An event, and its payload.
type Got = (Event, Vec<u8>);

/// Where a record stops, and why; nothing for one that is cut there.
type Stopped = (usize, Option<Stop<()>>);

/// Decodes a whole record; returns the events, and the position and reason of an early stop.
fn decoded(record: &[u8]) -> (Vec<Got>, Result<(), Stopped>) {
    let mut decoder = Decoder::default();
    let (mut got, mut at) = (Vec::new(), 0);
    while at < record.len() {
        let mut sink = |event, payload: &[u8]| {
            got.push((event, payload.to_vec()));
            Ok(())
        };
        match decoder.take(&record[at..], true, &mut sink) {
            Ok(Taken::Bytes(used)) => at += used,
            Ok(Taken::Needs(_)) => return (got, Err((at, None))),
            Err(stop) => return (got, Err((at, Some(stop)))),
        }
    }
    (got, Ok(()))
}

fn line(event: &str, nanoseconds: u32, rest: &str) -> String {
    format!(
        r#"{{"time":"2025-11-26T10:22:27.{nanoseconds:09}Z","event":"{event}","run":"r","session":7,"elapsed":0.1,{rest}}}"#
    ) + "\n"
}

const PEERS: &str = concat!(
    r#""client_ip":"fe80::1%3","client_port":40210,"client_unix":"","client_name":"","client_local":"","#,
    r#""server_ip":"","server_port":0,"server_unix":"/run/x","server_name":"","server_local":"unix:/y","#,
    r#""connect":0.000000412"#
);

fn start() -> String {
    line("start", 1412, PEERS)
}

fn data(at: u32, rest: &str) -> String {
    line("data", at, &format!(r#""sender":"client","urgent":false,{rest}"#))
}

fn session() -> String {
    let end = format!(
        r#"{PEERS},"client_bytes":9,"server_bytes":0,"state":"client_reset","conn_state":"RSTO","errno":104"#
    );
    [
        start(),
        data(1500, r#""position":0,"bytes":4,"text":"a\u202e","base64":"""#),
        data(1600, r#""position":4,"bytes":3,"text":"..A","base64":"AP9B""#),
        data(1700, r#""position":9,"bytes":5000000000,"text":"","base64":"""#),
        line("note", 1800, r#""message":"lost""#),
        line("eof", 1900, r#""sender":"server","bytes":0"#),
        line("end", 2000, &end),
    ]
    .concat()
}

#[test]
fn a_session_in_json_is_decoded_exactly() {
    let (got, end) = decoded(session().as_bytes());
    assert_eq!(end, Ok(()));
    let Kind::Start(info) = &got[0].0.kind else { panic!("{got:?}") };
    assert_eq!(info.started, got[0].0.time);
    assert_eq!(info.started.nanos(), 1_764_152_547_000_001_412);
    assert_eq!(info.started.since(info.accepted), 412);
    let host = "fe80::1".parse().expect("an address");
    assert_eq!(info.peers[0].address, Address::V6 { host, port: 40210, scope: 3 });
    assert_eq!(info.peers[1].address, Address::Unix(b"/run/x".to_vec()));
    assert_eq!(
        info.peers.each_ref().map(|peer| peer.local.clone()),
        [None, Some(Address::Unix(b"/y".to_vec()))]
    );
    let payloads: Vec<&[u8]> = got.iter().map(|(_, payload)| payload.as_slice()).collect();
    assert_eq!(payloads[1..4], ["a\u{202e}".as_bytes(), b"\0\xffA", b""]);
    let bytes = 5_000_000_000;
    assert_eq!(got[3].0.kind, Kind::Data { from: Side::Client, position: 9, bytes, urgent: false });
    assert_eq!(got[4].0.kind, Kind::Note("lost".into()));
    assert_eq!(got[5].0.kind, Kind::Eof { from: Side::Server, total: 0 });
    let Kind::End(end) = got[6].0.kind else { panic!("{got:?}") };
    assert_eq!((end.errno, end.totals), (104, [9, 0]));
}

#[test]
fn a_record_cut_at_any_byte_gives_every_whole_event_and_the_place() {
    let record = session();
    let ends: Vec<usize> = record.match_indices('\n').map(|(at, _)| at).collect();
    for length in 0..record.len() {
        let (got, end) = decoded(&record.as_bytes()[..length]);
        let whole = ends.iter().filter(|end| **end <= length).count();
        assert_eq!(got.len(), whole, "{length}");
        let begin = ends[..whole].last().map_or(0, |end| end + 1);
        match end {
            Ok(()) => assert!(length == 0 || length == begin || length + 1 == begin, "{length}"),
            Err((at, None)) => assert_eq!(at, begin, "{length}"),
            Err((_, Some(stop))) => panic!("{length}: {stop:?}"),
        }
    }
}

#[test]
fn lines_that_lie_stop_the_record_where_they_begin() {
    let before = start() + &data(1500, r#""position":0,"bytes":1,"text":"x","base64":"""#);
    let deep = format!("{{\"a\":{}{}}}\n", "[".repeat(60_000), "]".repeat(60_000));
    let lies = [
        data(1600, r#""position":0,"bytes":1,"text":"x","base64":"""#),
        data(1600, r#""position":1,"bytes":2,"text":"x","base64":"""#),
        data(1600, r#""position":1,"bytes":0,"text":"","base64":"""#),
        data(1600, r#""position":1,"bytes":1,"text":"x","base64":"*""#),
        data(1600, r#""position":18446744073709551615,"bytes":1,"text":"x","base64":"""#),
        data(1600, r#""position":-1,"bytes":1,"text":"x","base64":"""#),
        data(1499, r#""position":1,"bytes":1,"text":"x","base64":"""#),
        line("eof", 1600, r#""sender":"nobody","bytes":1"#),
        line("eof", 1600, r#""sender":"client","bytes":0"#),
        line("end", 1600, r#""state":"bored","conn_state":"SF","errno":0"#),
        line("note", 1600, &format!(r#""message":"{}""#, "x".repeat(LONGEST_TEXT + 1))),
        line("note", 1600, "\"message\":\"x\"").replace("\"session\":7", "\"session\":8"),
        line("note", 1600, "\"message\":\"x\"").replace("2025-11-26T", "2025-13-26T"),
        line("note", 1600, "\"message\":\"x\"").replace(".0000", ".-000"),
        start(),
        deep,
        "x".repeat(LONGEST_UNIT) + "\n",
        "null\n".to_owned(),
    ];
    for lie in lies {
        let (got, end) = decoded((before.clone() + &lie).as_bytes());
        let shown: String = lie.chars().take(200).collect();
        assert_eq!((got.len(), end), (2, Err((before.len(), Some(Stop::Damaged)))), "{shown}");
    }
}

#[test]
fn the_same_number_of_two_runs_is_two_sessions() {
    let other = |text: String| text.replace("\"run\":\"r\"", "\"run\":\"s\"");
    let note = line("note", 1800, r#""message":"x""#);
    let record = [start(), other(start()), note.clone(), other(note)].concat();
    let (got, end) = decoded(record.as_bytes());
    assert_eq!(end, Ok(()));
    let ids: Vec<u64> = got.iter().map(|(event, _)| event.session).collect();
    assert_eq!((ids[0], ids[1]), (ids[2], ids[3]));
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn a_session_goes_on_in_the_next_part_and_begins_there_where_the_first_is_missing() {
    let rest =
        format!(r#"{PEERS},"client_bytes":5,"server_bytes":0,"state":"open","conn_state":"S1","errno":0"#);
    let next = line("continue", 200_000_000, &rest)
        + &data(200_000_001, r#""position":5,"bytes":1,"text":"x","base64":"""#);
    let (got, end) = decoded((start() + &next).as_bytes());
    assert_eq!((got.len(), end), (2, Ok(())));
    let (got, end) = decoded(next.as_bytes());
    assert_eq!((got.len(), end), (2, Ok(())));
    assert_eq!(got[0].0.time, Time::from_nanos(1_764_152_547_100_000_000));
}
