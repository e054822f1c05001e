//! IRC (RFC 2812, IRCv3): PASS, OPER, AUTHENTICATE and NickServ.

use super::conversation::Conversation;
use super::lines::{Cutting, LinePiece};
use super::sasl::{Sasl, SaslStep};
use super::words::{word, words};
use crate::sniff::pending::{Credentials, LoginVerdict, PendingCredentials, Protocol};

const IRC: Protocol = Protocol::Named("IRC");

/// Tags of pending findings.
const PASS: &[u8] = b"pass";
const OPER: &[u8] = b"oper";
const SASL: &[u8] = b"sasl";
const NICKSERV: &[u8] = b"nickserv";

/// Bytes of a full piece of AUTHENTICATE; a shorter one ends the response.
const PIECE: usize = 400;

/// Bytes of a response that are read.
const RESPONSE: usize = 8 * PIECE;

#[derive(Default)]
pub(super) struct Irc {
    nick: Vec<u8>,
    /// Given before there is a nick.
    pass: Option<Vec<u8>>,
    exchange: Option<Sasl>,
    /// The response as far as it has come.
    response: Vec<u8>,
}

/// A line of either side.
struct IrcLine<'a> {
    source: &'a [u8],
    command: &'a [u8],
    parameters: Vec<&'a [u8]>,
}

impl<'a> IrcLine<'a> {
    fn read(mut line: &'a [u8]) -> Self {
        if line.starts_with(b"@") {
            line = word(line).1;
        }
        let mut source: &[u8] = b"";
        if let Some(rest) = line.strip_prefix(b":") {
            (source, line) = word(rest);
        }
        let (command, mut rest) = word(line);
        let mut parameters = Vec::new();
        while !rest.is_empty() {
            if let Some(last) = rest.strip_prefix(b":") {
                parameters.push(last);
                break;
            }
            let (parameter, after) = word(rest);
            parameters.push(parameter);
            rest = after;
        }
        IrcLine { source, command, parameters }
    }

    fn is(&self, command: &str) -> bool {
        self.command.eq_ignore_ascii_case(command.as_bytes())
    }

    fn numeric(&self) -> Option<&'a [u8]> {
        (self.command.len() == 3 && self.command.iter().all(u8::is_ascii_digit)).then_some(self.command)
    }
}

/// A line by which a client shows that it speaks IRC.
pub(super) fn is_registration(line: &[u8]) -> bool {
    let message = IrcLine::read(line);
    match message.parameters.as_slice() {
        [_] => message.is("NICK") && message.source.is_empty(),
        [_, _, _, _] => message.is("USER") && line.windows(2).any(|pair| pair == b" :"),
        [first, ..] => message.is("CAP") && first.eq_ignore_ascii_case(b"LS"),
        [] => false,
    }
}

/// A line that only a server of IRC sends.
pub(super) fn is_server(line: &[u8]) -> bool {
    let message = IrcLine::read(line);
    let known = message.numeric().is_some() || message.is("NOTICE") || message.is("CAP");
    line.starts_with(b":") && known && message.parameters.len() > 1
}

impl Irc {
    /// For a session in which the client has already sent a password.
    pub(super) fn after(pass: Option<Vec<u8>>) -> Self {
        Irc { pass, ..Irc::default() }
    }

    fn passed(&mut self, logins: &mut PendingCredentials, out: &mut Vec<u8>) {
        if !self.nick.is_empty()
            && let Some(pass) = self.pass.take()
        {
            logins.expect_tag(PASS, IRC, Credentials::password(&self.nick, &pass), out);
        }
    }

    fn authenticate(&mut self, argument: &[u8], logins: &mut PendingCredentials, out: &mut Vec<u8>) {
        let step = match self.exchange.take() {
            None => Sasl::begin(argument, None),
            Some(exchange) => {
                if argument != b"+" {
                    let room = RESPONSE.saturating_sub(self.response.len());
                    self.response.extend_from_slice(&argument[..argument.len().min(room)]);
                }
                if argument.len() >= PIECE {
                    self.exchange = Some(exchange);
                    return;
                }
                exchange.line(&std::mem::take(&mut self.response))
            }
        };
        self.step(step, logins, out);
    }

    fn step(&mut self, (exchange, found): SaslStep, logins: &mut PendingCredentials, out: &mut Vec<u8>) {
        if let Some(found) = found {
            logins.expect_tag(SASL, IRC, found, out);
        }
        self.exchange = exchange;
    }

    /// `IDENTIFY password`, `IDENTIFY account password`
    fn service(&self, text: &[u8], logins: &mut PendingCredentials, out: &mut Vec<u8>) {
        let arguments: Vec<_> = words(text).take(4).collect();
        let found = match arguments.as_slice() {
            [verb, password] if verb.eq_ignore_ascii_case(b"IDENTIFY") => {
                Credentials::password(&self.nick, password)
            }
            [verb, account, password] if verb.eq_ignore_ascii_case(b"IDENTIFY") => {
                Credentials::password(account, password)
            }
            _ => return,
        };
        logins.expect_tag(NICKSERV, IRC, found, out);
    }
}

impl Conversation for Irc {
    fn client(&mut self, item: LinePiece<'_>, logins: &mut PendingCredentials, out: &mut Vec<u8>) -> Cutting {
        let message = IrcLine::read(item.bytes);
        match message.parameters.as_slice() {
            [nick, ..] if message.is("NICK") => {
                self.nick = nick.to_vec();
                self.passed(logins, out);
            }
            [pass, ..] if message.is("PASS") => {
                self.pass = Some(pass.to_vec());
                self.passed(logins, out);
            }
            [name, password, ..] if message.is("OPER") => {
                logins.expect_tag(OPER, IRC, Credentials::password(name, password), out);
            }
            [argument, ..] if message.is("AUTHENTICATE") => self.authenticate(argument, logins, out),
            [to, text, ..] if (message.is("PRIVMSG") || message.is("NOTICE")) && is_nickserv(to) => {
                self.service(text, logins, out);
            }
            [..] if message.is("NICKSERV") || message.is("NS") => {
                self.service(word(item.bytes).1, logins, out);
            }
            _ => {}
        }
        Cutting::Line
    }

    fn server(&mut self, item: LinePiece<'_>, logins: &mut PendingCredentials, out: &mut Vec<u8>) -> Cutting {
        let message = IrcLine::read(item.bytes);
        if is_server(item.bytes) {
            logins.prove();
        } else if !logins.is_proven() && !item.bytes.is_empty() && !is_common(&message) {
            // Not a line of an IRC server.
            logins.discard();
        }
        if refuses_connection(&message) {
            logins.prove();
            logins.answer_tag(PASS, |_| LoginVerdict::Refused, b"ERROR", out);
        }
        let mut answer = |tag: &[u8], verdict, code: &[u8]| logins.answer_tag(tag, |_| verdict, code, out);
        match message.numeric() {
            Some(code @ b"001") => answer(PASS, LoginVerdict::Accepted, code),
            Some(code @ b"381") => answer(OPER, LoginVerdict::Accepted, code),
            Some(code @ b"464") => {
                answer(PASS, LoginVerdict::Refused, code);
                answer(OPER, LoginVerdict::Refused, code);
            }
            Some(code @ b"491") => answer(OPER, LoginVerdict::Refused, code),
            Some(code @ (b"900" | b"903")) => {
                answer(SASL, LoginVerdict::Accepted, code);
                answer(NICKSERV, LoginVerdict::Accepted, code);
            }
            Some(code @ (b"902" | b"904" | b"905" | b"906" | b"907" | b"908")) => {
                self.exchange = None;
                answer(SASL, LoginVerdict::Refused, code);
            }
            None if message.is("NOTICE") && is_nickserv(message.source) => {
                if let Some(verdict) = message.parameters.last().and_then(|text| service_verdict(text)) {
                    answer(NICKSERV, verdict, b"");
                }
            }
            _ => {}
        }
        Cutting::Line
    }
}

/// `NickServ`, `NickServ@services.example`, `NickServ!service@example`
fn is_nickserv(name: &[u8]) -> bool {
    let end = name.iter().position(|byte| b"@!".contains(byte)).unwrap_or(name.len());
    name[..end].eq_ignore_ascii_case(b"NickServ")
}

/// Messages of servers before registration, and of other protocols as well.
fn is_common(message: &IrcLine<'_>) -> bool {
    ["PING", "NOTICE", "ERROR", "AUTHENTICATE"].iter().any(|command| message.is(command))
}

/// An ERROR before the connection is closed, whose reason is free text.
fn refuses_connection(message: &IrcLine<'_>) -> bool {
    let reason = message.parameters.last().map(|text| String::from_utf8_lossy(text).to_ascii_lowercase());
    message.is("ERROR") && reason.is_some_and(|reason| reason.contains("password"))
}

/// Verdict in a reply of the usual services, which have no code.
fn service_verdict(text: &[u8]) -> Option<LoginVerdict> {
    let text = String::from_utf8_lossy(text).to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if has(&["incorrect", "invalid", "denied", "failed", "not registered", "isn't registered"]) {
        Some(LoginVerdict::Refused)
    } else {
        has(&["now identified", "now logged in", "accepted", "recognized"]).then_some(LoginVerdict::Accepted)
    }
}

#[cfg(test)]
mod tests {
    use super::super::overheard;

    #[test]
    fn passwords_of_servers() {
        let said = ["<NICK bob\r\n", "<USER bob 0 0 :Bob\r\n", "<PASS s3cret\r\n"];
        assert_eq!(overheard(&said), "UNKNOWN: bob:s3cret\n");
        let welcome = ">:irc.x 001 bob :Welcome\r\n";
        assert_eq!(overheard(&[&said[..], &[welcome]].concat()), "IRC: bob:s3cret (accepted) 001\n");
        let said = ["<CAP LS 302\r\nPASS :a b\r\nNICK bob\r\nUSER bob 0 * :Bob\r\n", ">:x 464 bob :no\r\n"];
        assert_eq!(overheard(&said), "IRC: bob:a b (refused) 464\n");
        let said = ["<PASS x\r\nNICK bob\r\n", ">ERROR :Access denied: Bad password?\r\n"];
        assert_eq!(overheard(&said), "IRC: bob:x (refused) ERROR\n");
        let said = ["<PASS s3cret\r\nNICK bob\r\n", ">:x NOTICE * :hi\r\n:x 001 bob :x\r\n"];
        assert_eq!(overheard(&said), "IRC: bob:s3cret (accepted) 001\n");
    }

    #[test]
    fn sasl_comes_in_pieces() {
        let said = [
            "<CAP LS 302\r\nNICK bob\r\n",
            ">:x CAP * LS :sasl\r\n",
            "<AUTHENTICATE PLAIN\r\n",
            ">AUTHENTICATE +\r\n",
            "<AUTHENTICATE AGJvYgBwdw==\r\n",
            ">:x 904 bob :no\r\n",
            "<AUTHENTICATE PLAIN\r\n",
            ">AUTHENTICATE +\r\n",
            &format!("<AUTHENTICATE {}\r\nAUTHENTICATE +\r\n", "AGJvYgBwdw0K".repeat(34).split_at(400).0),
            ">:x 903 bob :ok\r\n",
        ];
        let shown = overheard(&said);
        assert!(shown.starts_with("IRC: bob:pw (refused) 904\nIRC: bob:pw\\015\\012"), "{shown}");
        assert!(shown.ends_with(" (accepted) 903\n"), "{shown}");
    }

    #[test]
    fn services() {
        let said = [
            "<NICK bob\r\n",
            ">:x 001 bob :hi\r\n",
            "<PRIVMSG NickServ :IDENTIFY s3cret\r\n",
            ">:NickServ!s@x NOTICE bob :Invalid password for bob.\r\n",
            "<NS IDENTIFY acc pw\r\nPRIVMSG alice :IDENTIFY x\r\nOPER root toor\r\n",
            ">:NickServ!s@x NOTICE bob :You are now identified\r\n:x 381 bob :op\r\n",
        ];
        let shown = "IRC: bob:s3cret (refused)\nIRC: acc:pw (accepted)\nIRC: root:toor (accepted) 381\n";
        assert_eq!(overheard(&said), shown);
    }

    #[test]
    fn other_chats_are_none() {
        assert_eq!(overheard(&["<NICK bob\n", "<PASS the salt\n", ">what?\n"]), "");
    }
}
