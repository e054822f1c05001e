//! `html`: a page to look at and to send. Each event is an element of its own and complete, so that a page can be cut
//! anywhere and appended to; a script makes the list of sessions and the chart of them. Without it the page is a list.
//!
//! What peers send is inert: text has no markup left, everything else is in base64, and the policy of the page admits
//! no script and no style but its own, and no address.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::civil::Civil;
use super::encoder::{Encoder, FileStart};
use super::event::{End, Event, Kind, Meeting, SessionInfo, State, Time};
use super::gaps::{Gaps, quantity};
use super::json::base64;
use super::view::{ENDED, duration, place, verdict};
use super::visible;
use crate::messages::Side;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// SHA-256 of the two, as a policy has them; a test compares them.
const STYLE_HASH: &str = "3VAanvFBAPiLWT1iah1vaSM8RuW90C68K3XA2XClnYE=";
const SCRIPT_HASH: &str = "QVxLBireHk6EDUwei0MNp15tzSYdMbERNB7fGilV1zo=";

pub(crate) struct HtmlEncoder {
    only: Option<Side>,
    sessions: BTreeMap<u64, HtmlSession>,
}

struct HtmlSession {
    info: Arc<SessionInfo>,
    /// The last note, which is written with the end that it explains.
    notes: Vec<(Time, String)>,
    gaps: Gaps,
}

impl HtmlEncoder {
    pub(crate) fn new(only: Option<Side>) -> HtmlEncoder {
        HtmlEncoder { only, sessions: BTreeMap::new() }
    }
}

impl Encoder for HtmlEncoder {
    fn begin_file(&mut self, _: &FileStart, out: &mut Vec<u8>) {
        let policy = format!(
            "default-src 'none'; script-src 'sha256-{SCRIPT_HASH}'; style-src 'sha256-{STYLE_HASH}'; \
             base-uri 'none'; form-action 'none'"
        );
        let head = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n\
             <meta name=\"referrer\" content=\"no-referrer\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>tcpreen: sessions</title>\n<style>{STYLE}</style>\n<script>{SCRIPT}</script>\n\
             <body>\n<h1>tcpreen: sessions</h1>\n"
        );
        out.extend_from_slice(head.as_bytes());
        for (&session, open) in &self.sessions {
            open.head(session, ", continued", out);
        }
    }

    fn event<'a>(&mut self, event: &Event, payload: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        if let Kind::Start(info) = &event.kind {
            let open = HtmlSession { info: Arc::clone(info), notes: Vec::new(), gaps: Gaps::default() };
            open.head(event.session, "", out);
            self.sessions.insert(event.session, open);
            return b"";
        }
        let Some(open) = self.sessions.get_mut(&event.session) else { return b"" };
        open.gap(event, self.only, out);
        match &event.kind {
            Kind::Data { from, .. } | Kind::Eof { from, .. }
                if self.only.is_some_and(|only| only != *from) => {}
            Kind::End(end) => {
                open.end(event, end, out);
                self.sessions.remove(&event.session);
            }
            Kind::Note(note) => open.notes.push((event.time, note.clone())),
            _ => {
                open.write_notes(event.session, out);
                open.passed(event, payload, out);
            }
        }
        b""
    }

    fn end_file(&mut self, _: &mut Vec<u8>) {}
}

/// An element: its class, and what kind of event it is.
struct Element<'a> {
    tag: &'a str,
    class: &'a str,
    kind: &'a str,
}

impl HtmlSession {
    /// Opens the tag of an element; attributes may follow. Times are in milliseconds.
    fn tag(&self, element: &Element<'_>, session: u64, time: Time, out: &mut Vec<u8>) {
        let Element { tag, class, kind } = element;
        let (millis, rest) = (time.nanos() / 1_000_000, time.nanos() / 1000 % 1000);
        let run: String = self.info.run.chars().filter(char::is_ascii_alphanumeric).collect();
        let text = format!(
            "<{tag} class=\"{class}\" data-k=\"{kind}\" data-s=\"{run}.{session}\" data-t=\"{millis}.{rest:03}\""
        );
        out.extend_from_slice(text.as_bytes());
    }

    fn head(&self, session: u64, more: &str, out: &mut Vec<u8>) {
        let info = &self.info;
        let [client, server] = [0, 1].map(|index| place(&info.peers[index]));
        let title = format!("[{}] {client} → {server}", info.number);
        self.tag(&Element { tag: "h2", class: "s", kind: "s" }, session, info.started, out);
        out.extend_from_slice(b" data-h=\"");
        inert(title.as_bytes(), out);
        out.extend_from_slice(b"\">");
        inert(title.as_bytes(), out);
        let connected = match info.meeting {
            Meeting::Both => format!(", connected in {}", duration(info.started.since(info.accepted))),
            Meeting::One | Meeting::Refused => String::new(),
        };
        inert(format!(", {} UTC{connected}{more}", date(info.started)).as_bytes(), out);
        out.extend_from_slice(b"</h2>\n");
    }

    /// Writes data, and ends of streams.
    fn passed(&self, event: &Event, payload: &[u8], out: &mut Vec<u8>) {
        let seconds = seconds(event.time.since(self.info.started));
        let number = self.info.number;
        match &event.kind {
            Kind::Data { from, position, bytes, urgent } => {
                let (class, side) = side(*from);
                let element = Element { tag: "div", class: &format!("e {class}"), kind: "d" };
                self.tag(&element, event.session, event.time, out);
                let urgent = if *urgent { ", urgent" } else { "" };
                let attributes = format!(" data-o=\"{position}\" data-n=\"{bytes}\" data-b=\"");
                out.extend_from_slice(attributes.as_bytes());
                base64(payload, out);
                let size = quantity(*bytes);
                let title = format!("\"><i>{seconds} [{number}] {side}: {size}{urgent}</i><div>");
                out.extend_from_slice(title.as_bytes());
                inert(payload, out);
                out.extend_from_slice(b"</div></div>\n");
            }
            Kind::Eof { from, total } => {
                let (class, side) = side(*from);
                let element = Element { tag: "p", class: &format!("f {class}"), kind: "f" };
                self.tag(&element, event.session, event.time, out);
                let text = format!(">{seconds} [{number}] {side}: end, after {}</p>\n", quantity(*total));
                out.extend_from_slice(text.as_bytes());
            }
            _ => {}
        }
    }

    fn gap(&mut self, event: &Event, only: Option<Side>, out: &mut Vec<u8>) {
        for gap in self.gaps.before(event, only) {
            self.note(event.session, event.time, &gap, out);
        }
    }

    fn write_notes(&mut self, session: u64, out: &mut Vec<u8>) {
        for (time, note) in std::mem::take(&mut self.notes) {
            self.note(session, time, &note, out);
        }
    }

    fn note(&self, session: u64, time: Time, note: &str, out: &mut Vec<u8>) {
        self.tag(&Element { tag: "p", class: "n", kind: "n" }, session, time, out);
        out.push(b'>');
        inert(note.as_bytes(), out);
        out.extend_from_slice(b"</p>\n");
    }

    fn end(&mut self, event: &Event, end: &End, out: &mut Vec<u8>) {
        let note = self.notes.pop_if(|(_, note)| note.starts_with(ENDED)).map(|(_, note)| note);
        self.write_notes(event.session, out);
        let class = if end.state == State::Done { "z" } else { "z bad" };
        self.tag(&Element { tag: "p", class, kind: "z" }, event.session, event.time, out);
        let [client, server] = end.totals.map(quantity);
        let after = duration(event.time.since(self.info.started));
        let text =
            format!("{}, after {after}: client {client}, server {server}", verdict(end, note.as_deref()));
        out.push(b'>');
        inert(text.as_bytes(), out);
        out.extend_from_slice(b"</p>\n");
    }
}

/// The class of a side, and its name.
const fn side(from: Side) -> (&'static str, &'static str) {
    match from {
        Side::Client => ("c", "client"),
        Side::Server => ("v", "server"),
    }
}

/// Bytes that are no markup, and of which no other character begins: they are copied as they are.
static PLAIN: [bool; 256] = plain();

const fn plain() -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x80 {
        table[byte] = matches!(byte as u8, b'\n' | b'\t' | b' '..=b'~')
            && !matches!(byte as u8, b'&' | b'<' | b'>' | b'"' | b'\'');
        byte += 1;
    }
    table
}

/// Appends text without markup. What cannot be seen is a dot, and a carriage return before a line feed is nothing.
fn inert(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len() + bytes.len() / 8);
    for chunk in bytes.utf8_chunks() {
        let mut text = chunk.valid();
        while !text.is_empty() {
            let plain = text.bytes().take_while(|&byte| PLAIN[usize::from(byte)]).count();
            let (seen, rest) = text.split_at(plain);
            out.extend_from_slice(seen.as_bytes());
            let mut characters = rest.chars();
            if let Some(character) = characters.next() {
                inert_character(character, characters.as_str(), out);
            }
            text = characters.as_str();
        }
        for _ in chunk.invalid() {
            out.extend_from_slice("·".as_bytes());
        }
    }
}

fn inert_character(character: char, next: &str, out: &mut Vec<u8>) {
    match character {
        '&' => out.extend_from_slice(b"&amp;"),
        '<' => out.extend_from_slice(b"&lt;"),
        '>' => out.extend_from_slice(b"&gt;"),
        '"' => out.extend_from_slice(b"&quot;"),
        '\'' => out.extend_from_slice(b"&#39;"),
        '\r' if next.starts_with('\n') => {}
        other if visible::is_unseen(other) || is_no_character(other) => {
            out.extend_from_slice("·".as_bytes());
        }
        other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// Noncharacters, of which a parser of HTML complains.
const fn is_no_character(character: char) -> bool {
    matches!(character as u32 & 0xffff, 0xfffe | 0xffff) || matches!(character, '\u{fdd0}'..='\u{fdef}')
}

fn seconds(nanos: u64) -> String {
    format!("{}.{:06}", nanos / 1_000_000_000, nanos / 1000 % 1_000_000)
}

fn date(time: Time) -> String {
    let Civil { year, month, day, hour, minute, second } = Civil::of(time.seconds());
    let micros = time.nanos() / 1000 % 1_000_000;
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{micros:06}")
}
