//! The format `password`: one line for each name and password that passes.
//!
//! Both directions are read: the client's for the credentials, the server's for the protocol and the verdict. A
//! finding therefore waits for its answer; see `pending`. Neither peer is trusted, and a session keeps at most one
//! line of each direction and a few findings.

mod amqp;
mod conversation;
mod dialogue;
mod frames;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod http;
mod imap;
mod irc;
mod ldap;
mod lines;
mod lockstep;
mod memcached;
mod mqtt;
mod mysql;
mod nats;
mod nntp;
mod pending;
mod postgres;
mod redis;
mod sasl;
mod sieve;
mod socks;
mod telnet;
mod words;
mod xmpp;

use crate::format::Finds;
use crate::messages::Side;

use crate::sniff::pending::PendingCredentials;
use dialogue::Dialogue;
use lines::{Cutting, LinePiece, Lines, StreamReader};

/// Observer of one session.
pub(crate) struct CredentialSniffer {
    client: Lines,
    server: Lines,
    dialogue: Dialogue,
    logins: PendingCredentials,
}

impl CredentialSniffer {
    /// Every line that is written starts with `label`.
    pub(crate) fn new(label: &[u8], finds: Finds) -> Self {
        CredentialSniffer {
            client: Lines::default(),
            server: Lines::default(),
            dialogue: Dialogue::default(),
            logins: PendingCredentials::new(label, finds),
        }
    }

    pub(crate) fn piece(&mut self, from: Side, bytes: &[u8], out: &mut Vec<u8>) {
        let CredentialSniffer { client, server, dialogue, logins } = self;
        let mut listener = DirectionReader { from, dialogue, logins, out };
        match from {
            Side::Client => client.feed(bytes, &mut listener),
            Side::Server => {
                server.feed(bytes, &mut listener);
                if let Some(next) = dialogue.redirect_client() {
                    client.restart(next);
                }
            }
        }
    }

    pub(crate) fn ended(&mut self, from: Side, out: &mut Vec<u8>) {
        // A client that has finished may still receive answers.
        if from == Side::Server {
            self.close(out);
        }
    }

    pub(crate) fn close(&mut self, out: &mut Vec<u8>) {
        self.dialogue.close(&mut self.logins);
        self.logins.flush(out);
    }
}

/// Reader of one direction.
struct DirectionReader<'a> {
    from: Side,
    dialogue: &'a mut Dialogue,
    logins: &'a mut PendingCredentials,
    out: &'a mut Vec<u8>,
}

impl StreamReader for DirectionReader<'_> {
    fn peek(&mut self, prefix: &[u8]) -> Option<Cutting> {
        self.dialogue.peek(self.from, prefix)
    }

    fn read(&mut self, item: LinePiece<'_>) -> Cutting {
        match self.from {
            Side::Client => self.dialogue.client(item, self.logins, self.out),
            Side::Server => self.dialogue.server(item, self.logins, self.out),
        }
    }
}

/// Output for a session with these messages of the client (`<`) and the server (`>`).
#[cfg(test)]
fn overheard(said: &[&str]) -> String {
    let said: Vec<_> = said.iter().map(|text| (text.as_bytes()[0], &text.as_bytes()[1..])).collect();
    overheard_bytes(&said)
}

/// Output for a session with `--password=all`.
#[cfg(test)]
fn overheard_all(said: &[&str]) -> String {
    let said: Vec<_> = said.iter().map(|text| (text.as_bytes()[0], &text.as_bytes()[1..])).collect();
    overheard_of(&said, Finds::All)
}

/// Output for a session with binary data.
#[cfg(test)]
fn overheard_bytes(said: &[(u8, &[u8])]) -> String {
    overheard_of(said, Finds::Logins)
}

#[cfg(test)]
fn overheard_of(said: &[(u8, &[u8])], finds: Finds) -> String {
    let mut watch = CredentialSniffer::new(b"", finds);
    let mut out = Vec::new();
    for &(side, bytes) in said {
        let from = if side == b'<' { Side::Client } else { Side::Server };
        watch.piece(from, bytes, &mut out);
    }
    watch.close(&mut out);
    String::from_utf8(out).unwrap()
}

#[cfg(test)]
mod cases;
#[cfg(test)]
mod corpus;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn findings_wait_for_the_answer_and_no_longer() {
        let mut watch = CredentialSniffer::new(b"[4] ", Finds::Logins);
        let mut out = Vec::new();
        watch.piece(Side::Server, b"220 hi\r\n", &mut out);
        watch.piece(Side::Client, b"USER bob\r\nPASS x\r\n", &mut out);
        watch.ended(Side::Client, &mut out);
        assert_eq!(out, b"");
        watch.piece(Side::Server, b"331 who?\r\n530 no\r\n", &mut out);
        assert_eq!(out, b"[4] FTP: bob:x (refused) 530\n");
        watch.piece(Side::Client, b"PASS y\r\n", &mut out);
        watch.ended(Side::Server, &mut out);
        watch.close(&mut out);
        assert_eq!(out, b"[4] FTP: bob:x (refused) 530\n[4] FTP: bob:y\n");
    }

    #[test]
    fn names_cannot_forge() {
        let said = [">220 x\r\n", "<USER a\x1b[31m\r\nPASS x\x07\rFTP: root:\u{202e}\r\n"];
        assert_eq!(overheard(&said), "FTP: a\\033[31m:x\\007\\015FTP: root:\\342\\200\\256\n");
    }

    #[test]
    fn binary_is_left_alone() {
        let hello = "\x16\x03\x01 \n\nUSER a\nPASS b\n";
        assert_eq!(overheard(&["<\x16\x03\x01 \nUSER a\nPASS b\n", ">\x16\x03\x03\n"]), "");
        assert_eq!(overheard(&[">220 hi\n", "<AUTH TLS\r\n", ">234 ok\r\n", &format!("<{hello}")]), "");
        let long = format!("<{}\nUSER a\nPASS b\n", "\0".repeat(5000));
        assert_eq!(overheard(&[&long]), "");
        assert_eq!(overheard(&["<SSH-2.0-x\r\nUSER a\r\nPASS b\r\n"]), "");
    }

    /// Messages that peers send, valid and invalid.
    fn utterance() -> impl Strategy<Value = Vec<u8>> {
        let known = prop::sample::select(vec![
            "USER bob\r\n",
            "PASS s3cret\r\n",
            "PASS\r\n",
            "APOP bob 0123\r\n",
            "EHLO x\r\n",
            "DATA\r\n",
            ".\r\n",
            "AUTH PLAIN AGJvYgBwdw==\r\n",
            "AUTH PLAIN\r\n",
            "AGJvYgBwdw==\r\n",
            "AUTH LOGIN\r\n",
            "Ym9i\r\n",
            "*\r\n",
            "AUTH CRAM-MD5\r\n",
            "BDAT 5 LAST\r\n",
            "AUTH pw\r\n",
            "220 hi\r\n",
            "220-hi\r\n",
            "331 x\r\n",
            "230 x\r\n",
            "235 x\r\n",
            "250 x\r\n",
            "354 x\r\n",
            "530 x\r\n",
            "535 x\r\n",
            "+OK\r\n",
            "-ERR x\r\n",
            "+ \r\n",
            "* OK hi\r\n",
            "a LOGIN bob pw\r\n",
            "a LOGIN {3}\r\n",
            "bob {2+}\r\n",
            "pw\r\n",
            "a OK x\r\n",
            "a BAD x\r\n",
            "a AUTHENTICATE PLAIN\r\n",
            "b APPEND x {20}\r\n",
            "a NO x {9}\r\n",
            "GET / HTTP/1.1\r\n",
            "HEAD / HTTP/1.1\r\n",
            "CONNECT a:1 HTTP/1.1\r\n",
            "\r\n",
            "Authorization: Basic Ym9iOnB3\r\n",
            "Proxy-Authorization: Basic Ym9iOnB3\r\n",
            "Authorization: Digest username=\"bob\"\r\n",
            "Content-Length: 7\r\n",
            "Content-Type: application/x-www-form-urlencoded\r\n",
            "user=b&pw=p",
            "Authorization: Bearer t\r\n",
            "GET /?password=x HTTP/1.1\r\n",
            "5\r\nhello\r\n0\r\n",
            "Transfer-Encoding: chunked\r\n",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 401 No\r\n",
            "HTTP/1.1 407 No\r\n",
            "*2\r\n$4\r\nAUTH\r\n$2\r\npw\r\n",
            "*3\r\n",
            "$4\r\nAUTH\r\n",
            "$99999\r\n",
            "$1\r\na\r\n",
            "-WRONGPASS\r\n",
            "HELLO 3 AUTH bob pw\r\n",
            "%1\r\n",
            ":1\r\n",
            "*1\r\n",
            "\x16\x03\x01",
            "\0\0\0\n",
            "SSH-2.0-x\r\n",
        ]);
        let binary = prop::sample::select(vec![
            b"\x10\x1a\0\x04MQTT\x04\xc2\0\x3c\0\x01x\0\x03bob\0\x06s3cret".as_slice(),
            b"\x20\x02\0\x05",
            b"\x30\x10\x02\x01\x01\x60\x0b\x02\x01\x03\x04\x02ab\x80\x02pw",
            b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x31\x04\0\x04\0",
            b"AMQP\0\0\x09\x01",
            b"AMQP\x03\x01\0\0\0\0\0\x1f\x02\x01\0\0\0\x53\x41\xc0\x12\x03\xa3\x05PLAIN\xa0\x07\0bob\0pw\x40",
            b"\x01\0\0\0\0\0\x06\0\x0a\0\x1e\0\0\xce",
            b"\0\0\0\x1e\0\x03\0\0user\0bob\0database\0db\0\0",
            b"R\0\0\0\x08\0\0\0\x03",
            b"p\0\0\0\x0bs3cret\0",
            b"R\0\0\0\x08\0\0\0\0",
            b"E\0\0\0\x13SFATAL\0C28P01\0\0",
            b"\x05\x02\0\x02",
            b"\x05\x02",
            b"\x01\x03bob\x02pw",
            b"\x01\0",
            b"\x05\x01\0\x03\x01x\0\x15",
            b"\x05\0\0\x01\x7f\0\0\x01\0\x15",
            b"\x80\x21\0\x05\0\0\0\0\0\0\0\x0c\0\0\0\0\0\0\0\0\0\0\0\0PLAIN\0bob\0pw",
            b"\x81\x21\0\0\0\0\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
            b"\xff\xfd\x18login: ",
            b"\xff\xfb\x18bob\r\0",
            b"Password: ",
            b"Login incorrect\r\n",
            b"<?xml version='1.0'?>",
            b"<stream:stream to='x'>",
            b"<auth mechanism='PLAIN'>AGJvYgBwdw==</auth>",
            b"<success/>",
            b"NICK bob\r\n",
            b"USER bob 0 * :b\r\n",
            b":x 001 bob :x\r\n",
            b"AUTHENTICATE PLAIN\r\n",
            b"AUTHENTICATE AGJvYgBwdw==\r\n",
            b":x 904 bob :x\r\n",
            b"INFO {\"a\":1}\r\n",
            b"CONNECT {\"user\":\"bob\",\"pass\":\"pw\"}\r\n",
            b"200 hi\r\n",
            b"AUTHINFO USER bob\r\n",
            b"AUTHINFO PASS pw\r\n",
            b"281 x\r\n",
            b"\"IMPLEMENTATION\" \"x\"\r\n",
            b"AUTHENTICATE \"PLAIN\" \"AGJvYgBwdw==\"\r\n",
            b"OK\r\n",
        ]);
        prop_oneof![
            8 => known.prop_map(|text| text.as_bytes().to_vec()),
            8 => binary.prop_map(<[u8]>::to_vec),
            1 => prop::collection::vec(any::<u8>(), 1..40),
            1 => "\\PC{0,20}\r\n".prop_map(String::into_bytes),
            1 => (any::<u8>(), 1..9000_usize).prop_map(|(byte, count)| vec![byte; count]),
        ]
    }

    fn session() -> impl Strategy<Value = Vec<(Side, Vec<u8>)>> {
        let side = prop_oneof![Just(Side::Client), Just(Side::Server)];
        prop::collection::vec((side, utterance()), 0..40)
    }

    fn watched(said: &[(Side, Vec<u8>)], piece: usize) -> String {
        let mut watch = CredentialSniffer::new(b"", Finds::All);
        let mut out = Vec::new();
        for (from, bytes) in said {
            for piece in bytes.chunks(piece) {
                watch.piece(*from, piece, &mut out);
            }
        }
        watch.close(&mut out);
        String::from_utf8(out).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn pieces_do_not_matter(said in session(), piece in 1..12_usize) {
            prop_assert_eq!(watched(&said, usize::MAX), watched(&said, piece));
        }

        #[test]
        fn output_is_lines_of_plain_text(said in session()) {
            let out = watched(&said, usize::MAX);
            prop_assert!(!out.contains(|c: char| c.is_control() && c != '\n'));
            prop_assert!(out.lines().all(|line| line.contains(": ")));
            let heard: usize = said.iter().map(|(_, bytes)| bytes.len()).sum();
            prop_assert!(out.len() <= 5 * heard + 64);
        }
    }
}
