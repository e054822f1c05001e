//! Notes in the record about items other than bytes: descriptors, and empty messages.

use crate::messages::{Side, rights};

/// Maximum number of runs of equal kinds in a note.
const MOST_RUNS: usize = 16;

/// Returns the note about descriptors that came with the next bytes of a side; `codes` has the kind of each.
///
/// The length of the note is bounded: a peer that sends many descriptors must not fill the memory.
pub(in crate::logger) fn descriptors(from: Side, codes: &[u8]) -> String {
    let runs: Vec<&[u8]> = codes.chunk_by(|one, other| one == other).collect();
    let mut words: Vec<String> = runs.iter().take(MOST_RUNS).map(|run| run_in_words(run)).collect();
    let left: usize = runs.iter().skip(MOST_RUNS).map(|run| run.len()).sum();
    if left > 0 {
        words.push(format!("and {left} more"));
    }
    format!("{} from the {}", words.join(" "), side_name(from))
}

fn run_in_words(run: &[u8]) -> String {
    let word = run.first().copied().and_then(rights::word).unwrap_or("anonymous");
    match run.len() {
        1 => format!("(FD {word})"),
        length => format!("(FD {word}) x {length}"),
    }
}

/// Returns the note about descriptors that one side sent and the other did not get.
pub(in crate::logger) fn undelivered(from: Side, count: u32) -> String {
    let side = side_name(from);
    match count {
        0 => format!("(FD) from the {side}: not passed on"),
        1 => format!("1 descriptor from the {side}: not passed on"),
        count => format!("{count} descriptors from the {side}: not passed on"),
    }
}

pub(in crate::logger) fn empty_message(from: Side) -> String {
    format!("(empty message) from the {}", side_name(from))
}

fn side_name(side: Side) -> &'static str {
    match side {
        Side::Client => "client",
        Side::Server => "server",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_stand_in_their_order_and_equal_ones_together() {
        assert_eq!(descriptors(Side::Client, &[1]), "(FD socket) from the client");
        let several = descriptors(Side::Server, &[1, 1, 3, 1]);
        assert_eq!(several, "(FD socket) x 2 (FD memfd) (FD socket) from the server");
    }

    #[test]
    fn a_note_is_short_however_many_there_are() {
        let codes: Vec<u8> = (0..rights::MOST).map(|at| (at % 7) as u8).collect();
        let note = descriptors(Side::Client, &codes);
        assert!(note.ends_with(" and 237 more from the client"), "{note}");
        assert!(note.len() < 512, "{}", note.len());
        assert_eq!(descriptors(Side::Client, &[1; 253]), "(FD socket) x 253 from the client");
    }
}
