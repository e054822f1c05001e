//! `json`: one event per line.

use super::object::EventObject;
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
        None if is_all && EventObject::parse(bytes).is_some() => bytes,
        None => return Ok(Decoded::Needs(bytes.len() + 1)),
    };
    let used = line.len() + usize::from(end.is_some());
    if !line.is_empty() {
        match EventObject::parse(line) {
            Some(object) => object.emit(sessions, sink)?,
            // Until an event of ours has come, this may be any JSON.
            None if sessions.have_begun() => return Err(DecodeError::Damaged),
            None => return Err(DecodeError::Foreign),
        }
    }
    Ok(Decoded::Bytes(used))
}
