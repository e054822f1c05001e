//! Decodes the program's records into the recorded bytes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::payload::{Digest, Hasher, Payload};

/// Recorded bytes of one session in each direction.
#[derive(Clone, Default)]
pub struct Recorded {
    from_client: Hasher,
    from_server: Hasher,
}

impl Recorded {
    /// Bytes sent by the client.
    pub fn client(&self) -> Digest {
        self.from_client.digest()
    }

    /// Bytes sent by the server.
    pub fn server(&self) -> Digest {
        self.from_server.digest()
    }

    fn side(&mut self, marker: &[u8]) -> &mut Hasher {
        match marker {
            b"<<< " => &mut self.from_client,
            b">>> " => &mut self.from_server,
            other => panic!("no marker: {}", other.escape_ascii()),
        }
    }
}

/// Decodes a `raw` record of one session whose traffic was [`Payload`] only.
pub fn read_raw(record: impl Read) -> Recorded {
    let mut record = BufReader::with_capacity(1 << 20, record);
    let mut recorded = Recorded::default();
    let mut marker = [0; 4];
    while record.read_exact(&mut marker).is_ok() {
        if marker[0].is_ascii_uppercase() {
            let mut line_of_frame = Vec::new();
            record.read_until(b'\n', &mut line_of_frame).expect("a line");
        } else {
            read_payload(&mut record, recorded.side(&marker));
        }
    }
    recorded
}

fn read_payload(record: &mut impl BufRead, side: &mut Hasher) {
    loop {
        let buffer = record.fill_buf().expect("the record");
        let length = buffer.iter().position(|&byte| !Payload::is_payload(byte)).unwrap_or(buffer.len());
        side.add(&buffer[..length]);
        let at_end = length == 0;
        record.consume(length);
        if at_end {
            return;
        }
    }
}

/// Decodes a `C` record of concurrent sessions whose traffic was [`Payload`] only, by session.
pub fn read_labelled_c(record: impl Read) -> BTreeMap<u64, Recorded> {
    let mut sessions: BTreeMap<u64, Recorded> = BTreeMap::new();
    for line in BufReader::with_capacity(1 << 20, record).split(b'\n') {
        let line = line.expect("a line");
        let (session, line) = label(&line);
        if let Some((marker @ (b"<<< " | b">>> "), body)) = line.split_at_checked(4) {
            sessions.entry(session).or_default().side(marker).add(body);
        }
    }
    sessions
}

/// Splits off a label: `[7] rest` → `(7, rest)`.
fn label(line: &[u8]) -> (u64, &[u8]) {
    let end = line.iter().position(|&byte| byte == b']').expect("every line starts with its session");
    let number = std::str::from_utf8(&line[1..end]).expect("digits");
    (number.parse().expect("a number"), &line[end + 2..])
}

/// Decodes a hex dump in one direction: the rows between a header with `marker` and its length.
pub fn read_hex(record: &str, marker: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut wanted = false;
    for line in record.lines() {
        if let Some((start, _)) = line.split_once("|  0  1  2") {
            wanted = start.starts_with(marker);
        } else if let (true, Some((offset, rest))) = (wanted, line.split_once(" | "))
            && offset.starts_with("0x")
        {
            let row = rest.split(" | ").next().expect("sixteen columns");
            bytes
                .extend(row.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).expect("two digits")));
        }
    }
    bytes
}

/// A record of one session in json, with text from the client.
pub struct Sent;

impl Sent {
    /// Writes a record with this number of bytes of payload.
    pub fn write(path: &Path, bytes: u64) {
        const PIECE: usize = 64 << 10;
        let text = "0123456789abcdef".repeat(PIECE / 16);
        let head = |event: &str| {
            let time = "2025-11-26T10:22:27.000412000Z";
            format!(r#"{{"time":"{time}","event":"{event}","run":"m4k2zq","session":1,"elapsed":0.0"#)
        };
        let peers = concat!(
            r#""client_ip":"203.0.113.9","client_port":40210,"server_ip":"203.0.113.8","server_port":80,"#,
            r#""connect":0.0,"client_bytes":0,"server_bytes":0,"errno":0"#
        );
        let mut out = BufWriter::new(File::create(path).expect("a record"));
        writeln!(out, "{},{peers},\"state\":\"open\",\"conn_state\":\"S1\"}}", head("start"))
            .expect("a line");
        for position in (0..bytes).step_by(PIECE) {
            let rest = format!(r#""sender":"client","position":{position},"bytes":{PIECE},"urgent":false"#);
            writeln!(out, "{},{rest},\"text\":\"{text}\",\"base64\":\"\"}}", head("data")).expect("a line");
        }
        writeln!(out, "{},{peers},\"state\":\"done\",\"conn_state\":\"SF\"}}", head("end")).expect("a line");
        out.flush().expect("a record");
        fs::set_permissions(path, PermissionsExt::from_mode(0o644)).expect("chmod");
    }
}
