//! The object of an event: a line of `json`, and a comment of `pcapng`. Its keys and their types are a contract
//! (version 1): a key has one type wherever it occurs, and nothing is ever `null`.

use super::address::{endpoint, host_name, ip, unix};
use super::civil::Civil;
use super::event::{ConnState, End, Event, Kind, Meeting, Peer, SessionInfo, State, TcpInfo, Time};
use super::json::{Object, digits};
use crate::messages::Side;

/// Totals of a session so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SessionTotals {
    /// Time of the last event.
    pub(crate) time: Time,
    /// Bytes that client and server have sent.
    pub(crate) bytes: [u64; 2],
    /// Sides that send no more.
    pub(crate) finished: [bool; 2],
}

/// Writes the object of an event.
pub(crate) fn write(event: &Event, payload: &[u8], info: &SessionInfo, out: &mut Vec<u8>) {
    let name = match event.kind {
        Kind::Start(_) => "start",
        Kind::Data { .. } => "data",
        Kind::Eof { .. } => "eof",
        Kind::Note(_) => "note",
        Kind::Secrets => "secrets",
        Kind::End(_) => "end",
    };
    let mut object = head(event.time, name, info, out);
    match &event.kind {
        Kind::Start(_) => summary(&mut object, info, &opening(info)),
        Kind::Data { from, position, bytes, urgent } => {
            object.word("sender", side(*from));
            object.number("position", *position);
            object.number("bytes", *bytes);
            object.boolean("urgent", *urgent);
            object.bytes(payload);
        }
        Kind::Eof { from, total } => {
            object.word("sender", side(*from));
            object.number("bytes", *total);
        }
        Kind::Note(text) => object.string("message", text),
        Kind::Secrets => {}
        Kind::End(end) => {
            let End { state, conn_state, errno, totals, tcp } = *end;
            summary(
                &mut object,
                info,
                &Summary { state: state.name(), conn_state, errno, bytes: totals, tcp },
            );
        }
    }
    object.end();
}

/// Writes the continuation of a session in another file.
pub(crate) fn write_continue(info: &SessionInfo, progress: &SessionTotals, out: &mut Vec<u8>) {
    let mut object = head(progress.time, "continue", info, out);
    let state = match info.meeting {
        Meeting::Both => ConnState::of(State::Lost, progress.finished),
        Meeting::One | Meeting::Refused => ConnState::S0,
    };
    let summary_of = Summary { conn_state: state, bytes: progress.bytes, ..opening(info) };
    summary(&mut object, info, &summary_of);
    object.end();
}

/// Fields of start, continue and end besides the peers.
struct Summary {
    state: &'static str,
    conn_state: ConnState,
    errno: i32,
    bytes: [u64; 2],
    tcp: [TcpInfo; 2],
}

fn opening(info: &SessionInfo) -> Summary {
    let (state, conn_state) = match info.meeting {
        Meeting::Both => ("open", ConnState::S1),
        Meeting::One => ("open", ConnState::S0),
        Meeting::Refused => (State::Refused.name(), ConnState::S0),
    };
    Summary { state, conn_state, errno: 0, bytes: [0; 2], tcp: [TcpInfo::default(); 2] }
}

/// The keys that every object has.
fn head<'a>(time: Time, event: &str, info: &SessionInfo, out: &'a mut Vec<u8>) -> Object<'a> {
    let mut object = Object::begin(out);
    object.word("time", &timestamp(time));
    object.word("event", event);
    object.string("run", &info.run);
    object.number("session", info.number);
    object.seconds("elapsed", time.since(info.started));
    object
}

/// RFC 3339 in UTC, with nine digits.
fn timestamp(time: Time) -> String {
    let Civil { year, month, day, hour, minute, second } = Civil::of(time.seconds());
    let mut text = Vec::with_capacity(30);
    digits(year, 4, &mut text);
    for (mark, number) in [(b'-', month), (b'-', day), (b'T', hour), (b':', minute), (b':', second)] {
        text.push(mark);
        digits(number, 2, &mut text);
    }
    text.push(b'.');
    digits(time.nanos() % 1_000_000_000, 9, &mut text);
    text.push(b'Z');
    // Digits and marks.
    String::from_utf8(text).unwrap_or_default()
}

/// The keys of start, continue and end.
fn summary(object: &mut Object<'_>, info: &SessionInfo, summary: &Summary) {
    let [client, server] = &info.peers;
    let keys = [
        ["client_ip", "client_port", "client_unix", "client_name", "client_local"],
        ["server_ip", "server_port", "server_unix", "server_name", "server_local"],
    ];
    for (peer, keys) in info.peers.iter().zip(keys) {
        self::peer(object, peer, keys);
    }
    object.seconds("connect", info.started.since(info.accepted));
    object.number("client_bytes", summary.bytes[0]);
    object.number("server_bytes", summary.bytes[1]);
    let [client_tcp, server_tcp] = &summary.tcp;
    connection(
        object,
        client_tcp,
        ["client_rtt", "client_rttvar", "client_retransmissions", "client_delivery_rate"],
    );
    connection(
        object,
        server_tcp,
        ["server_rtt", "server_rttvar", "server_retransmissions", "server_delivery_rate"],
    );
    object.word("state", summary.state);
    object.word("conn_state", summary.conn_state.name());
    object.signed("errno", summary.errno);
    let message = format!("{} to {}", endpoint(&client.address), endpoint(&server.address));
    object.string("message", &message);
}

fn peer(object: &mut Object<'_>, peer: &Peer, [key_ip, key_port, key_unix, key_name, key_local]: [&str; 5]) {
    object.word(key_ip, &ip(&peer.address));
    object.number(key_port, peer.address.port().unwrap_or(0).into());
    object.string(key_unix, &unix(&peer.address));
    object.string(key_name, host_name(&peer.address, &peer.name));
    object.string(key_local, &peer.local.as_ref().map(endpoint).unwrap_or_default());
}

/// Times in seconds, as all others.
fn connection(
    object: &mut Object<'_>,
    tcp: &TcpInfo,
    [key_rtt, key_rttvar, key_retransmissions, key_rate]: [&str; 4],
) {
    object.seconds(key_rtt, u64::from(tcp.rtt) * 1000);
    object.seconds(key_rttvar, u64::from(tcp.rttvar) * 1000);
    object.number(key_retransmissions, tcp.retransmissions.into());
    object.number(key_rate, tcp.delivery_rate);
}

fn side(side: Side) -> &'static str {
    match side {
        Side::Client => "client",
        Side::Server => "server",
    }
}

impl SessionTotals {
    pub(crate) fn add(&mut self, event: &Event) {
        self.time = event.time;
        match event.kind {
            Kind::Data { from, position, bytes, .. } => {
                self.bytes[from as usize] = position.saturating_add(bytes);
            }
            Kind::Eof { from, total } => {
                self.bytes[from as usize] = total;
                self.finished[from as usize] = true;
            }
            Kind::Start(_) | Kind::Secrets | Kind::Note(_) | Kind::End(_) => {}
        }
    }
}
