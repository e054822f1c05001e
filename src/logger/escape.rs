//! What a line of ours may hold: part of a notice may be a name from the network.

/// Appends a character; one that controls a terminal is spelled out.
pub(super) fn push_escaped(line: &mut String, character: char) {
    match character {
        '\t' => line.push(' '),
        character if character.is_control() => line.extend(character.escape_default()),
        character => line.push(character),
    }
}
