//! What a line of ours may hold: part of a notice may be a name from the network.

/// Appends a character; one that controls a terminal is spelled out.
pub(super) fn push_escaped(line: &mut String, character: char) {
    match character {
        '\t' => line.push(' '),
        character if character.is_control() => line.extend(character.escape_default()),
        character => line.push(character),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_control_character_is_spelled_out() {
        let controls = (0..=0x1f).chain(0x7f..=0x9f).filter_map(char::from_u32).filter(|it| *it != '\t');
        for control in controls {
            let mut line = String::new();
            push_escaped(&mut line, control);
            assert!(
                line.starts_with('\\') && !line.contains(char::is_control),
                "{control:?} became {line:?}"
            );
        }
        let mut line = String::new();
        "tab\t~ \u{7f} \u{a0} ü".chars().for_each(|character| push_escaped(&mut line, character));
        assert_eq!(line, "tab ~ \\u{7f} \u{a0} ü");
    }
}
