//! XMPP (RFC 6120): SASL in elements of their own, and the older `jabber:iq:auth` (XEP-0078). The stream is cut at
//! every `>`, so that an item is the text before a tag and the tag.

use super::conversation::{Conversation, Switch};
use super::lines::{Cutting, LinePiece};
use super::sasl::{Sasl, SaslStep};
use super::words::after;
use crate::sniff::pending::{Credentials, LoginVerdict, PendingCredentials, Protocol};

const XMPP: Protocol = Protocol::Named("XMPP");

/// How a client begins.
pub(super) const STARTS: [&[u8]; 2] = [b"<?xml", b"<stream:stream"];

#[derive(Default)]
pub(super) struct Xmpp {
    exchange: Option<Sasl>,
    /// The text of this element comes next.
    inside: Inside,
    user: Vec<u8>,
    encrypted: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Inside {
    #[default]
    Nothing,
    Response,
    User,
    Password,
}

/// An item: the text, and the tag without its angles.
struct Tag<'a> {
    text: &'a [u8],
    tag: &'a [u8],
}

impl<'a> Tag<'a> {
    fn read(item: &'a [u8]) -> Self {
        match item.iter().rposition(|&byte| byte == b'<') {
            Some(at) => Tag { text: &item[..at], tag: &item[at + 1..] },
            None => Tag { text: item, tag: b"" },
        }
    }

    fn is(&self, name: &str) -> bool {
        self.tag.strip_prefix(name.as_bytes()).is_some_and(|rest| {
            !rest.first().is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
        })
    }

    fn is_empty_element(&self) -> bool {
        self.tag.ends_with(b"/")
    }

    fn attribute(&self, name: &str) -> Option<&'a [u8]> {
        let mut rest = self.tag;
        while let Some(at) = rest.iter().position(u8::is_ascii_whitespace) {
            rest = rest[at..].trim_ascii_start();
            if let Some(value) =
                after(name.as_bytes(), rest).and_then(|rest| rest.trim_ascii_start().strip_prefix(b"="))
                && let Some((quote @ (b'"' | b'\''), value)) = value.trim_ascii_start().split_first()
            {
                return value.split(|byte| byte == quote).next();
            }
        }
        None
    }
}

impl Conversation for Xmpp {
    fn start(&self) -> [Cutting; 2] {
        [Cutting::Until(b'>'); 2]
    }

    fn client(&mut self, item: LinePiece<'_>, logins: &mut PendingCredentials, out: &mut Vec<u8>) -> Cutting {
        let tag = Tag::read(item.bytes);
        match std::mem::take(&mut self.inside) {
            Inside::Nothing => {}
            Inside::Response => {
                if let Some(exchange) = self.exchange.take() {
                    self.step(exchange.line(tag.text), logins, out);
                }
            }
            Inside::User => self.user = plain(tag.text),
            Inside::Password => {
                let found = Credentials::password(&self.user, &plain(tag.text)).cut(item.is_cut());
                logins.expect_tag(b"", XMPP, found, out);
            }
        }
        if tag.is("auth") || tag.is("authenticate") {
            if let Some(mechanism) = tag.attribute("mechanism") {
                logins.prove();
                self.exchange = Sasl::begin(mechanism, None).0;
                self.inside = if tag.is("auth") { Inside::Response } else { Inside::Nothing };
            }
        } else if tag.is("response") || tag.is("initial-response") {
            self.inside = Inside::Response;
        } else if tag.is("username") {
            self.inside = Inside::User;
        } else if tag.is("password") {
            self.inside = Inside::Password;
        }
        if tag.is_empty_element() {
            self.inside = Inside::Nothing;
        }
        Cutting::Until(b'>')
    }

    fn server(&mut self, item: LinePiece<'_>, logins: &mut PendingCredentials, out: &mut Vec<u8>) -> Cutting {
        let tag = Tag::read(item.bytes);
        let result = tag.is("iq").then(|| tag.attribute("type")).flatten();
        let verdict = match result {
            _ if tag.is("success") => Some((LoginVerdict::Accepted, &b"success"[..])),
            _ if tag.is("failure") => Some((LoginVerdict::Refused, &b"failure"[..])),
            Some(b"result") => Some((LoginVerdict::Accepted, &b"result"[..])),
            Some(b"error") => Some((LoginVerdict::Refused, &b"error"[..])),
            _ => None,
        };
        if tag.is("stream:stream") {
            logins.prove();
        }
        if let Some((verdict, code)) = verdict {
            self.exchange = None;
            logins.answer_all(verdict, code, out);
        }
        self.encrypted = tag.is("proceed");
        Cutting::Until(b'>')
    }

    fn gives_way(&mut self) -> Option<Switch> {
        self.encrypted.then_some(Switch::Opaque)
    }
}

impl Xmpp {
    fn step(&mut self, (exchange, found): SaslStep, logins: &mut PendingCredentials, out: &mut Vec<u8>) {
        if let Some(found) = found {
            logins.expect_tag(b"", XMPP, found, out);
        }
        self.exchange = exchange;
    }
}

/// Text without XML's five entities.
fn plain(text: &[u8]) -> Vec<u8> {
    const ENTITIES: [(&[u8], u8); 5] =
        [(b"&lt;", b'<'), (b"&gt;", b'>'), (b"&quot;", b'"'), (b"&apos;", b'\''), (b"&amp;", b'&')];
    let mut plain = Vec::new();
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let entity = ENTITIES.iter().find_map(|(name, byte)| Some((*byte, rest.strip_prefix(*name)?)));
        let (byte, after) = entity.unwrap_or((byte, after));
        plain.push(byte);
        rest = after;
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::super::overheard;

    const OPEN: &str = "<<?xml version='1.0'?><stream:stream to='x' xmlns='jabber:client'>";
    const OPENED: &str = "><?xml version='1.0'?><stream:stream from='x'><stream:features></stream:features>";

    #[test]
    fn sasl() {
        let auth = "<<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism=\"PLAIN\">AGJvYgBwdw==</auth>";
        let (yes, no) = ("><success xmlns='x'/>", "><failure xmlns='x'><not-authorized/></failure>");
        assert_eq!(overheard(&[OPEN, OPENED, auth, yes]), "XMPP: bob:pw (accepted) success\n");
        assert_eq!(overheard(&[OPEN, OPENED, auth, no]), "XMPP: bob:pw (refused) failure\n");
        let said = [
            OPEN,
            OPENED,
            "<<auth mechanism='PLAIN'/>",
            "><challenge/>",
            "<<response>AGJvYgBwdw==</response>",
            yes,
            "<<message><body>auth mechanism='PLAIN'</body></message>",
        ];
        assert_eq!(overheard(&said), "XMPP: bob:pw (accepted) success\n");
    }

    #[test]
    fn older_servers() {
        let said = [
            OPEN,
            OPENED,
            "<<iq type='set'><query xmlns='jabber:iq:auth'><username>bob</username><password>a&lt;&amp;b</password></query></iq>",
            "><iq type='error' id='1'>",
        ];
        assert_eq!(overheard(&said), "XMPP: bob:a<&b (refused) error\n");
    }

    #[test]
    fn encrypted_streams_are_not_read() {
        let said = [OPEN, OPENED, "<<starttls/>", "><proceed/>", "<\x16\x03>\nUSER a\nPASS b\n"];
        assert_eq!(overheard(&said), "");
    }
}
