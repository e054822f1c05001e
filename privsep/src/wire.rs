//! Encoding of messages. The only module that uses bincode.
//!
//! Fixed-width little-endian integers, a size limit, no trailing bytes. bincode is pinned to 2.0.1: the crate is no
//! longer maintained (RUSTSEC-2025-0141) and 3.0.0 is empty. Only these functions use it, so that another encoding
//! can replace it.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Maximum length of an encoded message without payload: a path of `PATH_MAX`, and 512 bytes for the rest.
pub const LIMIT: usize = 4096 + 512;

/// Maximum length of short messages; see [`crate::channel::Channel`].
pub const SHORT: usize = 512;

/// Error of decoding or encoding.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    #[error("message cannot be encoded: {0}")]
    Encode(#[source] bincode::error::EncodeError),
    #[error("malformed message: {0}")]
    Decode(#[source] bincode::error::DecodeError),
    /// Number of bytes after a complete message.
    #[error("malformed message: {0} bytes too many")]
    Trailing(usize),
}

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_little_endian().with_fixed_int_encoding().with_limit::<LIMIT>()
}

/// Encodes `message` at the start of `into` and returns its length.
pub fn encode<T: Serialize>(message: &T, into: &mut [u8]) -> Result<usize, WireError> {
    bincode::serde::encode_into_slice(message, into, config()).map_err(WireError::Encode)
}

/// Decodes a message that fills `bytes` exactly.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    let (message, used) = decode_head(bytes)?;
    match bytes.len() - used {
        0 => Ok(message),
        rest => Err(WireError::Trailing(rest)),
    }
}

/// Decodes a message at the start of `bytes`; the payload begins at the returned index.
pub fn decode_head<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, usize), WireError> {
    bincode::serde::decode_from_slice(bytes, config()).map_err(WireError::Decode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    enum Message {
        Number(u32),
        Text(String),
    }

    fn bytes(message: &Message) -> Vec<u8> {
        let mut buffer = vec![0; LIMIT];
        let used = encode(message, &mut buffer).expect("encodes");
        buffer.truncate(used);
        buffer
    }

    #[test]
    fn a_message_comes_back() {
        for message in [Message::Number(7), Message::Text("héllo".into())] {
            assert_eq!(decode::<Message>(&bytes(&message)).expect("decodes"), message);
        }
    }

    #[test]
    fn trailing_bytes_are_refused() {
        let mut long = bytes(&Message::Number(7));
        long.push(0);
        assert!(matches!(decode::<Message>(&long), Err(WireError::Trailing(1))));
    }

    #[test]
    fn every_shorter_message_is_refused() {
        let whole = bytes(&Message::Text("text".into()));
        for end in 0..whole.len() {
            assert!(decode::<Message>(&whole[..end]).is_err());
        }
    }

    #[test]
    fn a_claimed_length_beyond_the_limit_is_refused_before_memory_is_taken() {
        let mut lie = 1u32.to_le_bytes().to_vec();
        lie.extend((1u64 << 30).to_le_bytes());
        assert!(decode::<Message>(&lie).is_err());
    }
}
