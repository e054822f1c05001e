//! One session as a TCP connection.

use std::sync::Arc;

use super::Packets;
use super::block::{self, Meta};
use super::packet::{ACK, FIN, PSH, RST, SEGMENT, SYN, Segment, TcpEndpoint, URG};
use crate::messages::Side;
use crate::record::event::{self, ConnState, Event, Kind, Meeting, SessionInfo, State, Time};
use crate::record::object::{self, SessionTotals};

/// Number of bytes after which the receiver sends an acknowledgement.
const UNCONFIRMED: u64 = 16 * 1024;

/// Maximum length of an event without payload that is written as packets; a longer one becomes a gap.
const MOST_MISSING: u64 = 16 << 20;

#[derive(Clone)]
pub(super) struct Connection {
    pub(super) info: Arc<SessionInfo>,
    /// Client and server.
    pub(super) ends: [TcpEndpoint; 2],
    /// The next sequence number of each side, not truncated. They begin with the number of the session, so that a port
    /// that is used again is another connection.
    next: [u64; 2],
    /// Sequence number up to which the other side has acknowledged.
    confirmed: [u64; 2],
    progress: SessionTotals,
    /// Comments for the next packet.
    comments: Vec<Vec<u8>>,
}

impl Connection {
    pub(super) fn new(info: Arc<SessionInfo>, ends: [TcpEndpoint; 2]) -> Connection {
        let next = [info.number; 2];
        let progress = SessionTotals { time: info.started, ..SessionTotals::default() };
        Connection { info, ends, next, confirmed: [0; 2], progress, comments: Vec::new() }
    }

    /// Writes the handshake: SYN at the time of acceptance, SYN-ACK when both peers were connected.
    pub(super) fn start(&mut self, packets: &mut Packets, out: &mut Vec<u8>) {
        let (accepted, started) = (self.info.accepted, self.info.started);
        let start =
            Event { time: started, session: self.info.number, kind: Kind::Start(Arc::clone(&self.info)) };
        self.comment(&start);
        self.send(Side::Client, accepted, SYN, packets, out);
        self.next[0] += 1;
        if self.info.meeting == Meeting::Both {
            self.send(Side::Server, started, SYN | ACK, packets, out);
            self.next[1] += 1;
            self.send(Side::Client, started, ACK, packets, out);
        }
    }

    /// Continues the session in a new file, without a second SYN, so that the files can be concatenated.
    pub(super) fn go_on(&mut self, packets: &mut Packets, out: &mut Vec<u8>) {
        self.comment_continue();
        let time = self.progress.time;
        self.send(Side::Client, time, ACK, packets, out);
        if self.info.meeting == Meeting::Both {
            self.send(Side::Server, time, ACK, packets, out);
        }
    }

    pub(super) fn event(&mut self, event: &Event, payload: &[u8], packets: &mut Packets, out: &mut Vec<u8>) {
        self.progress.time = event.time;
        match &event.kind {
            Kind::Start(_) => {}
            Kind::Secrets => block::secrets(payload, out),
            Kind::Data { from, position, bytes, .. } if payload.is_empty() && *bytes > MOST_MISSING => {
                let end = position.saturating_add(*bytes);
                self.skip_to(*from, end, event.time, packets, out);
            }
            Kind::Data { from, position, bytes, urgent } => {
                self.skip_to(*from, *position, event.time, packets, out);
                let data = Data { from: *from, time: event.time, urgent: *urgent, bytes: *bytes };
                self.data(&data, payload, packets, out);
            }
            Kind::Eof { from, .. } => self.finish(*from, event, packets, out),
            Kind::Note(_) => {
                self.comment(event);
                // Before the server has answered, nothing can be acknowledged.
                if self.info.meeting == Meeting::Both {
                    self.send(Side::Client, event.time, ACK, packets, out);
                }
            }
            Kind::End(end) => self.end(end, event, packets, out),
        }
    }

    /// Skips bytes that are not in the record.
    fn skip_to(&mut self, from: Side, position: u64, time: Time, packets: &mut Packets, out: &mut Vec<u8>) {
        let sent = &mut self.progress.bytes[from as usize];
        if *sent == position {
            return;
        }
        self.next[from as usize] = self.next[from as usize].wrapping_add(position.wrapping_sub(*sent));
        *sent = position;
        self.comment_continue();
        self.send(from, time, ACK, packets, out);
    }

    fn data(&mut self, data: &Data, payload: &[u8], packets: &mut Packets, out: &mut Vec<u8>) {
        let side = data.from as usize;
        out.reserve(payload.len() + (payload.len() / SEGMENT + 1) * 128);
        let (mut left, mut rest) = (data.bytes, payload);
        while left > 0 {
            let length = left.min(SEGMENT as u64);
            left -= length;
            let (segment, others) = rest.split_at(rest.len().min(length as usize));
            rest = others;
            let flags = ACK | if left == 0 { PSH } else { 0 } | if data.urgent { URG } else { 0 };
            let missing = length as usize - segment.len();
            self.packet(
                Packet { from: data.from, time: data.time, flags, payload: segment, missing },
                packets,
                out,
            );
            self.next[side] = self.next[side].wrapping_add(length);
        }
        self.progress.bytes[side] = self.progress.bytes[side].saturating_add(data.bytes);
        if self.next[side].wrapping_sub(self.confirmed[side]) >= UNCONFIRMED {
            self.send(data.from.other(), data.time, ACK, packets, out);
        }
    }

    fn finish(&mut self, from: Side, event: &Event, packets: &mut Packets, out: &mut Vec<u8>) {
        let Kind::Eof { total, .. } = event.kind else { return };
        let sent = &mut self.progress.bytes[from as usize];
        let gap = total.saturating_sub(*sent);
        *sent = (*sent).max(total);
        self.next[from as usize] = self.next[from as usize].wrapping_add(gap);
        // The total cannot be read from the sequence alone.
        if gap > 0 || total > u64::from(u32::MAX) {
            self.comment(event);
        }
        self.send(from, event.time, FIN | ACK, packets, out);
        self.next[from as usize] = self.next[from as usize].wrapping_add(1);
        self.progress.finished[from as usize] = true;
    }

    /// Writes the end: a RST of the side that reset or refused, or else an empty segment that carries the comment.
    fn end(&mut self, end: &event::End, event: &Event, packets: &mut Packets, out: &mut Vec<u8>) {
        self.comment(event);
        let (from, flags) = match (end.state, self.progress.finished) {
            // A client that has had no answer has nothing to acknowledge.
            (State::ClientReset, _) if self.info.meeting != Meeting::Both => (Side::Client, RST),
            (State::ClientReset, _) => (Side::Client, RST | ACK),
            (State::ServerReset, _) => (Side::Server, RST | ACK),
            (State::Refused, _) if end.conn_state == ConnState::Rej => (Side::Server, RST | ACK),
            (_, [true, false]) => (Side::Server, ACK),
            _ => (Side::Client, ACK),
        };
        self.send(from, event.time, flags, packets, out);
    }

    fn comment(&mut self, event: &Event) {
        let mut comment = Vec::new();
        object::write(event, b"", &self.info, &mut comment);
        self.comments.push(comment);
    }

    fn comment_continue(&mut self) {
        let mut comment = Vec::new();
        object::write_continue(&self.info, &self.progress, &mut comment);
        self.comments.push(comment);
    }

    /// A segment without payload.
    fn send(&mut self, from: Side, time: Time, flags: u8, packets: &mut Packets, out: &mut Vec<u8>) {
        self.packet(Packet { from, time, flags, payload: b"", missing: 0 }, packets, out);
    }

    fn packet(&mut self, packet: Packet<'_>, packets: &mut Packets, out: &mut Vec<u8>) {
        let (own, other) = (packet.from as usize, packet.from.other() as usize);
        let confirms = packet.flags & ACK != 0;
        let segment = Segment {
            from: self.ends[own],
            to: self.ends[other],
            sequence: self.next[own] as u32,
            acknowledged: if confirms { self.next[other] as u32 } else { 0 },
            flags: packet.flags,
            payload: packet.payload,
            missing: packet.missing,
        };
        let head = segment.head();
        let meta = Meta {
            time: packet.time,
            direction: 1 + own as u32,
            queue: self.info.number as u32,
            comments: &self.comments,
        };
        block::packet(&meta, head.bytes(), packet.payload, packet.missing, out);
        self.confirmed[other] = self.next[other];
        self.comments.clear();
        packets.count += 1;
        packets.time = packets.time.max(packet.time);
    }
}

/// Bytes that a side sent.
struct Data {
    from: Side,
    time: Time,
    urgent: bool,
    bytes: u64,
}

struct Packet<'a> {
    from: Side,
    time: Time,
    flags: u8,
    payload: &'a [u8],
    missing: usize,
}
