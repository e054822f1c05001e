//! Traffic that can be recognised in every record, and its digest.

use std::fmt;
use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

/// Pseudo-random bytes in `` `abc…o ``: no byte needs an escape in any format, and none
/// begins a marker or a line of the frame.
pub struct Payload {
    state: u64,
    left: u64,
}

impl Payload {
    pub fn new(seed: u64, length: u64) -> Self {
        Payload { state: seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1, left: length }
    }

    pub fn is_payload(byte: u8) -> bool {
        byte & 0xF0 == 0x60
    }

    fn next_word(&mut self) -> [u8; 8] {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state & 0x0F0F_0F0F_0F0F_0F0F | 0x6060_6060_6060_6060).to_le_bytes()
    }
}

impl Read for Payload {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.left.min(buffer.len() as u64) as usize;
        for chunk in buffer[..length].chunks_mut(8) {
            let word = self.next_word();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
        self.left -= length as u64;
        Ok(length)
    }
}

/// Length and SHA-256 of a stream.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest {
    pub length: u64,
    sha256: [u8; 32],
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, sha256 ", self.length)?;
        self.sha256[..8].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Digests a stream piece by piece.
#[derive(Clone, Default)]
pub struct Hasher {
    length: u64,
    sha256: Sha256,
}

impl Hasher {
    pub fn add(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        self.sha256.update(bytes);
    }

    pub fn digest(&self) -> Digest {
        Digest { length: self.length, sha256: self.sha256.clone().finalize().into() }
    }
}
