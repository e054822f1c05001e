//! `password` with arbitrary dialogues.
//!
//! An input is a dialogue: `<` is the client, `>` the server, a line feed before one of them begins the next
//! piece, and an empty piece is the end of that side.

use crate::format::{Finds, Format};
use crate::messages::Side;
use crate::record::text::SessionText;

/// Maximum length read of a line, or of an argument.
const FIELD: usize = 4096;
/// One line of output: label, protocol, name, password, verdict, reply code. A byte becomes four characters at most,
/// and two bytes of UTF-16 three of UTF-8 before.
const LONGEST: usize = 256 + 2 * 4 * (FIELD + FIELD / 2);

type Spoken<'a> = (Side, &'a [u8]);

pub fn fuzz(data: &[u8]) {
    let said = pieces(data);
    let whole = watched(&said, usize::MAX);
    check(&whole, &said);
    let step = 1 + data.len() % 7;
    let split = watched(&said, step);
    assert!(whole == split, "in pieces of {step}:\n{}\nand whole:\n{}", text(&split), text(&whole));
}

fn pieces(data: &[u8]) -> Vec<Spoken<'_>> {
    let mut pieces = Vec::new();
    let mut start = 0;
    while start < data.len() {
        let begins = |pair: &[u8]| matches!(pair, b"\n<" | b"\n>");
        let end = data[start..].windows(2).position(begins).map_or(data.len(), |at| start + at);
        match &data[start..end] {
            [b'<', bytes @ ..] => pieces.push((Side::Client, bytes)),
            [b'>', bytes @ ..] => pieces.push((Side::Server, bytes)),
            bytes => pieces.push((Side::Client, bytes)),
        }
        start = end + 1;
    }
    pieces
}

fn watched(said: &[Spoken], step: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut session = SessionText::new(Format::Password(Finds::All), Some(7), false);
    session.begin(("a", "1"), ("b", "2"), &mut out);
    for &(from, bytes) in said {
        if bytes.is_empty() {
            session.ended(from, 0, &mut out);
        }
        for piece in bytes.chunks(step) {
            let rest = session.piece(from, false, piece, &mut out);
            assert!(rest.is_empty());
        }
    }
    session.close(&mut out);
    out
}

fn check(out: &[u8], said: &[Spoken]) {
    let out = text(out);
    assert!(!out.contains(|c: char| c.is_control() && c != '\n'), "control characters in {out:?}");
    assert!(out.is_empty() || out.ends_with('\n'), "a line is left open: {out:?}");
    for line in out.lines() {
        assert!(line.starts_with("[7] ") && line.contains(": "), "forged: {line:?}");
        assert!(line.len() <= LONGEST, "{} bytes in a line", line.len());
    }
    // The shortest message with a finding in it is `PASS` and a line feed.
    let client = said.iter().filter(|(from, _)| *from == Side::Client).map(|(_, bytes)| bytes.len());
    let most = 1 + client.sum::<usize>() / 5;
    assert!(out.lines().count() <= most, "{} findings where {most} are possible", out.lines().count());
}

fn text(out: &[u8]) -> &str {
    str::from_utf8(out).expect("UTF-8")
}
