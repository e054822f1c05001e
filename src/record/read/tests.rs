//! Records that are right, cut anywhere, and wrong in every way.

mod search;

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::format::Format;
use crate::messages::{Address, Side, View};
use crate::record::order;
use crate::record::{
    ConnState, End, FileStart, Kind, Meeting, Peer, Purpose, SessionInfo, State, TcpInfo, Time, encoder,
};

/// An event, and its payload.
type Got = (Event, Vec<u8>);

/// Where a record stops, and why; nothing for one that is cut there.
type Stopped = (usize, Option<DecodeError<()>>);

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
            Ok(Decoded::Bytes(used)) => at += used,
            Ok(Decoded::Needs(_)) => return (got, Err((at, None))),
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
        assert_eq!((got.len(), end), (2, Err((before.len(), Some(DecodeError::Damaged)))), "{shown}");
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

/// A generator of records: numbers that depend on nothing but the first.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn address(&mut self) -> Address {
        let port = 1 + self.roll(65_535) as u16;
        match self.roll(4) {
            0 => Address::Unix(vec![b"/\n\\\xff\xc3\xa9a"[self.roll(7) as usize]; self.roll(20) as usize]),
            1 => {
                let host = std::net::Ipv6Addr::from(u128::from(self.roll(99)) | 0xfe80 << 112);
                Address::V6 { host, port, scope: self.roll(3) as u32 }
            }
            _ => Address::V4 { host: [192, 0, 2, self.roll(200) as u8].into(), port },
        }
    }

    fn peer(&mut self) -> Peer {
        let address = self.address();
        let mut name = address.numeric();
        if self.roll(3) == 0 && address.ip().is_some() {
            name.node = format!("host-{}.example", self.roll(9));
        }
        Peer { address, name, local: (self.roll(2) == 0).then(|| self.address()) }
    }

    /// Nothing is known of some.
    fn tcp_info(&mut self) -> TcpInfo {
        match self.roll(3) {
            0 => TcpInfo::default(),
            _ => TcpInfo {
                rtt: self.roll(1 << 32) as u32,
                rttvar: self.roll(2_000_000) as u32,
                retransmissions: self.roll(9) as u32,
                delivery_rate: self.roll(u64::MAX),
            },
        }
    }

    fn payload(&mut self) -> Vec<u8> {
        let length = [1, 5, 1460, 70_000, 200_000][self.roll(5) as usize];
        match self.roll(3) {
            0 => vec![b'a'; length],
            1 => "é\u{202e}\r\n".bytes().cycle().take(length).collect(),
            _ => (0..length).map(|_| self.roll(256) as u8).collect(),
        }
    }
}

/// A session under way.
struct Live {
    number: u64,
    positions: [u64; 2],
    finished: [bool; 2],
    meeting: Meeting,
    only_lengths: bool,
}

/// Several sessions at a time, with all that can happen in them.
fn record(seed: u64) -> Vec<Got> {
    let mut dice = Dice(seed | 1);
    let (mut events, mut live, mut begun) = (Vec::new(), Vec::<Live>::new(), 0);
    let mut time = 1_764_152_547_000_000_000;
    while begun < 6 || !live.is_empty() {
        time += dice.roll(5_000_000);
        if begun < 6 && (live.is_empty() || dice.roll(5) == 0) {
            begun += 1;
            let meeting =
                [Meeting::Both, Meeting::Both, Meeting::One, Meeting::Refused][dice.roll(4) as usize];
            // Beyond what the options of a packet hold.
            let number = begun << 31;
            let accepted = Time::from_nanos(time);
            time += dice.roll(1_000_000);
            let peers = [dice.peer(), dice.peer()];
            let started = Time::from_nanos(time);
            let info = SessionInfo { number, run: "m4k2zq".into(), accepted, started, peers, meeting };
            events
                .push((Event { time: started, session: number, kind: Kind::Start(Arc::new(info)) }, vec![]));
            let only_lengths = dice.roll(5) == 0;
            live.push(Live { number, positions: [0; 2], finished: [false; 2], meeting, only_lengths });
            continue;
        }
        let index = dice.roll(live.len() as u64) as usize;
        if let Some((kind, payload)) = happening(&mut dice, &mut live[index]) {
            let is_end = matches!(kind, Kind::End(_));
            events.push((Event { time: Time::from_nanos(time), session: live[index].number, kind }, payload));
            if is_end {
                live.remove(index);
            }
        }
    }
    events
}

fn happening(dice: &mut Dice, session: &mut Live) -> Option<(Kind, Vec<u8>)> {
    let from = if dice.roll(2) == 0 { Side::Client } else { Side::Server };
    let side = from as usize;
    let met = session.meeting == Meeting::Both;
    match dice.roll(12) {
        0..=7 if met && !session.finished[side] => {
            // Some bytes may be missing from the record.
            let gap = [0, 0, 0, 7, 5 << 30][dice.roll(5) as usize];
            let (position, mut payload) = (session.positions[side] + gap, dice.payload());
            let urgent = dice.roll(9) == 0;
            payload.truncate(if urgent { 1 } else { usize::MAX });
            let bytes = payload.len() as u64;
            session.positions[side] = position + bytes;
            let payload = if session.only_lengths { Vec::new() } else { payload };
            Some((Kind::Data { from, position, bytes, urgent }, payload))
        }
        8 if met && !session.finished[side] => {
            session.finished[side] = true;
            session.positions[side] += [0, 9, 6 << 30][dice.roll(3) as usize];
            Some((Kind::Eof { from, total: session.positions[side] }, Vec::new()))
        }
        // Of peers that never met, packets keep notes back until the end.
        9 if met => Some((Kind::Note("was killed by \"signal\" 9".into()), Vec::new())),
        10 => {
            let state = match session.meeting {
                Meeting::Refused => State::Refused,
                _ => State::ALL[dice.roll(8) as usize],
            };
            let conn_state = ConnState::of(state, session.finished);
            let (errno, totals) = (dice.roll(3) as i32, session.positions);
            let end = End { state, conn_state, errno, totals, tcp: [dice.tcp_info(), dice.tcp_info()] };
            Some((Kind::End(end), Vec::new()))
        }
        _ => None,
    }
}

/// Two files, the second of which begins after this number of events.
fn encoded(events: &[Got], format: Format, first: usize) -> [Vec<u8>; 2] {
    let view = View { format, only: None, time: None };
    let mut encoder = encoder(view, Purpose::default());
    let mut files = [Vec::new(), Vec::new()];
    let file =
        |part| FileStart { part, time: events.first().map_or(Time::default(), |(event, _)| event.time) };
    encoder.begin_file(&file(1), &mut files[0]);
    for (index, (event, payload)) in events.iter().enumerate() {
        if index == first {
            encoder.end_file(&mut files[0]);
            encoder.begin_file(&file(2), &mut files[1]);
        }
        let out = &mut files[usize::from(index >= first)];
        let rest = encoder.event(event, payload, out);
        out.extend_from_slice(rest);
    }
    files
}

/// What the parts of a record give, all of which must be whole.
fn decoded_parts(parts: &[Vec<u8>]) -> Vec<Got> {
    let (mut decoder, mut got) = (Decoder::default(), Vec::new());
    for part in parts {
        decoder.begin_part();
        let mut rest = &part[..];
        while !rest.is_empty() {
            let mut sink = |event, payload: &[u8]| {
                got.push((event, payload.to_vec()));
                Ok::<(), ()>(())
            };
            match decoder.take(rest, true, &mut sink) {
                Ok(Decoded::Bytes(used)) => rest = &rest[used..],
                other => panic!("{other:?} {} bytes before the end, after {:?}", rest.len(), got.last()),
            }
        }
    }
    got
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn records_come_back_from_both_formats_and_from_one_by_the_other(seed in any::<u64>(), cut in 0..40usize) {
        let events = record(seed);
        let same = |got: Vec<Got>, format| {
            let differs = got.iter().zip(&events).position(|(got, event)| got != event);
            let shown = differs.map(|at| (&got[at].0, &events[at].0));
            prop_assert!(shown.is_none() && got.len() == events.len(), "{format:?}: {shown:?}");
            Ok(())
        };
        same(decoded_parts(&encoded(&events, Format::Json, cut)), Format::Json)?;
        let by_packets = decoded_parts(&encoded(&events, Format::Pcapng, cut));
        same(by_packets.clone(), Format::Pcapng)?;
        same(decoded_parts(&encoded(&by_packets, Format::Json, cut)), Format::Json)?;
    }
}

#[test]
fn packets_cut_at_any_byte_give_every_whole_event() {
    let mut events = record(5);
    events.retain(|(_, payload)| payload.len() < 2000);
    let [first, second] = encoded(&events, Format::Pcapng, usize::MAX);
    assert!(second.is_empty() && first.len() > 2000);
    let mut most = 0;
    for length in 0..first.len() {
        let (got, end) = decoded(&first[..length]);
        assert!(got.len() >= most, "{length}");
        most = got.len();
        assert!(got.iter().zip(&events).all(|(got, event)| got == event), "{length}");
        assert!(matches!(end, Ok(()) | Err((_, None))), "{length}: {end:?}");
    }
}

/// The blocks of a capture.
fn blocks(mut capture: &[u8]) -> Vec<&[u8]> {
    let mut blocks = Vec::new();
    while capture.len() >= 12 {
        let length = u32::from_le_bytes(capture[4..8].try_into().unwrap()) as usize;
        let (block, rest) = capture.split_at(length);
        blocks.push(block);
        capture = rest;
    }
    blocks
}

/// A packet with another comment in front of the options that it had, as far as they are wanted.
fn with_comment(block: &[u8], comment: &[u8], keeps_options: bool) -> Vec<u8> {
    let captured = u32::from_le_bytes(block[20..24].try_into().unwrap()) as usize;
    let options = (28 + captured).next_multiple_of(4);
    let mut changed = block[..options].to_vec();
    changed.extend(1u16.to_le_bytes());
    changed.extend((comment.len() as u16).to_le_bytes());
    changed.extend_from_slice(comment);
    changed.resize(changed.len().next_multiple_of(4), 0);
    changed.extend_from_slice(if keeps_options { &block[options..block.len() - 4] } else { &[0; 4] });
    let length = (changed.len() as u32 + 4).to_le_bytes();
    changed[4..8].copy_from_slice(&length);
    changed.extend(length);
    changed
}

#[test]
fn packets_that_lie_stop_the_record_where_they_begin() {
    let (events, _) =
        decoded((start() + &data(1500, r#""position":0,"bytes":1,"text":"x","base64":"""#)).as_bytes());
    let [capture, _] = encoded(&events, Format::Pcapng, usize::MAX);
    let packets: Vec<&[u8]> = blocks(&capture).into_iter().filter(|block| block[0] == 6).collect();
    // SYN, SYN and ACK, ACK, data
    let ([syn, .., last], 4) = (&packets[..], packets.len()) else { panic!("{} packets", packets.len()) };
    let nested = [b"{\"a\":".to_vec(), b"[".repeat(65_000)].concat();
    let lies = [
        ("a session that begins twice", syn.to_vec()),
        ("bytes again", last.to_vec()),
        ("a comment that is no JSON", with_comment(last, b"hello", true)),
        ("a comment that is other JSON", with_comment(last, b"[1,2]", true)),
        ("a comment that is nested", with_comment(last, &nested, true)),
        ("a comment that is as long as can be", with_comment(last, &b" ".repeat(65_535), true)),
        ("neither a direction nor a session", with_comment(last, b"{}", false)),
        ("lengths that differ", [&last[..last.len() - 4], &[0; 4]].concat()),
        ("a length that is none", [&6u32.to_le_bytes()[..], &u32::MAX.to_le_bytes(), &[0; 20]].concat()),
    ];
    for (name, lie) in lies {
        let (got, end) = decoded(&[&capture[..], &lie].concat());
        assert_eq!((got.len(), end), (2, Err((capture.len(), Some(DecodeError::Damaged)))), "{name}");
    }
    // The same before anything of ours: somebody else's capture.
    let head = &capture[..blocks(&capture)[..2].iter().map(|block| block.len()).sum()];
    for lie in [with_comment(last, b"hello", true), last.to_vec(), with_comment(syn, b"{}", false)] {
        let (got, end) = decoded(&[head, &lie].concat());
        assert_eq!((got.len(), end), (0, Err((head.len(), Some(DecodeError::Foreign)))));
    }
}

#[test]
fn positions_have_no_end_and_gaps_have_any_length() {
    let far = 1u64 << 63;
    let piece = |position: u64| Kind::Data { from: Side::Client, position, bytes: 1, urgent: false };
    let (mut events, _) = decoded(start().as_bytes());
    let first = events[0].0.clone();
    let mut add = |kind, payload: &[u8]| events.push((Event { kind, ..first.clone() }, payload.to_vec()));
    for position in [0, (1 << 32) - 1, 1 << 32, far - 1, far, u64::MAX - 2] {
        add(piece(position), b"x");
    }
    add(Kind::Eof { from: Side::Client, total: u64::MAX - 1 }, b"");
    for format in [Format::Json, Format::Pcapng] {
        assert_eq!(decoded_parts(&encoded(&events, format, 4)), events, "{format:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// What is wrong in one byte gives events in an order that there can be, up to some place.
    #[test]
    fn one_wrong_byte_never_makes_events_of_nothing(seed in 0..40u64, at in any::<prop::sample::Index>(), value in any::<u8>()) {
        let mut events = record(seed);
        events.retain(|(_, payload)| payload.len() < 2000);
        for format in [Format::Json, Format::Pcapng] {
            let [mut bytes, _] = encoded(&events, format, usize::MAX);
            let at = at.index(bytes.len());
            bytes[at] = value;
            let (got, end) = decoded(&bytes);
            let mut open = std::collections::HashMap::new();
            for (event, payload) in &got {
                if let Kind::Start(_) = event.kind {
                    prop_assert!(open.insert(event.session, order::EventOrder::begin(event)).is_none());
                    continue;
                }
                let order = open.get_mut(&event.session).and_then(Option::as_mut);
                prop_assert!(order.is_some_and(|order| order.allows(event, payload.len())), "{event:?}");
                if let Kind::End(_) = event.kind {
                    open.remove(&event.session);
                }
            }
            // All before the place is there.
            let whole = decoded(&encoded(&events, format, usize::MAX)[0][..at]).0;
            prop_assert!(got.len() + 1 >= whole.len(), "{:?}", end);
        }
    }
}
