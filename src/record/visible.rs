//! Escapes text of peers for display: names, passwords, and `raw` on a terminal.

pub(super) use privsep::text::acts;

/// Appends `bytes`: printable characters as they are; whatever could move a cursor, end a line, turn
/// the direction of writing, takes no place, or is no UTF-8, in octal. A tab may pass where it does no harm.
pub(crate) fn append(bytes: &[u8], tabs: bool, out: &mut Vec<u8>) {
    for chunk in bytes.utf8_chunks() {
        text(chunk.valid(), tabs, out);
        spell(chunk.invalid(), out);
    }
}

fn text(mut text: &str, tabs: bool, out: &mut Vec<u8>) {
    let hidden = |c: char| acts(c) && !(tabs && c == '\t');
    while let Some((at, character)) = text.char_indices().find(|&(_, c)| hidden(c)) {
        let (seen, rest) = text.split_at(at);
        let (hidden, rest) = rest.split_at(character.len_utf8());
        out.extend_from_slice(seen.as_bytes());
        spell(hidden.as_bytes(), out);
        text = rest;
    }
    out.extend_from_slice(text.as_bytes());
}

fn spell(bytes: &[u8], out: &mut Vec<u8>) {
    for &byte in bytes {
        out.extend_from_slice(&octal(byte));
    }
}

/// Checks for a character that is invisible or controls the display, so that texts that look the same may differ in it.
/// Combining marks do not count.
pub(super) fn is_unseen(character: char) -> bool {
    match character {
        '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{6dd}' | '\u{70f}' | '\u{115f}' | '\u{1160}' => {
            true
        }
        '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180e}' | '\u{3164}' | '\u{ffa0}' => true,
        // Zero width: spaces, joiners, invisible operators, variation selectors, byte order mark.
        '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2064}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' => true,
        '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0100}'..='\u{e01ef}' => true,
        other => acts(other),
    }
}

/// `\033`
pub(in crate::record) const fn octal(byte: u8) -> [u8; 4] {
    [b'\\', b'0' + (byte >> 6), b'0' + (byte >> 3 & 7), b'0' + (byte & 7)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(bytes: &[u8], tabs: bool) -> String {
        let mut out = Vec::new();
        append(bytes, tabs, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn text_passes() {
        let text = "Grüße, 世界 🙂 \\033";
        assert_eq!(shown(text.as_bytes(), false), text);
    }

    #[test]
    fn what_acts_is_spelled_out() {
        assert_eq!(shown(b"a\x1b]0;x\x07\n\r\t", false), "a\\033]0;x\\007\\012\\015\\011");
        assert_eq!(shown(b"\ta", true), "\ta");
        assert_eq!(shown("\u{85}\u{2028}\u{202e}\u{e0041}".as_bytes(), true).matches('\\').count(), 12);
        assert_eq!(shown("\u{200b}\u{2060}\u{feff}\u{ad}".as_bytes(), true).matches('\\').count(), 11);
        assert_eq!(shown(b"\xff\xc3", true), "\\377\\303");
    }
}
