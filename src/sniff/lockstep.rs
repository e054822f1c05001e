//! FTP, POP3 and SMTP: a greeting, then one reply for each command. They share most of their words and are
//! read by one state machine; the server's replies identify the protocol.

use super::lines::{Cutting, LinePiece};
use super::sasl::{Sasl, SaslStep, is_mechanism};
use super::telnet;
use super::words::{argument, number, word, words};
use crate::sniff::pending::{Credentials, LoginVerdict, PendingCredentials, Protocol, Speech};

#[derive(Default)]
pub(super) struct Lockstep {
    user: Option<Vec<u8>>,
    /// The last argument of PASS without a USER before it, as IRC has it.
    password: Option<Vec<u8>>,
    /// The client has talked of mail, so that DATA and every AUTH are those of SMTP.
    mail: bool,
    /// The client has sent a line that is no command of these protocols, or names and passwords of several words.
    doubtful: bool,
    stage: NextLine,
    /// The code that will end a reply of several lines.
    unfinished: Option<[u8; 3]>,
}

/// The meaning of the client's next line.
#[derive(Default)]
enum NextLine {
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
    Acct,
    Apop,
    Auth,
    Hello,
    Data,
    Bdat,
    /// Any other of these protocols.
    Other,
}

/// The other commands of FTP (RFC 959, 2228, 2389, 2428, 3659), POP3 (RFC 1939, 2449) and SMTP (RFC 5321).
const OTHERS: &[&str] = &[
    "ABOR", "ALLO", "APPE", "CAPA", "CCC", "CDUP", "CLNT", "CWD", "DELE", "EPRT", "EPSV", "ETRN", "EXPN",
    "FEAT", "HELP", "HOST", "LANG", "LAST", "LIST", "MDTM", "MKD", "MLSD", "MLST", "MODE", "NLST", "NOOP",
    "OPTS", "PASV", "PBSZ", "PORT", "PROT", "PWD", "QUIT", "RCPT", "REIN", "REST", "RETR", "RMD", "RNFR",
    "RNTO", "RSET", "SITE", "SIZE", "SMNT", "STARTTLS", "STAT", "STLS", "STOR", "STOU", "STRU", "SYST",
    "TOP", "TYPE", "UIDL", "VRFY", "XCUP", "XCWD", "XMKD", "XPWD", "XRMD",
];

impl Verb {
    fn of(word: &[u8]) -> Option<Verb> {
        const VERBS: [(&str, Verb); 11] = [
            ("USER", Verb::User),
            ("PASS", Verb::Pass),
            ("ACCT", Verb::Acct),
            ("APOP", Verb::Apop),
            ("AUTH", Verb::Auth),
            ("HELO", Verb::Hello),
            ("EHLO", Verb::Hello),
            ("LHLO", Verb::Hello),
            ("MAIL", Verb::Hello),
            ("DATA", Verb::Data),
            ("BDAT", Verb::Bdat),
        ];
        let is = |name: &str| name.as_bytes().eq_ignore_ascii_case(word);
        let known = VERBS.iter().find(|(name, _)| is(name)).map(|&(_, verb)| verb);
        known.or_else(|| OTHERS.iter().any(|name| is(name)).then_some(Verb::Other))
    }
}

impl Lockstep {
    pub(super) fn client(
        &mut self,
        item: LinePiece<'_>,
        logins: &mut PendingCredentials,
        out: &mut Vec<u8>,
    ) -> Cutting {
        let line = telnet::strip_leading(item.bytes);
        match std::mem::take(&mut self.stage) {
            NextLine::Command if line.is_empty() => Cutting::Line,
            NextLine::Command => self.command(line, item.is_cut(), logins, out),
            // An exchange that the client does not go on with: its commands are no base64.
            NextLine::Sasl(..) if Verb::of(word(line).0).is_some() => {
                self.command(line, item.is_cut(), logins, out)
            }
            NextLine::Sasl(number, exchange) => {
                self.step(number, exchange.line(line), logins, out);
                Cutting::Line
            }
            NextLine::Data(_) | NextLine::Mail if line == b"." => {
                logins.ask();
                Cutting::Line
            }
            stage => {
                self.stage = stage;
                Cutting::Line
            }
        }
    }

    /// Checks whether a command may come next from the client.
    pub(super) fn takes_commands(&self) -> bool {
        matches!(self.stage, NextLine::Command)
    }

    /// Password of a PASS without a USER before it.
    pub(super) fn password(&self) -> Option<Vec<u8>> {
        self.password.clone()
    }

    /// The stream is complete, or another protocol has been recognised. A login of an unknown protocol counts
    /// only if there is no evidence against it.
    pub(super) fn close(&self, logins: &mut PendingCredentials) {
        if self.doubtful && matches!(logins.speech, Speech::Unheard | Speech::Other) {
            logins.discard();
        }
    }

    fn command(
        &mut self,
        line: &[u8],
        cut: bool,
        logins: &mut PendingCredentials,
        out: &mut Vec<u8>,
    ) -> Cutting {
        let number = logins.ask();
        let (verb, rest) = word(line);
        match Verb::of(verb) {
            Some(Verb::User) => {
                self.doubtful |= words(rest).count() != 1;
                self.user = Some(rest.trim_ascii_end().to_vec());
            }
            Some(Verb::Pass) => self.pass(number, line, cut, logins, out),
            Some(Verb::Acct) => {
                if let Some(user) = &self.user {
                    logins.expect(
                        number,
                        Protocol::Login,
                        Credentials::account(user, argument(line)).cut(cut),
                        out,
                    );
                }
            }
            Some(Verb::Apop) => {
                logins.expect(number, Protocol::Pop3, Credentials::scheme(word(rest).0, b"APOP"), out);
            }
            Some(Verb::Auth) => self.auth(number, rest, cut, logins, out),
            Some(Verb::Hello) => self.mail = true,
            Some(Verb::Data) if self.mail => self.stage = NextLine::Data(number),
            Some(Verb::Bdat) if self.mail => return chunk(rest),
            Some(_) => {}
            None => self.doubtful = true,
        }
        Cutting::Line
    }

    /// What follows the one blank behind PASS is the password, blanks included.
    fn pass(
        &mut self,
        number: u64,
        line: &[u8],
        cut: bool,
        logins: &mut PendingCredentials,
        out: &mut Vec<u8>,
    ) {
        let password = argument(line);
        match &self.user {
            Some(user) => {
                self.doubtful |= password.trim_ascii().contains(&b' ');
                logins.expect(number, Protocol::Login, Credentials::password(user, password).cut(cut), out);
            }
            None => self.password = Some(password.to_vec()),
        }
    }

    /// AUTH, unless it is that of FTP, which asks for TLS or Kerberos and has no line after it.
    fn auth(
        &mut self,
        number: u64,
        rest: &[u8],
        cut: bool,
        logins: &mut PendingCredentials,
        out: &mut Vec<u8>,
    ) {
        let (mechanism, initial) = word(rest);
        let sasl = self.mail || logins.speech == Speech::Signs || is_mechanism(mechanism);
        if cut {
            logins.too_long(Protocol::Auth, "a response", rest.len() as u64, out);
        } else if sasl && !mechanism.is_empty() {
            let initial = Some(initial.trim_ascii()).filter(|initial| !initial.is_empty());
            self.step(number, Sasl::begin(mechanism, initial), logins, out);
        }
    }

    fn step(
        &mut self,
        number: u64,
        (exchange, found): SaslStep,
        logins: &mut PendingCredentials,
        out: &mut Vec<u8>,
    ) {
        if let Some(found) = found {
            logins.expect(number, Protocol::Auth, found, out);
        }
        self.stage = exchange.map_or(NextLine::Command, |exchange| NextLine::Sasl(number, exchange));
    }

    pub(super) fn server(
        &mut self,
        item: LinePiece<'_>,
        logins: &mut PendingCredentials,
        out: &mut Vec<u8>,
    ) -> Cutting {
        let line = item.bytes;
        if let Some(ok) = sign(line).filter(|_| matches!(logins.speech, Speech::Unheard | Speech::Signs)) {
            self.sign(ok, logins, out);
        } else if let Some((code, last)) =
            code(line).filter(|_| matches!(logins.speech, Speech::Unheard | Speech::Codes))
        {
            self.code(code, last, logins, out);
        } else if !line.is_empty() {
            self.uncoded(logins, out);
        }
        Cutting::Line
    }

    /// A line of the server that is neither sign nor code.
    fn uncoded(&mut self, logins: &mut PendingCredentials, out: &mut Vec<u8>) {
        match logins.speech {
            // An answer that does not decide.
            Speech::Codes if self.unfinished.is_none() => {
                self.replied(None, logins, out);
            }
            Speech::Unheard | Speech::Other => {
                logins.speech = Speech::Other;
                self.close(logins);
                logins.flush(out);
            }
            Speech::Codes | Speech::Signs => {}
        }
    }

    fn sign(&mut self, ok: bool, logins: &mut PendingCredentials, out: &mut Vec<u8>) {
        let first = std::mem::replace(&mut logins.speech, Speech::Signs) == Speech::Unheard;
        logins.prove();
        let greeting = first && ok;
        if !greeting {
            let (verdict, sign) = if ok {
                (LoginVerdict::Accepted, b"+OK".as_slice())
            } else {
                (LoginVerdict::Refused, b"-ERR".as_slice())
            };
            if let Some(number) = logins.answer(|_| verdict, sign, out) {
                self.advance(number, None);
            }
        }
    }

    fn code(&mut self, code: [u8; 3], last: bool, logins: &mut PendingCredentials, out: &mut Vec<u8>) {
        // Within a reply, only its own code at the beginning of a line means anything.
        if self.unfinished.is_some_and(|unfinished| unfinished != code) {
            return;
        }
        self.unfinished = (!last).then_some(code);
        if !last {
            return;
        }
        let first = std::mem::replace(&mut logins.speech, Speech::Codes) == Speech::Unheard;
        logins.prove();
        let greeting = first && &code == b"220";
        // After 1xx another reply will follow.
        if !greeting && code[0] != b'1' && !self.is_challenge(code) {
            self.replied(Some(code), logins, out);
        }
    }

    /// Checks for an intermediate reply. FTP, where AUTH has no lines after it, uses the code otherwise.
    fn is_challenge(&self, code: [u8; 3]) -> bool {
        &code == b"334" && (self.mail || matches!(self.stage, NextLine::Sasl(..)))
    }

    fn replied(&mut self, code: Option<[u8; 3]>, logins: &mut PendingCredentials, out: &mut Vec<u8>) {
        let shown = code.as_ref().map_or(&b""[..], |code| code.as_slice());
        let verdict = |protocol| code.map_or(LoginVerdict::Undecided, |code| verdict(protocol, code));
        if let Some(number) = logins.answer(verdict, shown, out) {
            self.advance(number, code);
        }
    }

    fn advance(&mut self, number: u64, code: Option<[u8; 3]>) {
        match self.stage {
            NextLine::Sasl(began, _) if began == number => self.stage = NextLine::Command,
            NextLine::Data(asked) if asked == number => {
                self.stage = if code == Some(*b"354") { NextLine::Mail } else { NextLine::Command };
            }
            _ => {}
        }
    }
}

/// Verdict of a reply on a login: RFC 959 and RFC 2228 for PASS and ACCT, RFC 4954 for AUTH.
fn verdict(protocol: Protocol, code: [u8; 3]) -> LoginVerdict {
    match (protocol, &code) {
        (Protocol::Auth, b"235") | (Protocol::Login, b"202" | b"230" | b"232") => LoginVerdict::Accepted,
        (Protocol::Login, b"430") | (_, [b'5', ..]) => LoginVerdict::Refused,
        _ => LoginVerdict::Undecided,
    }
}

/// The mail that follows BDAT at once, if its size can be believed.
fn chunk(arguments: &[u8]) -> Cutting {
    words(arguments).next().and_then(number).map_or(Cutting::Line, Cutting::Skip)
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

/// `250-` or `250 `; `true` for the last line of the reply.
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
        assert_eq!(overheard(&said), "FTP: bob:s3cret (accepted) 230\n");
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
        assert_eq!(overheard(&said), "FTP: bob smith: a b (refused) 530\nFTP: bob smith:c\n");
    }

    #[test]
    fn pop3() {
        let said =
            [">+OK hi\r\n", "<USER bob\r\nPASS x\r\n", ">+OK\r\n-ERR no\r\n", "<PASS y\r\n", ">+OK\r\n"];
        assert_eq!(overheard(&said), "POP3: bob:x (refused) -ERR\nPOP3: bob:y (accepted) +OK\n");
        let said = [">+OK <1.2@x>\r\n", "<APOP bob c4c9334b\r\n", ">-ERR no\r\n"];
        assert_eq!(overheard(&said), "POP3: bob (APOP) (refused) -ERR\n");
        let said = [
            ">+OK\r\n",
            "<AUTH\r\n",
            ">+OK\r\nPLAIN\r\n.\r\n",
            "<AUTH PLAIN\r\n",
            ">+ \r\n",
            "<AGJvYgBwdw==\r\n",
            ">+OK\r\n",
        ];
        assert_eq!(overheard(&said), "POP3: bob:pw (accepted) +OK\n");
    }

    #[test]
    fn early_clients_are_told_apart_by_the_greeting() {
        let login = "<USER bob\r\nPASS pw\r\n";
        assert_eq!(overheard(&[login]), "UNKNOWN: bob:pw\n");
        assert_eq!(overheard(&[login, ">220 x\r\n331 x\r\n230 x\r\n"]), "FTP: bob:pw (accepted) 230\n");
        assert_eq!(overheard(&[login, ">+OK\r\n+OK\r\n-ERR\r\n"]), "POP3: bob:pw (refused) -ERR\n");
        assert_eq!(overheard(&[login, ">login: \r\n230 x\r\n"]), "UNKNOWN: bob:pw\n");
        assert_eq!(
            overheard(&["<USER bob\r\n", ">331 x\r\n", "<PASS pw\r\n", ">230 x\r\n"]),
            "FTP: bob:pw (accepted) 230\n"
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
        assert_eq!(overheard(&said), "SMTP: bob:pw (refused) 535\nSMTP: bob:pw (accepted) 235\n");
        let said = [
            ">220 x\r\n",
            "<EHLO me\r\nAUTH CRAM-MD5\r\n",
            ">250 x\r\n334 PDE+\r\n",
            "<Ym9iIDAxMjM=\r\n",
            ">235\r\n",
        ];
        assert_eq!(overheard(&said), "SMTP: bob (CRAM-MD5) (accepted) 235\n");
    }

    #[test]
    fn smtp_clients_need_not_wait() {
        let said = [
            ">220 x\r\n",
            "<EHLO me\r\nAUTH LOGIN\r\nYm9i\r\ncHc=\r\nQUIT\r\n",
            ">250 x\r\n334 x\r\n334 x\r\n535 no\r\n221 x\r\n",
        ];
        assert_eq!(overheard(&said), "SMTP: bob:pw (refused) 535\n");
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
        assert_eq!(overheard(&said), "SMTP: b:c (accepted) 235\n");
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
        assert_eq!(overheard(&said), "SMTP: b:c (accepted) 235\n");
        let said = [">220 x\r\n", "<EHLO x\r\nDATA\r\n", ">250 x\r\n503 x\r\n", &login, ">235 x\r\n"];
        assert_eq!(overheard(&said), "SMTP: b:c (accepted) 235\n");
        let chunk = format!("<EHLO x\r\nBDAT {}\r\n{auth}{auth}", auth.len());
        assert_eq!(
            overheard(&[">220 x\r\n", &chunk, ">250 x\r\n250 x\r\n535 x\r\n"]),
            "SMTP: b:c (refused) 535\n"
        );
        let early = format!("<EHLO x\r\nDATA\r\n{auth}.\r\n");
        assert_eq!(overheard(&[&early, ">220 x\r\n250 x\r\n354 x\r\n250 x\r\n"]), "");
    }

    #[test]
    fn many_passwords_for_one_long_name_do_not_make_output_without_end() {
        let said = [b"USER ".as_slice(), &[1; 4000], b"\r\n", &b"PASS\r\n".repeat(10_000)].concat();
        let mut watch = super::super::CredentialSniffer::new(b"", crate::format::Finds::Logins);
        let mut out = Vec::new();
        watch.piece(crate::messages::Side::Client, &said, &mut out);
        watch.close(&mut out);
        assert!(out.len() < 60 * said.len(), "{} bytes for {}", out.len(), said.len());
    }
}
