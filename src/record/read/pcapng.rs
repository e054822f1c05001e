//! `pcapng`: blocks, of which our events are packets with the direction and the session in their options, and what
//! packets cannot say in comments. Tools that copy captures rewrite headers of files and of interfaces, and keep these.

use super::packet::ParsedPacket;
use super::sessions::Sessions;
use super::stream::{OpenStreams, PacketMeta};
use super::{DecodeError, Decoded, EventSink, LONGEST_COMMENT, LONGEST_UNIT};
use crate::messages::Side;
use crate::record::Time;

/// Type of a section header, the same in both byte orders.
pub(super) const SECTION_TYPE: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// Length of a section header without options.
const SHORTEST_SECTION: usize = 28;

const INTERFACE: u32 = 1;
const PACKET: u32 = 6;
const SECRETS: u32 = 10;

/// Type of secrets: key log of NSS.
const TLS_KEY_LOG: u32 = 0x544c_534b;

/// `LINKTYPE_RAW`: IP without anything before it.
const RAW_IP: u16 = 101;

/// Block type, length twice.
const FRAME: usize = 12;

/// Maximum number of interfaces in a section; one of ours has one, merged files have one each.
const MOST_INTERFACES: usize = 4096;

const COMMENT: u16 = 1;
const EPB_FLAGS: u16 = 2;
const EPB_QUEUE: u16 = 6;
const IF_TSRESOL: u16 = 9;

/// A section of a file.
#[derive(Default)]
pub(super) struct Section {
    big_endian: bool,
    interfaces: Vec<Interface>,
    /// Lines of a key log that have come since they were last taken.
    pub(super) secrets: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Interface {
    is_raw_ip: bool,
    resolution: u8,
}

/// A packet block.
struct PacketBlock<'a> {
    interface: Interface,
    time: Time,
    /// The captured bytes.
    packet: &'a [u8],
    is_whole: bool,
    options: &'a [u8],
}

impl Section {
    pub(super) fn take<E>(
        &mut self,
        (bytes, is_all): (&[u8], bool),
        sessions: &mut Sessions,
        streams: &mut OpenStreams,
        sink: &mut EventSink<'_, E>,
    ) -> Result<Decoded, DecodeError<E>> {
        if bytes.len() < FRAME {
            return Ok(Decoded::Needs(FRAME));
        }
        if bytes.starts_with(&SECTION_TYPE) {
            self.big_endian = is_big_endian(bytes).ok_or(DecodeError::Damaged)?;
            self.interfaces.clear();
        }
        let length = self.u32(bytes, 4).ok_or(DecodeError::Damaged)? as usize;
        if !length.is_multiple_of(4) || !(FRAME..=LONGEST_UNIT).contains(&length) {
            return Err(DecodeError::Damaged);
        }
        let Some(block) = bytes.get(..length) else { return Ok(Decoded::Needs(length)) };
        if self.u32(block, length - 4) != Some(length as u32) {
            return Err(DecodeError::Damaged);
        }
        let body = &block[8..length - 4];
        match self.u32(block, 0) {
            Some(INTERFACE) => self.add_interface(body).ok_or(DecodeError::Damaged)?,
            Some(PACKET) => self.packet(body, sessions, streams, sink)?,
            // Packets without the options that ours have.
            Some(2 | 3) => {
                return Err(if sessions.have_begun() { DecodeError::Damaged } else { DecodeError::Foreign });
            }
            // Names, statistics, and what a later version may add.
            other => match inner_section(bytes, length, is_all) {
                Some(Inner::Section) => return Err(DecodeError::Damaged),
                Some(Inner::Needs(number)) => return Ok(Decoded::Needs(number)),
                None if other == Some(SECRETS) => self.secrets(body),
                None => {}
            },
        }
        Ok(Decoded::Bytes(length))
    }

    /// Secrets of TLS; others are not ours. Wrong lengths lose secrets and nothing else.
    fn secrets(&mut self, body: &[u8]) {
        let length = self.u32(body, 4).filter(|_| self.u32(body, 0) == Some(TLS_KEY_LOG));
        let lines = length.and_then(|length| body.get(8..8usize.checked_add(length as usize)?));
        self.secrets.extend_from_slice(lines.unwrap_or_default());
    }

    fn add_interface(&mut self, body: &[u8]) -> Option<()> {
        let is_raw_ip = self.u16(body, 0)? == RAW_IP;
        let mut resolution = 6;
        for option in self.options(body.get(8..)?) {
            if let (IF_TSRESOL, [value]) = option? {
                resolution = *value;
            }
        }
        self.interfaces.push(Interface { is_raw_ip, resolution });
        (self.interfaces.len() <= MOST_INTERFACES).then_some(())
    }

    fn packet<E>(
        &mut self,
        body: &[u8],
        sessions: &mut Sessions,
        streams: &mut OpenStreams,
        sink: &mut EventSink<'_, E>,
    ) -> Result<(), DecodeError<E>> {
        let wrong = || if sessions.have_begun() { DecodeError::Damaged } else { DecodeError::Foreign };
        let parsed = self.parse_packet(body);
        let PacketBlock { interface, time, packet, is_whole, options } = parsed.ok_or_else(wrong)?;
        let mut comments = [&[][..]; MOST_COMMENTS];
        let (mut count, mut from, mut queue) = (0, None, None);
        for option in self.options(options) {
            match option.ok_or(DecodeError::Damaged)? {
                (COMMENT, text) if text.len() <= LONGEST_COMMENT && count < MOST_COMMENTS => {
                    comments[count] = text;
                    count += 1;
                }
                (COMMENT, _) => return Err(DecodeError::Damaged),
                (EPB_FLAGS, value) => from = self.u32(value, 0),
                (EPB_QUEUE, value) => queue = self.u32(value, 0),
                _ => {}
            }
        }
        let from = match from.map(|flags| flags & 3) {
            Some(1) => Side::Client,
            Some(2) => Side::Server,
            _ => return Err(wrong()),
        };
        let queue = queue.ok_or_else(wrong)?;
        let packet = ParsedPacket::parse(packet).filter(|_| interface.is_raw_ip).ok_or_else(wrong)?;
        let meta = PacketMeta { time, from, queue, comments: &comments[..count], is_whole };
        streams.packet(&packet, &meta, sessions, sink)
    }

    fn parse_packet<'a>(&self, body: &'a [u8]) -> Option<PacketBlock<'a>> {
        let interface = *self.interfaces.get(self.u32(body, 0)? as usize)?;
        let ticks = u64::from(self.u32(body, 4)?) << 32 | u64::from(self.u32(body, 8)?);
        let (captured, original) = (self.u32(body, 12)? as usize, self.u32(body, 16)? as usize);
        let packet = body.get(20..20usize.checked_add(captured)?)?;
        let options = body.get((20 + captured).next_multiple_of(4)..)?;
        let time = Time::from_nanos(nanoseconds(ticks, interface.resolution)?);
        Some(PacketBlock { interface, time, packet, is_whole: captured == original, options })
    }

    /// Code and value of each option; `None` in place of one that is cut.
    fn options<'a>(&self, mut rest: &'a [u8]) -> impl Iterator<Item = Option<(u16, &'a [u8])>> {
        let big_endian = self.big_endian;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let split = || {
                let (code, length) =
                    (u16_of(rest, 0, big_endian)?, usize::from(u16_of(rest, 2, big_endian)?));
                let value = rest.get(4..4 + length)?;
                Some((code, value, rest.get((4 + length).next_multiple_of(4)..).unwrap_or(&[])))
            };
            match split() {
                Some((0, ..)) => None,
                Some((code, value, after)) => {
                    rest = after;
                    Some(Some((code, value)))
                }
                None => {
                    rest = &[];
                    Some(None)
                }
            }
        })
    }

    fn u16(&self, bytes: &[u8], at: usize) -> Option<u16> {
        u16_of(bytes, at, self.big_endian)
    }

    fn u32(&self, bytes: &[u8], at: usize) -> Option<u32> {
        let value = bytes.get(at..at + 4)?.try_into().ok()?;
        Some(if self.big_endian { u32::from_be_bytes(value) } else { u32::from_le_bytes(value) })
    }
}

/// Byte order of the section that begins here.
fn is_big_endian(bytes: &[u8]) -> Option<bool> {
    match bytes.get(8..12)? {
        [0x1a, 0x2b, 0x3c, 0x4d] => Some(true),
        [0x4d, 0x3c, 0x2b, 0x1a] => Some(false),
        _ => None,
    }
}

/// What may begin within a block.
enum Inner {
    Section,
    /// This number of bytes decides it.
    Needs(usize),
}

/// Looks for a section within the first block, which nothing else checks: if the block was cut, its length may be found
/// in the record behind it.
fn inner_section(bytes: &[u8], length: usize, is_all: bool) -> Option<Inner> {
    for at in memchr::memmem::find_iter(&bytes[FRAME - 4..length], &SECTION_TYPE) {
        let section = &bytes[FRAME - 4 + at..];
        if section.len() < FRAME && !is_all {
            return Some(Inner::Needs(bytes.len() - section.len() + FRAME));
        }
        if is_big_endian(section).is_some() {
            return Some(Inner::Section);
        }
    }
    None
}

/// What begins with the type of a section header.
pub(super) enum SectionStart {
    /// The whole header is there.
    Whole,
    /// It has this number of bytes.
    Needs(usize),
    /// It is none.
    Invalid,
}

pub(super) fn section_start(bytes: &[u8]) -> SectionStart {
    if bytes.len() < FRAME {
        return SectionStart::Needs(FRAME);
    }
    let number = |at| {
        let value = bytes.get(at..at + 4)?.try_into().ok()?;
        let is_big_endian = is_big_endian(bytes)?;
        Some(if is_big_endian { u32::from_be_bytes(value) } else { u32::from_le_bytes(value) } as usize)
    };
    match number(4) {
        Some(length) if length.is_multiple_of(4) && (SHORTEST_SECTION..=LONGEST_UNIT).contains(&length) => {
            match bytes.len() < length {
                true => SectionStart::Needs(length),
                false if number(length - 4) == Some(length) => SectionStart::Whole,
                false => SectionStart::Invalid,
            }
        }
        _ => SectionStart::Invalid,
    }
}

/// Comments of one packet; ours have one.
const MOST_COMMENTS: usize = 4;

fn u16_of(bytes: &[u8], at: usize, big_endian: bool) -> Option<u16> {
    let value = bytes.get(at..at + 2)?.try_into().ok()?;
    Some(if big_endian { u16::from_be_bytes(value) } else { u16::from_le_bytes(value) })
}

/// Ticks of `10^-resolution` seconds, or with the highest bit of `2^-resolution`.
fn nanoseconds(ticks: u64, resolution: u8) -> Option<u64> {
    let exponent = u32::from(resolution & 0x7f);
    let nanoseconds = match resolution & 0x80 {
        0 if exponent <= 9 => u128::from(ticks) * 10u128.pow(9 - exponent),
        0 => u128::from(ticks) / 10u128.checked_pow(exponent - 9)?,
        _ if exponent < 64 => (u128::from(ticks) * 1_000_000_000) >> exponent,
        _ => return None,
    };
    u64::try_from(nanoseconds).ok()
}
