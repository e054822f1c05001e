//! Usage errors, and the form in which they repeat arguments.

use std::ffi::OsStr;
use std::fmt::Write as _;

use crate::exit::{Failure, Status};

/// The last line of every usage error.
const TRY: &str = "Try \"tcpreen --help\" for more information.";

/// Maximum length of an argument in an error.
const LONGEST_SHOWN: usize = 200;

/// Builds a usage error with a pointer to `--help`.
pub(super) fn usage(text: String) -> Failure {
    Failure::new(Status::Usage, format!("{text}\n{TRY}"))
}

/// Formats an argument for an error: on one line, harmless to a terminal, never invisible.
pub(super) fn shown(text: &OsStr) -> String {
    if text.is_empty() {
        return "''".to_owned();
    }
    let mut out = String::new();
    for chunk in text.as_encoded_bytes().utf8_chunks() {
        chunk.valid().chars().for_each(|char| push_char(&mut out, char));
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}"); // a String takes everything
        }
        if out.len() > LONGEST_SHOWN {
            let end = (0..=LONGEST_SHOWN).rev().find(|&end| out.is_char_boundary(end)).unwrap_or(0);
            out.truncate(end);
            out.push_str("...");
            break;
        }
    }
    out
}

/// Escapes characters that the standard library's escape treats as unprintable, including direction marks; quotes and
/// backslashes stay, as in the texts of 1.4.4.
fn push_char(out: &mut String, char: char) {
    if matches!(char, '\\' | '\'' | '"') {
        out.push(char);
    } else {
        out.extend(char.escape_debug());
    }
}
