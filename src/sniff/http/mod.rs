//! HTTP/1, and what has its headers, RTSP and SIP: credentials in the headers of requests, and the status of the
//! answers.

mod credentials;
mod form;
mod message;

use super::conversation::{Conversation, Switch};
use super::lines::{Cutting, LIMIT, LinePiece};
use super::words::{number, word};
use crate::sniff::pending::{Credentials, LoginVerdict, PendingCredentials, Protocol};
use credentials::credentials;
use message::{Length, MessagePart, MessageReader};

/// The protocols, by the version that ends a request and begins an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum HttpDialect {
    #[default]
    Http,
    Rtsp,
    Sip,
}

impl HttpDialect {
    const ALL: [HttpDialect; 3] = [HttpDialect::Http, HttpDialect::Rtsp, HttpDialect::Sip];

    fn name(self) -> &'static str {
        match self {
            HttpDialect::Http => "HTTP",
            HttpDialect::Rtsp => "RTSP",
            HttpDialect::Sip => "SIP",
        }
    }

    /// The beginning of the version, without its last digit.
    fn version(self) -> &'static [u8] {
        match self {
            HttpDialect::Http => b"HTTP/1.",
            HttpDialect::Rtsp => b"RTSP/1.",
            HttpDialect::Sip => b"SIP/2.",
        }
    }
}

#[derive(Default)]
pub(super) struct Http {
    kind: HttpDialect,
    request: MessageReader,
    response: MessageReader,
    /// For the last 64 requests, by number: whether it was a HEAD, or a CONNECT. The length of the
    /// answer depends on it, and no client has more requests under way.
    heads: Bits,
    connects: Bits,
    /// SIP's answers find their requests by the header CSeq: credentials that wait for the request's, and the
    /// status that waits for the answer's.
    sip: Sip,
    /// The body of the request that is being read, where it is looked into.
    body: Option<form::BodyKind>,
    /// Successor of the response that is being read.
    leads_to: Option<Switch>,
    switched: Option<Switch>,
}

#[derive(Default)]
struct Sip {
    found: Vec<(Protocol, Credentials)>,
    request: Vec<u8>,
    status: Option<u16>,
    response: Vec<u8>,
}

/// Findings of `--password=all` outside the headers that HTTP defines.
const FORM: Protocol = Protocol::Named("HTTP form");

/// Credentials of one SIP request that are read.
const SIP_CREDENTIALS: usize = 4;

impl Http {
    /// For a stream that begins after the request line.
    pub(super) fn amid_headers() -> Self {
        let mut http = Http::default();
        http.request.begin(Length::Nothing);
        http
    }

    fn request_line(
        &mut self,
        kind: HttpDialect,
        item: LinePiece<'_>,
        logins: &mut PendingCredentials,
        out: &mut Vec<u8>,
    ) {
        let line = item.bytes;
        self.kind = kind;
        self.body = None;
        logins.prove();
        if kind != HttpDialect::Sip {
            let number = logins.ask();
            let (method, _) = word(line);
            self.heads.set(number, method == b"HEAD");
            self.connects.set(number, method == b"CONNECT");
        }
        self.request.begin(Length::Nothing);
        if logins.finds_all() && kind == HttpDialect::Http && !item.is_cut() {
            self.expect_form(form::in_request(line), logins, out);
        }
    }

    fn expect_form(&self, found: Option<Credentials>, logins: &mut PendingCredentials, out: &mut Vec<u8>) {
        if let Some(found) = found {
            logins.expect(logins.asked(), FORM, found, out);
        }
    }

    /// Cutting of the stream after the headers: a form is read completely, any other body is skipped.
    fn body(&mut self, next: Cutting, logins: &mut PendingCredentials, out: &mut Vec<u8>) -> Cutting {
        let Cutting::Skip(length @ 1..) = next else { return next };
        if self.body.is_none() {
            return next;
        }
        if length > LIMIT as u64 {
            self.body = None;
            logins.too_long(FORM, "a body", length, out);
            return next;
        }
        Cutting::Take(length as usize)
    }

    fn request_header(
        &mut self,
        item: LinePiece<'_>,
        logins: &mut PendingCredentials,
        out: &mut Vec<u8>,
    ) -> Cutting {
        let Http { request, kind, sip, body, .. } = self;
        let all = logins.finds_all() && *kind == HttpDialect::Http;
        let mut found = Vec::new();
        let next = request.line(item, |header| {
            if *kind == HttpDialect::Sip && header.is("CSeq") {
                sip.request = header.value.to_vec();
            } else if header.cut && credentials::is_name(header.name) {
                logins.too_long(Protocol::Named(kind.name()), "a header", header.value.len() as u64, out);
            } else if all && header.is("Content-Type") {
                *body = form::BodyKind::of(header.value);
            } else {
                found.extend(credentials(kind.name(), &header, logins.finds_all()));
                found.extend(
                    form::in_header(&header)
                        .filter(|_| all)
                        .map(|found| (Protocol::Named(kind.name()), found)),
                );
            }
        });
        if *kind == HttpDialect::Sip {
            sip.found.extend(found);
            sip.found.truncate(SIP_CREDENTIALS);
            if item.bytes.is_empty() {
                for (protocol, found) in sip.found.drain(..) {
                    logins.expect_tag(&sip.request, protocol, found, out);
                }
            }
            return next;
        }
        for (protocol, found) in found {
            // No request line has been seen before it, if none has been counted.
            let number = if logins.asked() == 0 { logins.ask() } else { logins.asked() };
            logins.expect(number, protocol, found, out);
        }
        self.body(next, logins, out)
    }

    fn answered(&mut self, status: u16, logins: &mut PendingCredentials, out: &mut Vec<u8>) {
        let interim = matches!(status, 100 | 102..=199);
        let code = status.to_string();
        let number = match interim {
            true => None,
            false => logins.answer(|protocol| verdict(protocol, status), code.as_bytes(), out),
        };
        let is = |bits: &Bits| number.is_some_and(|number| bits.get(number));
        self.leads_to = match status {
            101 => Some(Switch::Opaque),
            200..=299 if is(&self.connects) => Some(Switch::Tunnel),
            _ => None,
        };
        let empty = matches!(status, 100..=199 | 204 | 304) || is(&self.heads) || self.leads_to.is_some();
        self.response.begin(match (self.kind, empty) {
            (HttpDialect::Http, false) => Length::UntilClose,
            (HttpDialect::Rtsp | HttpDialect::Sip, false) => Length::Nothing,
            (_, true) => Length::Never,
        });
    }

    fn status_line(&mut self, line: &[u8], logins: &mut PendingCredentials, out: &mut Vec<u8>) {
        match status(self.kind, line) {
            Some(status) if self.kind == HttpDialect::Sip => {
                self.sip.status = Some(status);
                self.response.begin(Length::Nothing);
            }
            Some(status) => {
                logins.prove();
                self.answered(status, logins, out);
            }
            // Headers alone prove nothing.
            None if logins.asked() <= 1 && !line.is_empty() && !logins.is_proven() => logins.discard(),
            None => {}
        }
    }

    fn sip_answered(&mut self, logins: &mut PendingCredentials, out: &mut Vec<u8>) {
        let Some(status) = self.sip.status.take().filter(|status| *status >= 200) else { return };
        let code = status.to_string();
        logins.answer_tag(&self.sip.response, |protocol| verdict(protocol, status), code.as_bytes(), out);
    }
}

impl Conversation for Http {
    fn client(&mut self, item: LinePiece<'_>, logins: &mut PendingCredentials, out: &mut Vec<u8>) -> Cutting {
        if self.request.part == MessagePart::Start {
            if let Some(kind) = self.body.take() {
                self.expect_form(form::in_body(kind, item.bytes), logins, out);
                return Cutting::Line;
            }
            // On a connection that is known to be HTTP's, a line that is too long to be read to its end is a
            // request all the same.
            let cut = (item.is_cut() && logins.asked() > 0).then_some(self.kind);
            if let Some(kind) = kind_of_request(item).or(cut) {
                self.request_line(kind, item, logins, out);
            }
            return Cutting::Line;
        }
        self.request_header(item, logins, out)
    }

    fn server(&mut self, item: LinePiece<'_>, logins: &mut PendingCredentials, out: &mut Vec<u8>) -> Cutting {
        if self.response.part == MessagePart::Start {
            self.status_line(item.bytes, logins, out);
            return Cutting::Line;
        }
        let sip = &mut self.sip;
        let next = self.response.line(item, |header| {
            if sip.status.is_some() && header.is("CSeq") {
                sip.response = header.value.to_vec();
            }
        });
        if self.response.part != MessagePart::Headers {
            self.sip_answered(logins, out);
            self.switched = self.leads_to.take();
        }
        next
    }

    fn gives_way(&mut self) -> Option<Switch> {
        self.switched.take()
    }
}

/// 401 is the origin's refusal and 407 the proxy's, which otherwise has forwarded the request. Any other
/// error may precede the check of the credentials.
fn verdict(protocol: Protocol, status: u16) -> LoginVerdict {
    match (protocol, status) {
        // The answer to a form may be any page.
        (FORM, 401 | 403) => LoginVerdict::Refused,
        (FORM, _) => LoginVerdict::Undecided,
        (Protocol::Proxy(_), 407) | (Protocol::Named(_), 401) => LoginVerdict::Refused,
        (Protocol::Proxy(_), 401) | (_, 200..=399) => LoginVerdict::Accepted,
        _ => LoginVerdict::Undecided,
    }
}

/// Remembers something of the last 64 numbers.
#[derive(Default)]
struct Bits(u64);

impl Bits {
    fn set(&mut self, number: u64, to: bool) {
        let bit = 1 << (number % 64);
        self.0 = if to { self.0 | bit } else { self.0 & !bit };
    }

    fn get(&self, number: u64) -> bool {
        self.0 >> (number % 64) & 1 == 1
    }
}

/// `GET / HTTP/1.1`, of which the end is enough, and so is the beginning of one that is very long.
pub(super) fn is_request(item: LinePiece<'_>) -> bool {
    kind_of_request(item).is_some()
}

fn kind_of_request(item: LinePiece<'_>) -> Option<HttpDialect> {
    let (method, _) = word(item.bytes);
    if method.is_empty() || !method.iter().all(|byte| byte.is_ascii_uppercase() || b"-_".contains(byte)) {
        return None;
    }
    let end = item.tail.unwrap_or(item.bytes).trim_ascii_end();
    let (digit, end) = end.split_last()?;
    let version = |kind: &HttpDialect| {
        let before = end.strip_suffix(kind.version()).and_then(<[u8]>::last);
        before == Some(&b' ') && digit.is_ascii_digit()
    };
    HttpDialect::ALL.into_iter().find(version)
}

/// Recognises a header with credentials.
pub(super) fn is_authorization(line: &[u8]) -> bool {
    message::split(line).is_some_and(|(name, _)| credentials::is_name(name))
}

/// `HTTP/1.1 401 Unauthorized`
fn status(kind: HttpDialect, line: &[u8]) -> Option<u16> {
    let (_, rest) = word(line.strip_prefix(kind.version())?);
    number(word(rest).0)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::super::overheard;

    const GET: &str = "<GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Basic Ym9iOnB3\r\n\r\n";

    #[test]
    fn basic() {
        assert_eq!(overheard(&[GET, ">HTTP/1.1 200 OK\r\n"]), "HTTP: bob:pw (accepted) 200\n");
        assert_eq!(overheard(&[GET, ">HTTP/1.0 401 No\r\n"]), "HTTP: bob:pw (refused) 401\n");
        assert_eq!(overheard(&[GET, ">HTTP/1.1 503 No\r\n"]), "HTTP: bob:pw\n");
        assert_eq!(
            overheard(&[GET, ">HTTP/1.1 100 Go on\r\n\r\nHTTP/1.1 302 x\r\n"]),
            "HTTP: bob:pw (accepted) 302\n"
        );
        assert_eq!(
            overheard(&["<authorization: basic Ym9iOnB3Og\r\n\r\n", ">HTTP/1.1 200 OK\r\n"]),
            "HTTP: bob:pw: (accepted) 200\n"
        );
    }

    #[test]
    fn proxies_judge_for_themselves() {
        let both =
            "<GET http://x/ HTTP/1.1\r\nProxy-Authorization: Basic YTpi\r\nAuthorization: Basic Yzpk\r\n\r\n";
        assert_eq!(overheard(&[both, ">HTTP/1.1 407 No\r\n"]), "HTTP: a:b (refused) 407\nHTTP: c:d\n");
        assert_eq!(
            overheard(&[both, ">HTTP/1.1 401 No\r\n"]),
            "HTTP: a:b (accepted) 401\nHTTP: c:d (refused) 401\n"
        );
    }

    #[test]
    fn secrets_of_other_schemes_stay_secret() {
        let said = [
            "<GET / HTTP/1.1\r\nAuthorization: Digest realm=\"x\", username=\"bob\", response=\"0\"\r\n\r\n",
            ">HTTP/1.1 200 OK\r\n",
        ];
        assert_eq!(overheard(&said), "HTTP: bob (Digest, realm x) (accepted) 200\n");
        let said = ["<GET / HTTP/1.1\r\nAuthorization: Negotiate YIIB\r\n\r\n"];
        assert_eq!(overheard(&said), "HTTP: (Negotiate)\n");
        assert_eq!(overheard(&["<GET / HTTP/1.1\r\nAuthorization: Bearer x\r\n\r\n"]), "");
        assert_eq!(overheard(&["<GET / HTTP/1.1\r\nAuthorization: NTLM TlRMTVNTUAABAAAA\r\n\r\n"]), "");
    }

    #[test]
    fn pipelined_requests_find_their_answers() {
        let requests = format!("<HEAD / HTTP/1.1\r\n\r\n{}{}", &GET[1..], &GET[1..]);
        let said = [
            requests.as_str(),
            ">HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\nHTTP/1.1 401 No\r\n",
            ">Transfer-Encoding: chunked\r\n\r\n12\r\nHTTP/1.1 204 No\r\n\r\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n",
        ];
        assert_eq!(overheard(&said), "HTTP: bob:pw (refused) 401\nHTTP: bob:pw (accepted) 200\n");
    }

    #[test]
    fn bodies_are_not_read() {
        let body = "GET / HTTP/1.1\r\nAuthorization: Basic YTpi\r\n\r\nUSER a\r\nPASS b\r\n";
        let length = format!("<POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}{}", body.len(), &GET[1..]);
        assert_eq!(overheard(&[&length]), "HTTP: bob:pw\n");
        let chunked = format!(
            "<POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{:x};x\r\n{body}\r\n0\r\nx: y\r\n\r\n{}",
            body.len(),
            &GET[1..]
        );
        assert_eq!(overheard(&[&chunked]), "HTTP: bob:pw\n");
    }

    #[test]
    fn tunnels_are_looked_into() {
        let said = [
            "<CONNECT x:21 HTTP/1.1\r\nProxy-Authorization: Basic YTpi\r\n\r\n",
            ">HTTP/1.1 200 OK\r\n\r\n220 hi\r\n",
            "<USER bob\r\nPASS pw\r\n",
            ">331\r\n230\r\n",
        ];
        assert_eq!(overheard(&said), "HTTP: a:b (accepted) 200\nFTP: bob:pw (accepted) 230\n");
        let said = [GET, ">HTTP/1.1 101 x\r\n\r\n", "<USER bob\r\nPASS pw\r\n"];
        assert_eq!(overheard(&said), "HTTP: bob:pw\n");
    }
}
