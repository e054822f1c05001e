//! The JSON object of an event: a line of `json`, a comment of `pcapng`. The only module here that knows JSON.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::sessions::Sessions;
use super::{DecodeError, EventSink, LONGEST_TEXT};
use crate::messages::{Address, Side};
use crate::record::address::unix_path;
use crate::record::{ConnState, End, Event, Kind, Meeting, Peer, SessionInfo, State, TcpInfo, Time};

/// Fields of an object. A missing key has a value that its event rejects or ignores.
#[derive(Debug, Deserialize)]
pub(super) struct EventObject<'a> {
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow)]
    run: Cow<'a, str>,
    session: u64,
    #[serde(default)]
    elapsed: f64,
    #[serde(default)]
    connect: f64,
    #[serde(borrow, default)]
    client_ip: Cow<'a, str>,
    #[serde(default)]
    client_port: u16,
    #[serde(borrow, default)]
    client_unix: Cow<'a, str>,
    #[serde(borrow, default)]
    client_name: Cow<'a, str>,
    #[serde(borrow, default)]
    client_local: Cow<'a, str>,
    #[serde(borrow, default)]
    server_ip: Cow<'a, str>,
    #[serde(default)]
    server_port: u16,
    #[serde(borrow, default)]
    server_unix: Cow<'a, str>,
    #[serde(borrow, default)]
    server_name: Cow<'a, str>,
    #[serde(borrow, default)]
    server_local: Cow<'a, str>,
    #[serde(default)]
    client_bytes: u64,
    #[serde(default)]
    server_bytes: u64,
    #[serde(default)]
    client_rtt: f64,
    #[serde(default)]
    client_rttvar: f64,
    #[serde(default)]
    client_retransmissions: u32,
    #[serde(default)]
    client_delivery_rate: u64,
    #[serde(default)]
    server_rtt: f64,
    #[serde(default)]
    server_rttvar: f64,
    #[serde(default)]
    server_retransmissions: u32,
    #[serde(default)]
    server_delivery_rate: u64,
    #[serde(borrow, default)]
    state: Cow<'a, str>,
    #[serde(borrow, default)]
    conn_state: Cow<'a, str>,
    #[serde(default)]
    errno: i32,
    #[serde(borrow, default)]
    message: Cow<'a, str>,
    #[serde(borrow, default)]
    sender: Cow<'a, str>,
    #[serde(default)]
    position: u64,
    #[serde(default)]
    pub(super) bytes: u64,
    #[serde(default)]
    urgent: bool,
    #[serde(borrow, default)]
    text: Cow<'a, str>,
    #[serde(borrow, default)]
    base64: Cow<'a, str>,
}

/// Which event an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EventName {
    Start,
    Continue,
    Data,
    Eof,
    Note,
    End,
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Emitted {
    Event,
    /// Nothing: its session was open at a damaged place.
    OfLostSession,
}

impl<'a> EventObject<'a> {
    pub(super) fn parse(line: &'a [u8]) -> Option<EventObject<'a>> {
        serde_json::from_slice(line).ok()
    }

    /// `None` for events that a later version may have added.
    pub(super) fn name(&self) -> Option<EventName> {
        Some(match &*self.event {
            "start" => EventName::Start,
            "continue" => EventName::Continue,
            "data" => EventName::Data,
            "eof" => EventName::Eof,
            "note" => EventName::Note,
            "end" => EventName::End,
            _ => return None,
        })
    }

    pub(super) fn time(&self) -> Option<Time> {
        nanoseconds(&self.time).map(Time::from_nanos)
    }

    /// Checks whether a session can begin with it.
    pub(super) fn begins(&self) -> bool {
        let name = self.name().filter(|name| matches!(name, EventName::Start | EventName::Continue));
        name.is_some_and(|name| self.info(name, None).is_some())
    }

    /// Emits the event of a line.
    pub(super) fn emit<E>(
        &self,
        sessions: &mut Sessions,
        sink: &mut EventSink<'_, E>,
    ) -> Result<Emitted, DecodeError<E>> {
        let Some(name) = self.name() else { return Ok(Emitted::Event) };
        if matches!(name, EventName::Start | EventName::Continue) {
            return self.emit_start(name, sessions, sink).map(|()| Emitted::Event);
        }
        let Some(session) = sessions.find(&self.run, self.session) else {
            let is_lost = sessions.is_lost(&self.run, self.session, name == EventName::End);
            return if is_lost { Ok(Emitted::OfLostSession) } else { Err(DecodeError::Damaged) };
        };
        let time = self.time().ok_or(DecodeError::Damaged)?;
        let payload = self.payload().ok_or(DecodeError::Damaged)?;
        let kind = match name {
            EventName::Data => {
                let from = self.side().ok_or(DecodeError::Damaged)?;
                let (position, bytes, urgent) = (self.position, self.bytes, self.urgent);
                Some(Kind::Data { from, position, bytes, urgent })
            }
            EventName::Eof => self.side().map(|from| Kind::Eof { from, total: self.bytes }),
            EventName::Note => bounded(&self.message).map(Kind::Note),
            EventName::End => self.end().map(Kind::End),
            EventName::Start | EventName::Continue => None,
        };
        let kind = kind.ok_or(DecodeError::Damaged)?;
        sessions.emit(Event { time, session, kind }, &payload, sink).map(|()| Emitted::Event)
    }

    /// A start, or the continuation of a session of which no earlier part has been read.
    fn emit_start<E>(
        &self,
        name: EventName,
        sessions: &mut Sessions,
        sink: &mut EventSink<'_, E>,
    ) -> Result<(), DecodeError<E>> {
        match (name, sessions.find(&self.run, self.session)) {
            (EventName::Continue, Some(_)) => return Ok(()),
            (_, Some(_)) => return Err(DecodeError::Damaged),
            _ => {}
        }
        let info = self.info(name, None).ok_or(DecodeError::Damaged)?;
        sessions.begin(info, sink).map(drop)
    }

    /// Description of a session from its start. `accepted` is known if packets have their own times.
    pub(super) fn info(&self, name: EventName, accepted: Option<Time>) -> Option<SessionInfo> {
        let time = self.time()?;
        let started = match name {
            EventName::Continue => earlier(time, self.elapsed)?,
            _ => time,
        };
        let accepted = match accepted {
            Some(accepted) => accepted,
            None => earlier(started, self.connect)?,
        };
        let client = peer(&self.client_ip, self.client_port, &self.client_unix)?;
        let server = peer(&self.server_ip, self.server_port, &self.server_unix)?;
        let peers = [
            named(client, &self.client_name, &self.client_local)?,
            named(server, &self.server_name, &self.server_local)?,
        ];
        let meeting = match (&*self.state, &*self.conn_state) {
            ("refused", _) => Meeting::Refused,
            (_, "S0") => Meeting::One,
            _ => Meeting::Both,
        };
        let run = bounded(&self.run)?.into();
        Some(SessionInfo { number: self.session, run, accepted, started, peers, meeting })
    }

    pub(super) fn end(&self) -> Option<End> {
        Some(End {
            state: State::by_name(&self.state)?,
            conn_state: ConnState::by_name(&self.conn_state)?,
            errno: self.errno,
            totals: self.totals(),
            tcp: [self.client_tcp()?, self.server_tcp()?],
        })
    }

    fn client_tcp(&self) -> Option<TcpInfo> {
        Some(TcpInfo {
            rtt: microseconds(self.client_rtt)?,
            rttvar: microseconds(self.client_rttvar)?,
            retransmissions: self.client_retransmissions,
            delivery_rate: self.client_delivery_rate,
        })
    }

    fn server_tcp(&self) -> Option<TcpInfo> {
        Some(TcpInfo {
            rtt: microseconds(self.server_rtt)?,
            rttvar: microseconds(self.server_rttvar)?,
            retransmissions: self.server_retransmissions,
            delivery_rate: self.server_delivery_rate,
        })
    }

    /// Bytes of client and server.
    pub(super) fn totals(&self) -> [u64; 2] {
        [self.client_bytes, self.server_bytes]
    }

    pub(super) fn is_of(&self, run: &str) -> bool {
        self.run == run
    }

    pub(super) fn note(&self) -> Option<String> {
        bounded(&self.message)
    }

    fn side(&self) -> Option<Side> {
        match &*self.sender {
            "client" => Some(Side::Client),
            "server" => Some(Side::Server),
            _ => None,
        }
    }

    /// The bytes; none where only their number is known.
    fn payload(&self) -> Option<Cow<'_, [u8]>> {
        let bytes: Cow<'_, [u8]> = match (&*self.text, &*self.base64) {
            ("", "") => return Some(Cow::Borrowed(&[])),
            (text, "") => Cow::Borrowed(text.as_bytes()),
            (_, base64) => Cow::Owned(STANDARD.decode(base64).ok()?),
        };
        (bytes.len() as u64 == self.bytes).then_some(bytes)
    }
}

fn bounded(text: &str) -> Option<String> {
    (text.len() <= LONGEST_TEXT).then(|| text.to_owned())
}

fn peer(ip: &str, port: u16, unix: &str) -> Option<Address> {
    match ip {
        "" => unix_path(&bounded(unix)?).map(Address::Unix),
        ip => internet(ip, port),
    }
}

fn internet(ip: &str, port: u16) -> Option<Address> {
    if let Ok(host) = ip.parse::<Ipv4Addr>() {
        return Some(Address::V4 { host, port });
    }
    let (host, scope) = ip.split_once('%').unwrap_or((ip, "0"));
    Some(Address::V6 { host: host.parse::<Ipv6Addr>().ok()?, port, scope: scope.parse().ok()? })
}

fn named(address: Address, name: &str, local: &str) -> Option<Peer> {
    let mut shown = address.numeric();
    if !name.is_empty() {
        shown.node = bounded(name)?;
    }
    let local = match local {
        "" => None,
        local => Some(local_address(local)?),
    };
    Some(Peer { address, local, name: shown })
}

/// `192.0.2.1:7000`, `[2001:db8::1]:51122`, `unix:/run/socket`
fn local_address(text: &str) -> Option<Address> {
    if let Some(path) = text.strip_prefix("unix:") {
        return unix_path(&bounded(path)?).map(Address::Unix);
    }
    let (host, port) = text.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    internet(host, port.parse().ok()?)
}

/// The moment that was these seconds before.
fn earlier(time: Time, seconds: f64) -> Option<Time> {
    time.nanos().checked_sub(from_seconds(seconds)?).map(Time::from_nanos)
}

/// Seconds with six decimals.
fn microseconds(seconds: f64) -> Option<u32> {
    u32::try_from(from_seconds(seconds)?.checked_add(500)? / 1000).ok()
}

/// Seconds with nine decimals.
fn from_seconds(seconds: f64) -> Option<u64> {
    let nanoseconds = (seconds * 1e9).round();
    (0.0..1e18).contains(&nanoseconds).then_some(nanoseconds as u64)
}

/// `2025-11-26T10:22:27.000412000Z`
fn nanoseconds(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    let pattern = b"dddd-dd-ddTdd:dd:dd.dddddddddZ";
    let fits = |(byte, expected): (&u8, &u8)| match expected {
        b'd' => byte.is_ascii_digit(),
        _ => byte == expected,
    };
    if bytes.len() != pattern.len() || !bytes.iter().zip(pattern).all(fits) {
        return None;
    }
    let number = |from: usize, to: usize| text[from..to].parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let seconds = days_since_epoch(year, month, day) * 86400 + hour * 3600 + minute * 60 + second;
    u64::try_from(seconds).ok()?.checked_mul(1_000_000_000)?.checked_add(number(20, 29)? as u64)
}

/// Of the Gregorian calendar (`days_from_civil` of Howard Hinnant's "chrono-Compatible Low-Level Date Algorithms").
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}
