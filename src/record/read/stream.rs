//! Sessions of `pcapng` between their packets: the position in each stream, and the segments of an incomplete chunk.

use std::collections::HashMap;
use std::sync::Arc;

use super::object::{EventName, EventObject};
use super::packet::{FIN, FlowKey, PSH, ParsedPacket, SYN, URG};
use super::sessions::Sessions;
use super::{DecodeError, EventSink};
use crate::messages::Side;
use crate::record::{Event, Kind, SessionInfo, Time};

/// Maximum number of bytes in the chunks of all sessions that are not complete.
const MOST_HELD: usize = 64 << 20;

/// Maximum length of a chunk with payload. Ours are shorter than a record of a worker.
const LONGEST_CHUNK: usize = 1 << 20;

/// A session, where the numbers of merged records are not enough: the low half of its number, and its addresses, the
/// client's first.
type Key = (u32, FlowKey);

/// Metadata of a packet block.
pub(super) struct PacketMeta<'a> {
    pub(super) time: Time,
    pub(super) from: Side,
    /// The low half of the session's number.
    pub(super) queue: u32,
    pub(super) comments: &'a [&'a [u8]],
    pub(super) is_whole: bool,
}

#[derive(Default)]
pub(super) struct OpenStreams {
    open: HashMap<Key, SessionStreams>,
    held: usize,
}

/// One session.
struct SessionStreams {
    id: u64,
    run: Arc<str>,
    /// Sequence number before the first byte, in both streams.
    initial: u32,
    sides: [HalfStream; 2],
}

/// One direction.
#[derive(Default)]
struct HalfStream {
    /// Bytes before the chunk.
    position: u64,
    /// Payload of the chunk.
    chunk: Vec<u8>,
    /// Length of the chunk in the stream.
    length: u64,
    /// A segment without payload has been read.
    only_lengths: bool,
}

impl OpenStreams {
    pub(super) fn packet<E>(
        &mut self,
        packet: &ParsedPacket<'_>,
        meta: &PacketMeta<'_>,
        sessions: &mut Sessions,
        sink: &mut EventSink<'_, E>,
    ) -> Result<(), DecodeError<E>> {
        let flow = match meta.from {
            Side::Client => packet.flow,
            Side::Server => packet.flow.reversed(),
        };
        let key = (meta.queue, flow);
        let objects: Option<Vec<EventObject<'_>>> =
            meta.comments.iter().copied().map(EventObject::parse).collect();
        // Comments of other tools may stand beside ours only before our first packet.
        let objects =
            objects.ok_or(if sessions.have_begun() { DecodeError::Damaged } else { DecodeError::Foreign })?;
        for object in &objects {
            if let Some(name @ (EventName::Start | EventName::Continue)) = object.name() {
                self.begin(key, object, name, meta.time, sessions, sink)?;
            }
        }
        let Some(stream) = self.open.get_mut(&key) else {
            return Err(if sessions.have_begun() { DecodeError::Damaged } else { DecodeError::Foreign });
        };
        if packet.flags & SYN != 0 {
            return Ok(());
        }
        let id = stream.id;
        if packet.length > 0 {
            self.held = stream.data(packet, meta, self.held, sessions, sink)?;
        }
        if packet.flags & FIN != 0 {
            stream.end_of_side(packet, meta, &objects, sessions, sink)?;
        }
        if emit_notes(id, meta.time, &objects, sessions, sink)? {
            self.close(key);
        }
        Ok(())
    }

    fn close(&mut self, key: Key) {
        if let Some(stream) = self.open.remove(&key) {
            self.held -= stream.sides.iter().map(|half| half.chunk.len()).sum::<usize>();
        }
    }

    /// A start, or the continuation of a session that an earlier part has or lacks.
    fn begin<E>(
        &mut self,
        key: Key,
        object: &EventObject<'_>,
        name: EventName,
        time: Time,
        sessions: &mut Sessions,
        sink: &mut EventSink<'_, E>,
    ) -> Result<(), DecodeError<E>> {
        let same_run = self.open.get_mut(&key).filter(|stream| object.is_of(&stream.run));
        match (name, same_run) {
            (EventName::Continue, Some(stream)) => {
                stream.skip_to(object.totals());
                return Ok(());
            }
            (_, Some(_)) => return Err(DecodeError::Damaged),
            _ => {}
        }
        // An earlier run did not end its session.
        self.close(key);
        let accepted = (name == EventName::Start).then_some(time);
        let info: SessionInfo = object.info(name, accepted).ok_or(DecodeError::Damaged)?;
        let (initial, run) = (info.number as u32, Arc::clone(&info.run));
        let id = sessions.begin(info, sink)?;
        let mut sides = [HalfStream::default(), HalfStream::default()];
        for (half, bytes) in sides.iter_mut().zip(object.totals()) {
            half.position = bytes;
        }
        self.open.insert(key, SessionStreams { id, run, initial, sides });
        Ok(())
    }
}

impl SessionStreams {
    /// Adds a segment, and emits the chunk that it completes. Returns the new number of held bytes.
    fn data<E>(
        &mut self,
        packet: &ParsedPacket<'_>,
        meta: &PacketMeta<'_>,
        held: usize,
        sessions: &mut Sessions,
        sink: &mut EventSink<'_, E>,
    ) -> Result<usize, DecodeError<E>> {
        let (from, half) = (meta.from, &mut self.sides[meta.from as usize]);
        let held = half.add(packet, meta, self.initial, held).ok_or(DecodeError::Damaged)?;
        if packet.flags & PSH == 0 {
            return Ok(held);
        }
        let urgent = packet.flags & URG != 0;
        let kind = Kind::Data { from, position: half.position, bytes: half.length, urgent };
        sessions.emit(Event { time: meta.time, session: self.id, kind }, half.payload(), sink)?;
        let rest = held - half.chunk.len();
        half.clear();
        Ok(rest)
    }

    fn end_of_side<E>(
        &self,
        packet: &ParsedPacket<'_>,
        meta: &PacketMeta<'_>,
        objects: &[EventObject<'_>],
        sessions: &mut Sessions,
        sink: &mut EventSink<'_, E>,
    ) -> Result<(), DecodeError<E>> {
        let (from, half) = (meta.from, &self.sides[meta.from as usize]);
        let recorded = objects.iter().find(|object| object.name() == Some(EventName::Eof));
        let gap = packet.sequence.wrapping_sub(half.next(self.initial));
        let total = recorded.map_or(half.position + u64::from(gap), |object| object.bytes);
        sessions.emit(Event { time: meta.time, session: self.id, kind: Kind::Eof { from, total } }, &[], sink)
    }

    /// Skips bytes that are not in the record.
    fn skip_to(&mut self, totals: [u64; 2]) {
        for (half, total) in self.sides.iter_mut().zip(totals) {
            if half.length == 0 {
                half.position = half.position.max(total);
            }
        }
    }
}

/// Emits the notes and the end that a packet carries; returns `true` if the session is over.
fn emit_notes<E>(
    session: u64,
    time: Time,
    objects: &[EventObject<'_>],
    sessions: &mut Sessions,
    sink: &mut EventSink<'_, E>,
) -> Result<bool, DecodeError<E>> {
    let mut is_over = false;
    for object in objects {
        let kind = match object.name() {
            Some(EventName::Note) => Kind::Note(object.note().ok_or(DecodeError::Damaged)?),
            Some(EventName::End) => Kind::End(object.end().ok_or(DecodeError::Damaged)?),
            _ => continue,
        };
        is_over |= matches!(kind, Kind::End(_));
        // Notes that waited for a packet have a time of their own.
        let time = object.time().filter(|own| *own <= time).unwrap_or(time);
        sessions.emit(Event { time, session, kind }, &[], sink)?;
    }
    Ok(is_over)
}

impl HalfStream {
    /// The sequence number of the next byte.
    fn next(&self, initial: u32) -> u32 {
        initial.wrapping_add(1).wrapping_add((self.position + self.length) as u32)
    }

    /// Adds a segment to the chunk; `held` are the bytes that all chunks take. `None` where that is too much, or
    /// where it is no next segment.
    fn add(
        &mut self,
        packet: &ParsedPacket<'_>,
        meta: &PacketMeta<'_>,
        initial: u32,
        held: usize,
    ) -> Option<usize> {
        // Bytes that are not in the record.
        let gap = packet.sequence.wrapping_sub(self.next(initial));
        if gap > u32::MAX / 2 || gap > 0 && self.length > 0 {
            return None;
        }
        self.position = self.position.checked_add(gap.into())?;
        self.length = self.length.checked_add(packet.length as u64)?;
        self.position.checked_add(self.length)?;
        if !meta.is_whole || packet.payload.len() < packet.length {
            self.only_lengths = true;
            return Some(held);
        }
        self.chunk.extend_from_slice(&packet.payload[..packet.length]);
        let held = held + packet.length;
        (held <= MOST_HELD && self.chunk.len() <= LONGEST_CHUNK).then_some(held)
    }

    /// Payload of the chunk, if all of it is known.
    fn payload(&self) -> &[u8] {
        if self.only_lengths { &[] } else { &self.chunk }
    }

    /// Begins the next chunk.
    fn clear(&mut self) {
        self.position += self.length;
        (self.length, self.only_lengths) = (0, false);
        self.chunk.clear();
    }
}
