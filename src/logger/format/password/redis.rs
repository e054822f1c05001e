//! Redis: commands as arrays of counted strings, or inline as words; replies of any depth.

use super::ledger::{Found, Ledger, Protocol, Verdict};
use super::lines::Next;
use super::sasl::is_mechanism;
use super::words::{number, word, words};

/// The longest argument that is looked at, and how many of a command are.
const ARGUMENT: u64 = 1024;
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
    /// Whether it can still be one that matters; only then are its arguments kept.
    matters: bool,
    /// An argument has been announced and comes next.
    awaited: bool,
}

impl Command {
    /// Whether an argument of this length can be the next in a command that matters.
    fn expects(&self, length: u64) -> bool {
        match self.arguments.len() {
            0 => matches!(length, 4 | 5), // AUTH, HELLO
            ARGUMENTS.. => false,
            _ => length <= ARGUMENT,
        }
    }
}

impl Redis {
    pub(super) fn client(&mut self, item: &[u8], ledger: &mut Ledger, out: &mut Vec<u8>) -> Next {
        if std::mem::take(&mut self.command.awaited) {
            self.argument(item, ledger, out);
            return Next::Line;
        }
        match item {
            [] => Next::Line, // the end of an argument
            [b'$', length @ ..] if self.command.left > 0 => self.announced(length, ledger),
            [b'*', count @ ..] => {
                let left = number(count).unwrap_or(0);
                self.command = Command { left, matters: true, ..Command::default() };
                Next::Line
            }
            line => {
                let arguments: Vec<_> = words(line).take(ARGUMENTS).collect();
                commanded(&arguments, ledger, out);
                self.command = Command::default();
                Next::Line
            }
        }
    }

    /// `$4`: an argument of four bytes follows.
    fn announced(&mut self, length: &[u8], ledger: &mut Ledger) -> Next {
        let command = &mut self.command;
        let Some(length) = number(length) else {
            *command = Command::default();
            return Next::Line;
        };
        command.left -= 1;
        command.matters &= command.expects(length);
        if command.matters {
            command.awaited = true;
            return Next::Take(length as usize);
        }
        if command.left == 0 {
            ledger.ask();
        }
        Next::Skip(length)
    }

    fn argument(&mut self, argument: &[u8], ledger: &mut Ledger, out: &mut Vec<u8>) {
        let command = &mut self.command;
        command.arguments.push(argument.to_vec());
        command.matters = is(b"AUTH", &command.arguments[0]) || is(b"HELLO", &command.arguments[0]);
        if command.left == 0 {
            let arguments: Vec<_> = command.arguments.iter().map(Vec::as_slice).collect();
            commanded(&arguments, ledger, out);
            self.command = Command::default();
        }
    }

    pub(super) fn server(&mut self, line: &[u8], ledger: &mut Ledger, out: &mut Vec<u8>) -> Next {
        let Some((&kind, rest)) = line.split_first() else { return Next::Line };
        // What is pushed answers nothing, and attributes come before the answer that they describe.
        if self.elements == 0 && !matches!(kind, b'>' | b'|') {
            let refused = matches!(kind, b'-' | b'!');
            ledger.answer(|_| if refused { Verdict::Refused } else { Verdict::Accepted }, out);
        }
        self.elements = self.elements.saturating_sub(1);
        let count = number(rest).unwrap_or(0);
        match kind {
            b'*' | b'~' | b'>' => self.elements = self.elements.saturating_add(count),
            b'%' | b'|' => self.elements = self.elements.saturating_add(count.saturating_mul(2)),
            b'$' | b'=' | b'!' => return Next::Skip(count),
            _ => {}
        }
        Next::Line
    }
}

/// A whole command: AUTH \[user\] password, or HELLO version AUTH user password. The first kind may
/// name no user, and then none is shown.
fn commanded(arguments: &[&[u8]], ledger: &mut Ledger, out: &mut Vec<u8>) {
    let number = ledger.ask();
    let (user, password): (&[u8], _) = match *arguments {
        [verb, password] if is(b"AUTH", verb) => (b"", password),
        [verb, user, password] if is(b"AUTH", verb) => (user, password),
        [verb, _, auth, user, password, ..] if is(b"HELLO", verb) && is(b"AUTH", auth) => (user, password),
        _ => return,
    };
    ledger.expect(number, Protocol::Redis, Found::password(user, password), out);
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

/// Whether these are not the arguments of some other protocol's AUTH.
fn are_credentials(arguments: &[u8]) -> bool {
    let first = word(arguments).0;
    let tls = is(b"TLS", first) || is(b"SSL", first);
    !tls && !is_mechanism(first) && matches!(words(arguments).count(), 1 | 2)
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
        assert_eq!(overheard(&[auth, ">+OK\r\n"]), "Redis: :p\\015\\012w\\012 (accepted)\n");
        let auth = "<*3\r\n$4\r\nauth\r\n$3\r\nbob\r\n$2\r\npw\r\n";
        assert_eq!(overheard(&[auth, ">-WRONGPASS no\r\n"]), "Redis: bob:pw (refused)\n");
        let hello = "<*7\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$3\r\nbob\r\n$2\r\npw\r\n$7\r\nSETNAME\r\n$1\r\nx\r\n";
        assert_eq!(overheard(&[hello, ">%7\r\n$6\r\nserver\r\n"]), "Redis: bob:pw (accepted)\n");
        assert_eq!(overheard(&[hello, ">*14\r\n$6\r\nserver\r\n"]), "Redis: bob:pw (accepted)\n");
    }

    #[test]
    fn inline() {
        assert_eq!(overheard(&["<AUTH pw\r\n", ">-ERR invalid password\r\n"]), "Redis: :pw (refused)\n");
        assert_eq!(overheard(&["<AUTH bob pw\r\n", ">+OK\r\n"]), "Redis: bob:pw (accepted)\n");
        assert_eq!(overheard(&["<HELLO 3 AUTH bob pw\r\n", ">+OK\r\n"]), "Redis: bob:pw (accepted)\n");
        let said = ["<PING\r\n", ">+PONG\r\n", "<AUTH pw\r\n", ">+OK\r\n"];
        assert_eq!(overheard(&said), "Redis: :pw (accepted)\n");
    }

    #[test]
    fn pipelined_commands_find_their_replies() {
        let get = "*2\r\n$3\r\nGET\r\n$1\r\na\r\n";
        let auth = "*2\r\n$4\r\nAUTH\r\n$2\r\npw\r\n";
        let said = [
            &format!("<{get}{get}{auth}{get}{auth}"),
            ">*2\r\n$4\r\n+OK\n\r\n*1\r\n:1\r\n$-1\r\n>1\r\n+x\r\n-ERR x\r\n$2\r\n-E\r\n+OK\r\n",
        ];
        assert_eq!(overheard(&said.map(|text: &str| text)), "Redis: :pw (refused)\nRedis: :pw (accepted)\n");
    }

    #[test]
    fn values_are_not_read() {
        let value = "*2\r\n$4\r\nAUTH\r\n$2\r\npw\r\n";
        let set = format!("<*3\r\n$3\r\nSET\r\n$1\r\na\r\n${}\r\n{value}\r\n", value.len());
        assert_eq!(overheard(&[&set]), "");
        let long = format!("<*2\r\n$4\r\nAUTH\r\n$2000\r\n{}\r\n{value}", "x".repeat(2000));
        assert_eq!(overheard(&[&long]), "Redis: :pw\n");
    }
}
