//! Names for the first bytes of protocols that would otherwise be a dump. Only what identifies itself beyond doubt, at
//! the beginning of a stream, is named. Pure and bounded: nothing is kept from one piece to the next.

use crate::messages::Side;
use crate::record::visible;

/// The protocol of a stream's first bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hint {
    /// Text for one line, with the peer's control characters escaped.
    pub(super) text: String,
    /// Number of bytes that the text replaces.
    pub(super) length: usize,
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Maximum length of an SSH banner (RFC 4253, 4.2).
const BANNER: usize = 255;

/// Maximum number of ALPN names that are shown.
const NAMES: usize = 8;

/// Identifies the first piece of a stream. Only a message that the piece has entirely is recognized.
pub(super) fn of(from: Side, piece: &[u8]) -> Option<Hint> {
    match from {
        _ if piece.starts_with(b"SSH-") => ssh(piece),
        Side::Client if piece.starts_with(PREFACE) => {
            Some(Hint { text: "HTTP/2 connection preface".into(), length: PREFACE.len() })
        }
        Side::Client => client_hello(piece),
        Side::Server => None,
    }
}

fn ssh(piece: &[u8]) -> Option<Hint> {
    let end = piece.iter().take(BANNER).position(|&byte| byte == b'\n')?;
    let banner = piece[..end].strip_suffix(b"\r").unwrap_or(&piece[..end]);
    Some(Hint { text: format!("SSH banner: {}", shown(banner)), length: end + 1 })
}

/// A ClientHello that fills one record (RFC 8446, 4.1.2 and 5.1).
fn client_hello(piece: &[u8]) -> Option<Hint> {
    let mut piece_left = Bytes(piece);
    let [22, 3, 0..=4] = *piece_left.take(3)? else { return None };
    let mut message = Bytes(piece_left.vector16()?);
    let length = piece.len() - piece_left.0.len();
    let [1, 0] = *message.take(2)? else { return None };
    let mut hello = Bytes(message.vector16()?);
    if !message.0.is_empty() {
        return None;
    }
    let [3, _] = *hello.take(2)? else { return None };
    hello.take(32)?;
    hello.vector8()?;
    hello.vector16()?;
    hello.vector8()?;
    let mut text = "TLS ClientHello".to_owned();
    // SSL 3.0 and the first versions of TLS had no extensions.
    if !hello.0.is_empty() {
        let mut extensions = Bytes(hello.vector16()?);
        while !extensions.0.is_empty() {
            let kind = extensions.number16()?;
            describe(kind, extensions.vector16()?, &mut text);
        }
    }
    Some(Hint { text, length })
}

/// Adds what an extension says. One that is malformed is left out.
fn describe(kind: usize, body: &[u8], text: &mut String) {
    match kind {
        0 => {
            if let Some(name) = server_name(Bytes(body)) {
                *text += &format!(", SNI {}", shown(name));
            }
        }
        16 => {
            if let Some(names) = protocols(Bytes(body)) {
                *text += &format!(", ALPN {}", names.join(" "));
            }
        }
        _ => {}
    }
}

/// RFC 6066, 3
fn server_name(mut body: Bytes<'_>) -> Option<&[u8]> {
    let mut list = Bytes(body.vector16()?);
    let [0] = *list.take(1)? else { return None };
    list.vector16().filter(|name| !name.is_empty() && name.len() <= 255)
}

/// RFC 7301, 3.1
fn protocols(mut body: Bytes<'_>) -> Option<Vec<String>> {
    let mut list = Bytes(body.vector16()?);
    let mut names = Vec::new();
    while !list.0.is_empty() {
        let name = list.vector8()?;
        if names.len() < NAMES {
            names.push(shown(name));
        }
    }
    (!names.is_empty()).then_some(names)
}

fn shown(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len());
    visible::append(bytes, false, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// The unread rest of a message.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number16(&mut self) -> Option<usize> {
        let number: [u8; 2] = self.take(2)?.try_into().ok()?;
        Some(u16::from_be_bytes(number).into())
    }

    /// Bytes behind their length.
    fn vector16(&mut self) -> Option<&'a [u8]> {
        let length = self.number16()?;
        self.take(length)
    }

    /// Likewise, with a length of one byte.
    fn vector8(&mut self) -> Option<&'a [u8]> {
        let [length] = *self.take(1)? else { return None };
        self.take(length.into())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn vector16(bytes: &[u8]) -> Vec<u8> {
        [&(bytes.len() as u16).to_be_bytes(), bytes].concat()
    }

    fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
        [kind.to_be_bytes().to_vec(), vector16(body)].concat()
    }

    pub(in crate::record::view) fn hello(sni: &[u8], alpn: &[&[u8]]) -> Vec<u8> {
        let name = vector16(&[b"\0".to_vec(), vector16(sni)].concat());
        let alpn: Vec<u8> = alpn.iter().flat_map(|name| [&[name.len() as u8], *name].concat()).collect();
        let extensions =
            [extension(43, b"\x02\x03\x04"), extension(0, &name), extension(16, &vector16(&alpn))];
        let hello =
            [b"\x03\x03".as_slice(), &[7; 32], b"\0\0\x02\x13\x01\x01\0", &vector16(&extensions.concat())];
        let message = [b"\x01\0".to_vec(), vector16(&hello.concat())].concat();
        [b"\x16\x03\x01".to_vec(), vector16(&message)].concat()
    }

    #[test]
    fn a_client_hello_is_named_with_server_and_protocols() {
        let piece = [hello(b"example.org", &[b"h2", b"http/1.1"]), b"more".to_vec()].concat();
        let hint = of(Side::Client, &piece).expect("a hint");
        assert_eq!(hint.text, "TLS ClientHello, SNI example.org, ALPN h2 http/1.1");
        assert_eq!(hint.length, piece.len() - 4);
        assert_eq!(of(Side::Server, &piece), None);
    }

    #[test]
    fn a_client_hello_that_is_cut_is_none() {
        let hello = hello(b"example.org", &[b"h2"]);
        for end in 0..hello.len() {
            assert_eq!(of(Side::Client, &hello[..end]), None, "{end}");
        }
    }

    #[test]
    fn names_cannot_act_on_a_terminal() {
        let hint = of(Side::Client, &hello(b"a\x1b[2J\n", &[b"\xe2\x80\xae"])).expect("a hint");
        assert_eq!(hint.text, "TLS ClientHello, SNI a\\033[2J\\012, ALPN \\342\\200\\256");
    }

    #[test]
    fn a_banner_and_a_preface_are_named() {
        let hint = of(Side::Server, b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n\0\0").expect("a hint");
        assert_eq!((hint.text.as_str(), hint.length), ("SSH banner: SSH-2.0-OpenSSH_9.2p1 Debian", 30));
        assert_eq!(of(Side::Server, b"SSH-2.0"), None);
        let hint = of(Side::Client, &[PREFACE, b"\0\0\0"].concat()).expect("a hint");
        assert_eq!(hint.length, 24);
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken(piece in prop::collection::vec(any::<u8>(), 0..300), at in 0..100_usize, byte: u8) {
            let mut hello = hello(b"example.org", &[b"h2"]);
            let at = at % hello.len();
            hello[at] = byte;
            for piece in [&piece, &hello] {
                for side in [Side::Client, Side::Server] {
                    if let Some(hint) = of(side, piece) {
                        prop_assert!(hint.length <= piece.len());
                        prop_assert!(!hint.text.contains(char::is_control));
                    }
                }
            }
        }
    }
}
