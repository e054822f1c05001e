//! `json`: one event per line.

use super::object::{Emitted, EventObject};
use super::search;
use super::sessions::Sessions;
use super::{DecodeError, Decoded, EventSink, LONGEST_UNIT};

/// Decodes the line at the front. The last one may lack its line feed.
pub(super) fn take<E>(
    bytes: &[u8],
    is_all: bool,
    sessions: &mut Sessions,
    sink: &mut EventSink<'_, E>,
) -> Result<Decoded, DecodeError<E>> {
    let end = bytes.iter().take(LONGEST_UNIT).position(|byte| *byte == b'\n');
    let line = match end {
        Some(end) => &bytes[..end],
        None if bytes.len() >= LONGEST_UNIT => return Err(DecodeError::Damaged),
        None if is_all && whole(bytes).is_some() => bytes,
        None => return Ok(Decoded::Needs(bytes.len() + 1)),
    };
    if line.is_empty() {
        return Ok(Decoded::Bytes(1));
    }
    let Some((object, length)) = whole(line) else {
        // Until an event of ours has come, this may be any JSON.
        let is_ours = sessions.have_begun() || search::is_cut_line(line);
        return Err(if is_ours { DecodeError::Damaged } else { DecodeError::Foreign });
    };
    let used = length + usize::from(end == Some(length));
    if object.emit(sessions, sink)? == Emitted::OfLostSession {
        sessions.left_out += used as u64;
    }
    Ok(Decoded::Bytes(used))
}

/// The event at the front of a line, and its length. An event without its line feed may stand before another one.
fn whole(line: &[u8]) -> Option<(EventObject<'_>, usize)> {
    let until = |length: usize| Some((EventObject::parse(&line[..length])?, length));
    until(line.len()).or_else(|| until(search::last_start(line)?))
}
