//! HTTP/1: who asks, in the headers of requests, and the status of the answers. Bodies are passed
//! over by their length, so that nothing in them is taken for a header.

use super::ledger::{Found, Ledger, Protocol, Verdict};
use super::lines::Next;
use super::sasl::{decode, ntlm_user};
use super::words::{after, number, parameter, word};

#[derive(Default)]
pub(super) struct Http {
    request: Message,
    response: Message,
    /// For the last 64 requests, by number: whether it was a HEAD, or a CONNECT. The length of the
    /// answer depends on it, and no one has more requests under way.
    heads: Bits,
    connects: Bits,
    /// What the response that is being read will lead to.
    leads_to: Option<Switch>,
    switched: Option<Switch>,
}

/// What follows HTTP on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Switch {
    /// Any other protocol.
    Tunnel,
    /// Something binary.
    Upgrade,
}

impl Http {
    /// For a stream that begins after the request line.
    pub(super) fn amid_headers() -> Self {
        let request = Message { part: Part::Headers, length: Length::Nothing };
        Http { request, ..Http::default() }
    }

    pub(super) fn client(&mut self, line: &[u8], ledger: &mut Ledger, out: &mut Vec<u8>) -> Next {
        if self.request.part == Part::Headers && is_authorization(line) {
            // No request line has been seen before it, if none has been counted.
            let number = if ledger.asked() == 0 { ledger.ask() } else { ledger.asked() };
            if let Some((protocol, found)) = authorization(line) {
                ledger.expect(number, protocol, found, out);
            }
        }
        if self.request.part == Part::Start && is_request(line) {
            let number = ledger.ask();
            let (method, _) = word(line);
            self.heads.set(number, method == b"HEAD");
            self.connects.set(number, method == b"CONNECT");
            self.request.begin(Length::Nothing);
            return Next::Line;
        }
        self.request.line(line)
    }

    pub(super) fn server(&mut self, line: &[u8], ledger: &mut Ledger, out: &mut Vec<u8>) -> Next {
        if self.response.part == Part::Start {
            if let Some(status) = status(line) {
                self.answered(status, ledger, out);
            }
            return Next::Line;
        }
        let next = self.response.line(line);
        if self.response.part != Part::Headers {
            self.switched = self.leads_to.take();
        }
        next
    }

    /// Where the connection has gone to with the last line; asked once.
    pub(super) fn switched(&mut self) -> Option<Switch> {
        self.switched.take()
    }

    fn answered(&mut self, status: u16, ledger: &mut Ledger, out: &mut Vec<u8>) {
        let interim = matches!(status, 100 | 102..=199);
        let number = if interim { None } else { ledger.answer(|protocol| verdict(protocol, status), out) };
        let is = |bits: &Bits| number.is_some_and(|number| bits.get(number));
        self.leads_to = match status {
            101 => Some(Switch::Upgrade),
            200..=299 if is(&self.connects) => Some(Switch::Tunnel),
            _ => None,
        };
        let empty = matches!(status, 100..=199 | 204 | 304) || is(&self.heads) || self.leads_to.is_some();
        self.response.begin(if empty { Length::Never } else { Length::UntilClose });
    }
}

/// 401 is the origin's refusal and 407 the proxy's, who else has let the request pass. Any other
/// error may have been found before the credentials were looked at.
fn verdict(protocol: Protocol, status: u16) -> Verdict {
    match (protocol, status) {
        (Protocol::HttpProxy, 407) | (Protocol::Http, 401) => Verdict::Refused,
        (Protocol::HttpProxy, 401) | (_, 200..=399) => Verdict::Accepted,
        _ => Verdict::Untold,
    }
}

/// One direction: where in a message it is.
#[derive(Default)]
struct Message {
    part: Part,
    length: Length,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Part {
    /// Before the first line of a message.
    #[default]
    Start,
    Headers,
    /// Before the size of a chunk.
    Chunk,
    /// After the last chunk.
    Trailer,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Length {
    /// No body, unless a header says otherwise.
    #[default]
    Nothing,
    /// No body, whatever the headers say.
    Never,
    Bytes(u64),
    Chunks,
    UntilClose,
}

impl Message {
    fn begin(&mut self, length: Length) {
        *self = Message { part: Part::Headers, length };
    }

    fn line(&mut self, line: &[u8]) -> Next {
        match self.part {
            Part::Headers if line.is_empty() => return self.body(),
            Part::Headers => self.header(line),
            Part::Trailer if line.is_empty() => self.part = Part::Start,
            // A chunk's own end is an empty line here.
            Part::Chunk if !line.is_empty() => return self.chunk(line),
            Part::Start | Part::Chunk | Part::Trailer => {}
        }
        Next::Line
    }

    fn header(&mut self, line: &[u8]) {
        if self.length == Length::Never {
        } else if after(b"Transfer-Encoding:", line)
            .is_some_and(|value| value.trim_ascii().ends_with(b"chunked"))
        {
            self.length = Length::Chunks;
        } else if let Some(value) = after(b"Content-Length:", line)
            && let Some(length) = number(value.trim_ascii())
            && self.length != Length::Chunks
        {
            self.length = Length::Bytes(length);
        }
    }

    fn body(&mut self) -> Next {
        self.part = if self.length == Length::Chunks { Part::Chunk } else { Part::Start };
        match self.length {
            Length::Nothing | Length::Never | Length::Chunks => Next::Line,
            Length::Bytes(count) => Next::Skip(count),
            Length::UntilClose => Next::Deaf,
        }
    }

    fn chunk(&mut self, line: &[u8]) -> Next {
        let digits = line.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
        match str::from_utf8(digits).ok().and_then(|digits| u64::from_str_radix(digits, 16).ok()) {
            Some(0) => self.part = Part::Trailer,
            Some(size) => return Next::Skip(size),
            None => self.part = Part::Start,
        }
        Next::Line
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

/// `GET / HTTP/1.1`
pub(super) fn is_request(line: &[u8]) -> bool {
    let line = line.trim_ascii_end();
    let Some(start) = line.len().checked_sub(b" HTTP/1.1".len()) else { return false };
    let is_method = |word: &[u8]| word.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'-');
    line[start..].starts_with(b" HTTP/1.") && is_method(word(line).0)
}

/// Whether this is the header that says who asks.
pub(super) fn is_authorization(line: &[u8]) -> bool {
    after(b"Authorization:", line).or_else(|| after(b"Proxy-Authorization:", line)).is_some()
}

fn authorization(line: &[u8]) -> Option<(Protocol, Found)> {
    let (protocol, value) = match after(b"Authorization:", line) {
        Some(value) => (Protocol::Http, value),
        None => (Protocol::HttpProxy, after(b"Proxy-Authorization:", line)?),
    };
    let (scheme, credentials) = word(value);
    Some((protocol, found(scheme, credentials.trim_ascii_end())?))
}

/// What the credentials tell. A scheme that is not listed here is a token, which has no name in it.
fn found(scheme: &[u8], credentials: &[u8]) -> Option<Found> {
    let is = |name: &[u8]| scheme.eq_ignore_ascii_case(name);
    if is(b"Basic") {
        let pair = decode(credentials)?;
        let colon = pair.iter().position(|&byte| byte == b':')?;
        Some(Found::password(&pair[..colon], &pair[colon + 1..]))
    } else if is(b"Digest") {
        Some(Found::scheme(parameter(b"username", credentials).unwrap_or_default(), b"Digest"))
    } else if is(b"NTLM") || is(b"Negotiate") {
        let message = decode(credentials)?;
        let user = ntlm_user(&message);
        let hello = message.starts_with(b"NTLMSSP\0") && user.is_none();
        (!hello).then(|| Found::scheme(&user.unwrap_or_default(), scheme))
    } else {
        None
    }
}

/// `HTTP/1.1 401 Unauthorized`
fn status(line: &[u8]) -> Option<u16> {
    let (_, rest) = word(after(b"HTTP/1.", line)?);
    number(word(rest).0)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::super::overheard;

    const GET: &str = "<GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Basic Ym9iOnB3\r\n\r\n";

    #[test]
    fn basic() {
        assert_eq!(overheard(&[GET, ">HTTP/1.1 200 OK\r\n"]), "HTTP: bob:pw (accepted)\n");
        assert_eq!(overheard(&[GET, ">HTTP/1.0 401 No\r\n"]), "HTTP: bob:pw (refused)\n");
        assert_eq!(overheard(&[GET, ">HTTP/1.1 503 No\r\n"]), "HTTP: bob:pw\n");
        assert_eq!(
            overheard(&[GET, ">HTTP/1.1 100 Go on\r\n\r\nHTTP/1.1 302 x\r\n"]),
            "HTTP: bob:pw (accepted)\n"
        );
        assert_eq!(
            overheard(&["<authorization: basic Ym9iOnB3Og\r\n", ">HTTP/1.1 200 OK\r\n"]),
            "HTTP: bob:pw: (accepted)\n"
        );
    }

    #[test]
    fn proxies_judge_for_themselves() {
        let both =
            "<GET http://x/ HTTP/1.1\r\nProxy-Authorization: Basic YTpi\r\nAuthorization: Basic Yzpk\r\n\r\n";
        assert_eq!(overheard(&[both, ">HTTP/1.1 407 No\r\n"]), "HTTP: a:b (refused)\nHTTP: c:d\n");
        assert_eq!(overheard(&[both, ">HTTP/1.1 401 No\r\n"]), "HTTP: a:b (accepted)\nHTTP: c:d (refused)\n");
    }

    #[test]
    fn secrets_of_other_schemes_stay_secret() {
        let said = [
            "<GET / HTTP/1.1\r\nAuthorization: Digest realm=\"x\", username=\"bob\", response=\"0\"\r\n\r\n",
            ">HTTP/1.1 200 OK\r\n",
        ];
        assert_eq!(overheard(&said), "HTTP: bob (Digest) (accepted)\n");
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
        assert_eq!(overheard(&said), "HTTP: bob:pw (refused)\nHTTP: bob:pw (accepted)\n");
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
        assert_eq!(overheard(&said), "HTTP: a:b (accepted)\nFTP: bob:pw (accepted)\n");
        let said = [GET, ">HTTP/1.1 101 x\r\n\r\n", "<USER bob\r\nPASS pw\r\n"];
        assert_eq!(overheard(&said), "HTTP: bob:pw\n");
    }
}
