//! Texts of system errors and file names in messages. The errors are those of `strerror(3)`, which scripts match; nix
//! has different texts for some.

use std::io;

/// Returns the text of `strerror(3)`.
pub(crate) fn reason(code: i32) -> String {
    let text = io::Error::from_raw_os_error(code).to_string();
    match text.rsplit_once(" (os error ") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

/// Formats a file name for a message: UTF-8 as typed, with escapes for invisible characters and terminal
/// commands.
pub(crate) fn shown_name(name: &[u8]) -> String {
    let mut shown = String::new();
    for chunk in name.utf8_chunks() {
        for character in chunk.valid().chars() {
            match u8::try_from(character) {
                Ok(byte) if byte.is_ascii() => shown.extend(byte.escape_ascii().map(char::from)),
                _ => shown.extend(character.escape_debug()),
            }
        }
        shown.push_str(&chunk.invalid().escape_ascii().to_string());
    }
    shown
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_name_in_utf8_is_shown_as_it_was_typed() {
        let shown = |name: &str| super::shown_name(name.as_bytes());
        assert_eq!(shown("/srv/Größe-记录.log"), "/srv/Größe-记录.log");
        assert_eq!(shown("a\n\x1b[2J"), "a\\n\\x1b[2J");
        assert_eq!(shown("\u{200b}\u{202e}"), "\\u{200b}\\u{202e}");
        assert_eq!(super::shown_name(b"\xff\xfe"), "\\xff\\xfe");
    }

    #[test]
    fn the_words_are_those_of_the_c_library() {
        assert_eq!(super::reason(nix::libc::EAGAIN), "Resource temporarily unavailable");
        assert_eq!(super::reason(nix::libc::ECONNREFUSED), "Connection refused");
    }
}
