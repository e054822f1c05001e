//! What was found, until the server's answer to it has come.

use std::collections::VecDeque;

use super::super::visible;

/// How many findings may wait; a client that goes on without hearing an answer gets no verdicts.
const WAITING: usize = 16;

/// A name, and what stood for it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) user: Vec<u8>,
    pub(super) proof: Proof,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Proof {
    Password(Vec<u8>),
    /// A scheme that keeps the secret secret.
    Scheme(Vec<u8>),
}

impl Found {
    pub(super) fn password(user: &[u8], password: &[u8]) -> Self {
        Found { user: user.to_vec(), proof: Proof::Password(password.to_vec()) }
    }

    pub(super) fn scheme(user: &[u8], scheme: &[u8]) -> Self {
        Found { user: user.to_vec(), proof: Proof::Scheme(scheme.to_vec()) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Accepted,
    Refused,
    /// There was an answer, and it does not tell.
    Untold,
}

/// How a server speaks in which commands and replies alternate: all that tells some protocols apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speech {
    Unheard,
    /// `220 ready`
    Codes,
    /// `+OK ready`
    Signs,
}

/// The protocol that a finding belongs to. With some commands, only the server's speech will tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// USER and PASS.
    Login,
    /// AUTH.
    Auth,
    Pop3,
    Imap,
    Http,
    HttpProxy,
    Redis,
}

impl Protocol {
    fn name(self, speech: Speech) -> &'static [u8] {
        match (self, speech) {
            (Protocol::Login | Protocol::Auth, Speech::Unheard) => b"UNKNOWN",
            (Protocol::Login | Protocol::Auth, Speech::Signs) | (Protocol::Pop3, _) => b"POP3",
            (Protocol::Login, Speech::Codes) => b"FTP",
            (Protocol::Auth, Speech::Codes) => b"SMTP",
            (Protocol::Imap, _) => b"IMAP",
            (Protocol::Http | Protocol::HttpProxy, _) => b"HTTP",
            (Protocol::Redis, _) => b"Redis",
        }
    }
}

/// Which of the server's answers decides.
enum Answer {
    /// The one to the command of this number.
    Number(u64),
    /// The one with this tag.
    Tag(Vec<u8>),
}

struct Finding {
    protocol: Protocol,
    found: Found,
    answer: Answer,
}

/// Findings in the order of their making, and the counts that match answers with commands.
pub(super) struct Ledger {
    label: Box<[u8]>,
    pub(super) speech: Speech,
    asked: u64,
    answered: u64,
    waiting: VecDeque<Finding>,
}

impl Ledger {
    pub(super) fn new(label: &[u8]) -> Self {
        let label = label.into();
        Ledger { label, speech: Speech::Unheard, asked: 0, answered: 0, waiting: VecDeque::new() }
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

    /// The answer to the oldest command that has none: that command's number. An answer that nobody
    /// asked for is none.
    pub(super) fn answer(&mut self, verdict: impl Fn(Protocol) -> Verdict, out: &mut Vec<u8>) -> Option<u64> {
        if self.answered == self.asked {
            return None;
        }
        self.answered += 1;
        let now = self.answered;
        self.settle(|answer| matches!(answer, Answer::Number(number) if *number == now), verdict, out);
        Some(now)
    }

    /// The answer to the command with this tag.
    pub(super) fn answer_tag(&mut self, tag: &[u8], verdict: Verdict, out: &mut Vec<u8>) {
        self.settle(|answer| matches!(answer, Answer::Tag(waiting) if waiting == tag), |_| verdict, out);
    }

    /// A finding in the command of this number.
    pub(super) fn expect(&mut self, number: u64, protocol: Protocol, found: Found, out: &mut Vec<u8>) {
        self.wait(Finding { protocol, found, answer: Answer::Number(number) }, out);
        if number <= self.answered {
            self.flush(out);
        }
    }

    /// A finding in the command with this tag.
    pub(super) fn expect_tag(&mut self, tag: &[u8], protocol: Protocol, found: Found, out: &mut Vec<u8>) {
        self.wait(Finding { protocol, found, answer: Answer::Tag(tag.to_vec()) }, out);
    }

    /// Nothing that waits will have an answer, or none that can be understood.
    pub(super) fn flush(&mut self, out: &mut Vec<u8>) {
        self.settle(|_| true, |_| Verdict::Untold, out);
    }

    /// Another protocol begins.
    pub(super) fn restart(&mut self, out: &mut Vec<u8>) {
        self.flush(out);
        (self.speech, self.asked, self.answered) = (Speech::Unheard, 0, 0);
    }

    fn wait(&mut self, finding: Finding, out: &mut Vec<u8>) {
        if self.waiting.len() == WAITING
            && let Some(oldest) = self.waiting.pop_front()
        {
            self.write(&oldest, Verdict::Untold, out);
        }
        self.waiting.push_back(finding);
    }

    fn settle(
        &mut self,
        concerns: impl Fn(&Answer) -> bool,
        verdict: impl Fn(Protocol) -> Verdict,
        out: &mut Vec<u8>,
    ) {
        while let Some(at) = self.waiting.iter().position(|finding| concerns(&finding.answer)) {
            if let Some(finding) = self.waiting.remove(at) {
                self.write(&finding, verdict(finding.protocol), out);
            }
        }
    }

    /// `FTP: bob:s3cret (accepted)`, `POP3: bob (APOP)`
    fn write(&self, finding: &Finding, verdict: Verdict, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.label);
        out.extend_from_slice(finding.protocol.name(self.speech));
        out.extend_from_slice(b": ");
        visible::append(&finding.found.user, false, out);
        match &finding.found.proof {
            Proof::Password(password) => {
                out.push(b':');
                visible::append(password, false, out);
            }
            Proof::Scheme(scheme) => {
                out.extend_from_slice(if finding.found.user.is_empty() { b"(" } else { b" (" });
                visible::append(scheme, false, out);
                out.push(b')');
            }
        }
        out.extend_from_slice(match verdict {
            Verdict::Accepted => b" (accepted)\n",
            Verdict::Refused => b" (refused)\n",
            Verdict::Untold => b"\n",
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_find_their_commands() {
        let (mut ledger, mut out) = (Ledger::new(b""), Vec::new());
        assert_eq!(ledger.answer(|_| Verdict::Accepted, &mut out), None);
        ledger.ask();
        let number = ledger.ask();
        ledger.expect(number, Protocol::Redis, Found::password(b"a", b"b"), &mut out);
        assert_eq!(ledger.answer(|_| Verdict::Accepted, &mut out), Some(1));
        assert_eq!(out, b"");
        assert_eq!(ledger.answer(|_| Verdict::Refused, &mut out), Some(2));
        assert_eq!(out, b"Redis: a:b (refused)\n");
    }

    #[test]
    fn waiting_is_bounded() {
        let (mut ledger, mut out) = (Ledger::new(b""), Vec::new());
        for _ in 0..100 {
            ledger.expect_tag(b"x", Protocol::Imap, Found::scheme(b"", b"GSSAPI"), &mut out);
        }
        assert_eq!(ledger.waiting.len(), WAITING);
        assert_eq!(out, b"IMAP: (GSSAPI)\n".repeat(100 - WAITING));
    }
}
