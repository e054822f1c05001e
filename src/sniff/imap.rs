//! IMAP: commands with tags, so that answers find them in any order, and literals: announced bytes
//! that may be anything.

use super::conversation::Conversation;
use super::lines::{Cutting, LIMIT, LinePiece};
use super::sasl::{Sasl, SaslStep};
use super::words::{number, unquote, word, words};
use crate::sniff::pending::{Credentials, LoginVerdict, PendingCredentials, Protocol};

const IMAP: Protocol = Protocol::Named("IMAP");

/// Maximum length of a tag; servers refuse longer ones.
const TAG: usize = 64;

#[derive(Default)]
pub(super) struct Imap {
    /// Of the command that is being sent.
    tag: Vec<u8>,
    stage: ImapInput,
    refused: bool,
}

/// Next input from the client.
#[derive(Default)]
enum ImapInput {
    #[default]
    Command,
    /// More of LOGIN, after these arguments.
    Login(Vec<Vec<u8>>),
    /// LOGIN's next argument.
    LoginLiteral(Vec<Vec<u8>>),
    /// More of a command that does not matter.
    Tail,
    Sasl(Sasl),
}

impl Conversation for Imap {
    fn client(&mut self, item: LinePiece<'_>, logins: &mut PendingCredentials, out: &mut Vec<u8>) -> Cutting {
        let cut = item.is_cut();
        let bytes = item.bytes;
        match std::mem::take(&mut self.stage) {
            ImapInput::Command => self.command(bytes, cut, logins, out),
            ImapInput::Login(arguments) => self.login(arguments, bytes, cut, logins, out),
            ImapInput::LoginLiteral(mut arguments) => {
                arguments.push(bytes.to_vec());
                self.stage = ImapInput::Login(arguments);
                Cutting::Line
            }
            ImapInput::Tail => self.pass_over(bytes),
            ImapInput::Sasl(exchange) => {
                self.step(exchange.line(bytes), logins, out);
                Cutting::Line
            }
        }
    }

    fn server(&mut self, item: LinePiece<'_>, logins: &mut PendingCredentials, out: &mut Vec<u8>) -> Cutting {
        let line = item.bytes;
        let (tag, rest) = word(line);
        let status = word(rest).0;
        let verdict = verdict(status).filter(|_| !matches!(tag, b"*" | b"+"));
        if matches!(tag, b"*" | b"+") || (verdict.is_some() && tag == self.tag) {
            logins.prove();
        } else if !logins.is_proven() {
            // Not a reply of an IMAP server.
            logins.discard();
        }
        if let Some(verdict) = verdict {
            logins.answer_tag(tag, |_| verdict, status, out);
            if tag == self.tag {
                let stage = std::mem::take(&mut self.stage);
                // One piece may hold more replies than this one.
                self.refused |= matches!(stage, ImapInput::LoginLiteral(_) | ImapInput::Tail);
            }
        }
        literal_at_end(line).map_or(Cutting::Line, Cutting::Skip)
    }

    /// A command has been refused of which a literal had still to come.
    fn redirect_client(&mut self) -> Option<Cutting> {
        std::mem::take(&mut self.refused).then_some(Cutting::Line)
    }
}

impl Imap {
    fn command(
        &mut self,
        line: &[u8],
        cut: bool,
        logins: &mut PendingCredentials,
        out: &mut Vec<u8>,
    ) -> Cutting {
        let (tag, rest) = word(line);
        let (verb, arguments) = word(rest);
        self.tag.clear();
        self.tag.extend_from_slice(&tag[..tag.len().min(TAG)]);
        if verb.eq_ignore_ascii_case(b"LOGIN") {
            self.login(Vec::new(), arguments, cut, logins, out)
        } else if verb.eq_ignore_ascii_case(b"AUTHENTICATE") {
            let (mechanism, initial) = word(arguments);
            let initial = Some(initial.trim_ascii()).filter(|initial| !initial.is_empty());
            self.step(Sasl::begin(mechanism, initial), logins, out);
            Cutting::Line
        } else {
            self.pass_over(line)
        }
    }

    fn login(
        &mut self,
        mut arguments: Vec<Vec<u8>>,
        line: &[u8],
        cut: bool,
        logins: &mut PendingCredentials,
        out: &mut Vec<u8>,
    ) -> Cutting {
        let Some(end) = read_arguments(line, &mut arguments) else { return self.pass_over(line) };
        match (end, arguments.as_slice()) {
            (ArgumentEnd::Literal(length @ ..=LIMIT), [] | [_]) => {
                self.stage = ImapInput::LoginLiteral(arguments);
                Cutting::Take(length)
            }
            (ArgumentEnd::Literal(length), [] | [_]) => {
                logins.too_long(IMAP, "an argument", length as u64, out);
                self.pass_over(line)
            }
            (ArgumentEnd::Line, [user, password]) => {
                logins.expect_tag(&self.tag, IMAP, Credentials::password(user, password).cut(cut), out);
                Cutting::Line
            }
            _ => self.pass_over(line),
        }
    }

    /// The rest of a command that does not matter, with the literals that may be in it.
    fn pass_over(&mut self, line: &[u8]) -> Cutting {
        let Some(length) = literal_at_end(line) else { return Cutting::Line };
        self.stage = ImapInput::Tail;
        Cutting::Skip(length)
    }

    fn step(&mut self, (exchange, found): SaslStep, logins: &mut PendingCredentials, out: &mut Vec<u8>) {
        if let Some(found) = found {
            logins.expect_tag(&self.tag, IMAP, found, out);
        }
        self.stage = exchange.map_or(ImapInput::Command, ImapInput::Sasl);
    }
}

fn verdict(status: &[u8]) -> Option<LoginVerdict> {
    let is = |name: &[u8]| status.eq_ignore_ascii_case(name);
    if is(b"OK") {
        Some(LoginVerdict::Accepted)
    } else {
        (is(b"NO") || is(b"BAD")).then_some(LoginVerdict::Refused)
    }
}

pub(super) fn is_greeting(line: &[u8]) -> bool {
    let (star, rest) = word(line);
    star == b"*" && [b"OK".as_slice(), b"PREAUTH", b"BYE"].contains(&word(rest).0)
}

/// Recognises a login by itself, before the server has sent anything.
pub(super) fn is_login(line: &[u8]) -> bool {
    let mut words = words(line);
    let tag = words.next().filter(|tag| tag.iter().all(u8::is_ascii_alphanumeric));
    let (Some(_), Some(verb)) = (tag, words.next()) else { return false };
    verb.eq_ignore_ascii_case(b"LOGIN") && words.next().is_some()
        || verb.eq_ignore_ascii_case(b"AUTHENTICATE") && matches!(words.count(), 1 | 2)
}

/// End of a line with arguments.
enum ArgumentEnd {
    Line,
    Literal(usize),
}

/// Appends the arguments on `line`; None if it is no list of arguments, or one longer than LOGIN's.
fn read_arguments(mut line: &[u8], arguments: &mut Vec<Vec<u8>>) -> Option<ArgumentEnd> {
    loop {
        line = line.trim_ascii_start();
        let (argument, rest) = match line {
            [] => return Some(ArgumentEnd::Line),
            [b'{', ..] => return literal_at_end(line)?.try_into().ok().map(ArgumentEnd::Literal),
            [b'"', quoted @ ..] => unquote(quoted)?,
            atom => {
                let (atom, rest) = word(atom);
                (atom.to_vec(), rest)
            }
        };
        if arguments.len() == 2 {
            return None;
        }
        arguments.push(argument);
        line = rest;
    }
}

/// `{310}`, `{310+}` (the client does not wait for leave), `~{310}` (binary).
fn literal_at_end(line: &[u8]) -> Option<u64> {
    let inner = line.strip_suffix(b"}")?;
    let start = inner.iter().rposition(|&byte| byte == b'{')? + 1;
    number(inner[start..].strip_suffix(b"+").unwrap_or(&inner[start..]))
}

#[cfg(test)]
mod tests {
    use super::super::overheard;

    const HELLO: &str = ">* OK IMAP4rev1 ready\r\n";

    #[test]
    fn login() {
        let said = [HELLO, "<a1 LOGIN bob s3cret\r\n", ">* CAPABILITY x\r\na1 OK done\r\n"];
        assert_eq!(overheard(&said), "IMAP: bob:s3cret (accepted) OK\n");
        let said = [
            HELLO,
            "<a login \"b\\\"o b\" \"a\\\\b\"\r\n",
            ">a NO no\r\n",
            "<b LOGIN a b c\r\n",
            ">b BAD x\r\n",
        ];
        assert_eq!(overheard(&said), "IMAP: b\"o b:a\\b (refused) NO\n");
        assert_eq!(overheard(&["<a LOGIN bob pw\r\n"]), "UNKNOWN: bob:pw\n");
    }

    #[test]
    fn answers_may_come_in_any_order() {
        let said = [HELLO, "<a LOGIN b c\r\nb LOGIN d e\r\n", ">b OK\r\na NO\r\n"];
        assert_eq!(overheard(&said), "IMAP: d:e (accepted) OK\nIMAP: b:c (refused) NO\n");
    }

    #[test]
    fn literals_may_hold_anything() {
        let said = [HELLO, "<a LOGIN {5}\r\n", ">+ go on\r\n", "<b\r\nob {2+}\r\npw\r\n", ">a OK\r\n"];
        assert_eq!(overheard(&said), "IMAP: b\\015\\012ob:pw (accepted) OK\n");
        let said = [HELLO, "<a LOGIN {3}\r\n", ">a BAD no literals\r\n", "<b LOGIN bob pw\r\n", ">b OK\r\n"];
        assert_eq!(overheard(&said), "IMAP: bob:pw (accepted) OK\n");
        let said = [HELLO, "<a LOGIN {3}\r\n", ">a NO x\r\na NO x\r\n", "<b LOGIN bob pw\r\n", ">b OK\r\n"];
        assert_eq!(overheard(&said), "IMAP: bob:pw (accepted) OK\n");
    }

    #[test]
    fn mails_are_not_read() {
        let said = [HELLO, "<a APPEND x {15+}\r\nb LOGIN bob pw\r\n\r\nb LOGIN x y\r\n"];
        assert_eq!(overheard(&said), "IMAP: x:y\n");
        let said = [HELLO, "<a LOGIN x y\r\n", ">* 1 FETCH (BODY {7}\r\na NO x\n)\r\na OK\r\n"];
        assert_eq!(overheard(&said), "IMAP: x:y (accepted) OK\n");
    }

    #[test]
    fn authenticate() {
        let said = [HELLO, "<a AUTHENTICATE PLAIN\r\n", ">+ \r\n", "<AGJvYgBwdw==\r\n", ">a OK\r\n"];
        assert_eq!(overheard(&said), "IMAP: bob:pw (accepted) OK\n");
        let said = [HELLO, "<a AUTHENTICATE PLAIN AGJvYgBwdw==\r\n", ">a NO\r\n"];
        assert_eq!(overheard(&said), "IMAP: bob:pw (refused) NO\n");
        let said =
            [HELLO, "<a AUTHENTICATE LOGIN\r\n", ">+ x\r\n", "<*\r\n", ">a BAD\r\n", "<b LOGIN a b\r\n"];
        assert_eq!(overheard(&said), "IMAP: a:b\n");
        let said =
            [HELLO, "<a AUTHENTICATE SCRAM-SHA-1 biwsbj1ib2Iscj14\r\n", ">+ x\r\n", "<Yz1i\r\n", ">a OK\r\n"];
        assert_eq!(overheard(&said), "IMAP: bob (SCRAM-SHA-1) (accepted) OK\n");
    }
}
