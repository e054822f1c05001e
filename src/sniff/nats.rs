//! NATS: the server's INFO and the client's CONNECT, both with an object of JSON.

use serde::Deserialize;

use super::conversation::Conversation;
use super::lines::{Cutting, LinePiece};
use super::words::{number, word, words};
use crate::sniff::pending::{Credentials, LoginVerdict, PendingCredentials, Protocol};

const NATS: Protocol = Protocol::Named("NATS");

#[derive(Default)]
pub(super) struct Nats;

/// What CONNECT may hold of a user.
#[derive(Deserialize)]
struct Connect {
    user: Option<String>,
    pass: Option<String>,
    auth_token: Option<String>,
    nkey: Option<String>,
    jwt: Option<String>,
}

pub(super) fn is_connect(line: &[u8]) -> bool {
    let (verb, rest) = word(line);
    verb.eq_ignore_ascii_case(b"CONNECT") && rest.starts_with(b"{")
}

pub(super) fn is_greeting(line: &[u8]) -> bool {
    let (verb, rest) = word(line);
    verb == b"INFO" && rest.starts_with(b"{")
}

/// A payload whose length is the last word.
fn payload(line: &[u8]) -> Cutting {
    words(line).last().and_then(number).map_or(Cutting::Line, Cutting::Skip)
}

fn found(json: &[u8]) -> Option<Credentials> {
    let connect: Connect = serde_json::from_slice(json).ok()?;
    let text = |text: &Option<String>| text.clone().unwrap_or_default().into_bytes();
    if connect.user.is_some() || connect.pass.is_some() {
        Some(Credentials::password(&text(&connect.user), &text(&connect.pass)))
    } else if connect.auth_token.is_some() {
        Some(Credentials::password(b"", &text(&connect.auth_token)))
    } else if connect.jwt.is_some() {
        Some(Credentials::scheme(&text(&connect.nkey), b"JWT"))
    } else {
        connect.nkey.is_some().then(|| Credentials::scheme(&text(&connect.nkey), b"NKEY"))
    }
}

impl Conversation for Nats {
    fn client(&mut self, item: LinePiece<'_>, logins: &mut PendingCredentials, out: &mut Vec<u8>) -> Cutting {
        let (verb, rest) = word(item.bytes);
        if is_connect(item.bytes) {
            if item.is_cut() {
                logins.too_long(NATS, "a CONNECT", rest.len() as u64, out);
            } else if let Some(found) = found(rest) {
                logins.expect_tag(b"", NATS, found, out);
            }
        } else if verb.eq_ignore_ascii_case(b"PUB") || verb.eq_ignore_ascii_case(b"HPUB") {
            return payload(rest);
        }
        Cutting::Line
    }

    fn server(&mut self, item: LinePiece<'_>, logins: &mut PendingCredentials, out: &mut Vec<u8>) -> Cutting {
        let (verb, rest) = word(item.bytes);
        match verb {
            b"INFO" | b"PING" => logins.prove(),
            b"+OK" | b"PONG" => {
                logins.prove();
                logins.answer_all(LoginVerdict::Accepted, verb, out);
            }
            b"-ERR" => {
                logins.prove();
                let text = rest.to_ascii_lowercase();
                let about = [&b"authorization"[..], b"authentication"]
                    .iter()
                    .any(|word| text.windows(word.len()).any(|part| part == *word));
                let verdict = if about { LoginVerdict::Refused } else { LoginVerdict::Undecided };
                logins.answer_all(verdict, verb, out);
            }
            b"MSG" | b"HMSG" => return payload(rest),
            // Not a line of a NATS server.
            [_, ..] if !logins.is_proven() => logins.discard(),
            _ => {}
        }
        Cutting::Line
    }
}

#[cfg(test)]
mod tests {
    use super::super::overheard;

    const INFO: &str = ">INFO {\"server_id\":\"x\",\"auth_required\":true}\r\n";

    #[test]
    fn connect() {
        let login = "<CONNECT {\"verbose\":false,\"user\":\"bob\",\"pass\":\"s\\u0033cret\",\"lang\":\"x\"}\r\nPING\r\n";
        assert_eq!(overheard(&[INFO, login, ">PONG\r\n"]), "NATS: bob:s3cret (accepted) PONG\n");
        let refused = ">-ERR 'Authorization Violation'\r\n";
        assert_eq!(overheard(&[INFO, login, refused]), "NATS: bob:s3cret (refused) -ERR\n");
        let token = "<CONNECT {\"auth_token\":\"t\"}\r\n";
        assert_eq!(overheard(&[INFO, token, ">+OK\r\n"]), "NATS: :t (accepted) +OK\n");
        assert_eq!(overheard(&[INFO, "<CONNECT {\"nkey\":\"UX\",\"sig\":\"x\"}\r\n"]), "NATS: UX (NKEY)\n");
        assert_eq!(overheard(&[INFO, "<CONNECT {\"user\":1}\r\nCONNECT {}\r\nCONNECT {\r\n"]), "");
    }

    #[test]
    fn payloads_are_not_read() {
        let login = "CONNECT {\"user\":\"a\",\"pass\":\"b\"}\r\n";
        let said = [INFO, &format!("<PUB x {}\r\n{login}\r\n", login.len()), ">MSG x 1 6\r\n-ERR x\r\n"];
        assert_eq!(overheard(&said), "");
    }
}
