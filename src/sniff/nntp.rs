//! NNTP: AUTHINFO (RFC 4643), which is never sent before the answer to the last command has come.

use super::conversation::Conversation;
use super::lines::{Cutting, LinePiece};
use super::sasl::{Sasl, SaslStep};
use super::words::{argument, word, words};
use crate::sniff::pending::{Credentials, LoginVerdict, PendingCredentials, Protocol};

const NNTP: Protocol = Protocol::Named("NNTP");

#[derive(Default)]
pub(super) struct Nntp {
    user: Vec<u8>,
    exchange: Option<Sasl>,
    /// The server's next line answers AUTHINFO.
    awaited: bool,
}

/// Recognises the login of an NNTP client.
pub(super) fn is_login(line: &[u8]) -> bool {
    let (verb, rest) = word(line);
    let kinds = [b"USER".as_slice(), b"PASS", b"SASL"];
    verb.eq_ignore_ascii_case(b"AUTHINFO")
        && kinds.iter().any(|kind| kind.eq_ignore_ascii_case(word(rest).0))
        && words(rest).count() > 1
}

impl Nntp {
    fn authinfo(&mut self, rest: &[u8], cut: bool, logins: &mut PendingCredentials, out: &mut Vec<u8>) {
        self.awaited = true;
        let (kind, value) = word(rest);
        if kind.eq_ignore_ascii_case(b"USER") {
            self.user = argument(rest).trim_ascii_end().to_vec();
        } else if kind.eq_ignore_ascii_case(b"PASS") {
            logins.expect_tag(b"", NNTP, Credentials::password(&self.user, argument(rest)).cut(cut), out);
        } else if kind.eq_ignore_ascii_case(b"SASL") {
            let (mechanism, initial) = word(value);
            let initial = Some(initial.trim_ascii()).filter(|initial| !initial.is_empty());
            self.step(Sasl::begin(mechanism, initial), logins, out);
        }
    }

    fn step(&mut self, (exchange, found): SaslStep, logins: &mut PendingCredentials, out: &mut Vec<u8>) {
        if let Some(found) = found {
            logins.expect_tag(b"", NNTP, found, out);
        }
        self.exchange = exchange;
    }
}

impl Conversation for Nntp {
    fn client(&mut self, item: LinePiece<'_>, logins: &mut PendingCredentials, out: &mut Vec<u8>) -> Cutting {
        let (verb, rest) = word(item.bytes);
        if verb.eq_ignore_ascii_case(b"AUTHINFO") {
            self.authinfo(rest, item.is_cut(), logins, out);
        } else if let Some(exchange) = self.exchange.take() {
            self.awaited = true;
            self.step(exchange.line(item.bytes), logins, out);
        }
        Cutting::Line
    }

    fn server(&mut self, item: LinePiece<'_>, logins: &mut PendingCredentials, out: &mut Vec<u8>) -> Cutting {
        if !std::mem::take(&mut self.awaited) {
            return Cutting::Line;
        }
        let code = word(item.bytes).0;
        let verdict = match code {
            b"381" | b"383" => {
                logins.prove();
                return Cutting::Line;
            }
            b"281" | b"283" => LoginVerdict::Accepted,
            b"481" | b"482" | b"502" => LoginVerdict::Refused,
            [b'2'..=b'5', b'0'..=b'9', b'0'..=b'9'] => LoginVerdict::Undecided,
            // Not a line of an NNTP server.
            _ => {
                logins.discard();
                return Cutting::Line;
            }
        };
        logins.prove();
        self.exchange = None;
        logins.answer_all(verdict, code, out);
        Cutting::Line
    }
}

#[cfg(test)]
mod tests {
    use super::super::overheard;

    #[test]
    fn user_and_password() {
        let said = [
            ">200 hi\r\n",
            "<MODE READER\r\n",
            ">200 ok\r\n",
            "<AUTHINFO USER bob\r\n",
            ">381 more\r\n",
            "<AUTHINFO PASS  s3cret\r\n",
            ">481 no\r\n",
            "<authinfo pass pw\r\n",
            ">281 ok\r\n",
        ];
        assert_eq!(overheard(&said), "NNTP: bob: s3cret (refused) 481\nNNTP: bob:pw (accepted) 281\n");
    }

    #[test]
    fn sasl() {
        let said = [">200 hi\r\n", "<AUTHINFO SASL PLAIN AGJvYgBwdw==\r\n", ">281 ok\r\n"];
        assert_eq!(overheard(&said), "NNTP: bob:pw (accepted) 281\n");
        let said =
            [">200 hi\r\n", "<AUTHINFO SASL PLAIN\r\n", ">383 =\r\n", "<AGJvYgBwdw==\r\n", ">481 no\r\n"];
        assert_eq!(overheard(&said), "NNTP: bob:pw (refused) 481\n");
    }
}
