//! The formats that show every byte: what they write can be read back, or is harmless.
//!
//! The first byte of an input chooses label, side and urgency; the rest is what a peer sent.

use std::sync::Arc;

use super::{SessionText, c};
use crate::format::Format;
use crate::messages::{Address, Name, Side};
use crate::record::view::ViewEncoder;
use crate::record::{Encoder, Event, Kind, Meeting, Peer, Purpose, SessionInfo, Time};

pub fn fuzz(data: &[u8]) {
    let Some((choice, bytes @ [_, ..])) = data.split_first() else { return };
    let record = FuzzRecord {
        label: (choice & 1 != 0).then_some(7),
        from: if choice & 2 != 0 { Side::Client } else { Side::Server },
        urgent: choice & 4 != 0,
        bytes,
    };
    record.c();
    record.hex();
    record.strip();
    record.on_a_terminal();
    record.raw();
    record.names();
    record.view();
}

struct FuzzRecord<'a> {
    label: Option<u64>,
    from: Side,
    urgent: bool,
    bytes: &'a [u8],
}

impl FuzzRecord<'_> {
    fn shown(&self, format: Format, terminal: bool) -> Vec<u8> {
        let mut out = Vec::new();
        let mut session = SessionText::new(format, self.label, terminal);
        let rest = session.piece(self.from, self.urgent, self.bytes, &mut out);
        out.extend_from_slice(rest);
        out
    }

    fn label(&self) -> &'static str {
        if self.label.is_some() { "[7] " } else { "" }
    }

    fn start(&self) -> String {
        let urgent = if self.urgent { "(OOB)" } else { "" };
        let mark = if self.from == Side::Client { "<<< " } else { ">>> " };
        format!("{}{urgent}{mark}", self.label())
    }

    fn c(&self) {
        let out = text(self.shown(Format::C, false));
        let literal = out.strip_prefix(&self.start()).and_then(|out| out.strip_suffix('\n'));
        let literal = literal.expect("a record is a line");
        assert_eq!(c::compiled(literal.as_bytes()).as_deref(), Some(self.bytes), "{literal:?}");
    }

    fn hex(&self) {
        let out = text(self.shown(Format::Hex, false));
        assert!(out.bytes().all(|byte| matches!(byte, b'\n' | b' '..=b'~')), "{out:?}");
        let mut bytes = Vec::new();
        for line in out.lines() {
            let line = line.strip_prefix(self.label()).expect("the label");
            let Some(row) = line.strip_prefix("0x") else { continue };
            let (offset, rest) = row.split_once(" | ").expect("an offset");
            assert_eq!(usize::from_str_radix(offset, 16), Ok(bytes.len()));
            let pairs = rest[..48].split_whitespace();
            bytes.extend(pairs.map(|pair| u8::from_str_radix(pair, 16).expect("two digits")));
        }
        assert_eq!(bytes, self.bytes);
    }

    fn strip(&self) {
        let out = text(self.shown(Format::Strip, false));
        assert!(out.bytes().all(|byte| matches!(byte, b'\n' | b' '..=b'~')), "{out:?}");
        self.expect_no_forged_line(&out);
    }

    fn on_a_terminal(&self) {
        for format in [Format::Raw, Format::Strip, Format::C, Format::Hex] {
            let out = text(self.shown(format, true));
            assert!(!out.contains(|c| acts(c) && !matches!(c, '\n' | '\t')), "{format:?}: {out:?}");
            if format == Format::Raw {
                self.expect_no_forged_line(&out);
            }
        }
    }

    fn raw(&self) {
        let out = self.shown(Format::Raw, false);
        assert!(out.starts_with(self.start().as_bytes()) && out.ends_with(self.bytes));
        assert_eq!(out.len(), self.start().len() + self.bytes.len());
        let mut out = Vec::new();
        let rest = SessionText::new(Format::Raw, None, false)
            .only(Some(self.from))
            .piece(self.from, false, self.bytes, &mut out);
        out.extend_from_slice(rest);
        assert_eq!(out, self.bytes);
    }

    /// On a terminal, with names of protocols.
    fn view(&self) {
        let purpose = Purpose { labelled: true, terminal: true, ..Purpose::default() };
        let mut view = ViewEncoder::new(None, purpose);
        let (mut out, bytes) = (Vec::new(), self.bytes.len() as u64);
        for kind in [
            Kind::Start(Arc::new(session())),
            Kind::Data { from: self.from, position: 0, bytes, urgent: self.urgent },
        ] {
            let event = Event { time: Time::default(), session: 7, kind };
            view.event(&event, self.bytes, &mut out);
        }
        let out = text(out);
        assert!(!out.contains(|c| acts(c) && !matches!(c, '\n' | '\t')), "{out:?}");
        assert!(out.lines().count() > 1, "{out:?}");
    }

    /// A peer has a say in its name, too.
    fn names(&self) {
        let Ok(name) = str::from_utf8(self.bytes) else { return };
        let mut out = Vec::new();
        let mut session = SessionText::new(Format::Null, self.label, true);
        session.begin((name, name), (name, name), &mut out);
        session.note(name, &mut out);
        let out = text(out);
        assert!(!out.contains(|c| acts(c) && c != '\n'), "{out:?}");
        assert_eq!(out.lines().count(), 4, "{out:?}");
    }

    fn expect_no_forged_line(&self, out: &str) {
        if self.label.is_some() {
            assert!(out.lines().all(|line| line.starts_with(&self.start())), "{out:?}");
        }
    }
}

fn text(out: Vec<u8>) -> String {
    String::from_utf8(out).expect("UTF-8")
}

/// Checks for a character that a terminal obeys instead of showing it.
fn acts(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn session() -> SessionInfo {
    let peer = || Peer {
        address: Address::Unix(Vec::new()),
        local: None,
        name: Name { node: String::new(), service: String::new() },
    };
    SessionInfo {
        number: 7,
        run: "fuzz".into(),
        accepted: Time::default(),
        started: Time::default(),
        peers: [peer(), peer()],
        meeting: Meeting::Both,
    }
}
