//! JSON text: one object, written key by key.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::text::decimal;
use super::visible;

/// An object that is being written.
pub(crate) struct Object<'a> {
    out: &'a mut Vec<u8>,
    is_first: bool,
}

impl<'a> Object<'a> {
    pub(crate) fn begin(out: &'a mut Vec<u8>) -> Object<'a> {
        out.push(b'{');
        Object { out, is_first: true }
    }

    pub(crate) fn end(self) {
        self.out.push(b'}');
    }

    /// `key` needs no escapes.
    fn key(&mut self, key: &str) {
        if !std::mem::replace(&mut self.is_first, false) {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    /// A string that needs no escapes.
    pub(crate) fn word(&mut self, key: &str, value: &str) {
        self.key(key);
        self.out.push(b'"');
        self.out.extend_from_slice(value.as_bytes());
        self.out.push(b'"');
    }

    pub(crate) fn string(&mut self, key: &str, value: &str) {
        self.key(key);
        self.out.push(b'"');
        escape(value, self.out);
        self.out.push(b'"');
    }

    pub(crate) fn number(&mut self, key: &str, value: u64) {
        self.key(key);
        decimal(value, 1, self.out);
    }

    pub(crate) fn signed(&mut self, key: &str, value: i32) {
        self.key(key);
        if value < 0 {
            self.out.push(b'-');
        }
        decimal(value.unsigned_abs().into(), 1, self.out);
    }

    pub(crate) fn boolean(&mut self, key: &str, value: bool) {
        self.key(key);
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
    }

    /// Nanoseconds as seconds, exactly, and always with a decimal point: readers take it for a float at first sight.
    pub(crate) fn seconds(&mut self, key: &str, nanos: u64) {
        self.key(key);
        decimal(nanos / 1_000_000_000, 1, self.out);
        self.out.push(b'.');
        let start = self.out.len();
        digits(nanos % 1_000_000_000, 9, self.out);
        let used = self.out[start..].iter().rposition(|&digit| digit != b'0').map_or(1, |last| last + 1);
        self.out.truncate(start + used);
    }

    /// Bytes as `text` that can always be read, and as `base64` where that is not exact.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        if let Some(text) = exact(bytes) {
            self.string("text", text);
            return self.word("base64", "");
        }
        self.key("text");
        self.out.push(b'"');
        dotted(bytes, self.out);
        self.out.extend_from_slice(b"\",\"base64\":\"");
        base64(bytes, self.out);
        self.out.push(b'"');
    }
}

/// Appends the bytes in base64.
pub(super) fn base64(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    // There is room.
    let used = STANDARD.encode_slice(bytes, &mut out[start..]).unwrap_or(0);
    out.truncate(start + used);
}

/// `number` with leading zeros.
pub(crate) fn digits(number: u64, width: usize, out: &mut Vec<u8>) {
    let start = out.len();
    decimal(number, width, out);
    out[start..].iter_mut().filter(|digit| **digit == b' ').for_each(|digit| *digit = b'0');
}

/// The bytes as text, if that is what they are: UTF-8 without control characters but `\t`, `\n` and `\r`.
fn exact(bytes: &[u8]) -> Option<&str> {
    let acts =
        |byte: u8| (byte < b' ') & (byte != b'\t') & (byte != b'\n') & (byte != b'\r') | (byte == 0x7f);
    if bytes.iter().fold(false, |found, &byte| found | acts(byte)) {
        return None;
    }
    str::from_utf8(bytes).ok()
}

/// Bytes that are looked at together.
const BLOCK: usize = 512;

/// Appends the bytes as JSON has text, with a dot for each control character and for each sequence of bytes that is
/// no character.
fn dotted(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len() + bytes.len() / 8);
    let mut at = 0;
    while at < bytes.len() {
        let block = &bytes[at..bytes.len().min(at + BLOCK)];
        let (shown, special) = classified(block, &bytes[at + 1..]);
        let mut done = 0;
        for (index, word) in special.as_chunks::<8>().0.iter().enumerate() {
            let mut left = u64::from_le_bytes(*word);
            while left != 0 {
                let place = index * 8 + left.trailing_zeros() as usize / 8;
                left &= left - 1;
                // Not within the character before.
                if place >= done {
                    out.extend_from_slice(&shown[done..place]);
                    done = place + special_bytes(&bytes[at + place..], out);
                }
            }
        }
        out.extend_from_slice(shown[..block.len()].get(done..).unwrap_or_default());
        at += done.max(block.len());
    }
}

/// What becomes of each byte of a block by itself, and a 1 for each that `special_bytes` is for. `next` are the bytes
/// from the second one on. Two loops without branches, which take random bytes as fast as text.
fn classified(block: &[u8], next: &[u8]) -> ([u8; BLOCK], [u8; BLOCK]) {
    let (mut shown, mut special) = ([0; BLOCK], [0; BLOCK]);
    for ((&byte, shown), special) in block.iter().zip(&mut shown).zip(&mut special) {
        *shown = if matches!(byte, b' '..=b'~') { byte } else { b'.' };
        let is_escaped =
            (byte == b'"') | (byte == b'\\') | (byte == b'\n') | (byte == b'\r') | (byte == b'\t');
        *special = u8::from(is_escaped);
    }
    for ((&byte, &next), special) in block.iter().zip(next).zip(&mut special) {
        *special |= u8::from(matches!(byte, 0xc2..=0xf4) & matches!(next, 0x80..=0xbf));
    }
    (shown, special)
}

/// Appends what the beginning of `bytes` becomes, an escape or a longer character, or the dot for what is none;
/// returns the number of bytes that it stands for.
fn special_bytes(bytes: &[u8], out: &mut Vec<u8>) -> usize {
    let (character, length) = match *bytes {
        [byte @ ..0x80, ..] => (Some(char::from(byte)), 1),
        // Always a character, where the second byte is one of these.
        [first @ 0xc2..=0xdf, second @ 0x80..=0xbf, ..] => {
            (char::from_u32(u32::from(first & 0x1f) << 6 | u32::from(second & 0x3f)), 2)
        }
        _ => longer_character(bytes),
    };
    match character {
        None | Some(char::REPLACEMENT_CHARACTER) => out.push(b'.'),
        Some(character) if length == 1 || visible::acts(character) => escape_one(character, out),
        Some(_) => out.extend_from_slice(&bytes[..length]),
    }
    length
}

/// The character at the beginning of `bytes`, if it is one, and the number of bytes that it takes.
fn longer_character(bytes: &[u8]) -> (Option<char>, usize) {
    let length = if bytes.first() < Some(&0xf0) { 3 } else { 4 };
    let window = &bytes[..bytes.len().min(length)];
    match str::from_utf8(window) {
        Ok(text) => (text.chars().next(), text.len()),
        // Without a length, it is cut off at the end.
        Err(error) => (None, error.error_len().unwrap_or(window.len())),
    }
}

/// Bytes with which an escape may begin: 1 for ASCII, 2 for the first byte of a character.
static CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            0..=0x1f | b'"' | b'\\' | 0x7f => 1,
            // Of every character that `visible::acts` names: C1 controls, the grapheme joiner, Arabic letter mark;
            // fillers, selectors, marks and separators from U+1000 on; shorthand and musical controls; tags.
            0xc2 | 0xcd | 0xd8 | 0xe1..=0xe3 | 0xef | 0xf0 | 0xf3 => 2,
            _ => 0,
        };
        byte += 1;
    }
    table
}

/// Appends a string as JSON has it. Characters that a terminal obeys become `\uXXXX`.
pub(crate) fn escape(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let (mut start, mut at) = (0, 0);
    while at < bytes.len() {
        let length = match CLASS[usize::from(bytes[at])] {
            0 => 0,
            1 => 1,
            _ => text[at..].chars().next().filter(|c| visible::acts(*c)).map_or(0, char::len_utf8),
        };
        if length == 0 {
            at += 1;
            continue;
        }
        out.extend_from_slice(&bytes[start..at]);
        text[at..at + length].chars().for_each(|character| escape_one(character, out));
        at += length;
        start = at;
    }
    out.extend_from_slice(&bytes[start..]);
}

fn escape_one(character: char, out: &mut Vec<u8>) {
    let short = match character {
        '"' => b'"',
        '\\' => b'\\',
        '\n' => b'n',
        '\r' => b'r',
        '\t' => b't',
        '\x08' => b'b',
        '\x0c' => b'f',
        _ => {
            for unit in character.encode_utf16(&mut [0; 2]) {
                out.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
            }
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn object(bytes: &[u8]) -> (String, Value) {
        let mut out = Vec::new();
        let mut object = Object::begin(&mut out);
        object.bytes(bytes);
        object.end();
        let text = String::from_utf8(out).expect("JSON is UTF-8");
        let value = serde_json::from_str(&text).expect("JSON");
        (text, value)
    }

    #[test]
    fn text_is_exact_and_what_is_none_has_dots_and_base64() {
        let cases: [(&[u8], &str, &str); 7] = [
            (b"GET /\r\n\t\"\\", "GET /\r\n\t\"\\", ""),
            ("é\u{9b}\u{202e}".as_bytes(), "é\u{9b}\u{202e}", ""),
            (b"$3\r\n\x0d\x0a\x00\xffA\r\n", "$3\r\n\r\n..A\r\n", "JDMNCg0KAP9BDQo="),
            (b"\x7f", ".", "fw=="),
            (b"\x00\xe2\x82\xe2\x82\xac", "..€", "AOKC4oKs"),
            (b"\x00\xef\xbf\xbd\xf0\x9f\x99", "...", "AO+/vfCfmQ=="),
            (b"\x00\xed\xa0\x80\xc3", ".....", "AO2ggMM="),
        ];
        for (bytes, text, base64) in cases {
            let (_, value) = object(bytes);
            assert_eq!(value["text"], text, "{bytes:?}");
            assert_eq!(value["base64"], base64, "{bytes:?}");
        }
    }

    #[test]
    fn every_character_that_acts_is_escaped() {
        for character in (char::MIN..=char::MAX).filter(|character| visible::acts(*character)) {
            let mut out = Vec::new();
            escape(character.encode_utf8(&mut [0; 4]), &mut out);
            assert!(out.is_ascii(), "{:04x}", character as u32);
        }
    }

    #[test]
    fn seconds_are_exact_and_have_a_point() {
        let cases = [(0, "0.0"), (1, "0.000000001"), (412_000, "0.000412"), (12_500_000_000, "12.5")];
        for (nanos, expected) in cases {
            let mut out = Vec::new();
            let mut object = Object::begin(&mut out);
            object.seconds("s", nanos);
            assert_eq!(String::from_utf8(out).unwrap(), format!("{{\"s\":{expected}"));
        }
    }

    fn pieces() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..20),
            // Longer than a block of the text with dots.
            prop::collection::vec(prop_oneof![any::<u8>(), Just(b'"')], BLOCK..2 * BLOCK),
            "\\PC{0,9}".prop_map(String::into_bytes),
            "[\u{0}-\u{20}\u{7f}-\u{9f}\u{61c}\u{200e}\u{2028}-\u{202e}\u{2066}\u{e0041}\u{fffd}\"\\\\]{0,5}"
                .prop_map(String::into_bytes),
        ];
        prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn bytes_come_back_and_no_terminal_obeys_them(bytes in pieces()) {
            let (text, value) = object(&bytes);
            prop_assert!(!text.contains(visible::acts), "{text:?}");
            let base64 = value["base64"].as_str().expect("a string");
            let shown = value["text"].as_str().expect("a string");
            if base64.is_empty() {
                prop_assert_eq!(shown.as_bytes(), &bytes);
            } else {
                prop_assert_eq!(STANDARD.decode(base64).expect("base64"), &bytes[..]);
                let dotted: String = String::from_utf8_lossy(&bytes)
                    .chars()
                    .map(|c| match c {
                        '\t' | '\n' | '\r' => c,
                        '\0'..='\x1f' | '\x7f' | '\u{fffd}' => '.',
                        _ => c,
                    })
                    .collect();
                prop_assert_eq!(shown, dotted);
            }
        }
    }
}
