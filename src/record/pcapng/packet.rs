//! The synthesized headers of a packet: IP without options, and TCP with correct checksums.

use std::net::IpAddr;

pub(super) const FIN: u8 = 1;
pub(super) const SYN: u8 = 2;
pub(super) const RST: u8 = 4;
pub(super) const PSH: u8 = 8;
pub(super) const ACK: u8 = 16;
pub(super) const URG: u8 = 32;

/// Maximum length of a segment: the largest that fits into an IPv4 packet, used for IPv6 as well.
pub(super) const SEGMENT: usize = 65_455;

/// Maximum segment sizes that fit into the largest packets.
const MSS_V4: u16 = 65_495;
const MSS_V6: u16 = 65_475;

const TCP: u8 = 6;
const TCP_LENGTH: usize = 20;
const HOPS: u8 = 64;
const WINDOW: u16 = 65_535;

/// One end of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct TcpEndpoint {
    pub(super) ip: IpAddr,
    pub(super) port: u16,
}

pub(super) struct Segment<'a> {
    pub(super) from: TcpEndpoint,
    pub(super) to: TcpEndpoint,
    pub(super) sequence: u32,
    pub(super) acknowledged: u32,
    pub(super) flags: u8,
    pub(super) payload: &'a [u8],
    /// Bytes of payload that are not known.
    pub(super) missing: usize,
}

/// The headers of one packet, on the stack.
pub(super) struct Head {
    bytes: [u8; 40 + TCP_LENGTH + 8],
    length: usize,
}

impl Head {
    fn new() -> Head {
        Head { bytes: [0; 68], length: 0 }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Segment<'_> {
    pub(super) fn head(&self) -> Head {
        let options = self.options();
        let header = TCP_LENGTH + options.map_or(0, |options| options.len());
        let length = header + self.payload.len() + self.missing;
        let mut head = Head::new();
        self.ip(length, &mut head);
        let start = head.length;
        self.tcp(header, options, &mut head);
        if self.missing == 0 {
            let sum = self.pseudo_header(length) + sum(&head.bytes()[start..]) + sum(self.payload);
            head.bytes[start + 16..start + 18].copy_from_slice(&checksum(sum));
        }
        head
    }

    /// Maximum segment size, and a window that is never full; in the segments that open a connection.
    fn options(&self) -> Option<[u8; 8]> {
        let [high, low] = if self.from.ip.is_ipv4() { MSS_V4 } else { MSS_V6 }.to_be_bytes();
        (self.flags & SYN != 0).then_some([2, 4, high, low, 1, 3, 3, 14])
    }

    fn ip(&self, length: usize, head: &mut Head) {
        match (self.from.ip, self.to.ip) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let start = head.length;
                head.push(&[0x45, 0]);
                head.push(&((20 + length) as u16).to_be_bytes());
                // No identification, not to be fragmented.
                head.push(&[0, 0, 0x40, 0, HOPS, TCP, 0, 0]);
                head.push(&from.octets());
                head.push(&to.octets());
                let checksum = checksum(sum(&head.bytes()[start..]));
                head.bytes[start + 10..start + 12].copy_from_slice(&checksum);
            }
            (from, to) => {
                head.push(&[0x60, 0, 0, 0]);
                head.push(&(length as u16).to_be_bytes());
                head.push(&[TCP, HOPS]);
                head.push(&v6(from));
                head.push(&v6(to));
            }
        }
    }

    fn tcp(&self, header: usize, options: Option<[u8; 8]>, head: &mut Head) {
        head.push(&self.from.port.to_be_bytes());
        head.push(&self.to.port.to_be_bytes());
        head.push(&self.sequence.to_be_bytes());
        head.push(&self.acknowledged.to_be_bytes());
        head.push(&[(header as u8 / 4) << 4, self.flags]);
        head.push(&WINDOW.to_be_bytes());
        head.push(&[0, 0]);
        // The urgent byte is the one of the segment.
        head.push(&u16::from(self.flags & URG != 0).to_be_bytes());
        options.iter().for_each(|options| head.push(options));
    }

    fn pseudo_header(&self, length: usize) -> u64 {
        let addresses = match (self.from.ip, self.to.ip) {
            (IpAddr::V4(from), IpAddr::V4(to)) => sum(&from.octets()) + sum(&to.octets()),
            (from, to) => sum(&v6(from)) + sum(&v6(to)),
        };
        addresses + sum(&[0, TCP]) + sum(&(length as u32).to_be_bytes())
    }
}

fn v6(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// The sum of the words of `bytes`, in the byte order of this machine, not folded: the internet checksum does not depend
/// on the order (RFC 1071, section 2B). An odd byte is followed by a zero.
fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum::<u64>()
        + u64::from(u32::from_ne_bytes(last))
}

fn checksum(mut sum: u64) -> [u8; 2] {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    (!(sum as u16)).to_ne_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Word by word, as RFC 1071 defines it.
    fn slow(bytes: &[u8]) -> u16 {
        let words =
            bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
        let mut sum: u32 = 0;
        for word in words {
            sum += word;
            sum = (sum >> 16) + (sum & 0xffff);
        }
        !(sum as u16)
    }

    proptest! {
        #[test]
        fn the_checksum_is_that_of_the_standard(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
            prop_assert_eq!(u16::from_be_bytes(checksum(sum(&bytes))), slow(&bytes));
        }
    }

    #[test]
    fn long_payloads_do_not_overflow_the_sum() {
        let bytes = vec![0xff; SEGMENT];
        assert_eq!(u16::from_be_bytes(checksum(sum(&bytes))), slow(&bytes));
    }
}
