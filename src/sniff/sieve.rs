//! ManageSieve (RFC 5804): AUTHENTICATE with quoted strings or literals.

use super::conversation::Conversation;
use super::lines::{Cutting, LIMIT, LinePiece};
use super::sasl::{Sasl, SaslStep};
use super::words::{number, unquote, word};
use crate::sniff::pending::{LoginVerdict, PendingCredentials, Protocol};

const SIEVE: Protocol = Protocol::Named("ManageSieve");

#[derive(Default)]
pub(super) struct Sieve {
    exchange: Option<Sasl>,
    /// A literal of the exchange comes next.
    literal: bool,
}

/// Recognises the login of a ManageSieve client: IMAP has a tag before the verb, IRC no quotes.
pub(super) fn is_login(line: &[u8]) -> bool {
    let (verb, rest) = word(line);
    verb.eq_ignore_ascii_case(b"AUTHENTICATE") && rest.starts_with(b"\"")
}

/// The first of a server's capabilities.
pub(super) fn is_greeting(line: &[u8]) -> bool {
    line.starts_with(b"\"IMPLEMENTATION\" \"")
}

/// A string, or the announcement of one.
enum SieveString {
    Here(Vec<u8>),
    Literal(u64),
}

impl SieveString {
    fn read(text: &[u8]) -> Option<SieveString> {
        if let Some(quoted) = text.strip_prefix(b"\"") {
            return unquote(quoted).map(|(text, _)| SieveString::Here(text));
        }
        let inner = text.strip_prefix(b"{")?.strip_suffix(b"}")?;
        number(inner.strip_suffix(b"+").unwrap_or(inner)).map(SieveString::Literal)
    }
}

impl Sieve {
    fn command(&mut self, line: &[u8], logins: &mut PendingCredentials, out: &mut Vec<u8>) -> Cutting {
        let (verb, rest) = word(line);
        if verb.eq_ignore_ascii_case(b"AUTHENTICATE")
            && let Some((mechanism, initial)) = rest.strip_prefix(b"\"").and_then(unquote)
        {
            self.exchange = Sasl::begin(&mechanism, None).0;
            return match initial.trim_ascii() {
                [] => Cutting::Line,
                initial => self.response(initial, logins, out),
            };
        }
        // For example the script of PUTSCRIPT.
        let start = line.iter().rposition(|&byte| byte == b'{');
        match start.and_then(|start| SieveString::read(&line[start..])) {
            Some(SieveString::Literal(length)) => Cutting::Skip(length),
            _ => Cutting::Line,
        }
    }

    fn response(&mut self, text: &[u8], logins: &mut PendingCredentials, out: &mut Vec<u8>) -> Cutting {
        let Some(exchange) = self.exchange.take() else { return Cutting::Line };
        match SieveString::read(text) {
            Some(SieveString::Here(text)) => self.step(exchange.line(&text), logins, out),
            Some(SieveString::Literal(length)) if length <= LIMIT as u64 => {
                self.exchange = Some(exchange);
                self.literal = true;
                return Cutting::Take(length as usize);
            }
            Some(SieveString::Literal(length)) => {
                logins.too_long(SIEVE, "a response", length, out);
                return Cutting::Skip(length);
            }
            None => {}
        }
        Cutting::Line
    }

    fn step(&mut self, (exchange, found): SaslStep, logins: &mut PendingCredentials, out: &mut Vec<u8>) {
        if let Some(found) = found {
            logins.expect_tag(b"", SIEVE, found, out);
        }
        self.exchange = exchange;
    }
}

impl Conversation for Sieve {
    fn client(&mut self, item: LinePiece<'_>, logins: &mut PendingCredentials, out: &mut Vec<u8>) -> Cutting {
        if std::mem::take(&mut self.literal) {
            if let Some(exchange) = self.exchange.take() {
                self.step(exchange.line(item.bytes), logins, out);
            }
            return Cutting::Line;
        }
        match self.exchange {
            Some(_) if !item.bytes.is_empty() => self.response(item.bytes, logins, out),
            Some(_) => Cutting::Line,
            None => self.command(item.bytes, logins, out),
        }
    }

    fn server(&mut self, item: LinePiece<'_>, logins: &mut PendingCredentials, out: &mut Vec<u8>) -> Cutting {
        let status = word(item.bytes).0;
        let verdict = match status {
            b"OK" => LoginVerdict::Accepted,
            b"NO" | b"BYE" => LoginVerdict::Refused,
            _ => {
                if !logins.is_proven() && !item.bytes.starts_with(b"\"") && !item.bytes.is_empty() {
                    // Not a line of a ManageSieve server.
                    logins.discard();
                }
                return Cutting::Line;
            }
        };
        logins.prove();
        self.exchange = None;
        logins.answer_all(verdict, status, out);
        Cutting::Line
    }
}

#[cfg(test)]
mod tests {
    use super::super::overheard;

    const HELLO: &str = ">\"IMPLEMENTATION\" \"x\"\r\n\"SASL\" \"PLAIN\"\r\nOK\r\n";

    #[test]
    fn authenticate() {
        let said = [HELLO, "<AUTHENTICATE \"PLAIN\" \"AGJvYgBwdw==\"\r\n", ">OK\r\n"];
        assert_eq!(overheard(&said), "ManageSieve: bob:pw (accepted) OK\n");
        let said = [HELLO, "<AUTHENTICATE \"PLAIN\" {12+}\r\nAGJvYgBwdw==\r\n", ">NO \"x\"\r\n"];
        assert_eq!(overheard(&said), "ManageSieve: bob:pw (refused) NO\n");
        let said = [HELLO, "<AUTHENTICATE \"PLAIN\"\r\n", ">\"\"\r\n", "<\"AGJvYgBwdw==\"\r\n", ">OK\r\n"];
        assert_eq!(overheard(&said), "ManageSieve: bob:pw (accepted) OK\n");
    }

    #[test]
    fn scripts_are_not_read() {
        let login = "AUTHENTICATE \"PLAIN\" \"AGEAYg==\"\r\n";
        let said = [HELLO, &format!("<PUTSCRIPT \"x\" {{{}+}}\r\n{login}\r\n{login}", login.len())];
        assert_eq!(overheard(&said), "ManageSieve: a:b\n");
    }
}
