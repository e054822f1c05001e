//! Telnet: answers to prompts for a name and a password. The prompts are the only evidence, so that every
//! finding is marked as a guess.

use super::conversation::Conversation;
use super::lines::{Cutting, LinePiece};
use crate::sniff::pending::{Credentials, LoginVerdict, PendingCredentials, Protocol};

const TELNET: Protocol = Protocol::Named("Telnet");

/// The byte before a command (RFC 854), and the commands that matter.
pub(super) const IAC: u8 = 255;
const WILL: u8 = 251;
const DONT: u8 = 254;
const BEGIN: u8 = 250;
const END: u8 = 240;

/// Bytes of a prompt, and of what is typed, that are read.
const PROMPT: usize = 128;
const TYPED: usize = 256;

/// Prompts and refusals, in small letters.
const NAME: [&str; 3] = ["login:", "username:", "user name:"];
const PASSWORD: [&str; 2] = ["password:", "passcode:"];
const REFUSALS: [&str; 5] = ["incorrect", "failed", "denied", "invalid", "bad password"];

/// A line without the commands of Telnet at its beginning, which clients of FTP send before ABOR, for one.
pub(super) fn strip_leading(mut line: &[u8]) -> &[u8] {
    loop {
        line = match line {
            [IAC, WILL..=DONT, _, rest @ ..] => rest,
            [IAC, IAC, ..] => return line,
            [IAC, _, rest @ ..] => rest,
            _ => return line,
        };
    }
}

/// Takes the commands out of a direction, one byte at a time.
#[derive(Clone, Copy, Default)]
enum Commands {
    #[default]
    None,
    Iac,
    Option,
    Subnegotiation,
    SubnegotiationIac,
}

impl Commands {
    /// The byte, if it is text.
    fn text(&mut self, byte: u8) -> Option<u8> {
        let (next, text) = match (*self, byte) {
            (Commands::None, IAC) => (Commands::Iac, None),
            (Commands::None, byte) => (Commands::None, Some(byte)),
            (Commands::Iac, IAC) => (Commands::None, Some(IAC)),
            (Commands::Iac, WILL..=DONT) => (Commands::Option, None),
            (Commands::Iac, BEGIN) => (Commands::Subnegotiation, None),
            (Commands::Iac | Commands::Option, _) => (Commands::None, None),
            (Commands::Subnegotiation, IAC) => (Commands::SubnegotiationIac, None),
            (Commands::SubnegotiationIac, END) => (Commands::None, None),
            (Commands::Subnegotiation | Commands::SubnegotiationIac, _) => (Commands::Subnegotiation, None),
        };
        *self = next;
        text
    }
}

/// The server's last prompt.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Asked {
    #[default]
    Nothing,
    Name,
    Password,
}

#[derive(Default)]
pub(super) struct Telnet {
    commands: [Commands; 2],
    /// The server's current line.
    prompt: String,
    asked: Asked,
    typed: Typed,
    name: Typed,
    started: bool,
}

/// A line that is being typed, as far as it is read.
#[derive(Default)]
struct Typed {
    text: Vec<u8>,
    /// Bytes behind the text that are not kept.
    beyond: usize,
}

impl Typed {
    fn push(&mut self, byte: u8) {
        if self.text.len() < TYPED {
            self.text.push(byte);
        } else {
            self.beyond += 1;
        }
    }

    fn take_back(&mut self) {
        match self.beyond {
            0 => drop(self.text.pop()),
            _ => self.beyond -= 1,
        }
    }

    fn is_cut(&self) -> bool {
        self.beyond > 0
    }
}

impl Telnet {
    fn shown(&mut self, byte: u8, logins: &mut PendingCredentials, out: &mut Vec<u8>) {
        match byte {
            b'\r' | b'\n' => {
                self.decide(logins, out);
                self.prompt.clear();
            }
            0 | 7 => {}
            _ if self.prompt.len() < PROMPT => {
                self.prompt.push(char::from(byte).to_ascii_lowercase());
                self.recognise(logins, out);
            }
            _ => {}
        }
    }

    fn recognise(&mut self, logins: &mut PendingCredentials, out: &mut Vec<u8>) {
        let prompt = self.prompt.trim_end();
        let asked = if NAME.iter().any(|name| prompt.ends_with(name)) && !prompt.ends_with("last login:") {
            Asked::Name
        } else if PASSWORD.iter().any(|name| prompt.ends_with(name)) {
            Asked::Password
        } else {
            return;
        };
        // A repeated prompt means that the login failed.
        logins.answer_all(LoginVerdict::Refused, b"", out);
        self.asked = asked;
        self.typed = Typed::default();
    }

    /// A line of the server is complete.
    fn decide(&mut self, logins: &mut PendingCredentials, out: &mut Vec<u8>) {
        if REFUSALS.iter().any(|refusal| self.prompt.contains(refusal)) {
            logins.answer_all(LoginVerdict::Refused, b"", out);
        } else if self.prompt.contains("last login:") {
            logins.answer_all(LoginVerdict::Accepted, b"", out);
        }
    }

    fn typed(&mut self, byte: u8, logins: &mut PendingCredentials, out: &mut Vec<u8>) {
        match byte {
            b'\r' | b'\n' => self.entered(logins, out),
            8 | 127 => self.typed.take_back(),
            0 => {}
            21 => self.typed = Typed::default(),
            _ if self.asked != Asked::Nothing => self.typed.push(byte),
            _ => {}
        }
    }

    fn entered(&mut self, logins: &mut PendingCredentials, out: &mut Vec<u8>) {
        let typed = std::mem::take(&mut self.typed);
        match std::mem::take(&mut self.asked) {
            // Includes the line feed after a carriage return.
            Asked::Nothing => {}
            Asked::Name => self.name = typed,
            Asked::Password => {
                let cut = typed.is_cut() || self.name.is_cut();
                let found = Credentials::typed(&self.name.text, &typed.text).cut(cut);
                logins.expect_tag(b"", TELNET, found, out);
            }
        }
    }
}

impl Conversation for Telnet {
    fn start(&self) -> [Cutting; 2] {
        [Cutting::Raw; 2]
    }

    fn client(&mut self, item: LinePiece<'_>, logins: &mut PendingCredentials, out: &mut Vec<u8>) -> Cutting {
        for &byte in item.bytes {
            if let Some(byte) = self.commands[0].text(byte) {
                self.typed(byte, logins, out);
            }
        }
        Cutting::Raw
    }

    fn server(&mut self, item: LinePiece<'_>, logins: &mut PendingCredentials, out: &mut Vec<u8>) -> Cutting {
        logins.prove();
        for &byte in item.bytes {
            if let Some(byte) = self.commands[1].text(byte) {
                self.shown(byte, logins, out);
            }
        }
        Cutting::Raw
    }

    fn takes_over(&self) -> bool {
        true
    }

    /// A client that begins with Telnet commands was taken for one that sends lines.
    fn redirect_client(&mut self) -> Option<Cutting> {
        (!std::mem::replace(&mut self.started, true)).then_some(Cutting::Raw)
    }
}

#[cfg(test)]
mod tests {
    use super::super::overheard_bytes as overheard;

    const HELLO: (u8, &[u8]) = (b'>', b"\xff\xfd\x18\xff\xfb\x01\r\nDebian\r\nhost login: ");

    #[test]
    fn logins_at_prompts() {
        let said: [(u8, &[u8]); 6] = [
            (b'<', b"\xff\xfb\x18"),
            HELLO,
            (b'<', b"\xff\xfa\x18\0xterm\xff\xf0bo\x7fob\r\0"),
            (b'>', b"boob\r\nPassword: "),
            (b'<', b"pw\r\n"),
            (b'>', b"\r\nLogin incorrect\r\nhost login: "),
        ];
        assert_eq!(overheard(&said), "Telnet: bob:pw (typed at a prompt) (refused)\n");
        let said: [(u8, &[u8]); 5] = [
            HELLO,
            (b'<', b"bob\r\n"),
            (b'>', b"bob\r\nPassword: "),
            (b'<', b"pw\r\n"),
            (b'>', b"\r\nLast login: Mon\r\n$ "),
        ];
        assert_eq!(overheard(&said), "Telnet: bob:pw (typed at a prompt) (accepted)\n");
    }

    /// 256 bytes are read, of the name and of the password; what was deleted does not count.
    #[test]
    fn what_is_typed_is_read_up_to_its_bound_and_marked_beyond() {
        let most = "p".repeat(256);
        for (name, password, shown) in [
            ("bob", most.clone(), format!("bob:{most} (typed at a prompt)")),
            ("bob", format!("{most}q"), format!("bob:{most} (typed at a prompt) (cut)")),
            ("bob", format!("{most}q\x7f"), format!("bob:{most} (typed at a prompt)")),
            (&format!("{most}q"), "pw".to_owned(), format!("{most}:pw (typed at a prompt) (cut)")),
        ] {
            let (name, password) = (format!("{name}\r\n"), format!("{password}\r\n"));
            let said: [(u8, &[u8]); 4] =
                [HELLO, (b'<', name.as_bytes()), (b'>', b"\r\nPassword: "), (b'<', password.as_bytes())];
            assert_eq!(overheard(&said), format!("Telnet: {shown}\n"));
        }
    }

    #[test]
    fn prompts_are_looked_for_in_the_beginning_of_a_line() {
        for (length, found) in [(128 - "login: ".len(), true), (128, false)] {
            let prompt = format!("\r\n{}login: ", "x".repeat(length));
            let said: [(u8, &[u8]); 5] = [
                (b'>', b"\xff\xfd\x18"),
                (b'>', prompt.as_bytes()),
                (b'<', b"bob\r\n"),
                (b'>', b"\r\nPassword: "),
                (b'<', b"pw\r\n"),
            ];
            let name = if found { "bob" } else { "" };
            assert_eq!(overheard(&said), format!("Telnet: {name}:pw (typed at a prompt)\n"), "{length}");
        }
    }

    #[test]
    fn commands_before_those_of_ftp_are_passed_over() {
        let said: [(u8, &[u8]); 3] = [
            (b'>', b"220 x\r\n"),
            (b'<', b"\xff\xfb\x01USER bob\r\n\xff\xf4\xff\xf2PASS x\r\n"),
            (b'>', b"331\r\n230\r\n"),
        ];
        assert_eq!(overheard(&said), "FTP: bob:x (accepted) 230\n");
    }
}
