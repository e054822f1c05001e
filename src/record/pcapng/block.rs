//! Blocks of a pcapng file (draft-ietf-opsawg-pcapng), little-endian.

use crate::record::event::Time;

/// Longest value of an option that we write. The format has room for 65535 bytes.
const LONGEST_VALUE: usize = 60_000;

/// Longest name in a name resolution block.
const LONGEST_NAME: usize = 1000;

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const NAMES: u32 = 4;
const STATISTICS: u32 = 5;
const PACKET: u32 = 6;
const SECRETS: u32 = 10;

/// Type of secrets: key log of NSS.
const TLS_KEY_LOG: u32 = 0x544c_534b;

/// `LINKTYPE_RAW`: packets begin with an IP header.
const LINKTYPE_RAW: u16 = 101;
/// Snapshot length: no packet is longer.
const SNAPLEN: u32 = 262_144;

const COMMENT: u16 = 1;

/// A block that is being written.
struct BlockWriter<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> BlockWriter<'a> {
    fn begin(kind: u32, out: &'a mut Vec<u8>) -> BlockWriter<'a> {
        let start = out.len();
        out.extend_from_slice(&kind.to_le_bytes());
        // The length, which is not known yet.
        out.extend_from_slice(&[0; 4]);
        BlockWriter { out, start }
    }

    fn short(&mut self, value: u16) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    fn word(&mut self, value: u32) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    fn time(&mut self, time: Time) {
        self.word((time.nanos() >> 32) as u32);
        self.word(time.nanos() as u32);
    }

    fn pad(&mut self) {
        let length = (self.out.len() - self.start).next_multiple_of(4);
        self.out.resize(self.start + length, 0);
    }

    fn option(&mut self, code: u16, value: &[u8]) {
        let value = &value[..value.len().min(LONGEST_VALUE)];
        self.short(code);
        self.short(value.len() as u16);
        self.out.extend_from_slice(value);
        self.pad();
    }

    fn end_of_options(&mut self) {
        self.word(0);
    }

    fn end(self) {
        let length = ((self.out.len() - self.start + 4) as u32).to_le_bytes();
        self.out[self.start + 4..self.start + 8].copy_from_slice(&length);
        self.out.extend_from_slice(&length);
    }
}

/// Writes the header of a file, and the one interface of its packets.
pub(super) fn section(part: u64, out: &mut Vec<u8>) {
    let comment = format!("{{\"event\":\"file\",\"format\":\"tcpreen\",\"version\":1,\"part\":{part}}}");
    let mut block = BlockWriter::begin(SECTION, out);
    block.word(0x1a2b_3c4d);
    block.short(1);
    block.short(0);
    // The length of the section: not known.
    block.out.extend_from_slice(&[0xff; 8]);
    block.option(COMMENT, comment.as_bytes());
    block.option(4, concat!("tcpreen ", env!("CARGO_PKG_VERSION")).as_bytes());
    block.end_of_options();
    block.end();
    let mut block = BlockWriter::begin(INTERFACE, out);
    block.short(LINKTYPE_RAW);
    block.short(0);
    block.word(SNAPLEN);
    block.option(2, b"tcpreen");
    block.option(3, b"sessions as their peers had them; headers are made up");
    // Times are in nanoseconds.
    block.option(9, &[9]);
    block.end_of_options();
    block.end();
}

/// Writes the name of an IPv4 or IPv6 address.
pub(super) fn name(address: &[u8], name: &str, out: &mut Vec<u8>) {
    let name: Vec<u8> = name.bytes().filter(|&byte| byte != 0).take(LONGEST_NAME).collect();
    let mut block = BlockWriter::begin(NAMES, out);
    block.short(if address.len() == 4 { 1 } else { 2 });
    block.short((address.len() + name.len() + 1) as u16);
    block.out.extend_from_slice(address);
    block.out.extend_from_slice(&name);
    block.out.push(0);
    block.pad();
    block.end_of_options();
    block.end_of_options();
    block.end();
}

/// Writes lines of a key log, which apply to the packets that follow.
pub(super) fn secrets(lines: &[u8], out: &mut Vec<u8>) {
    let mut block = BlockWriter::begin(SECRETS, out);
    block.word(TLS_KEY_LOG);
    block.word(lines.len() as u32);
    block.out.extend_from_slice(lines);
    block.pad();
    block.end_of_options();
    block.end();
}

/// Writes the end of a file.
pub(super) fn statistics(time: Time, packets: u64, out: &mut Vec<u8>) {
    let mut block = BlockWriter::begin(STATISTICS, out);
    block.word(0);
    block.time(time);
    block.option(4, &packets.to_le_bytes());
    block.option(5, &0u64.to_le_bytes());
    block.end_of_options();
    block.end();
}

/// Metadata of a packet.
pub(super) struct Meta<'a> {
    pub(super) time: Time,
    /// 1 from the client, 2 from the server.
    pub(super) direction: u32,
    /// The low half of the number of the session.
    pub(super) queue: u32,
    pub(super) comments: &'a [Vec<u8>],
}

/// Writes a packet: `head` and `payload`, or a number of `missing` bytes that are not recorded.
pub(super) fn packet(meta: &Meta<'_>, head: &[u8], payload: &[u8], missing: usize, out: &mut Vec<u8>) {
    let captured = head.len() + payload.len();
    let mut block = BlockWriter::begin(PACKET, out);
    block.word(0);
    block.time(meta.time);
    block.word(captured as u32);
    block.word((captured + missing) as u32);
    block.out.extend_from_slice(head);
    block.out.extend_from_slice(payload);
    block.pad();
    for comment in meta.comments {
        block.option(COMMENT, comment);
    }
    block.option(2, &meta.direction.to_le_bytes());
    block.option(6, &meta.queue.to_le_bytes());
    block.end_of_options();
    block.end();
}
