//! Sessions as a view shows them.

use proptest::prelude::*;

use super::*;
use crate::messages::{Address, Name};
use crate::record::event::ConnState;
use Side::{Client, Server};

const STARTED: u64 = 1_764_152_547_523_456_000;

fn info(number: u64) -> Kind {
    let peer = |node: &str, service: &str| Peer {
        address: Address::Unix(Vec::new()),
        local: None,
        name: Name { node: node.into(), service: service.into() },
    };
    Kind::Start(Arc::new(SessionInfo {
        number,
        run: "test".into(),
        accepted: Time::from_nanos(STARTED - 412_000),
        started: Time::from_nanos(STARTED),
        peers: [peer("127.0.0.1", "33116"), peer("::1", "redis")],
        meeting: Meeting::Both,
    }))
}

/// A view of session 7, and how far its streams are.
struct Shown {
    view: ViewEncoder,
    out: Vec<u8>,
    now: u64,
    positions: [u64; 2],
}

impl Shown {
    fn new(purpose: Purpose, columns: Option<u16>) -> Shown {
        let mut view = ViewEncoder::new(None, purpose);
        view.resize(columns);
        let mut shown = Shown { view, out: Vec::new(), now: STARTED, positions: [0; 2] };
        shown.add(0, info(7), b"");
        shown
    }

    /// `after` microseconds.
    fn add(&mut self, after: u64, kind: Kind, payload: &[u8]) {
        self.now += after * 1000;
        let event = Event { time: Time::from_nanos(self.now), session: 7, kind };
        assert!(self.view.event(&event, payload, &mut self.out).is_empty());
    }

    fn data(&mut self, after: u64, from: Side, payload: &[u8]) {
        let position = self.positions[from as usize];
        let bytes = payload.len() as u64;
        self.positions[from as usize] += bytes;
        self.add(after, Kind::Data { from, position, bytes, urgent: false }, payload);
    }

    fn end(&mut self, state: State) {
        let conn_state = ConnState::of(state, [false; 2]);
        self.add(
            1,
            Kind::End(End { state, conn_state, errno: 0, totals: self.positions, tcp: Default::default() }),
            b"",
        );
    }

    fn text(self) -> String {
        String::from_utf8(self.out).expect("UTF-8")
    }

    /// Without the first line.
    fn rest(self) -> String {
        self.text().split_once('\n').expect("a line").1.to_owned()
    }
}

fn plain() -> Shown {
    Shown::new(Purpose::default(), None)
}

#[test]
fn a_session_is_lines_with_time_session_and_direction() {
    let mut shown = plain();
    shown.data(111, Client, b"*1\r\n$4\r\nPING\r\n");
    shown.data(250_000, Server, b"+PONG\r\nodd\n");
    shown.add(1, Kind::Data { from: Client, position: 14, bytes: 1, urgent: true }, b"!");
    shown.add(1, Kind::Eof { from: Client, total: 15 }, b"");
    shown.end(State::Done);
    assert_eq!(
        shown.text(),
        "10:22:27Z  [7] === 127.0.0.1:33116 -> [::1]:redis, connected in 0.412 ms\n\
         \u{20} 0.000111 [7] <<< *1\n\
         \u{20}          [7] <<< $4\n\
         \u{20}          [7] <<< PING\n\
         \u{20}          [7] --- 250 ms of silence\n\
         \u{20} 0.250111 [7] >>> +PONG\n\
         \u{20}          [7] >>> odd\\n\n\
         \u{20} 0.250112 [7] <!< !\n\
         \u{20} 0.250113 [7] === client: end, after 15 bytes\n\
         \u{20} 0.250114 [7] === done, after 250 ms: client 14 bytes, server 11 bytes\n"
            .replace("10:22:27Z  ", " 10:22:27Z ")
    );
}

#[test]
fn binary_is_dumped_with_its_place_in_the_stream() {
    let mut shown = plain();
    shown.data(1, Server, b"HTTP/1.0 200 OK\r\n\r\n\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0");
    shown.data(1, Server, b"\x01\x02");
    assert_eq!(
        shown.rest(),
        "  0.000001 [7] >>> HTTP/1.0 200 OK\n\
         \u{20}          [7] >>> \n\
         \u{20}          [7] >>> 17 bytes\n\
         00000013  89 50 4e 47 0d 0a 1a 0a  00 00 00 0d 49 48 44 52  |.PNG........IHDR|\n\
         00000023  00                                                |.|\n\
         \u{20} 0.000002 [7] >>> 2 bytes\n\
         00000024  01 02                                             |..|\n"
    );
}

#[test]
fn a_protocol_that_is_known_stands_for_its_bytes() {
    let mut shown = plain();
    let hello = hint::tests::hello(b"example.org", &[b"h2"]);
    shown.data(1, Client, &hello);
    shown.data(1, Client, &hello);
    let text = shown.rest();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("  0.000001 [7] <<< TLS ClientHello, SNI example.org, ALPN h2"));
    assert_eq!(lines.next(), Some(format!("  0.000002 [7] <<< {} bytes", hello.len()).as_str()));
}

#[test]
fn long_pieces_are_shortened() {
    let mut shown = Shown::new(Purpose { max_shown: Some(20), ..Purpose::default() }, None);
    shown.data(1, Client, &b"0123456789\n".repeat(3));
    shown.data(1, Client, &[0; 33]);
    assert_eq!(
        shown.rest(),
        "  0.000001 [7] <<< 0123456789\n\
         \u{20}          [7] <<< 012345678\n\
         \u{20}          [7] <<< ... 13 bytes more\n\
         \u{20} 0.000002 [7] <<< 33 bytes\n\
         00000021  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|\n\
         00000031  00 00 00 00                                       |....|\n\
         \u{20}          [7] <<< ... 13 bytes more\n"
    );
}

#[test]
fn the_reason_of_an_end_is_the_verdict() {
    let mut shown = plain();
    shown.add(1, Kind::Note("Session ended: connection reset by the client.".into()), b"");
    shown.end(State::ClientReset);
    assert!(shown.rest().contains("*** connection reset by the client, after 0.002 ms: client 0 bytes"));
    let mut shown = plain();
    shown.end(State::Idle);
    assert!(shown.rest().contains("*** ended by the idle timeout, after"));
}

#[test]
fn bytes_that_are_missing_are_told_where_they_would_be() {
    let data = |from, position| Kind::Data { from, position, bytes: 3, urgent: false };
    let events = |only| {
        let mut shown = plain();
        shown.view.only = only;
        shown.add(1, data(Client, 0), b"one");
        shown.add(1, data(Server, 5), b"two");
        shown.add(1, data(Client, 4), b"six");
        shown.add(1, Kind::Eof { from: Client, total: 10 }, b"");
        shown.positions = [10, 9];
        shown.end(State::Done);
        let lines = shown.rest();
        let rows = lines.lines().map(|line| line.split_once("[7] ").expect("a label").1.to_owned());
        rows.collect::<Vec<_>>()
    };
    let all = [
        "<<< one",
        "*** server: 5 bytes are not in the record",
        ">>> two",
        "*** client: 1 byte is not in the record",
        "<<< six",
        "*** client: 3 bytes are not in the record",
        "=== client: end, after 10 bytes",
        "*** server: 1 byte is not in the record",
    ];
    assert_eq!(events(None)[..8], all);
    assert!(events(None)[8].starts_with("=== done, after "));
    assert!(
        events(Some(Server)).iter().all(|line| !line.contains("client: ") || line.starts_with("=== done"))
    );
}

#[test]
fn a_file_begins_with_the_sessions_that_are_open() {
    let mut shown = plain();
    shown.out.clear();
    shown.view.begin_file(&FileStart { part: 2, time: Time::default() }, &mut shown.out);
    assert!(shown.text().ends_with("-> [::1]:redis, connected in 0.412 ms, continued\n"));
}

#[test]
fn colors_end_with_the_line() {
    let mut shown = Shown::new(Purpose { color: true, ..Purpose::default() }, Some(80));
    shown.data(1, Client, b"a\nb\x07\n");
    shown.data(1, Server, b"\0");
    shown.end(State::ServerReset);
    let text = shown.text();
    assert!(text.lines().all(|line| line.ends_with("\x1b[0m")), "{text:?}");
    assert!(text.contains("\x1b[36m[7] <<< b\x1b[7m\\007\x1b[27m\x1b[0m\n"), "{text:?}");
    assert!(text.contains("\x1b[33m00000000  00"), "{text:?}");
    assert!(text.contains("\x1b[31m[7] *** reset by the server"), "{text:?}");
}

#[test]
fn matches_are_marked_in_color() {
    let pattern = Some(Arc::new(Pattern::new("o+").expect("an expression")));
    let marked = |color, columns| {
        let purpose = Purpose { color, pattern: pattern.clone(), ..Purpose::default() };
        let mut shown = Shown::new(purpose, columns);
        shown.data(1, Client, b"foo bar\nx\nlo");
        shown.text()
    };
    let text = marked(true, None);
    assert!(text.contains("<<< f\x1b[1;4moo\x1b[22;24m bar\x1b[0m\n"), "{text:?}");
    assert!(text.contains("<<< x\x1b[0m\n"), "{text:?}");
    assert!(text.ends_with("<<< l\x1b[1;4mo\x1b[22;24m\x1b[0m\n"), "{text:?}");
    assert!(!text.contains("c\x1b[1;4mo"), "only what the peers send: {text:?}");
    assert!(!marked(false, None).contains('\x1b'));
    let mut shown = Shown::new(Purpose { color: true, pattern, ..Purpose::default() }, Some(30));
    shown.data(1, Client, "o".repeat(40).as_bytes());
    let rows = shown.text();
    assert_eq!(rows.matches("\x1b[1;4moooo").count(), 2, "in both rows: {rows:?}");
}

#[test]
fn what_is_unseen_is_spelled_out() {
    let mut shown = plain();
    shown.data(1, Client, "a\u{200b}b\u{202e}c\u{feff}d\u{ad}e\u{301}\u{301}\u{301}\u{301}f".as_bytes());
    let expected =
        "<<< a\\342\\200\\213b\\342\\200\\256c\\357\\273\\277d\\302\\255e\u{301}\u{301}\u{301}\\314\\201f\n";
    let text = shown.rest();
    assert!(text.ends_with(expected), "{text}");
}

#[test]
fn text_is_wrapped_where_it_stays_in_its_columns() {
    let mut shown = Shown::new(Purpose::default(), Some(50));
    shown.data(1, Server, format!("{}\n\t世界世界世界世界世界世界世界世界x\n", "x".repeat(40)).as_bytes());
    let text = shown.text();
    assert_eq!(
        &text[text.find("  0.000001").expect("the time")..],
        format!(
            "  0.000001 [7] >>> {}\n           [7] >>> {}\n           [7] >>>         世界世界世界世界世界世\n\
             \u{20}          [7] >>> 界世界世界x\n",
            "x".repeat(31),
            "x".repeat(9)
        )
    );
}

/// Columns of a line; what is no character of text counts as too many.
fn columns(line: &str) -> usize {
    use unicode_width::UnicodeWidthChar;
    line.chars().map(|character| character.width().unwrap_or(10_000)).sum()
}

fn payloads() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        "\\PC{0,40}".prop_map(String::into_bytes),
        "[ -~]{0,90}(\r\n|\n|\r)".prop_map(String::into_bytes),
        "[\u{0}-\u{20}\u{7f}-\u{9f}\u{61c}\u{200b}-\u{200f}\u{2028}-\u{202e}\u{2066}\u{fe0f}\u{e0041}\u{301}]{0,9}"
            .prop_map(String::into_bytes),
    ];
    prop::collection::vec(piece, 1..6).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_peer_acts_on_a_terminal_or_leaves_its_columns(
        pieces in prop::collection::vec(payloads(), 1..4),
        width in 1..120u16,
        max_shown in prop::option::of(1..200u64),
    ) {
        let mut shown = Shown::new(Purpose { max_shown, ..Purpose::default() }, Some(width));
        for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
            shown.data(1, Client, piece);
        }
        let text = shown.text();
        for line in text.lines() {
            prop_assert!(!line.contains(|c| c != '\t' && visible::is_unseen(c)), "{line:?}");
            let is_ours = line.contains("[7] <<< ") || line.contains("[7] === ") || line.contains("  |");
            prop_assert!(is_ours, "{line:?}");
            // Below, there is no room for a margin, or for a dump.
            if width >= 29 {
                prop_assert!(columns(line) <= usize::from(width), "{line:?}");
            }
        }
    }

    #[test]
    fn binary_comes_back_from_the_dump(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..70), 1..6)) {
        let pieces: Vec<Vec<u8>> = pieces.into_iter().map(|piece| [b"\0".to_vec(), piece].concat()).collect();
        let mut shown = plain();
        pieces.iter().for_each(|piece| shown.data(1, Client, piece));
        let mut back = Vec::new();
        for line in shown.text().lines().filter(|line| line.contains("  |")) {
            let (offset, digits) = line.split_once("  ").expect("an offset");
            prop_assert_eq!(usize::from_str_radix(offset, 16).expect("digits"), back.len());
            let digits = digits.get(..48).unwrap_or(digits);
            back.extend(digits.split_whitespace().map(|digits| u8::from_str_radix(digits, 16).expect("a byte")));
        }
        prop_assert_eq!(back, pieces.concat());
    }
}
