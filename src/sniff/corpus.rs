//! Hits in binary traffic, counted over a corpus: generated streams of well-known protocols, and files of the system,
//! each as what a client sends, what a server sends, and both at once. None is right.

use super::overheard_bytes;

/// Bytes of one stream.
const LENGTH: usize = 96 << 10;

/// Files of the system at most, from each directory.
const FILES: usize = 12;

/// Directories with programs, libraries, images and compressed text.
const DIRECTORIES: [&str; 9] = [
    "/usr/bin",
    "/usr/sbin",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/share/icons/hicolor/48x48/apps",
    "/usr/share/pixmaps",
    "/usr/share/doc/bash",
    "/usr/share/zoneinfo",
    "/usr/share/locale/de/LC_MESSAGES",
];

/// Xorshift: the same corpus in every run.
struct Generator(u64);

impl Generator {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next().to_le_bytes()[3]).collect()
    }
}

/// First bytes of either side, by protocol.
const OPENINGS: [(&str, &[u8], &[u8]); 16] = [
    ("TLS", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", b"\x16\x03\x03\0\x7a\x02\0\0\x76\x03\x03"),
    ("SSH", b"SSH-2.0-OpenSSH_9.2\r\n\0\0\x05\xdc\x07\x14", b"SSH-2.0-OpenSSH_9.2p1\r\n\0\0\x04\x3c\x09\x14"),
    ("SMB 1", b"\0\0\0\x85\xffSMB\x72\0\0\0\0", b"\0\0\0\x55\xffSMB\x72\0\0\0\0"),
    ("SMB 2", b"\0\0\0\xa4\xfeSMB\x40\0", b"\0\0\0\xf8\xfeSMB\x40\0"),
    ("MySQL", b"\x20\0\0\x01\x85\xae\x7f\0\0\0\0\x01\x21", b"\x4a\0\0\0\x0a8.0.36\0\x08\0\0\0"),
    (
        "BitTorrent",
        b"\x13BitTorrent protocol\0\0\0\0\0\x10\0\x05",
        b"\x13BitTorrent protocol\0\0\0\0\0\x10\0\x05",
    ),
    ("RDP", b"\x03\0\0\x13\x0e\xe0\0\0\0\0\0\x01\0\x08\0\x03", b"\x03\0\0\x13\x0e\xd0\0\0\x12\x34\0\x02"),
    ("DCE RPC", b"\x05\0\x0b\x03\x10\0\0\0\x74\0\0\0", b"\x05\0\x0c\x03\x10\0\0\0\x3c\0\0\0"),
    ("DNS", b"\0\x1d\x12\x34\x01\0\0\x01\0\0\0\0\0\0", b"\0\x2d\x12\x34\x81\x80\0\x01\0\x01\0\0\0\0"),
    ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x12\x04", b"\0\0\x12\x04\0\0\0\0\0\0\x03"),
    ("WebSocket", b"\x82\xfe\x10\0\x37\xfa\x21\x3d", b"\x82\x7e\x10\0"),
    ("VNC", b"RFB 003.008\n\x01\x01", b"RFB 003.008\n\x02\x01\x02"),
    ("X11", b"l\0\x0b\0\0\0\x12\0\x10\0\0\0MIT-MAGIC-COOKIE-1", b"\x01\0\x0b\0\0\0\x1e\x02"),
    ("rsync", b"@RSYNCD: 31.0\nmodule\n", b"@RSYNCD: 31.0\n@RSYNCD: OK\n"),
    ("Cassandra", b"\x04\0\0\0\x01\0\0\0\x16", b"\x84\0\0\0\x02\0\0\0\0"),
    ("nothing known", b"", b""),
];

type CorpusStream = (String, Vec<u8>);

/// Streams of random bytes, some of which have many line ends and blanks, behind each opening.
fn generated(random: &mut Generator) -> Vec<[CorpusStream; 2]> {
    let mut all = Vec::new();
    for (name, client, server) in OPENINGS {
        for lines in [false, true] {
            let mut side = |opening: &[u8]| {
                let mut bytes = random.bytes(LENGTH);
                if lines {
                    bytes
                        .iter_mut()
                        .filter(|byte| **byte < 24)
                        .for_each(|byte| *byte = b"\r\n "[usize::from(*byte) % 3]);
                }
                (format!("{name}, lines: {lines}"), [opening, &bytes].concat())
            };
            all.push([side(client), side(server)]);
        }
    }
    all
}

/// The beginnings of files of this machine.
fn files() -> Vec<CorpusStream> {
    let mut all = Vec::new();
    for directory in DIRECTORIES {
        let Ok(entries) = std::fs::read_dir(directory) else { continue };
        let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.sort();
        let step = paths.len() / FILES + 1;
        for path in paths.into_iter().step_by(step).filter(|path| path.is_file()) {
            let Ok(mut bytes) = std::fs::read(&path) else { continue };
            bytes.truncate(LENGTH);
            // Text is no binary traffic.
            if bytes.contains(&0) {
                all.push((path.display().to_string(), bytes));
            }
        }
    }
    all
}

/// Findings if the two sides send in turns, in pieces of any size.
fn heard(random: &mut Generator, client: &[u8], server: &[u8]) -> String {
    let (mut client, mut server) = (client, server);
    let mut said = Vec::new();
    while !client.is_empty() || !server.is_empty() {
        for (side, rest) in [(b'<', &mut client), (b'>', &mut server)] {
            let (piece, left) = rest.split_at(rest.len().min(1 + random.below(9000)));
            if !piece.is_empty() {
                said.push((side, piece));
            }
            *rest = left;
        }
    }
    overheard_bytes(&said)
}

#[test]
fn binary_traffic_has_no_logins() {
    let mut random = Generator(0x9E37_79B9_7F4A_7C15);
    let files = files();
    let mut pairs = generated(&mut random);
    pairs.extend((0..files.len()).map(|at| [files[at].clone(), files[(at * 7 + 3) % files.len()].clone()]));
    let mut hits = Vec::new();
    let mut bytes = 0;
    for [(one, client), (other, server)] in &pairs {
        for (client, server) in [(client.as_slice(), server.as_slice()), (client, &[]), (&[], server)] {
            bytes += client.len() + server.len();
            let found = heard(&mut random, client, server);
            if !found.is_empty() {
                hits.push(format!("{one} and {other}: {found}"));
            }
        }
    }
    println!("{} pairs of streams, {} MiB, {} hits", pairs.len(), bytes >> 20, hits.len());
    assert!(hits.is_empty(), "{hits:#?}");
}
