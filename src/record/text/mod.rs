//! The text formats. Pure code: bytes in, bytes appended to a buffer; no descriptor, no clock. [`TextEncoder`] has one
//! [`SessionText`] for each session of a file.

mod c;
mod clock;
mod count;
mod encoder;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod hex;
mod plain;
mod timing;

use crate::format::Format;
use crate::messages::Side;
use crate::sniff::CredentialSniffer;

use super::visible;
pub(in crate::record) use count::decimal;
use count::quantity;
pub(super) use encoder::TextEncoder;
pub(in crate::record) use hex::LOWER;

/// Number of bytes whose copy costs about as much as a separate write.
const LONG: usize = 16 * 1024;

/// One session as one output shows it.
pub(crate) struct SessionText {
    /// Start of every line: `[7] `, or nothing.
    label: Box<[u8]>,
    /// Text before the label: the time of the next line, or nothing.
    time: Vec<u8>,
    body: Body,
    /// The one side whose traffic is shown here: `--only`, and files of one direction (`%d`).
    only: Option<Side>,
    /// The last line has no line feed yet; the next text begins with one.
    in_line: bool,
}

/// Form of a record. `password` has no frame and evaluates more than one record at a time.
enum Body {
    C,
    Hex,
    Count,
    Null,
    Raw,
    /// `raw` of one direction: exactly the bytes that the side sent.
    Bytes,
    /// `raw` on a terminal: control characters are escaped.
    Visible,
    /// The same of one direction, without frame and marker.
    VisibleBytes,
    Strip,
    Password(Box<CredentialSniffer>),
}

impl Body {
    fn new(format: Format, label: &[u8], terminal: bool) -> Self {
        match format {
            Format::C => Body::C,
            Format::Hex => Body::Hex,
            Format::Count => Body::Count,
            Format::Null => Body::Null,
            Format::Raw if terminal => Body::Visible,
            Format::Raw => Body::Raw,
            Format::Strip => Body::Strip,
            Format::Password(finds) => Body::Password(Box::new(CredentialSniffer::new(label, finds))),
            // Have encoders of their own.
            Format::Json | Format::Pcapng | Format::View | Format::Html => Body::Null,
        }
    }
}

impl SessionText {
    /// `label` is the session's number if concurrent sessions share the output. `terminal` marks a terminal,
    /// on which `raw` must not be literal.
    pub(crate) fn new(format: Format, label: Option<u64>, terminal: bool) -> Self {
        let label = label.map(|number| format!("[{number}] ")).unwrap_or_default().into_bytes();
        let body = Body::new(format, &label, terminal);
        SessionText { label: label.into(), time: Vec::new(), body, only: None, in_line: false }
    }

    /// Restricts the output to one direction, if `side` is given. `raw` becomes exactly the bytes; the other
    /// formats keep their frame, without lines about the other direction. `password` reads both nevertheless,
    /// because the server's answer is the verdict on a login.
    pub(crate) fn only(self, side: Option<Side>) -> Self {
        let body = match self.body {
            Body::Raw if side.is_some() => Body::Bytes,
            Body::Visible if side.is_some() => Body::VisibleBytes,
            body => body,
        };
        SessionText { body, only: side, ..self }
    }

    /// Buffer for the time of the next line, followed by a blank.
    fn time(&mut self) -> &mut Vec<u8> {
        self.time.clear();
        &mut self.time
    }

    /// Checks whether this format shows, or needs, data from this side.
    fn follows(&self, from: Side) -> bool {
        matches!(self.body, Body::Password(_)) || self.only.is_none_or(|only| only == from)
    }

    /// Writes the beginning of the frame; a peer is (node, service).
    pub(crate) fn begin(&mut self, client: (&str, &str), server: (&str, &str), out: &mut Vec<u8>) {
        self.peer("Connection from: ", client, out);
        self.peer("Connection to: ", server, out);
        self.frame(out, |out| out.extend_from_slice(b"Transmission follows..."));
    }

    /// Writes one record. Returns the rest of it, which the caller writes after `out`: this saves the copy of a long
    /// piece of `raw`.
    pub(crate) fn piece<'a>(
        &mut self,
        from: Side,
        urgent: bool,
        bytes: &'a [u8],
        out: &mut Vec<u8>,
    ) -> &'a [u8] {
        if bytes.is_empty() || !self.follows(from) {
            return b"";
        }
        let start = PieceStart { time: &self.time, label: &self.label, urgent, from };
        match &mut self.body {
            Body::C => c::record(start, bytes, out),
            Body::Hex => hex::record(start, bytes, out),
            Body::Count => count::record(start, bytes.len() as u64, out),
            Body::Null => {}
            Body::Raw if bytes.len() >= LONG => {
                start.append(out);
                return bytes;
            }
            Body::Bytes if bytes.len() >= LONG => return bytes,
            Body::Raw => plain::raw(start, bytes, out),
            Body::Bytes => out.extend_from_slice(bytes),
            Body::Visible => on_a_line(&mut self.in_line, out, |out| plain::visible(start, bytes, out)),
            Body::VisibleBytes => plain::harmless(bytes, out),
            Body::Strip => on_a_line(&mut self.in_line, out, |out| plain::strip(start, bytes, out)),
            // An urgent byte is no part of the stream that the peer reads its commands from.
            Body::Password(_) if urgent => {}
            Body::Password(watch) => watch.piece(from, bytes, out),
        }
        b""
    }

    /// Writes the length of bytes that are not known.
    pub(crate) fn passed(&mut self, from: Side, bytes: u64, out: &mut Vec<u8>) {
        if matches!(self.body, Body::Count) && bytes > 0 && self.follows(from) {
            let start = PieceStart { time: &self.time, label: &self.label, urgent: false, from };
            count::record(start, bytes, out);
        }
    }

    /// Writes the end of file from one side, which sent `total` bytes.
    pub(crate) fn ended(&mut self, from: Side, total: u64, out: &mut Vec<u8>) {
        if let Body::Password(watch) = &mut self.body {
            watch.ended(from, out);
        }
        if !self.follows(from) {
            return;
        }
        let (head, tail) = match from {
            Side::Client => ("End of input: ", " received."),
            Side::Server => ("End of output: ", " sent."),
        };
        self.frame(out, |out| {
            out.extend_from_slice(head.as_bytes());
            quantity(total, out);
            out.extend_from_slice(tail.as_bytes());
        });
    }

    /// Writes a line of the frame with the reason of an abnormal end.
    pub(crate) fn note(&mut self, text: &str, out: &mut Vec<u8>) {
        self.frame(out, |out| visible::append(text.as_bytes(), false, out));
    }

    /// Writes the end of the session.
    pub(crate) fn close(&mut self, out: &mut Vec<u8>) {
        if let Body::Password(watch) = &mut self.body {
            watch.close(out);
        }
        self.frame(out, |out| out.extend_from_slice(b"End of transmission."));
    }

    fn peer(&mut self, head: &str, (node, service): (&str, &str), out: &mut Vec<u8>) {
        self.frame(out, |out| {
            out.extend_from_slice(head.as_bytes());
            visible::append(node.as_bytes(), false, out);
            out.extend_from_slice(b" port ");
            visible::append(service.as_bytes(), false, out);
        });
    }

    fn frame(&mut self, out: &mut Vec<u8>, text: impl FnOnce(&mut Vec<u8>)) {
        if matches!(self.body, Body::Password(_) | Body::Bytes | Body::VisibleBytes) {
            return;
        }
        on_a_line(&mut self.in_line, out, |out| {
            out.extend_from_slice(&self.time);
            out.extend_from_slice(&self.label);
            text(out);
            out.push(b'\n');
        });
    }
}

/// Makes `text` begin on a line of its own: two pieces on one line would look like one piece, and a frame after them
/// like traffic.
fn on_a_line(in_line: &mut bool, out: &mut Vec<u8>, text: impl FnOnce(&mut Vec<u8>)) {
    if *in_line {
        out.push(b'\n');
    }
    text(out);
    *in_line = out.last() != Some(&b'\n');
}

/// Start of a record.
#[derive(Clone, Copy)]
struct PieceStart<'a> {
    /// With a blank behind it, or nothing.
    time: &'a [u8],
    label: &'a [u8],
    urgent: bool,
    from: Side,
}

impl PieceStart<'_> {
    fn append(self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.time);
        self.append_without_time(out);
    }

    fn append_without_time(self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.label);
        if self.urgent {
            out.extend_from_slice(b"(OOB)");
        }
        out.extend_from_slice(match self.from {
            Side::Client => b"<<< ",
            Side::Server => b">>> ",
        });
    }

    /// Checks whether other sessions write into the same output, so that no record may leave a line open.
    fn shares_output(self) -> bool {
        !self.label.is_empty()
    }
}

/// Finds the first `needle`, eight bytes at a time: after XOR with the needle, the lowest byte that borrows from its
/// top bit is the first zero.
pub(crate) fn find(needle: u8, bytes: &[u8]) -> Option<usize> {
    const LOW: u64 = u64::from_ne_bytes([0x01; 8]);
    const TOP: u64 = u64::from_ne_bytes([0x80; 8]);
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word) ^ (LOW * u64::from(needle));
        let zeros = word.wrapping_sub(LOW) & !word & TOP;
        if zeros != 0 {
            return Some(index * 8 + zeros.trailing_zeros() as usize / 8);
        }
    }
    rest.iter().position(|&byte| byte == needle).map(|at| words.len() * 8 + at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Finds;

    /// A session with all there can be, in one format.
    fn session(format: Format, label: Option<u64>, terminal: bool) -> String {
        let mut out = Vec::new();
        let mut session = SessionText::new(format, label, terminal);
        session.begin(("127.0.0.1", "33116"), ("::1", "80"), &mut out);
        session.piece(Side::Client, false, b"a\r\nb", &mut out);
        session.piece(Side::Server, true, b"!", &mut out);
        session.passed(Side::Server, 3, &mut out);
        session.ended(Side::Server, 1, &mut out);
        session.ended(Side::Client, 256, &mut out);
        session.note("Reset by the client", &mut out);
        session.close(&mut out);
        String::from_utf8(out).unwrap()
    }

    const HEAD: &str =
        "Connection from: 127.0.0.1 port 33116\nConnection to: ::1 port 80\nTransmission follows...\n";
    const TAIL: &str = "End of output: 1 byte sent.\nEnd of input: 256 bytes received.\n\
                        Reset by the client\nEnd of transmission.\n";

    #[test]
    fn frame_is_that_of_the_original() {
        assert_eq!(session(Format::Null, None, false), format!("{HEAD}{TAIL}"));
        assert_eq!(session(Format::C, None, false), format!("{HEAD}<<< a\\r\\nb\n(OOB)>>> !\n{TAIL}"));
        let counted = "<<< 4 bytes\n(OOB)>>> 1 byte\n>>> 3 bytes\n";
        assert_eq!(session(Format::Count, None, false), format!("{HEAD}{counted}{TAIL}"));
        assert_eq!(session(Format::Raw, None, false), format!("{HEAD}<<< a\r\nb(OOB)>>> !{TAIL}"));
        assert_eq!(session(Format::Raw, None, true), format!("{HEAD}<<< a\nb\n(OOB)>>> !\n{TAIL}"));
        assert_eq!(session(Format::Strip, None, false), format!("{HEAD}<<< a\nb\n(OOB)>>> !\n{TAIL}"));
    }

    #[test]
    fn password_has_no_frame() {
        assert_eq!(session(Format::Password(Finds::Logins), Some(1), false), "");
    }

    #[test]
    fn label_starts_every_line() {
        for format in [Format::C, Format::Hex, Format::Count, Format::Null, Format::Strip] {
            let shown = session(format, Some(7), false);
            assert!(shown.lines().all(|line| line.starts_with("[7] ")), "{shown}");
        }
        let shown = session(Format::Raw, Some(7), true);
        assert!(shown.lines().all(|line| line.starts_with("[7] ")), "{shown}");
        let labelled: String = session(Format::Hex, Some(7), false).replace("[7] ", "");
        assert_eq!(labelled, session(Format::Hex, None, false));
    }

    #[test]
    fn names_and_notes_cannot_forge() {
        let mut out = Vec::new();
        let mut session = SessionText::new(Format::Null, None, true);
        session.begin(("", "a\nEnd\x1b[m"), ("\u{9b}", "\u{202e}x\t\u{e9}"), &mut out);
        session.note("a\nb", &mut out);
        let shown = String::from_utf8(out).unwrap();
        assert_eq!(
            shown,
            "Connection from:  port a\\012End\\033[m\nConnection to: \\302\\233 port \\342\\200\\256x\\011\u{e9}\n\
             Transmission follows...\na\\012b\n"
        );
    }

    #[test]
    fn find_agrees_with_position() {
        let mut bytes = vec![b'x'; 200];
        assert_eq!(find(b'y', &bytes), None);
        for at in (0..200).rev() {
            bytes[at] = b'y';
            assert_eq!(find(b'y', &bytes), Some(at));
        }
    }

    /// A session in the file of one side.
    fn one_way(format: Format, side: Side) -> String {
        let mut out = Vec::new();
        let mut session = SessionText::new(format, None, false).only(Some(side));
        session.begin(("127.0.0.1", "33116"), ("::1", "80"), &mut out);
        session.piece(Side::Client, false, b"USER a\r\nPASS b\r\n", &mut out);
        session.piece(Side::Server, false, b"230 <\r\n", &mut out);
        session.piece(Side::Server, true, b"!", &mut out);
        session.passed(Side::Client, 3, &mut out);
        session.ended(Side::Client, 19, &mut out);
        session.ended(Side::Server, 7, &mut out);
        session.note("Reset", &mut out);
        session.close(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn one_direction_is_its_own_and_the_frame() {
        let ends = "Reset\nEnd of transmission.\n";
        let counted = "<<< 16 bytes\n<<< 3 bytes\nEnd of input: 19 bytes received.\n";
        assert_eq!(one_way(Format::Count, Side::Client), format!("{HEAD}{counted}{ends}"));
        let counted = ">>> 7 bytes\n(OOB)>>> 1 byte\nEnd of output: 7 bytes sent.\n";
        assert_eq!(one_way(Format::Count, Side::Server), format!("{HEAD}{counted}{ends}"));
    }

    #[test]
    fn raw_of_one_direction_is_the_bytes() {
        assert_eq!(one_way(Format::Raw, Side::Client), "USER a\r\nPASS b\r\n");
        assert_eq!(one_way(Format::Raw, Side::Server), "230 <\r\n!");
    }

    #[test]
    fn password_of_one_direction_knows_the_other() {
        let mut out = Vec::new();
        let mut both = SessionText::new(Format::Password(Finds::Logins), None, false);
        both.piece(Side::Client, false, b"USER a\r\nPASS b\r\n", &mut out);
        both.piece(Side::Server, false, b"230 <\r\n", &mut out);
        both.close(&mut out);
        assert!(out.windows(4).any(|found| found == b" a:b"));
        assert_eq!(one_way(Format::Password(Finds::Logins), Side::Client).as_bytes(), out);
    }
}
