//! `json`: one event per line.

use super::object::Object;
use super::sessions::Sessions;
use super::{LONGEST_UNIT, Sink, Stop, Taken};

/// Decodes the line at the front. The last one may lack its line feed.
pub(super) fn take<E>(
    bytes: &[u8],
    is_all: bool,
    sessions: &mut Sessions,
    sink: &mut Sink<'_, E>,
) -> Result<Taken, Stop<E>> {
    let end = bytes.iter().take(LONGEST_UNIT).position(|byte| *byte == b'\n');
    let line = match end {
        Some(end) => &bytes[..end],
        None if bytes.len() >= LONGEST_UNIT => return Err(Stop::Damaged),
        None if is_all && Object::parse(bytes).is_some() => bytes,
        None => return Ok(Taken::Needs(bytes.len() + 1)),
    };
    let used = line.len() + usize::from(end.is_some());
    if !line.is_empty() {
        match Object::parse(line) {
            Some(object) => object.emit(sessions, sink)?,
            // Until an event of ours has come, this may be any JSON.
            None if sessions.have_begun() => return Err(Stop::Damaged),
            None => return Err(Stop::Foreign),
        }
    }
    Ok(Taken::Bytes(used))
}
