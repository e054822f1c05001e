//! The text formats byte for byte: files made by version 2.0.0, before its formats became encoders. Since then `strip`,
//! and `raw` on a terminal, have ended the line of a piece. After a change that is meant, `TCPREEN_BLESS=1 cargo test
//! --lib golden` writes the files again.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::encoder::Purpose;
use super::encoders::encoder;
use super::event::{ConnState, End, Event, Kind, Meeting, Peer, SessionInfo, State, Time};
use crate::format::{Finds, Format};
use crate::messages::{Address, Name, Side, View};
use Side::{Client, Server};

const SEVEN: [Format; 7] = [
    Format::C,
    Format::Hex,
    Format::Count,
    Format::Null,
    Format::Raw,
    Format::Password(Finds::Logins),
    Format::Strip,
];

const SESSION: u64 = 7;

fn event(kind: Kind) -> Event {
    Event { time: Time::default(), session: SESSION, kind }
}

fn start() -> Event {
    let peer = |node: &str, service: &str| Peer {
        address: Address::Unix(Vec::new()),
        local: None,
        name: Name { node: node.into(), service: service.into() },
    };
    event(Kind::Start(Arc::new(SessionInfo {
        number: SESSION,
        run: "golden".into(),
        accepted: Time::default(),
        started: Time::default(),
        peers: [peer("127.0.0.1", "33116"), peer("server.example", "redis")],
        meeting: Meeting::Both,
    })))
}

fn end(state: State, totals: [u64; 2]) -> Event {
    event(Kind::End(End {
        state,
        conn_state: ConnState::of(state, [false; 2]),
        errno: 0,
        totals,
        tcp: Default::default(),
    }))
}

fn data(from: Side, urgent: bool, payload: &[u8]) -> (Event, Vec<u8>) {
    let bytes = payload.len() as u64;
    (event(Kind::Data { from, position: 0, bytes, urgent }), payload.to_vec())
}

fn bare(kind: Kind) -> (Event, Vec<u8>) {
    (event(kind), Vec::new())
}

/// A session that ends in order, one that is reset, and one whose worker dies.
fn script(number: u8, long: usize) -> Vec<(Event, Vec<u8>)> {
    let binary: Vec<u8> = (0..=255).collect();
    let mut events = vec![(start(), Vec::new())];
    events.extend(match number {
        0 => vec![
            data(Client, false, b"GET / HTTP/1.0\r\nAuthorization: Basic dXNlcjpwYXNz\r\n\r\n"),
            data(Server, false, b"HTTP/1.0 200 OK\r\n\r\n\xc3\xa9\xe2\x80\xae??="),
            data(Client, false, &binary),
            data(Server, true, b"!"),
            data(Client, false, &vec![b'x'; long]),
            bare(Kind::Eof { from: Client, total: 1234 }),
            data(Server, false, b"tail"),
            bare(Kind::Eof { from: Server, total: 1 }),
            (end(State::Done, [1234, 1]), Vec::new()),
        ],
        1 => vec![
            data(Server, false, b"220 ftp\r\n"),
            data(Client, false, b"USER a\r\nPASS b\r\n"),
            data(Server, false, b"331 go on\r\n230 welcome\r\n"),
            bare(Kind::Data { from: Server, position: 0, bytes: 3, urgent: false }),
            bare(Kind::Note("Session ended: connection reset by the client.".into())),
            (end(State::ClientReset, [16, 35]), Vec::new()),
        ],
        _ => vec![
            data(Client, false, b"AUTH secret"),
            bare(Kind::Note("Session ended abnormally: signal 9 (Killed).".into())),
            (end(State::Lost, [11, 0]), Vec::new()),
        ],
    });
    events
}

/// Pieces that are handed back to be written as they are show up as their length.
fn encoded(view: View, purpose: Purpose, number: u8) -> Vec<u8> {
    let terminal = purpose.terminal;
    let long = if view.format == Format::Raw && !terminal { 20_000 } else { 40 };
    let mut encoder = encoder(view, purpose);
    let mut out = Vec::new();
    for (event, payload) in script(number, long) {
        let rest = encoder.event(&event, &payload, &mut out).to_vec();
        if rest.len() > 1000 {
            out.extend_from_slice(format!("{{{} bytes}}", rest.len()).as_bytes());
        } else {
            out.extend_from_slice(&rest);
        }
    }
    out
}

#[test]
fn text_formats_are_byte_for_byte_what_they_were() {
    for format in SEVEN {
        let mut all = Vec::new();
        for labelled in [false, true] {
            for terminal in [false, true] {
                for only in [None, Some(Client), Some(Server)] {
                    let label = labelled.then_some(SESSION);
                    all.extend_from_slice(format!("== {label:?} {terminal} {only:?}\n").as_bytes());
                    for number in 0..3 {
                        let view = View { format, only, time: None };
                        let purpose = Purpose { labelled, terminal, ..Purpose::default() };
                        all.extend_from_slice(&encoded(view, purpose, number));
                        all.extend_from_slice(b"\n--\n");
                    }
                }
            }
        }
        let name = format!("src/record/golden/{}.txt", format.names()[0]);
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(&name);
        if std::env::var_os("TCPREEN_BLESS").is_some() {
            fs::write(&path, &all).expect("a golden file");
        }
        let golden = fs::read(&path).expect("a golden file");
        assert!(all == golden, "{name} is not:\n{}", String::from_utf8_lossy(&all));
    }
}
