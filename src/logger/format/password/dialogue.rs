//! Which protocol a session speaks, and how that comes out.

use super::http::{self, Http, Switch};
use super::imap::{self, Imap};
use super::ledger::{Ledger, Speech};
use super::lines::Next;
use super::lockstep::Lockstep;
use super::redis::{self, Redis};
use super::words::after;

pub(super) enum Dialogue {
    /// FTP, POP3, SMTP, or anything that has not given itself away yet.
    Lockstep(Lockstep),
    Http(Http),
    Imap(Imap),
    Redis(Redis),
    /// Nothing that can be read.
    Opaque,
}

impl Default for Dialogue {
    fn default() -> Self {
        Dialogue::Lockstep(Lockstep::default())
    }
}

impl Dialogue {
    /// A line (or what else was asked for) from the client.
    pub(super) fn client(&mut self, item: &[u8], ledger: &mut Ledger, out: &mut Vec<u8>) -> Next {
        if self.is_open(ledger)
            && let Some(recognised) = by_client(item)
        {
            self.become_known(recognised, ledger, out);
        }
        match self {
            Dialogue::Lockstep(lockstep) => lockstep.client(item, ledger, out),
            Dialogue::Http(http) => http.client(item, ledger, out),
            Dialogue::Imap(imap) => imap.client(item, ledger, out),
            Dialogue::Redis(redis) => redis.client(item, ledger, out),
            Dialogue::Opaque => Next::Deaf,
        }
    }

    /// A line from the server.
    pub(super) fn server(&mut self, line: &[u8], ledger: &mut Ledger, out: &mut Vec<u8>) -> Next {
        if self.is_open(ledger)
            && let Some(recognised) = by_server(line)
        {
            self.become_known(recognised, ledger, out);
        }
        match self {
            Dialogue::Lockstep(lockstep) => lockstep.server(line, ledger, out),
            Dialogue::Http(http) => {
                let next = http.server(line, ledger, out);
                self.switch(ledger, out).unwrap_or(next)
            }
            Dialogue::Imap(imap) => imap.server(line, ledger, out),
            Dialogue::Redis(redis) => redis.server(line, ledger, out),
            Dialogue::Opaque => Next::Deaf,
        }
    }

    /// Whether the server has just declined bytes that the client had announced; asked once.
    pub(super) fn literal_refused(&mut self) -> bool {
        match self {
            Dialogue::Imap(imap) => imap.literal_refused(),
            _ => false,
        }
    }

    fn is_open(&self, ledger: &Ledger) -> bool {
        ledger.speech == Speech::Unheard
            && matches!(self, Dialogue::Lockstep(lockstep) if lockstep.takes_commands())
    }

    fn become_known(&mut self, known: Dialogue, ledger: &mut Ledger, out: &mut Vec<u8>) {
        match known {
            // Commands before this one count: an inline PING has had its answer, too.
            Dialogue::Redis(_) => ledger.flush(out),
            _ => ledger.restart(out),
        }
        *self = known;
    }

    /// Where HTTP has given way to something else.
    fn switch(&mut self, ledger: &mut Ledger, out: &mut Vec<u8>) -> Option<Next> {
        let Dialogue::Http(http) = self else { return None };
        let next = match http.switched()? {
            Switch::Tunnel => {
                *self = Dialogue::default();
                Next::Line
            }
            Switch::Upgrade => {
                *self = Dialogue::Opaque;
                Next::Deaf
            }
        };
        ledger.restart(out);
        Some(next)
    }
}

fn by_client(line: &[u8]) -> Option<Dialogue> {
    if is_opaque(line) {
        Some(Dialogue::Opaque)
    } else if http::is_request(line) {
        Some(Dialogue::Http(Http::default()))
    } else if http::is_authorization(line) {
        Some(Dialogue::Http(Http::amid_headers()))
    } else if redis::is_command(line) {
        Some(Dialogue::Redis(Redis::default()))
    } else if imap::is_login(line) {
        Some(Dialogue::Imap(Imap::default()))
    } else {
        None
    }
}

fn by_server(line: &[u8]) -> Option<Dialogue> {
    if is_opaque(line) {
        Some(Dialogue::Opaque)
    } else if imap::is_greeting(line) {
        Some(Dialogue::Imap(Imap::default()))
    } else if redis::is_reply(line) {
        Some(Dialogue::Redis(Redis::default()))
    } else {
        None
    }
}

/// SSH, and HTTP/2 without TLS.
fn is_opaque(line: &[u8]) -> bool {
    line.starts_with(b"SSH-") || after(b"PRI * HTTP/2", line).is_some()
}
