//! `--tls-keys`: secrets of TLS sessions, in the key log format of NSS (`SSLKEYLOGFILE`), for those sessions of a
//! record whose ClientHello they belong to.
//!
//! A capture that is decrypted has to have the secrets before the packets they are for. Each session gets its own,
//! right before its ClientHello is complete: a record is still read as a stream, and a file with one session has
//! no secret of another one.

use std::collections::HashMap;
use std::os::fd::BorrowedFd;

use super::Break;
use super::input::{More, PartReader};
use crate::messages::Flaw;
use crate::record::{Event, Kind, LONGEST_SECRETS};

/// Maximum length of all secrets.
const MOST: usize = 16 << 20;

/// Overhead of an entry, roughly.
const OVERHEAD: usize = 128;

/// From the head of the TLS record to the end of the random number.
const HELLO: usize = 43;

type ClientRandom = [u8; 32];

#[derive(Default)]
pub(super) struct KeyLog {
    /// The lines of a client's random number.
    secrets: HashMap<ClientRandom, Vec<u8>>,
    size: usize,
    /// Open sessions: the end of what each side sent, until they have got theirs.
    tails: HashMap<u64, Option<[Tail; 2]>>,
    /// Sessions that have.
    pub(super) found: u64,
}

impl KeyLog {
    /// Reads a file of secrets, which may be a FIFO.
    pub(super) fn read(mut input: PartReader, parent: BorrowedFd<'_>) -> Result<KeyLog, Break> {
        let mut text = Vec::new();
        while text.len() <= MOST {
            match input.fetch(1, parent)? {
                More::Bytes => {}
                More::End => break,
                More::Unwanted => return Err(Break::Unwanted),
            }
            text.extend_from_slice(input.bytes());
            input.consume(input.bytes().len());
        }
        KeyLog::of(&text).map_err(Break::Flaw)
    }

    fn of(text: &[u8]) -> Result<KeyLog, Flaw> {
        if text.len() > MOST {
            return Err(Flaw::TooLong);
        }
        let mut log = KeyLog::default();
        log.add(text);
        if log.secrets.is_empty() { Err(Flaw::NoKeys) } else { Ok(log) }
    }

    /// Adds the lines that have secrets, as far as there is room; comments and others are left out.
    pub(super) fn add(&mut self, text: &[u8]) {
        for line in text.split(|byte| *byte == b'\n') {
            let line = line.trim_ascii_end();
            let Some(random) = random_of(line).filter(|_| self.size < 2 * MOST) else { continue };
            let lines = self.secrets.entry(random).or_default();
            let is_known = lines.split(|byte| *byte == b'\n').any(|known| known == line);
            if !is_known && lines.len() + line.len() < LONGEST_SECRETS {
                self.size += line.len() + OVERHEAD;
                lines.extend_from_slice(line);
                lines.push(b'\n');
            }
        }
    }

    /// The secrets that have to stand before an event.
    pub(super) fn before(&mut self, event: &Event, payload: &[u8]) -> Option<&[u8]> {
        if self.secrets.is_empty() {
            return None;
        }
        match event.kind {
            Kind::End(_) => drop(self.tails.remove(&event.session)),
            Kind::Data { from, .. } => {
                let tails = self.tails.entry(event.session).or_insert_with(|| Some(Default::default()));
                let tail = &mut tails.as_mut()?[from as usize];
                let random =
                    tail.randoms(payload).into_iter().find(|random| self.secrets.contains_key(random))?;
                *tails = None;
                self.found += 1;
                return self.secrets.get(&random).map(Vec::as_slice);
            }
            _ => {}
        }
        None
    }
}

/// The end of what a side sent: a ClientHello may go on in the next piece.
#[derive(Default)]
struct Tail(Vec<u8>);

impl Tail {
    /// The random numbers of what may be a ClientHello that ends in this piece.
    fn randoms(&mut self, piece: &[u8]) -> Vec<ClientRandom> {
        let before = self.0.len();
        self.0.extend_from_slice(&piece[..piece.len().min(HELLO - 1)]);
        let mut found: Vec<ClientRandom> =
            hellos(&self.0).filter(|(at, _)| *at < before).map(|(_, it)| it).collect();
        found.extend(hellos(piece).map(|(_, random)| random));
        if piece.len() >= HELLO {
            self.0.clear();
            self.0.extend_from_slice(&piece[piece.len() - (HELLO - 1)..]);
        } else {
            self.0.drain(..self.0.len().saturating_sub(HELLO - 1));
        }
        found
    }
}

/// Places of what looks like a ClientHello, with its random number: a handshake record of SSL 3.0 or TLS, in it a
/// message of this type, and a version.
fn hellos(bytes: &[u8]) -> impl Iterator<Item = (usize, ClientRandom)> {
    memchr::memchr_iter(0x16, bytes).filter_map(|at| {
        let hello = bytes.get(at..at + HELLO)?;
        let is_one = hello[1] == 3 && hello[5] == 1 && hello[9] == 3;
        is_one.then(|| hello[11..].try_into().ok()).flatten().map(|random| (at, random))
    })
}

/// `LABEL` and two numbers in hexadecimal, the first of which is the client's random number.
fn random_of(line: &[u8]) -> Option<ClientRandom> {
    let mut words = str::from_utf8(line).ok()?.split(' ');
    let (label, random, secret) = (words.next()?, words.next()?, words.next()?);
    let is_label =
        label.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
    let is_secret = secret.len() >= 2 && secret.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_label || label.is_empty() || !is_secret || words.next().is_some() || random.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, digits) in bytes.iter_mut().zip(random.as_bytes().chunks(2)) {
        let digits = digits.iter().all(u8::is_ascii_hexdigit).then_some(digits)?;
        *byte = u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::Side;
    use crate::record::Time;

    fn line(label: &str, random: u8) -> String {
        format!("{label} {} {}\n", format!("{random:02x}").repeat(32), "ab".repeat(48))
    }

    fn hello(random: u8) -> Vec<u8> {
        [&[0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3][..], &[random; 32], &[0; 164]].concat()
    }

    fn data(session: u64, from: Side) -> Event {
        let kind = Kind::Data { from, position: 0, bytes: 1, urgent: false };
        Event { time: Time::default(), session, kind }
    }

    fn log() -> KeyLog {
        let text = [
            "# comment\n",
            &line("CLIENT_RANDOM", 7),
            "CLIENT_RANDOM 00 00\r\n",
            &line("EXPORTER_SECRET", 7),
        ];
        KeyLog::of(text.concat().as_bytes()).expect("secrets")
    }

    #[test]
    fn a_session_gets_the_secrets_of_its_hello_and_gets_them_once() {
        let expected = line("CLIENT_RANDOM", 7) + &line("EXPORTER_SECRET", 7);
        let mut log = log();
        assert_eq!(log.before(&data(1, Side::Server), &hello(8)), None);
        assert_eq!(log.before(&data(1, Side::Client), &hello(7)), Some(expected.as_bytes()));
        assert_eq!(log.before(&data(1, Side::Client), &hello(7)), None);
        // After a dialogue in plain text.
        let piece = [b"\x16\x16\x03STARTTLS\r\n", &hello(7)[..]].concat();
        assert_eq!(log.before(&data(2, Side::Server), &piece), Some(expected.as_bytes()));
        assert_eq!(log.found, 2);
    }

    #[test]
    fn a_hello_in_pieces_is_found_when_its_number_is_whole() {
        for length in 1..HELLO {
            let mut log = log();
            let stream = [b"x".repeat(50), hello(7)].concat();
            let pieces: Vec<&[u8]> = stream.chunks(length).collect();
            let found = pieces.iter().position(|piece| log.before(&data(1, Side::Client), piece).is_some());
            assert_eq!(found, Some((50 + HELLO).div_ceil(length) - 1), "pieces of {length}");
        }
    }

    #[test]
    fn what_has_no_secrets_is_told() {
        assert_eq!(KeyLog::of(b"# nothing\nCLIENT_RANDOM x y\n").err(), Some(Flaw::NoKeys));
        let long = "x".repeat(MOST + 1);
        assert_eq!(KeyLog::of(long.as_bytes()).err(), Some(Flaw::TooLong));
    }

    #[test]
    fn lines_of_one_number_have_a_bound() {
        let mut log = log();
        for number in 0..1000 {
            log.add(line(&format!("SECRET_{number}"), 7).as_bytes());
        }
        assert!(log.before(&data(1, Side::Client), &hello(7)).expect("secrets").len() <= LONGEST_SECRETS);
    }
}
