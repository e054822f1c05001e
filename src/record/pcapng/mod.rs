//! `pcapng`: sessions as packets, for Wireshark and its kind.
//!
//! Every session is one TCP connection between the real addresses of its peers, as if recorded at the client's and the
//! server's ends at once; sequence numbers are positions in the streams. What packets cannot say is in comments, which
//! hold the objects of `json`: of start (on the SYN), note, end, an end of stream that follows a gap, and of sessions
//! that go on from an earlier file or behind a gap (`continue`, with the totals from which they go on).

mod block;
mod connection;
mod names;
mod packet;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::encoder::{Encoder, FileStart};
use super::event::{Event, Kind, SessionInfo, Time};
use crate::messages::Side;
use connection::Connection;
use names::AddressNames;

pub(crate) struct PcapngEncoder {
    /// `--only`: the side whose payload is recorded.
    only: Option<Side>,
    /// Open sessions; each new file repeats them in the order of their numbers.
    connections: BTreeMap<u64, Connection>,
    names: AddressNames,
    packets: Packets,
    /// Time at which the file begins.
    begun: Time,
    before: Before,
    /// The last event is written to the next file.
    carries: bool,
}

/// State before the last event.
#[derive(Default)]
struct Before {
    session: u64,
    connection: Option<Connection>,
    packets: Packets,
}

/// The packets of a file.
#[derive(Clone, Copy, Default)]
struct Packets {
    count: u64,
    /// Time of the last packet.
    time: Time,
}

impl PcapngEncoder {
    pub(crate) fn new(only: Option<Side>) -> PcapngEncoder {
        PcapngEncoder {
            only,
            connections: BTreeMap::new(),
            names: AddressNames::default(),
            packets: Packets::default(),
            begun: Time::default(),
            before: Before::default(),
            carries: false,
        }
    }

    fn start(&mut self, session: u64, info: &Arc<SessionInfo>, out: &mut Vec<u8>) {
        let ends = self.names.ends(info);
        self.names.write(info, &ends, out);
        let mut connection = Connection::new(Arc::clone(info), ends);
        connection.start(&mut self.packets, out);
        self.connections.insert(session, connection);
    }
}

impl Encoder for PcapngEncoder {
    fn begin_file(&mut self, file: &FileStart, out: &mut Vec<u8>) {
        block::section(file.part, out);
        let carried = if self.carries { self.packets.count - self.before.packets.count } else { 0 };
        let last = if carried > 0 { self.packets.time } else { Time::default() };
        self.packets = Packets { count: carried, time: last };
        self.begun = file.time;
        self.names.forget_written();
        let mut open = self.connections.clone();
        if self.carries {
            open.remove(&self.before.session);
            open.extend(self.before.connection.take().map(|before| (self.before.session, before)));
        }
        for connection in open.values_mut() {
            self.names.write(&connection.info, &connection.ends, out);
            connection.go_on(&mut self.packets, out);
        }
    }

    fn event<'a>(&mut self, event: &Event, payload: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        let connection = self.connections.get(&event.session).cloned();
        self.before = Before { session: event.session, connection, packets: self.packets };
        if let Kind::Start(info) = &event.kind {
            self.start(event.session, info, out);
            return b"";
        }
        let Some(connection) = self.connections.get_mut(&event.session) else { return b"" };
        match event.kind {
            Kind::Data { from, .. } if self.only.is_some_and(|only| only != from) => {}
            _ => connection.event(event, payload, &mut self.packets, out),
        }
        if let Kind::End(_) = event.kind {
            self.connections.remove(&event.session);
        }
        b""
    }

    fn carry(&mut self, carries: bool) {
        self.carries = carries;
    }

    fn end_file(&mut self, out: &mut Vec<u8>) {
        let Packets { count, time } = if self.carries { self.before.packets } else { self.packets };
        // Without packets, that of the file: a conversion of the same record gives the same file at any time.
        block::statistics(if count == 0 { self.begun } else { time }, count, out);
    }
}
