//! Redis: commands as arrays of counted strings, or inline as words; replies of any depth.

use super::conversation::Conversation;
use super::lines::{Cutting, LIMIT, LinePiece};
use super::sasl::is_mechanism;
use super::words::{number, word};
use crate::sniff::pending::{Credentials, LoginVerdict, PendingCredentials, Protocol};

const REDIS: Protocol = Protocol::Named("Redis");

/// Bytes of an argument that are read; the rest is passed over.
const ARGUMENT: u64 = LIMIT as u64;

/// Arguments of a command that are looked at: HELLO with everything it takes has seven.
const ARGUMENTS: usize = 8;

#[derive(Default)]
pub(super) struct Redis {
    command: Command,
    /// Elements of the server's current reply that are still to come.
    elements: u64,
}

/// A command as it comes in.
#[derive(Default)]
struct Command {
    /// Arguments that have not been announced yet.
    left: u64,
    arguments: Vec<Vec<u8>>,
    /// Can still become a relevant command; otherwise its arguments are not kept.
    matters: bool,
    /// An argument has been announced and comes next; this many bytes of it are not read.
    awaited: Option<u64>,
    /// An argument was longer than what is read.
    cut: bool,
}

impl Command {
    /// Checks whether the next argument of a relevant command can have this length.
    fn expects(&self, length: u64) -> bool {
        match self.arguments.len() {
            0 => matches!(length, 4 | 5), // AUTH, HELLO
            arguments => arguments < ARGUMENTS,
        }
    }
}

impl Conversation for Redis {
    fn client(&mut self, item: LinePiece<'_>, logins: &mut PendingCredentials, out: &mut Vec<u8>) -> Cutting {
        if let Some(rest) = self.command.awaited.take() {
            self.argument(item.bytes, rest, logins, out);
            return if rest == 0 { Cutting::Line } else { Cutting::Skip(rest) };
        }
        match item.bytes {
            [] => Cutting::Line, // the end of an argument
            [b'$', length @ ..] if self.command.left > 0 => self.announced(length, logins),
            [b'*', count @ ..] => {
                let left = number(count).unwrap_or(0);
                self.command = Command { left, matters: true, ..Command::default() };
                Cutting::Line
            }
            line => {
                let arguments = split(line);
                let arguments: Vec<_> = arguments.iter().map(Vec::as_slice).collect();
                commanded(&arguments, item.is_cut(), logins, out);
                self.command = Command::default();
                Cutting::Line
            }
        }
    }

    fn server(&mut self, item: LinePiece<'_>, logins: &mut PendingCredentials, out: &mut Vec<u8>) -> Cutting {
        let Some((&kind, rest)) = item.bytes.split_first() else { return Cutting::Line };
        if self.elements == 0 && !is_kind(kind) {
            // Not a reply of a Redis server.
            if !logins.is_proven() {
                logins.discard();
            }
            return Cutting::Line;
        }
        logins.prove();
        // Pushed messages answer no command, and attributes precede the answer that they describe.
        if self.elements == 0 && !matches!(kind, b'>' | b'|') {
            let refused = matches!(kind, b'-' | b'!');
            let (verdict, code) = match (refused, kind) {
                (true, _) => (LoginVerdict::Refused, word(item.bytes).0),
                (false, b'+') => (LoginVerdict::Accepted, word(item.bytes).0),
                (false, _) => (LoginVerdict::Accepted, &b""[..]),
            };
            logins.answer(|_| verdict, code, out);
        }
        self.elements = self.elements.saturating_sub(1);
        let count = number(rest).unwrap_or(0);
        match kind {
            b'*' | b'~' | b'>' => self.elements = self.elements.saturating_add(count),
            b'%' | b'|' => self.elements = self.elements.saturating_add(count.saturating_mul(2)),
            b'$' | b'=' | b'!' => return Cutting::Skip(count),
            _ => {}
        }
        Cutting::Line
    }
}

impl Redis {
    /// `$4`: an argument of four bytes follows.
    fn announced(&mut self, length: &[u8], logins: &mut PendingCredentials) -> Cutting {
        let command = &mut self.command;
        let Some(length) = number(length) else {
            *command = Command::default();
            return Cutting::Line;
        };
        command.left -= 1;
        command.matters &= command.expects(length);
        if command.matters {
            let read = length.min(ARGUMENT);
            command.awaited = Some(length - read);
            command.cut |= read < length;
            return Cutting::Take(read as usize);
        }
        if command.left == 0 {
            logins.ask();
        }
        Cutting::Skip(length)
    }

    fn argument(&mut self, argument: &[u8], rest: u64, logins: &mut PendingCredentials, out: &mut Vec<u8>) {
        let command = &mut self.command;
        command.arguments.push(argument.to_vec());
        command.cut |= rest > 0;
        command.matters = is(b"AUTH", &command.arguments[0]) || is(b"HELLO", &command.arguments[0]);
        if command.left == 0 {
            let arguments: Vec<_> = command.arguments.iter().map(Vec::as_slice).collect();
            commanded(&arguments, command.cut, logins, out);
            self.command = Command::default();
        }
    }
}

/// The first bytes of RESP2's and RESP3's replies.
fn is_kind(byte: u8) -> bool {
    b"+-:$*%~>|_#,(!=".contains(&byte)
}

/// A whole command: AUTH \[user\] password, or HELLO version AUTH user password among other options. The first kind
/// may name no user, and then none is shown.
fn commanded(arguments: &[&[u8]], cut: bool, logins: &mut PendingCredentials, out: &mut Vec<u8>) {
    let number = logins.ask();
    let (user, password): (&[u8], _) = match *arguments {
        [verb, password] if is(b"AUTH", verb) => (b"", password),
        [verb, user, password] if is(b"AUTH", verb) => (user, password),
        [verb, _, ref options @ ..] if is(b"HELLO", verb) => match login_among(options) {
            Some(login) => login,
            None => return,
        },
        _ => return,
    };
    logins.expect(number, REDIS, Credentials::password(user, password).cut(cut), out);
}

/// HELLO's options: AUTH takes two values, SETNAME one.
fn login_among<'a>(mut options: &[&'a [u8]]) -> Option<(&'a [u8], &'a [u8])> {
    loop {
        match options {
            [auth, user, password, ..] if is(b"AUTH", auth) => return Some((user, password)),
            [name, _, rest @ ..] if is(b"SETNAME", name) => options = rest,
            _ => return None,
        }
    }
}

/// Splits an inline command into words, of which quoted ones may contain blanks: in double quotes `\n`, `\r`,
/// `\t`, `\b`, `\a` and `\xHH` stand for bytes, in single quotes only `\'` for a quote.
fn split(line: &[u8]) -> Vec<Vec<u8>> {
    let mut arguments = Vec::new();
    let mut rest = line.trim_ascii_start();
    while !rest.is_empty() && arguments.len() < ARGUMENTS {
        let mut argument = Vec::new();
        while let Some((&byte, after)) = rest.split_first().filter(|(byte, _)| !byte.is_ascii_whitespace()) {
            rest = match byte {
                b'"' | b'\'' => quoted(byte, after, &mut argument),
                _ => {
                    argument.push(byte);
                    after
                }
            };
        }
        arguments.push(argument);
        rest = rest.trim_ascii_start();
    }
    arguments
}

/// Appends the text up to the closing quote; returns the rest.
fn quoted<'a>(quote: u8, mut rest: &'a [u8], text: &mut Vec<u8>) -> &'a [u8] {
    loop {
        let (byte, after) = match rest {
            [] => return rest,
            [end, after @ ..] if *end == quote => return after,
            [b'\\', b'x', high, low, after @ ..] if quote == b'"' && hex(*high, *low).is_some() => {
                (hex(*high, *low).unwrap_or_default(), after)
            }
            [b'\\', byte, after @ ..] if quote == b'"' => (unescape(*byte), after),
            [b'\\', b'\'', after @ ..] => (b'\'', after),
            [byte, after @ ..] => (*byte, after),
        };
        text.push(byte);
        rest = after;
    }
}

fn hex(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

fn unescape(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'a' => 7,
        other => other,
    }
}

fn is(name: &[u8], word: &[u8]) -> bool {
    name.eq_ignore_ascii_case(word)
}

/// A command by which Redis is known, when the server has not spoken first.
pub(super) fn is_command(line: &[u8]) -> bool {
    if let [b'*', count @ ..] = line {
        return number(count).is_some();
    }
    let (verb, rest) = word(line);
    is(b"HELLO", verb) && number(word(rest).0).is_some() || is(b"AUTH", verb) && are_credentials(rest)
}

/// Excludes arguments of another protocol's AUTH.
fn are_credentials(arguments: &[u8]) -> bool {
    let first = word(arguments).0;
    let tls = is(b"TLS", first) || is(b"SSL", first);
    !tls && !is_mechanism(first) && matches!(split(arguments).len(), 1 | 2)
}

/// Replies that no other server gives.
pub(super) fn is_reply(line: &[u8]) -> bool {
    line == b"+PONG" || word(line).0 == b"-NOAUTH"
}

#[cfg(test)]
mod tests {
    use super::super::overheard;

    #[test]
    fn arrays() {
        let auth = "<*2\r\n$4\r\nAUTH\r\n$5\r\np\r\nw\n\r\n";
        assert_eq!(overheard(&[auth, ">+OK\r\n"]), "Redis: :p\\015\\012w\\012 (accepted) +OK\n");
        let auth = "<*3\r\n$4\r\nauth\r\n$3\r\nbob\r\n$2\r\npw\r\n";
        assert_eq!(overheard(&[auth, ">-WRONGPASS no\r\n"]), "Redis: bob:pw (refused) -WRONGPASS\n");
        let hello = "<*7\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$3\r\nbob\r\n$2\r\npw\r\n$7\r\nSETNAME\r\n$1\r\nx\r\n";
        assert_eq!(overheard(&[hello, ">%7\r\n$6\r\nserver\r\n"]), "Redis: bob:pw (accepted)\n");
        assert_eq!(overheard(&[hello, ">*14\r\n$6\r\nserver\r\n"]), "Redis: bob:pw (accepted)\n");
    }

    #[test]
    fn inline() {
        assert_eq!(overheard(&["<AUTH pw\r\n", ">-ERR invalid password\r\n"]), "Redis: :pw (refused) -ERR\n");
        assert_eq!(overheard(&["<AUTH bob pw\r\n", ">+OK\r\n"]), "Redis: bob:pw (accepted) +OK\n");
        assert_eq!(overheard(&["<HELLO 3 AUTH bob pw\r\n", ">+OK\r\n"]), "Redis: bob:pw (accepted) +OK\n");
        let said = ["<PING\r\n", ">+PONG\r\n", "<AUTH pw\r\n", ">+OK\r\n"];
        assert_eq!(overheard(&said), "Redis: :pw (accepted) +OK\n");
    }

    #[test]
    fn pipelined_commands_find_their_replies() {
        let get = "*2\r\n$3\r\nGET\r\n$1\r\na\r\n";
        let auth = "*2\r\n$4\r\nAUTH\r\n$2\r\npw\r\n";
        let said = [
            &format!("<{get}{get}{auth}{get}{auth}"),
            ">*2\r\n$4\r\n+OK\n\r\n*1\r\n:1\r\n$-1\r\n>1\r\n+x\r\n-ERR x\r\n$2\r\n-E\r\n+OK\r\n",
        ];
        assert_eq!(
            overheard(&said.map(|text: &str| text)),
            "Redis: :pw (refused) -ERR\nRedis: :pw (accepted) +OK\n"
        );
    }

    #[test]
    fn values_are_not_read() {
        let value = "*2\r\n$4\r\nAUTH\r\n$2\r\npw\r\n";
        let set = format!("<*3\r\n$3\r\nSET\r\n$1\r\na\r\n${}\r\n{value}\r\n", value.len());
        assert_eq!(overheard(&[&set]), "");
    }

    #[test]
    fn options_of_hello_may_come_in_any_order() {
        let said = ["<HELLO 3 SETNAME x AUTH u p\r\n", ">%7\r\n"];
        assert_eq!(overheard(&said), "Redis: u:p (accepted)\n");
    }

    #[test]
    fn inline_words_may_be_quoted() {
        let said = ["<AUTH \"p \\x41\\\"w\"\r\n", ">+OK\r\n", "<AUTH 'b o' 'it\\'s'\r\n", ">+OK\r\n"];
        assert_eq!(overheard(&said), "Redis: :p A\"w (accepted) +OK\nRedis: b o:it's (accepted) +OK\n");
    }

    #[test]
    fn long_passwords_are_shown() {
        for (length, shown, cut) in [(2000, 2000, ""), (5000, 4096, " (cut)")] {
            let auth = format!("<*2\r\n$4\r\nAUTH\r\n${length}\r\n{}\r\n", "x".repeat(length));
            let shown = format!("Redis: :{}{cut} (accepted) +OK\n", "x".repeat(shown));
            assert_eq!(overheard(&[&auth, ">+OK\r\n"]), shown);
        }
    }

    #[test]
    fn what_no_server_of_redis_answers_is_no_login() {
        assert_eq!(overheard(&["<AUTH please now\n", ">why?\n"]), "");
    }
}
