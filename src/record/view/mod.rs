//! `view`: sessions for people to look at, on a terminal and elsewhere.

mod dump;
mod hint;
mod line;
mod piece;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::encoder::{Encoder, FileStart, Purpose};
use super::event::{End, Event, Kind, Meeting, Peer, SessionInfo, State, Time};
use super::gaps::{Gaps, quantity, side_first};
use super::visible;
use crate::messages::Side;
use crate::pattern::Pattern;
use crate::reason::reason;
use line::{Mark, Rows, Style};
use piece::LineEnd;

/// Beginning of the note about the end of a session.
pub(super) const ENDED: &str = "Session ended";

/// A silence in a session that is as long as this is shown, in nanoseconds.
const SILENCE: u64 = 100_000_000;

pub(crate) struct ViewEncoder {
    only: Option<Side>,
    style: Style,
    /// Bytes of a piece that are shown.
    max_shown: usize,
    pattern: Option<Arc<Pattern>>,
    sessions: BTreeMap<u64, ViewSession>,
}

/// A session that has not ended.
struct ViewSession {
    info: Arc<SessionInfo>,
    /// `[7] `
    label: Vec<u8>,
    /// Time of the last event.
    last: Time,
    /// The last note, which is shown with the end that it explains.
    notes: Vec<String>,
    /// The first end of a line from client and server, which needs no mention.
    line_ends: [Option<LineEnd>; 2],
    gaps: Gaps,
}

impl ViewEncoder {
    pub(crate) fn new(only: Option<Side>, purpose: Purpose) -> ViewEncoder {
        let max_shown = usize::try_from(purpose.max_shown.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
        let style = Style { color: purpose.color, columns: None };
        ViewEncoder { only, style, max_shown, pattern: purpose.pattern, sessions: BTreeMap::new() }
    }

    fn start(&mut self, session: u64, info: &Arc<SessionInfo>, out: &mut Vec<u8>) {
        let label = format!("[{}] ", info.number).into_bytes();
        let (info, last) = (Arc::clone(info), info.started);
        let open =
            ViewSession { info, label, last, notes: Vec::new(), line_ends: [None; 2], gaps: Gaps::default() };
        open.head("", self.style, out);
        self.sessions.insert(session, open);
    }
}

impl Encoder for ViewEncoder {
    /// Repeats the open sessions at the beginning of a file.
    fn begin_file(&mut self, _: &FileStart, out: &mut Vec<u8>) {
        for open in self.sessions.values() {
            open.head(", continued", self.style, out);
        }
    }

    fn event<'a>(&mut self, event: &Event, payload: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        if let Kind::Start(info) = &event.kind {
            self.start(event.session, info, out);
            return b"";
        }
        let Some(open) = self.sessions.get_mut(&event.session) else { return b"" };
        let pattern = self.pattern.as_deref();
        let mut screen = Screen { style: self.style, max_shown: self.max_shown, pattern, out };
        open.silence(event.time, &mut screen);
        open.gap(event, self.only, &mut screen);
        if let Kind::End(end) = &event.kind {
            open.end(end, &mut screen);
            self.sessions.remove(&event.session);
            return b"";
        }
        open.write_notes(&mut screen);
        match &event.kind {
            Kind::Data { from, .. } | Kind::Eof { from, .. }
                if self.only.is_some_and(|only| only != *from) => {}
            Kind::Data { from, position, bytes, urgent } => {
                let mark = Mark::Data { from: *from, urgent: *urgent };
                match payload {
                    [] => open.rows(mark, &screen).text(quantity(*bytes).as_bytes(), screen.out),
                    piece => open.piece(mark, *position, piece, &mut screen),
                }
            }
            Kind::Eof { from, total } => {
                let text = format!("end, after {}", quantity(*total));
                open.rows(Mark::Frame, &screen).text(side_first(*from, &text).as_bytes(), screen.out);
            }
            Kind::Note(note) => open.notes.push(note.clone()),
            Kind::Start(_) | Kind::Secrets | Kind::End(_) => {}
        }
        b""
    }

    fn end_file(&mut self, _: &mut Vec<u8>) {}

    fn resize(&mut self, columns: Option<u16>) {
        self.style.columns = columns.filter(|columns| *columns > 0).map(usize::from);
    }
}

/// The output of rows, and their layout.
struct Screen<'a> {
    style: Style,
    max_shown: usize,
    pattern: Option<&'a Pattern>,
    out: &'a mut Vec<u8>,
}

impl ViewSession {
    /// The line that begins a session. Its time is that of the day, in UTC; all others count from here.
    fn head(&self, more: &str, style: Style, out: &mut Vec<u8>) {
        let [client, server] = [0, 1].map(|index| place(&self.info.peers[index]));
        let connected = match self.info.meeting {
            Meeting::Both => {
                format!(", connected in {}", duration(self.info.started.since(self.info.accepted)))
            }
            Meeting::One | Meeting::Refused => String::new(),
        };
        let text = format!("{client} -> {server}{connected}{more}");
        let mut rows = Rows::new(style, &self.label, Mark::Frame, Some(clock(self.info.started)));
        rows.text(text.as_bytes(), out);
    }

    fn rows(&self, mark: Mark, screen: &Screen<'_>) -> Rows<'_> {
        let time = elapsed(self.last.since(self.info.started));
        Rows::new(screen.style, &self.label, mark, Some(time))
    }

    /// Shows that nothing happened since the last event, if that is long ago.
    fn silence(&mut self, now: Time, screen: &mut Screen<'_>) {
        let silence = now.since(self.last);
        if silence >= SILENCE {
            let mut rows = Rows::new(screen.style, &self.label, Mark::Silence, None);
            rows.text(format!("{} of silence", duration(silence)).as_bytes(), screen.out);
        }
        self.last = self.last.max(now);
    }

    fn gap(&mut self, event: &Event, only: Option<Side>, screen: &mut Screen<'_>) {
        for gap in self.gaps.before(event, only) {
            self.rows(Mark::Trouble, screen).text(gap.as_bytes(), screen.out);
        }
    }

    fn write_notes(&mut self, screen: &mut Screen<'_>) {
        for note in std::mem::take(&mut self.notes) {
            self.rows(Mark::Trouble, screen).text(note.as_bytes(), screen.out);
        }
    }

    /// The line that ends a session: the verdict.
    fn end(&mut self, end: &End, screen: &mut Screen<'_>) {
        // Other notes are about bytes that were passed.
        let note = self.notes.pop_if(|note| note.starts_with(ENDED));
        self.write_notes(screen);
        let verdict = verdict(end, note.as_deref());
        let [client, server] = end.totals.map(quantity);
        let after = duration(self.last.since(self.info.started));
        let text = format!("{verdict}, after {after}: client {client}, server {server}");
        let mark = if end.state == State::Done { Mark::Frame } else { Mark::Trouble };
        self.rows(mark, screen).text(text.as_bytes(), screen.out);
    }

    /// Traffic: as lines of text as far as it is text, then as a dump.
    fn piece(&mut self, mark: Mark, position: u64, piece: &[u8], screen: &mut Screen<'_>) {
        let Mark::Data { from, .. } = mark else { return };
        let time = elapsed(self.last.since(self.info.started));
        let mut rows = Rows::new(screen.style, &self.label, mark, Some(time)).marking(screen.pattern);
        let hint = if position == 0 { hint::of(from, piece) } else { None };
        let hidden = hint.as_ref().map_or(0, |hint| hint.length);
        if let Some(hint) = hint {
            rows.text(hint.text.as_bytes(), screen.out);
        }
        let piece = &piece[hidden..];
        let text_length = piece::text_length(piece);
        let text = piece::beginning(&piece[..text_length], screen.max_shown);
        let line_end = &mut self.line_ends[from as usize];
        lines(&mut rows, text, line_end, screen.out);
        let rest = &piece[text.len()..];
        // Behind text that was cut there may be more of it.
        let is_binary = !rest.is_empty() && text.len() == text_length && text.len() < screen.max_shown;
        let dumped = if is_binary { &rest[..rest.len().min(screen.max_shown - text.len())] } else { b"" };
        if is_binary {
            rows.text(quantity(rest.len() as u64).as_bytes(), screen.out);
            dump(&rows, position + (hidden + text.len()) as u64, dumped, screen);
        }
        let left = rest.len() - dumped.len();
        if left > 0 {
            rows.text(format!("... {} more", quantity(left as u64)).as_bytes(), screen.out);
        }
    }
}

/// Shows text, in which ends of lines are mentioned where they are others than the side's first.
fn lines(rows: &mut Rows<'_>, mut text: &[u8], usual: &mut Option<LineEnd>, out: &mut Vec<u8>) {
    while let Some((line, end)) = piece::next_line(&mut text) {
        match end {
            Some(end) if end != *usual.get_or_insert(end) => {
                rows.data(&[line, end.escape()].concat(), out);
            }
            _ => rows.data(line, out),
        }
    }
}

fn dump(rows: &Rows<'_>, mut offset: u64, bytes: &[u8], screen: &mut Screen<'_>) {
    let length = dump::bytes_in_row(screen.style.columns);
    for bytes in bytes.chunks(length) {
        rows.dump(|out| dump::row(offset, bytes, length, out), screen.out);
        offset += bytes.len() as u64;
    }
}

/// `127.0.0.1:80`, `[::1]:80`, or the path of a Unix socket.
pub(super) fn place(peer: &Peer) -> String {
    let (node, service) = (&peer.name.node, &peer.name.service);
    let place = match node.as_str() {
        "" => service.clone(),
        node if node.contains(':') => format!("[{node}]:{service}"),
        node => format!("{node}:{service}"),
    };
    let mut out = Vec::with_capacity(place.len());
    visible::append(place.as_bytes(), false, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// Why a session ended: what was noted last, or else its state.
pub(super) fn verdict(end: &End, note: Option<&str>) -> String {
    if let Some(note) = note {
        return note.strip_prefix("Session ended: ").unwrap_or(note).trim_end_matches('.').to_owned();
    }
    let text = match end.state {
        State::Done => "done",
        State::ClientReset => "reset by the client",
        State::ServerReset => "reset by the server",
        State::Limit => "ended by the limit of bytes",
        State::Idle => "ended by the idle timeout",
        State::Stopped => "stopped by the operator",
        State::Failed => "failed",
        State::Lost => "ended abnormally",
        State::Refused => "the server was not reached",
        State::NoAnswer => "a peer does not answer",
    };
    if end.errno == 0 { text.to_owned() } else { format!("{text} ({})", reason(end.errno)) }
}

/// Seconds since the session began.
fn elapsed(nanos: u64) -> String {
    format!("{}.{:06}", nanos / 1_000_000_000, nanos / 1000 % 1_000_000)
}

/// The time of the day in UTC.
fn clock(time: Time) -> String {
    let second = time.seconds() % 86400;
    format!("{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

/// `0.412 ms`, `203 ms`, `1.204 s`, `3 min 20 s`, `2 h 5 min`.
pub(super) fn duration(nanos: u64) -> String {
    let (micros, seconds) = (nanos / 1000, nanos / 1_000_000_000);
    match (micros, seconds) {
        (..10_000, _) => format!("{}.{:03} ms", micros / 1000, micros % 1000),
        (..1_000_000, _) => format!("{} ms", micros / 1000),
        (_, ..60) => format!("{seconds}.{:03} s", micros / 1000 % 1000),
        (_, ..3600) => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}
