//! Findings that wait for the server's answer, and their output.

use std::collections::VecDeque;

use crate::format::Finds;
use crate::record::visible;

/// Maximum number of pending findings. Another one makes the oldest be written without a verdict.
const WAITING: usize = 16;

/// Bytes of a reply code that are shown.
const CODE: usize = 32;

/// Number of passwords for one user name after which the name is shortened, and the shortened length in
/// bytes. Otherwise a long name and many short passwords would produce thousands of times as much output as
/// input.
const TRIES: u32 = 8;
const SHORT_NAME: usize = 64;

/// A name, and its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) user: Vec<u8>,
    pub(super) proof: Proof,
    /// Part of it was longer than what is read.
    pub(super) cut: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    Password(Vec<u8>),
    /// A scheme that does not send the secret, with other known details.
    Scheme(Vec<u8>),
    /// FTP's ACCT, which some servers require after the password.
    Account(Vec<u8>),
    /// A password that was typed at a prompt, so that its meaning is a guess.
    Typed(Vec<u8>),
    /// A secret without a name, and its kind.
    Token {
        kind: Vec<u8>,
        token: Vec<u8>,
    },
}

impl Credentials {
    fn new(user: &[u8], proof: Proof) -> Self {
        Credentials { user: user.to_vec(), proof, cut: false }
    }

    pub(super) fn password(user: &[u8], password: &[u8]) -> Self {
        Credentials::new(user, Proof::Password(password.to_vec()))
    }

    pub(super) fn scheme(user: &[u8], scheme: &[u8]) -> Self {
        Credentials::new(user, Proof::Scheme(scheme.to_vec()))
    }

    pub(super) fn account(user: &[u8], account: &[u8]) -> Self {
        Credentials::new(user, Proof::Account(account.to_vec()))
    }

    pub(super) fn typed(user: &[u8], password: &[u8]) -> Self {
        Credentials::new(user, Proof::Typed(password.to_vec()))
    }

    pub(super) fn token(kind: &[u8], token: &[u8]) -> Self {
        Credentials::new(b"", Proof::Token { kind: kind.to_vec(), token: token.to_vec() })
    }

    pub(super) fn cut(mut self, cut: bool) -> Self {
        self.cut |= cut;
        self
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LoginVerdict {
    Accepted,
    Refused,
    /// The answer does not decide.
    Undecided,
}

/// Reply syntax of a server in which commands and replies alternate: the only difference between some
/// protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speech {
    Unheard,
    /// `220 ready`
    Codes,
    /// `+OK ready`
    Signs,
    /// Neither.
    Other,
}

/// Protocol of a finding. For some commands only the server's replies identify it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// USER and PASS.
    Login,
    /// AUTH.
    Auth,
    Pop3,
    /// A protocol with only one name.
    Named(&'static str),
    /// HTTP, RTSP or SIP, to a proxy.
    Proxy(&'static str),
}

impl Protocol {
    fn name(self, speech: Speech) -> &'static str {
        match (self, speech) {
            (Protocol::Named(name) | Protocol::Proxy(name), _) => name,
            (_, Speech::Unheard | Speech::Other) => "UNKNOWN",
            (Protocol::Login | Protocol::Auth, Speech::Signs) | (Protocol::Pop3, _) => "POP3",
            (Protocol::Login, Speech::Codes) => "FTP",
            (Protocol::Auth, Speech::Codes) => "SMTP",
        }
    }
}

/// Selector of the server's answer that decides.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// The one to the command of this number.
    Number(u64),
    /// The one with this tag.
    Tag(Vec<u8>),
}

struct Finding {
    protocol: Protocol,
    found: Credentials,
    answer: Answer,
}

/// Findings in the order of their making, and the counts that match answers with commands.
pub(super) struct PendingCredentials {
    label: Box<[u8]>,
    pub(super) speech: Speech,
    /// The server's grammar, or the message itself, has shown that the protocol is the one supposed.
    proven: bool,
    asked: u64,
    answered: u64,
    waiting: VecDeque<Finding>,
    finds: Finds,
    /// The last name with a password, and how many passwords it has had in a row.
    tried: (Vec<u8>, u32),
}

impl PendingCredentials {
    pub(super) fn new(label: &[u8], finds: Finds) -> Self {
        PendingCredentials {
            finds,
            label: label.into(),
            speech: Speech::Unheard,
            proven: false,
            asked: 0,
            answered: 0,
            waiting: VecDeque::new(),
            tried: (Vec::new(), 0),
        }
    }

    /// `--password=all`
    pub(super) fn finds_all(&self) -> bool {
        self.finds == Finds::All
    }

    /// From now on findings are written under the name of their protocol.
    pub(super) fn prove(&mut self) {
        self.proven = true;
    }

    pub(super) fn is_proven(&self) -> bool {
        self.proven
    }

    /// A command that will have one answer; this is its number.
    pub(super) fn ask(&mut self) -> u64 {
        self.asked += 1;
        self.asked
    }

    /// The last command's number.
    pub(super) fn asked(&self) -> u64 {
        self.asked
    }

    /// Applies an answer to the oldest command without one, and returns that command's number. An answer
    /// without a command is ignored. `code` is shown beside the verdict.
    pub(super) fn answer(
        &mut self,
        verdict: impl Fn(Protocol) -> LoginVerdict,
        code: &[u8],
        out: &mut Vec<u8>,
    ) -> Option<u64> {
        if self.answered == self.asked {
            return None;
        }
        self.answered += 1;
        let now = Answer::Number(self.answered);
        self.settle(|answer| *answer == now, verdict, code, out);
        Some(self.answered)
    }

    /// The answer to the command with this tag.
    pub(super) fn answer_tag(
        &mut self,
        tag: &[u8],
        verdict: impl Fn(Protocol) -> LoginVerdict,
        code: &[u8],
        out: &mut Vec<u8>,
    ) {
        self.settle(|answer| matches!(answer, Answer::Tag(waiting) if waiting == tag), verdict, code, out);
    }

    /// The answer to everything that waits.
    pub(super) fn answer_all(&mut self, verdict: LoginVerdict, code: &[u8], out: &mut Vec<u8>) {
        self.settle(|_| true, |_| verdict, code, out);
    }

    /// A finding in the command of this number.
    pub(super) fn expect(&mut self, number: u64, protocol: Protocol, found: Credentials, out: &mut Vec<u8>) {
        self.wait(Finding { protocol, found, answer: Answer::Number(number) }, out);
        if number <= self.answered {
            self.flush(out);
        }
    }

    /// A finding in the command with this tag.
    pub(super) fn expect_tag(
        &mut self,
        tag: &[u8],
        protocol: Protocol,
        found: Credentials,
        out: &mut Vec<u8>,
    ) {
        self.wait(Finding { protocol, found, answer: Answer::Tag(tag.to_vec()) }, out);
    }

    /// Nothing that waits will have an answer, or none that can be understood.
    pub(super) fn flush(&mut self, out: &mut Vec<u8>) {
        self.answer_all(LoginVerdict::Undecided, b"", out);
    }

    /// The pending findings were no findings: the protocol is a different one.
    pub(super) fn discard(&mut self) {
        self.waiting.clear();
    }

    /// Another protocol begins on the same connection.
    pub(super) fn restart(&mut self, out: &mut Vec<u8>) {
        self.flush(out);
        (self.speech, self.proven, self.asked, self.answered) = (Speech::Unheard, false, 0, 0);
    }

    /// A message that may hold credentials is longer than what is read.
    pub(super) fn too_long(&mut self, protocol: Protocol, message: &str, length: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.label);
        let name = protocol.name(self.speech);
        out.extend_from_slice(format!("{name}: ({message} of {length} bytes is not read)\n").as_bytes());
    }

    fn wait(&mut self, finding: Finding, out: &mut Vec<u8>) {
        if self.waiting.len() == WAITING
            && let Some(oldest) = self.waiting.pop_front()
        {
            self.write(&oldest, " (answer not awaited)", b"", out);
        }
        self.waiting.push_back(finding);
    }

    fn settle(
        &mut self,
        concerns: impl Fn(&Answer) -> bool,
        verdict: impl Fn(Protocol) -> LoginVerdict,
        code: &[u8],
        out: &mut Vec<u8>,
    ) {
        while let Some(at) = self.waiting.iter().position(|finding| concerns(&finding.answer)) {
            if let Some(finding) = self.waiting.remove(at) {
                let (verdict, code) = match verdict(finding.protocol) {
                    LoginVerdict::Accepted => (" (accepted)", code),
                    LoginVerdict::Refused => (" (refused)", code),
                    LoginVerdict::Undecided => ("", &b""[..]),
                };
                self.write(&finding, verdict, code, out);
            }
        }
    }

    /// `FTP: bob:s3cret (accepted) 230`, `POP3: bob (APOP)`
    fn write(&mut self, finding: &Finding, verdict: &str, code: &[u8], out: &mut Vec<u8>) {
        let Finding { protocol, found, .. } = finding;
        let name = if self.proven { protocol.name(self.speech) } else { "UNKNOWN" };
        let (user, shortened) = self.shown_name(&found.user);
        out.extend_from_slice(&self.label);
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        visible::append(user, false, out);
        match &found.proof {
            Proof::Password(password) | Proof::Typed(password) => {
                out.push(b':');
                visible::append(password, false, out);
            }
            Proof::Token { kind, token } => {
                out.push(b'(');
                visible::append(kind, false, out);
                out.extend_from_slice(b"):");
                visible::append(token, false, out);
            }
            Proof::Scheme(text) | Proof::Account(text) => {
                out.extend_from_slice(if user.is_empty() { b"(" } else { b" (" });
                if matches!(found.proof, Proof::Account(_)) {
                    out.extend_from_slice(b"ACCT ");
                }
                visible::append(text, false, out);
                out.push(b')');
            }
        }
        if matches!(found.proof, Proof::Typed(_)) {
            out.extend_from_slice(b" (typed at a prompt)");
        }
        if found.cut || shortened {
            out.extend_from_slice(b" (cut)");
        }
        out.extend_from_slice(verdict.as_bytes());
        if !code.is_empty() {
            out.push(b' ');
            visible::append(&code[..code.len().min(CODE)], false, out);
        }
        out.push(b'\n');
    }

    /// The part of a name that is shown, and whether it is less than all.
    fn shown_name<'a>(&mut self, user: &'a [u8]) -> (&'a [u8], bool) {
        let (name, tries) = &mut self.tried;
        if name.as_slice() != user {
            *name = user.to_vec();
            *tries = 0;
        }
        *tries = tries.saturating_add(1);
        if *tries > TRIES && user.len() > SHORT_NAME { (&user[..SHORT_NAME], true) } else { (user, false) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAP: Protocol = Protocol::Named("IMAP");

    fn logins() -> (PendingCredentials, Vec<u8>) {
        let mut logins = PendingCredentials::new(b"", Finds::Logins);
        logins.prove();
        (logins, Vec::new())
    }

    #[test]
    fn answers_find_their_commands() {
        let (mut logins, mut out) = logins();
        assert_eq!(logins.answer(|_| LoginVerdict::Accepted, b"", &mut out), None);
        logins.ask();
        let number = logins.ask();
        logins.expect(number, Protocol::Named("Redis"), Credentials::password(b"a", b"b"), &mut out);
        assert_eq!(logins.answer(|_| LoginVerdict::Accepted, b"+OK", &mut out), Some(1));
        assert_eq!(out, b"");
        assert_eq!(logins.answer(|_| LoginVerdict::Refused, b"-ERR", &mut out), Some(2));
        assert_eq!(out, b"Redis: a:b (refused) -ERR\n");
    }

    #[test]
    fn findings_that_are_not_awaited_say_so() {
        let (mut logins, mut out) = logins();
        for _ in 0..100 {
            logins.expect_tag(b"x", IMAP, Credentials::scheme(b"", b"GSSAPI"), &mut out);
        }
        assert_eq!(logins.waiting.len(), WAITING);
        assert_eq!(out, b"IMAP: (GSSAPI) (answer not awaited)\n".repeat(100 - WAITING));
    }

    #[test]
    fn unproven_findings_have_no_protocol() {
        let (mut logins, mut out) = (PendingCredentials::new(b"[3] ", Finds::Logins), Vec::new());
        logins.expect_tag(b"x", IMAP, Credentials::password(b"a", b"b").cut(true), &mut out);
        logins.flush(&mut out);
        assert_eq!(out, b"[3] UNKNOWN: a:b (cut)\n");
        logins.expect_tag(b"x", IMAP, Credentials::password(b"a", b"b"), &mut out);
        logins.discard();
        logins.flush(&mut out);
        assert_eq!(out, b"[3] UNKNOWN: a:b (cut)\n");
    }

    #[test]
    fn every_password_of_a_name_is_shown_and_the_name_in_part() {
        let (mut logins, mut out) = logins();
        for (name, cut) in [(vec![b'n'; 200], " (cut)"), (vec![b'n'; 64], "")] {
            out.clear();
            for _ in 0..=TRIES {
                logins.expect_tag(b"", IMAP, Credentials::password(&name, b"p"), &mut out);
            }
            logins.flush(&mut out);
            let (whole, short) = ("n".repeat(name.len()), "n".repeat(SHORT_NAME));
            let first = format!("IMAP: {whole}:p\n").repeat(TRIES as usize);
            assert_eq!(String::from_utf8(out.clone()).unwrap(), format!("{first}IMAP: {short}:p{cut}\n"));
        }
    }
}
