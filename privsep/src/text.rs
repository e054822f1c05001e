//! Text that another process wrote, and escapes for characters that must not reach a terminal or a log unchanged.

use std::borrow::Cow;
use std::fmt::{self, Write};

use serde::{Deserialize, Serialize};

/// Text of another process. It can only be read through `Display`, which escapes every active character, including
/// line ends, so that the text forges no line and controls no terminal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Text(String);

impl From<String> for Text {
    fn from(text: String) -> Text {
        Text(text)
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Text {
        Text(text.to_owned())
    }
}

impl From<Cow<'_, str>> for Text {
    fn from(text: Cow<'_, str>) -> Text {
        Text(text.into_owned())
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| write_escaped(f, character))
    }
}

/// Writes a character; an active one is escaped, and a tab is replaced by a space.
pub fn write_escaped(out: &mut impl Write, character: char) -> fmt::Result {
    match character {
        '\t' => out.write_char(' '),
        // `escape_default` leaves no active character unchanged.
        character if acts(character) => write!(out, "{}", character.escape_default()),
        character => out.write_char(character),
    }
}

/// Escapes active characters in the program's own lines, except line ends.
pub fn lines(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => shown.push('\n'),
            // Writing to a string does not fail.
            character => drop(write_escaped(&mut shown, character)),
        }
    }
    shown
}

/// Returns `true` for an active character, one that has an effect instead of a glyph: controls, Unicode's line ends
/// and directions, and all characters that Unicode calls ignorable (`Default_Ignorable_Code_Point` in
/// DerivedCoreProperties.txt, Unicode 16).
pub fn acts(character: char) -> bool {
    match character {
        ' '..='~' => false,
        // Soft hyphen, grapheme joiner, direction marks, fillers, Khmer's inherent vowels, Mongolian selectors.
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' => true,
        '\u{180b}'..='\u{180f}' => true,
        // Zero width space and joiners, marks, line ends, embeddings; word joiner, invisible operators, isolates.
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => true,
        // Hangul filler, variation selectors, byte order mark, half-width filler, annotations and unassigned.
        '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' => true,
        // Shorthand format controls, musical ones, tags and the selectors behind them.
        '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}' => true,
        other => other.is_control(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_seen_passes() {
        for text in ["plain", "Grüße, 世界 🙂", "עברית", "a\u{301}"] {
            assert_eq!(Text::from(text).to_string(), text);
        }
        assert_eq!(Text::from("a\tb").to_string(), "a b");
    }

    #[test]
    fn what_acts_is_spelled_out() {
        let acting = "\u{0}\n\r\u{1b}\u{7f}\u{85}\u{9b}\u{ad}\u{200b}\u{200d}\u{2028}\u{202e}\u{2060}\u{2066}\u{fe0f}\u{feff}\u{e0041}";
        for character in acting.chars() {
            let shown = Text::from(character.to_string()).to_string();
            assert!(shown.starts_with('\\') && shown.is_ascii(), "{:x}: {shown:?}", u32::from(character));
        }
    }

    #[test]
    fn nothing_that_acts_is_left_of_any_character() {
        for character in '\0'..=char::MAX {
            let shown = Text::from(character.to_string()).to_string();
            assert!(!shown.chars().any(acts), "{:x}: {shown:?}", u32::from(character));
        }
    }

    #[test]
    fn lines_of_ours_stay_lines() {
        assert_eq!(lines("one\ntwo\u{1b}[2J\n"), "one\ntwo\\u{1b}[2J\n");
        assert_eq!(lines(&format!("one {}", Text::from("\ntwo"))), "one \\ntwo");
    }
}
