//! `password`: one line for each name and password that passes, and nothing else.
//!
//! Both directions are read: the client's for what it claims, the server's for which protocol this
//! is and whether the claim was believed. A finding therefore waits for its answer; see `ledger`.
//! Nothing here trusts either peer, and a session keeps no more than a line of each direction and a
//! few findings.

mod dialogue;
mod http;
mod imap;
mod ledger;
mod lines;
mod lockstep;
mod redis;
mod sasl;
mod words;

use crate::messages::Side;

use dialogue::Dialogue;
use ledger::Ledger;
use lines::Lines;

/// Someone who looks over the shoulder of one session.
pub(super) struct Watch {
    client: Lines,
    server: Lines,
    dialogue: Dialogue,
    ledger: Ledger,
}

impl Watch {
    /// Every line that is written starts with `label`.
    pub(super) fn new(label: &[u8]) -> Self {
        Watch {
            client: Lines::default(),
            server: Lines::default(),
            dialogue: Dialogue::default(),
            ledger: Ledger::new(label),
        }
    }

    pub(super) fn piece(&mut self, from: Side, bytes: &[u8], out: &mut Vec<u8>) {
        let Watch { client, server, dialogue, ledger } = self;
        match from {
            Side::Client => client.feed(bytes, |item| dialogue.client(item, ledger, out)),
            Side::Server => {
                server.feed(bytes, |item| dialogue.server(item, ledger, out));
                if dialogue.literal_refused() {
                    client.back_to_lines();
                }
            }
        }
    }

    pub(super) fn ended(&mut self, from: Side, out: &mut Vec<u8>) {
        // A client that has said its last may still be answered.
        if from == Side::Server {
            self.ledger.flush(out);
        }
    }

    pub(super) fn close(&mut self, out: &mut Vec<u8>) {
        self.ledger.flush(out);
    }
}

/// What is written about a session in which the client (`<`) and the server (`>`) say these things.
#[cfg(test)]
fn overheard(said: &[&str]) -> String {
    let mut watch = Watch::new(b"");
    let mut out = Vec::new();
    for text in said {
        let from = if text.starts_with('<') { Side::Client } else { Side::Server };
        watch.piece(from, &text.as_bytes()[1..], &mut out);
    }
    watch.close(&mut out);
    String::from_utf8(out).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn findings_wait_for_the_answer_and_no_longer() {
        let mut watch = Watch::new(b"[4] ");
        let mut out = Vec::new();
        watch.piece(Side::Server, b"220 hi\r\n", &mut out);
        watch.piece(Side::Client, b"USER bob\r\nPASS x\r\n", &mut out);
        watch.ended(Side::Client, &mut out);
        assert_eq!(out, b"");
        watch.piece(Side::Server, b"331 who?\r\n530 no\r\n", &mut out);
        assert_eq!(out, b"[4] FTP: bob:x (refused)\n");
        watch.piece(Side::Client, b"PASS y\r\n", &mut out);
        watch.ended(Side::Server, &mut out);
        watch.close(&mut out);
        assert_eq!(out, b"[4] FTP: bob:x (refused)\n[4] FTP: bob:y\n");
    }

    #[test]
    fn names_cannot_forge() {
        let said = ["<USER a\x1b[31m\r\nPASS x\x07\rFTP: root:\u{202e}\r\n"];
        assert_eq!(overheard(&said), "UNKNOWN: a\\033[31m:x\\007\\015FTP: root:\\342\\200\\256\n");
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

    /// Things that peers say, and things that they should not.
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
        prop_oneof![
            8 => known.prop_map(|text| text.as_bytes().to_vec()),
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
        let mut watch = Watch::new(b"");
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
