//! Errors of the system in the system's words: people grep for them, and nix words some differently.

use std::io;

/// What `strerror(3)` says.
pub(crate) fn reason(code: i32) -> String {
    let text = io::Error::from_raw_os_error(code).to_string();
    match text.rsplit_once(" (os error ") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

/// The name of a file as a message shows it: in UTF-8 as it was typed, with escapes for what is not to be seen, or
/// would command a terminal.
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
