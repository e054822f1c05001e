//! Records that are cut or damaged, and what stands behind that place.

use std::collections::HashMap;

use super::*;
use crate::record::read::{fuzz, sessions::Sessions};

/// The first events of several sessions of a run, with short payloads.
fn short(seed: u64, run: &str) -> Vec<Got> {
    let mut events = record(seed);
    events.retain(|(_, payload)| payload.len() < 10);
    events.truncate(9);
    for (event, _) in &mut events {
        if let Kind::Start(info) = &mut event.kind {
            Arc::make_mut(info).run = run.into();
        }
    }
    events
}

/// Sessions by the order of their beginnings: a second run does not keep its numbers.
fn renumbered(events: &[Got]) -> Vec<Got> {
    let mut events = events.to_vec();
    let (mut ids, mut begun) = (HashMap::new(), 0);
    for (event, _) in &mut events {
        if let Kind::Start(_) = event.kind {
            begun += 1;
            ids.insert(event.session, begun);
        }
        event.session = ids[&event.session];
    }
    events
}

/// All events of two runs in this order: a session of the second one never has the id of one of the first.
fn both(first: &[Got], second: &[Got]) -> Vec<Got> {
    let second = second.iter().cloned().map(|(event, payload)| {
        let session = event.session + (1 << 60);
        (Event { session, ..event }, payload)
    });
    renumbered(&first.iter().cloned().chain(second).collect::<Vec<_>>())
}

const FORMATS: [(Format, &[u8]); 3] = [(Format::Json, b""), (Format::Json, b"\n"), (Format::Pcapng, b"")];

#[test]
fn a_record_behind_one_that_is_cut_anywhere_gives_all_of_its_events() {
    for (seed, (format, between)) in (1..3).flat_map(|seed| FORMATS.map(|format| (seed, format))) {
        let second = short(seed + 5, "n5l3ar");
        let [one, _] = encoded(&short(seed, "m4k2zq"), format, usize::MAX);
        let [other, _] = encoded(&second, format, usize::MAX);
        for length in 0..=one.len() {
            let cut = &one[..length];
            let alone = fuzz::decoded(cut, usize::MAX);
            // What is appended to an empty file begins with it.
            let between = if length > 0 { between } else { b"" };
            let got = fuzz::decoded(&[cut, between, &other].concat(), usize::MAX);
            let place = format!("{format:?}, {seed}, {length} of {}", one.len());
            assert!(renumbered(&got.events) == both(&alone.events, &second), "{place}: {:?}", got.flaw);
            let left_out = alone.flaw.map(|at| (length - at + between.len()) as u64);
            assert_eq!((got.flaw, got.left_out), (alone.flaw, left_out), "{place}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_damaged_record_gives_the_same_events_however_it_is_read(
        seed in 0..40u64,
        at in any::<prop::sample::Index>(),
        value in any::<u8>(),
        length in any::<prop::sample::Index>(),
        piece in any::<u8>(),
    ) {
        for (format, between) in FORMATS {
            let [mut one, _] = encoded(&short(seed, "m4k2zq"), format, usize::MAX);
            let [other, _] = encoded(&short(seed + 1, "n5l3ar"), format, usize::MAX);
            let at = at.index(one.len());
            one[at] = value;
            one.truncate(at + length.index(one.len() - at) + 1);
            fuzz::fuzz(&[&[piece][..], &one, between, &other, between, &one].concat());
        }
    }
}

fn note(session: u64, text: &str) -> String {
    line("note", 1800, &format!(r#""message":"{text}""#))
        .replace("\"session\":7", &format!("\"session\":{session}"))
}

#[test]
fn sessions_that_were_open_at_a_damaged_place_have_nothing_more() {
    let start_of = |session: u64| start().replace("\"session\":7", &format!("\"session\":{session}"));
    let (left_out, late) = ("{]\n".to_owned() + &note(7, "lost"), note(7, "late"));
    let record = [start(), left_out.clone(), start_of(8), late.clone(), note(8, "kept"), start()].concat();
    let got = fuzz::decoded(record.as_bytes(), usize::MAX);
    let kinds: Vec<&Kind> = got.events.iter().map(|(event, _)| &event.kind).collect();
    assert!(
        matches!(kinds[..], [Kind::Start(_), Kind::Start(_), Kind::Note(note), Kind::Start(_)] if note == "kept"),
        "{kinds:?}"
    );
    assert_eq!(got.flaw, Some(start().len()));
    assert_eq!(got.left_out, Some((left_out.len() + late.len()) as u64));
}

#[test]
fn bytes_of_a_peer_are_no_beginning_in_json() {
    let forged = start().replace("\"session\":7", "\"session\":8");
    let kind = Kind::Data { from: Side::Client, position: 0, bytes: forged.len() as u64, urgent: false };
    let (mut events, _) = decoded(start().as_bytes());
    let event = Event { kind, ..events[0].0.clone() };
    events.push((event, forged.into_bytes()));
    let [whole, _] = encoded(&events, Format::Json, usize::MAX);
    let line = whole.iter().position(|byte| *byte == b'\n').expect("two lines");
    for at in line + 1..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] = b'"';
        let got = fuzz::decoded(&damaged, usize::MAX).events;
        let begun = got.iter().filter(|(event, _)| matches!(event.kind, Kind::Start(_))).count();
        assert_eq!(begun, 1, "{at}");
    }
}

#[test]
fn open_sessions_are_bounded_with_those_that_never_end() {
    let (events, _) = decoded(start().as_bytes());
    let Kind::Start(info) = &events[0].0.kind else { panic!("{events:?}") };
    let mut sessions = Sessions::default();
    let mut sink = |_, _: &[u8]| Ok::<(), ()>(());
    for number in 1..=MOST_SESSIONS as u64 {
        let info = SessionInfo { number, ..SessionInfo::clone(info) };
        assert!(sessions.begin(info, &mut sink).is_ok(), "{number}");
        if number % 1000 == 0 {
            sessions.lose_open();
        }
    }
    let info = SessionInfo { number: 1 << 20, ..SessionInfo::clone(info) };
    assert_eq!(sessions.begin(info, &mut sink), Err(DecodeError::Damaged));
}
