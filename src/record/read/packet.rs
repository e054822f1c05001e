//! One packet of `pcapng` as our encoder makes it: an IP header, a TCP header, payload.

pub(super) const FIN: u8 = 1;
pub(super) const SYN: u8 = 2;
pub(super) const PSH: u8 = 8;
pub(super) const URG: u8 = 32;

/// Lengths of the headers without options.
const IPV4: usize = 20;
const IPV6: usize = 40;
const TCP: usize = 20;

/// Addresses and ports, sender first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FlowKey {
    pub(super) from: ([u8; 16], u16),
    pub(super) to: ([u8; 16], u16),
}

impl FlowKey {
    pub(super) fn reversed(self) -> FlowKey {
        FlowKey { from: self.to, to: self.from }
    }
}

/// A number of a packet header.
fn be16(bytes: &[u8], at: usize) -> Option<usize> {
    let value = bytes.get(at..at + 2)?.try_into().ok()?;
    Some(u16::from_be_bytes(value).into())
}

pub(super) struct ParsedPacket<'a> {
    pub(super) flow: FlowKey,
    pub(super) sequence: u32,
    pub(super) flags: u8,
    /// Length of the payload in the stream.
    pub(super) length: usize,
    /// The payload, as far as it was captured.
    pub(super) payload: &'a [u8],
}

impl<'a> ParsedPacket<'a> {
    /// Parses a packet; `None` for one that our encoder does not write.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<ParsedPacket<'a>> {
        let (header, from, to, total) = match bytes.first()? >> 4 {
            4 if bytes.len() >= IPV4 && bytes[0] & 15 == 5 && bytes[9] == 6 => {
                (IPV4, &bytes[12..16], &bytes[16..20], be16(bytes, 2)?)
            }
            6 if bytes.len() >= IPV6 && bytes[6] == 6 => {
                (IPV6, &bytes[8..24], &bytes[24..40], be16(bytes, 4)? + IPV6)
            }
            _ => return None,
        };
        let tcp = bytes.get(header..)?;
        let offset = usize::from(*tcp.get(12)? >> 4) * 4;
        if offset < TCP || tcp.len() < offset {
            return None;
        }
        let port = |at| be16(tcp, at).map(|port| port as u16);
        Some(ParsedPacket {
            flow: FlowKey { from: (padded(from), port(0)?), to: (padded(to), port(2)?) },
            sequence: u32::from_be_bytes(tcp[4..8].try_into().ok()?),
            flags: tcp[13],
            length: total.checked_sub(header + offset)?,
            payload: &tcp[offset..],
        })
    }
}

/// An IPv4 address in the room of an IPv6 address.
fn padded(address: &[u8]) -> [u8; 16] {
    let mut room = [0; 16];
    room[..address.len()].copy_from_slice(address);
    room
}
