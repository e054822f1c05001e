//! Recognises the protocol of a session, from the first bytes of either side or from the first line that
//! belongs to a single protocol.

use super::amqp::Amqp;
use super::conversation::{Conversation, Switch};
use super::http::{self, Http};
use super::imap::{self, Imap};
use super::irc::{self, Irc};
use super::ldap::{self, Ldap};
use super::lines::{Cutting, LinePiece};
use super::lockstep::Lockstep;
use super::memcached::{self, Memcached};
use super::mqtt::{self, Mqtt};
use super::mysql::{self, MySql};
use super::nats::{self, Nats};
use super::nntp::{self, Nntp};
use super::postgres::{self, Postgres};
use super::redis::{self, Redis};
use super::sieve::{self, Sieve};
use super::socks::{self, Socks};
use super::telnet::{self, Telnet};
use super::words::after;
use super::xmpp::{self, Xmpp};
use crate::messages::Side;
use crate::sniff::pending::{PendingCredentials, Speech};

#[derive(Default)]
pub(super) struct Dialogue {
    speaking: Speaking,
    /// New cutting of the client's stream.
    redirected: Option<Cutting>,
    /// Of client and server: the stream began as text.
    text: [bool; 2],
}

enum Speaking {
    /// FTP, POP3, SMTP, or any text whose protocol has not shown itself yet.
    Open(Lockstep),
    Known(Box<dyn Conversation>),
    /// Nothing that can be read.
    Opaque,
}

impl Default for Speaking {
    fn default() -> Self {
        Speaking::Open(Lockstep::default())
    }
}

/// Classification of a stream's first bytes.
enum Classification {
    Undecided,
    Text,
    Known(Box<dyn Conversation>),
    Opaque,
}

impl Dialogue {
    /// Cutting of a direction that begins with `prefix`.
    pub(super) fn peek(&mut self, side: Side, prefix: &[u8]) -> Option<Cutting> {
        if let Speaking::Open(_) = &self.speaking {
            let opening = match side {
                Side::Client => client_opening(prefix),
                Side::Server => server_opening(prefix),
            };
            match opening {
                Classification::Undecided => return None,
                Classification::Text => {
                    self.text[side as usize] = true;
                    return Some(Cutting::Line);
                }
                Classification::Known(conversation) => {
                    // If one side sends lines, the other sends no binary protocol.
                    let lines = self.text[1 - side as usize] && !conversation.takes_over();
                    self.speaking = if lines { Speaking::Opaque } else { Speaking::Known(conversation) };
                }
                Classification::Opaque => self.speaking = Speaking::Opaque,
            }
        }
        Some(match &self.speaking {
            Speaking::Known(conversation) => conversation.start()[side as usize],
            Speaking::Opaque | Speaking::Open(_) => Cutting::Ignore,
        })
    }

    /// A line (or what else was asked for) from the client.
    pub(super) fn client(
        &mut self,
        item: LinePiece<'_>,
        logins: &mut PendingCredentials,
        out: &mut Vec<u8>,
    ) -> Cutting {
        let recognised = match self.takes_commands() {
            true if logins.speech == Speech::Codes => after_code(item),
            true if logins.speech != Speech::Signs => by_client(item),
            _ => None,
        };
        if let Some(recognised) = recognised {
            self.become_known(recognised, logins, out);
        }
        match &mut self.speaking {
            Speaking::Open(lockstep) => lockstep.client(item, logins, out),
            Speaking::Known(conversation) => conversation.client(item, logins, out),
            Speaking::Opaque => Cutting::Ignore,
        }
    }

    /// A line (or what else was asked for) from the server.
    pub(super) fn server(
        &mut self,
        item: LinePiece<'_>,
        logins: &mut PendingCredentials,
        out: &mut Vec<u8>,
    ) -> Cutting {
        if self.takes_commands()
            && matches!(logins.speech, Speech::Unheard | Speech::Other)
            && let Some(recognised) = by_server(item.bytes)
        {
            self.become_known(recognised, logins, out);
        }
        match &mut self.speaking {
            Speaking::Open(lockstep) => lockstep.server(item, logins, out),
            Speaking::Known(conversation) => {
                let next = conversation.server(item, logins, out);
                match conversation.gives_way() {
                    Some(switch) => self.give_way(switch, logins, out),
                    None => next,
                }
            }
            Speaking::Opaque => Cutting::Ignore,
        }
    }

    /// New cutting of the client's stream after the server's message; asked once.
    pub(super) fn redirect_client(&mut self) -> Option<Cutting> {
        self.redirected.take().or_else(|| match &mut self.speaking {
            Speaking::Known(conversation) => conversation.redirect_client(),
            Speaking::Open(_) | Speaking::Opaque => None,
        })
    }

    /// The stream is complete.
    pub(super) fn close(&mut self, logins: &mut PendingCredentials) {
        if let Speaking::Open(lockstep) = &self.speaking {
            lockstep.close(logins);
        }
    }

    fn takes_commands(&self) -> bool {
        matches!(&self.speaking, Speaking::Open(lockstep) if lockstep.takes_commands())
    }

    fn become_known(&mut self, recognised: Recognised, logins: &mut PendingCredentials, out: &mut Vec<u8>) {
        let earlier = match &mut self.speaking {
            Speaking::Open(lockstep) => std::mem::take(lockstep),
            _ => Lockstep::default(),
        };
        self.speaking = match recognised {
            Recognised::Opaque => Speaking::Opaque,
            Recognised::Irc => Speaking::Known(Box::new(Irc::after(earlier.password()))),
            Recognised::Known(conversation) => Speaking::Known(conversation),
            // Commands before this one count: an inline PING has had its answer, too.
            Recognised::Redis => {
                earlier.close(logins);
                logins.flush(out);
                self.speaking = Speaking::Known(Box::new(Redis::default()));
                return;
            }
        };
        earlier.close(logins);
        logins.restart(out);
    }

    /// New cutting of the server's stream after a protocol that has ended.
    fn give_way(&mut self, switch: Switch, logins: &mut PendingCredentials, out: &mut Vec<u8>) -> Cutting {
        logins.restart(out);
        match switch {
            Switch::Tunnel => {
                self.speaking = Speaking::default();
                self.text = [false; 2];
                self.redirected = Some(Cutting::Peek);
                Cutting::Peek
            }
            Switch::Opaque => {
                self.speaking = Speaking::Opaque;
                self.redirected = Some(Cutting::Ignore);
                Cutting::Ignore
            }
        }
    }
}

/// A line that belongs to a single protocol.
enum Recognised {
    Opaque,
    Irc,
    Redis,
    Known(Box<dyn Conversation>),
}

fn known(conversation: impl Conversation + 'static) -> Recognised {
    Recognised::Known(Box::new(conversation))
}

/// Recognises a client's line after a greeting like `200 ready`.
fn after_code(item: LinePiece<'_>) -> Option<Recognised> {
    nntp::is_login(item.bytes).then(|| known(Nntp::default()))
}

fn by_client(item: LinePiece<'_>) -> Option<Recognised> {
    let line = item.bytes;
    if is_opaque(line) {
        Some(Recognised::Opaque)
    } else if http::is_request(item) {
        Some(known(Http::default()))
    } else if http::is_authorization(line) {
        Some(known(Http::amid_headers()))
    } else if irc::is_registration(line) {
        Some(Recognised::Irc)
    } else if redis::is_command(line) {
        Some(Recognised::Redis)
    } else if nntp::is_login(line) {
        Some(known(Nntp::default()))
    } else if sieve::is_login(line) {
        Some(known(Sieve::default()))
    } else if nats::is_connect(line) {
        Some(known(Nats))
    } else if imap::is_login(line) {
        Some(known(Imap::default()))
    } else {
        None
    }
}

fn by_server(line: &[u8]) -> Option<Recognised> {
    if is_opaque(line) {
        Some(Recognised::Opaque)
    } else if imap::is_greeting(line) {
        Some(known(Imap::default()))
    } else if redis::is_reply(line) {
        Some(Recognised::Redis)
    } else if sieve::is_greeting(line) {
        Some(known(Sieve::default()))
    } else if nats::is_greeting(line) {
        Some(known(Nats))
    } else if irc::is_server(line) {
        Some(Recognised::Irc)
    } else {
        None
    }
}

/// Recognises SSH, and HTTP/2 without TLS.
fn is_opaque(line: &[u8]) -> bool {
    line.starts_with(b"SSH-") || after(b"PRI * HTTP/2", line).is_some()
}

/// Classifies a client's first bytes. More bytes never change a decision.
fn client_opening(prefix: &[u8]) -> Classification {
    match prefix {
        [] => Classification::Undecided,
        [b'A', ..] => signature(prefix, b"AMQP", || Box::new(Amqp::default())),
        [b'<', ..] => xmpp_or_text(prefix),
        [ldap::SEQUENCE, ..] => {
            decided(ldap::is_opening(prefix), Classification::Text, || Box::new(Ldap::default()))
        }
        [mqtt::CONNECT, ..] => {
            decided(mqtt::is_opening(prefix), Classification::Opaque, || Box::new(Mqtt::default()))
        }
        [socks::VERSION, ..] => {
            decided(socks::is_opening(prefix), Classification::Opaque, || Box::new(Socks::default()))
        }
        [memcached::REQUEST, ..] => {
            decided(memcached::is_opening(prefix), Classification::Opaque, || Box::new(Memcached::default()))
        }
        [0, ..] => {
            decided(postgres::is_opening(prefix), Classification::Opaque, || Box::new(Postgres::default()))
        }
        &[first, ..] => text_or_opaque(first),
    }
}

/// Classifies the first bytes of a server that sends first.
fn server_opening(prefix: &[u8]) -> Classification {
    match prefix {
        [] => Classification::Undecided,
        [telnet::IAC, ..] => Classification::Known(Box::new(Telnet::default())),
        &[first, ..] => match mysql::is_greeting(prefix) {
            None => Classification::Undecided,
            Some(true) => Classification::Known(Box::new(MySql::default())),
            Some(false) => text_or_opaque(first),
        },
    }
}

fn text_or_opaque(first: u8) -> Classification {
    match first {
        // Telnet's commands may stand before those of FTP; UTF-8 begins with C2 or more.
        b'\t' | b'\n' | b'\r' | b' '..=b'~' | telnet::IAC | 0xc2..=0xf4 => Classification::Text,
        _ => Classification::Opaque,
    }
}

fn decided(
    is: Option<bool>,
    otherwise: Classification,
    conversation: impl FnOnce() -> Box<dyn Conversation>,
) -> Classification {
    match is {
        None => Classification::Undecided,
        Some(true) => Classification::Known(conversation()),
        Some(false) => otherwise,
    }
}

fn signature(
    prefix: &[u8],
    signature: &[u8],
    conversation: impl FnOnce() -> Box<dyn Conversation>,
) -> Classification {
    let common = prefix.len().min(signature.len());
    let is = (prefix[..common] != signature[..common]).then_some(false);
    decided(is.or((common == signature.len()).then_some(true)), Classification::Text, conversation)
}

fn xmpp_or_text(prefix: &[u8]) -> Classification {
    let is = xmpp::STARTS.iter().map(|start| {
        let common = prefix.len().min(start.len());
        (prefix[..common] == start[..common]).then_some(common == start.len())
    });
    match is.flatten().max() {
        Some(true) => Classification::Known(Box::new(Xmpp::default())),
        Some(false) => Classification::Undecided,
        None => Classification::Text,
    }
}
