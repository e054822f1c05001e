//! FTP, POP3 and SMTP: a greeting, then one reply for each command. They share so many words that
//! they are read by one state machine; the server's speech tells which of them it is.

use super::ledger::{Found, Ledger, Protocol, Speech, Verdict};
use super::lines::Next;
use super::sasl::{Sasl, Step, is_mechanism};
use super::words::{number, word, words};

/// Passwords that are shown for one name. Servers hang up sooner; without an end, a long name and many
/// short passwords would make thousands of times as much output as there was input.
const TRIES: u8 = 8;

#[derive(Default)]
pub(super) struct Lockstep {
    user: Option<Vec<u8>>,
    /// Passwords tried since.
    tries: u8,
    /// The client has talked of mail, so that DATA and every AUTH are those of SMTP.
    mail: bool,
    stage: Stage,
    /// The code that will end a reply of several lines.
    unfinished: Option<[u8; 3]>,
}

/// What the client's next line is.
#[derive(Default)]
enum Stage {
    #[default]
    Command,
    /// A response, in the exchange that the command of this number began.
    Sasl(u64, Sasl),
    /// A line of a mail, if the DATA of this number is granted; it may already be on its way.
    Data(u64),
    /// A line of a mail.
    Mail,
}

/// The commands that matter.
#[derive(Clone, Copy)]
enum Verb {
    User,
    Pass,
    Apop,
    Auth,
    Hello,
    Data,
    Bdat,
}

impl Verb {
    fn of(word: &[u8]) -> Option<Verb> {
        const VERBS: [(&[u8], Verb); 10] = [
            (b"USER", Verb::User),
            (b"PASS", Verb::Pass),
            (b"APOP", Verb::Apop),
            (b"AUTH", Verb::Auth),
            (b"HELO", Verb::Hello),
            (b"EHLO", Verb::Hello),
            (b"LHLO", Verb::Hello),
            (b"MAIL", Verb::Hello),
            (b"DATA", Verb::Data),
            (b"BDAT", Verb::Bdat),
        ];
        VERBS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|&(_, verb)| verb)
    }
}

impl Lockstep {
    pub(super) fn client(&mut self, line: &[u8], ledger: &mut Ledger, out: &mut Vec<u8>) -> Next {
        match std::mem::take(&mut self.stage) {
            Stage::Command if line.is_empty() => Next::Line,
            Stage::Command => self.command(line, ledger, out),
            Stage::Sasl(number, exchange) => {
                self.step(number, exchange.line(line), ledger, out);
                Next::Line
            }
            Stage::Data(_) | Stage::Mail if line == b"." => {
                ledger.ask();
                Next::Line
            }
            stage => {
                self.stage = stage;
                Next::Line
            }
        }
    }

    /// Whether the client is where a command may come.
    pub(super) fn takes_commands(&self) -> bool {
        matches!(self.stage, Stage::Command)
    }

    fn command(&mut self, line: &[u8], ledger: &mut Ledger, out: &mut Vec<u8>) -> Next {
        let number = ledger.ask();
        let (verb, rest) = word(line);
        match Verb::of(verb) {
            Some(Verb::User) => {
                self.user = Some(rest.trim_ascii_end().to_vec());
                self.tries = 0;
            }
            Some(Verb::Pass) => {
                if let Some(user) = self.user.as_ref().filter(|_| self.tries < TRIES) {
                    self.tries += 1;
                    ledger.expect(number, Protocol::Login, Found::password(user, rest), out);
                }
            }
            Some(Verb::Apop) => {
                ledger.expect(number, Protocol::Pop3, Found::scheme(word(rest).0, b"APOP"), out);
            }
            Some(Verb::Auth) => self.auth(number, rest, ledger, out),
            Some(Verb::Hello) => self.mail = true,
            Some(Verb::Data) if self.mail => self.stage = Stage::Data(number),
            Some(Verb::Bdat) if self.mail => return chunk(rest),
            _ => {}
        }
        Next::Line
    }

    /// AUTH, unless it is that of FTP, which asks for TLS or Kerberos and has no line after it.
    fn auth(&mut self, number: u64, rest: &[u8], ledger: &mut Ledger, out: &mut Vec<u8>) {
        let (mechanism, initial) = word(rest);
        let sasl = self.mail || ledger.speech == Speech::Signs || is_mechanism(mechanism);
        if sasl && !mechanism.is_empty() {
            let initial = Some(initial.trim_ascii()).filter(|initial| !initial.is_empty());
            self.step(number, Sasl::begin(mechanism, initial), ledger, out);
        }
    }

    fn step(&mut self, number: u64, (exchange, found): Step, ledger: &mut Ledger, out: &mut Vec<u8>) {
        if let Some(found) = found {
            ledger.expect(number, Protocol::Auth, found, out);
        }
        self.stage = exchange.map_or(Stage::Command, |exchange| Stage::Sasl(number, exchange));
    }

    pub(super) fn server(&mut self, line: &[u8], ledger: &mut Ledger, out: &mut Vec<u8>) -> Next {
        if let Some(ok) = sign(line).filter(|_| ledger.speech != Speech::Codes) {
            self.sign(ok, ledger, out);
        } else if let Some((code, last)) = code(line).filter(|_| ledger.speech != Speech::Signs) {
            self.code(code, last, ledger, out);
        } else if ledger.speech == Speech::Unheard && !line.is_empty() {
            // Whatever this server speaks, its answers will not be understood.
            ledger.flush(out);
        }
        Next::Line
    }

    fn sign(&mut self, ok: bool, ledger: &mut Ledger, out: &mut Vec<u8>) {
        let first = std::mem::replace(&mut ledger.speech, Speech::Signs) == Speech::Unheard;
        let greeting = first && ok;
        if !greeting {
            let verdict = if ok { Verdict::Accepted } else { Verdict::Refused };
            self.replied(None, verdict, ledger, out);
        }
    }

    fn code(&mut self, code: [u8; 3], last: bool, ledger: &mut Ledger, out: &mut Vec<u8>) {
        // Within a reply, only its own code at the beginning of a line means anything.
        if self.unfinished.is_some_and(|unfinished| unfinished != code) {
            return;
        }
        self.unfinished = (!last).then_some(code);
        if !last {
            return;
        }
        let first = std::mem::replace(&mut ledger.speech, Speech::Codes) == Speech::Unheard;
        let greeting = first && &code == b"220";
        let verdict = match code[0] {
            b'1' => return, // another reply will follow
            b'3' if self.is_challenge(code) => return,
            b'2' => Verdict::Accepted,
            b'5' => Verdict::Refused,
            _ => Verdict::Untold,
        };
        if !greeting {
            self.replied(Some(code), verdict, ledger, out);
        }
    }

    /// Whether this is no answer yet. FTP, where AUTH has no lines after it, uses the code otherwise.
    fn is_challenge(&self, code: [u8; 3]) -> bool {
        &code == b"334" && (self.mail || matches!(self.stage, Stage::Sasl(..)))
    }

    fn replied(&mut self, code: Option<[u8; 3]>, verdict: Verdict, ledger: &mut Ledger, out: &mut Vec<u8>) {
        let Some(number) = ledger.answer(|_| verdict, out) else { return };
        match self.stage {
            Stage::Sasl(began, _) if began == number => self.stage = Stage::Command,
            Stage::Data(asked) if asked == number => {
                self.stage = if code == Some(*b"354") { Stage::Mail } else { Stage::Command };
            }
            _ => {}
        }
    }
}

/// The mail that follows BDAT at once, if its size can be believed.
fn chunk(arguments: &[u8]) -> Next {
    words(arguments).next().and_then(number).map_or(Next::Line, Next::Skip)
}

/// POP3's `+OK` and `-ERR`.
fn sign(line: &[u8]) -> Option<bool> {
    let (sign, _) = word(line);
    match sign {
        b"+OK" => Some(true),
        b"-ERR" => Some(false),
        _ => None,
    }
}

/// `250-` or `250 `, and whether it is the reply's last line.
fn code(line: &[u8]) -> Option<([u8; 3], bool)> {
    let (code, rest) = line.split_first_chunk::<3>()?;
    if !(matches!(code[0], b'1'..=b'5') && code.iter().all(u8::is_ascii_digit)) {
        return None;
    }
    match rest.first() {
        None | Some(b' ') => Some((*code, true)),
        Some(b'-') => Some((*code, false)),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::overheard;

    #[test]
    fn ftp() {
        let said = [">220 hi\r\n", "<USER bob\r\n", ">331\r\n", "<PASS s3cret\r\n", ">230\r\n"];
        assert_eq!(overheard(&said), "FTP: bob:s3cret (accepted)\n");
        let said = [
            ">220-Welcome\r\n530 is not this reply's code\r\n220 ready\r\n",
            "<AUTH TLS\r\n",
            ">502 no\r\n",
            "<user bob smith\r\npass  a b\r\n",
            ">331 go on\r\n530-no\r\n 230 no\r\n",
            ">530 no\r\n",
            "<PASS c\r\n",
            ">332 account?\r\n",
        ];
        assert_eq!(overheard(&said), "FTP: bob smith:a b (refused)\nFTP: bob smith:c\n");
    }

    #[test]
    fn pop3() {
        let said =
            [">+OK hi\r\n", "<USER bob\r\nPASS x\r\n", ">+OK\r\n-ERR no\r\n", "<PASS y\r\n", ">+OK\r\n"];
        assert_eq!(overheard(&said), "POP3: bob:x (refused)\nPOP3: bob:y (accepted)\n");
        let said = [">+OK <1.2@x>\r\n", "<APOP bob c4c9334b\r\n", ">-ERR no\r\n"];
        assert_eq!(overheard(&said), "POP3: bob (APOP) (refused)\n");
        let said = [
            ">+OK\r\n",
            "<AUTH\r\n",
            ">+OK\r\nPLAIN\r\n.\r\n",
            "<AUTH PLAIN\r\n",
            ">+ \r\n",
            "<AGJvYgBwdw==\r\n",
            ">+OK\r\n",
        ];
        assert_eq!(overheard(&said), "POP3: bob:pw (accepted)\n");
    }

    #[test]
    fn early_clients_are_told_apart_by_the_greeting() {
        let login = "<USER bob\r\nPASS pw\r\n";
        assert_eq!(overheard(&[login]), "UNKNOWN: bob:pw\n");
        assert_eq!(overheard(&[login, ">220 x\r\n331 x\r\n230 x\r\n"]), "FTP: bob:pw (accepted)\n");
        assert_eq!(overheard(&[login, ">+OK\r\n+OK\r\n-ERR\r\n"]), "POP3: bob:pw (refused)\n");
        assert_eq!(overheard(&[login, ">login: \r\n230 x\r\n"]), "UNKNOWN: bob:pw\n");
        assert_eq!(
            overheard(&["<USER bob\r\n", ">331 x\r\n", "<PASS pw\r\n", ">230 x\r\n"]),
            "FTP: bob:pw (accepted)\n"
        );
    }

    #[test]
    fn smtp() {
        let said = [
            ">220 x ESMTP\r\n",
            "<EHLO me\r\n",
            ">250-x\r\n250 AUTH PLAIN LOGIN\r\n",
            "<AUTH PLAIN AGJvYgBwdw==\r\n",
            ">535 no\r\n",
            "<AUTH LOGIN\r\n",
            ">334 VXNlcm5hbWU6\r\n",
            "<Ym9i\r\n",
            ">334 UGFzc3dvcmQ6\r\n",
            "<cHc=\r\n",
            ">235 ok\r\n",
        ];
        assert_eq!(overheard(&said), "SMTP: bob:pw (refused)\nSMTP: bob:pw (accepted)\n");
        let said = [
            ">220 x\r\n",
            "<EHLO me\r\nAUTH CRAM-MD5\r\n",
            ">250 x\r\n334 PDE+\r\n",
            "<Ym9iIDAxMjM=\r\n",
            ">235\r\n",
        ];
        assert_eq!(overheard(&said), "SMTP: bob (CRAM-MD5) (accepted)\n");
    }

    #[test]
    fn smtp_clients_need_not_wait() {
        let said = [
            ">220 x\r\n",
            "<EHLO me\r\nAUTH LOGIN\r\nYm9i\r\ncHc=\r\nQUIT\r\n",
            ">250 x\r\n334 x\r\n334 x\r\n535 no\r\n221 x\r\n",
        ];
        assert_eq!(overheard(&said), "SMTP: bob:pw (refused)\n");
    }

    #[test]
    fn smtp_exchanges_can_be_given_up_or_refused() {
        let said = [
            ">220 x\r\n",
            "<EHLO me\r\n",
            ">250 x\r\n",
            "<AUTH LOGIN Ym9i\r\n",
            ">334 x\r\n",
            "<*\r\n",
            ">501 ok\r\n",
            "<AUTH PLAIN\r\n",
            ">504 no\r\n",
            "<AUTH PLAIN AGIAYw==\r\n",
            ">235 ok\r\n",
        ];
        assert_eq!(overheard(&said), "SMTP: b:c (accepted)\n");
    }

    #[test]
    fn greetings_are_no_names() {
        assert_eq!(overheard(&["<HELO bob pw\r\nEHLO bob\r\nPASS pw\r\n"]), "");
        let said = [">220 hi\r\n", "<HELO x\r\nDATA\r\n", ">500 x\r\n500 x\r\n", "<USER bob\r\nPASS pw\r\n"];
        assert_eq!(overheard(&said), "FTP: bob:pw\n");
    }

    #[test]
    fn mails_are_not_read() {
        let auth = "AUTH PLAIN AGIAYw==\r\n";
        let mail = format!("<GET / HTTP/1.1\r\n{auth}.\r\n");
        let login = format!("<{auth}");
        let said = [
            ">220 x\r\n",
            "<EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a>\r\nRCPT TO:<b>\r\nDATA\r\n",
            ">250 x\r\n250 x\r\n550 x\r\n250 x\r\n354 x\r\n",
            &mail,
            ">250 x\r\n",
            &login,
            ">235 x\r\n",
        ];
        assert_eq!(overheard(&said), "SMTP: b:c (accepted)\n");
        let said = [">220 x\r\n", "<EHLO x\r\nDATA\r\n", ">250 x\r\n503 x\r\n", &login, ">235 x\r\n"];
        assert_eq!(overheard(&said), "SMTP: b:c (accepted)\n");
        let chunk = format!("<EHLO x\r\nBDAT {}\r\n{auth}{auth}", auth.len());
        assert_eq!(
            overheard(&[">220 x\r\n", &chunk, ">250 x\r\n250 x\r\n535 x\r\n"]),
            "SMTP: b:c (refused)\n"
        );
        let early = format!("<EHLO x\r\nDATA\r\n{auth}.\r\n");
        assert_eq!(overheard(&[&early, ">220 x\r\n250 x\r\n354 x\r\n250 x\r\n"]), "");
    }

    #[test]
    fn many_passwords_for_one_long_name_do_not_make_output_without_end() {
        let said = [b"USER ".as_slice(), &[1; 4000], b"\r\n", &b"PASS\r\n".repeat(10_000)].concat();
        let mut watch = super::super::Watch::new(b"");
        let mut out = Vec::new();
        watch.piece(crate::messages::Side::Client, &said, &mut out);
        watch.close(&mut out);
        assert!(out.len() < 8 * 4 * 4096, "{} bytes", out.len());
    }
}
