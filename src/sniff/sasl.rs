//! SASL, as POP3, IMAP and SMTP carry it: a mechanism's name, then lines of base64.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::words::{after, parameter};
use crate::sniff::pending::Credentials;

/// Lenient, as servers are.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

pub(super) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    BASE64.decode(text).ok()
}

/// Expected content of the client's next line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sasl {
    /// All in one.
    Plain,
    /// LOGIN's first.
    Name,
    /// LOGIN's second, from this user.
    Password(Vec<u8>),
    /// An answer, with a name in it perhaps, but no secret.
    Response { mechanism: Vec<u8> },
    /// Nothing relevant.
    Rest,
}

/// State of an exchange after a line, and the finding in the line.
pub(super) type SaslStep = (Option<Sasl>, Option<Credentials>);

impl Sasl {
    /// `initial` is the response that came with the command; `=` is an empty one.
    pub(super) fn begin(mechanism: &[u8], initial: Option<&[u8]>) -> SaslStep {
        let mechanism = mechanism[..mechanism.len().min(32)].to_ascii_uppercase();
        let exchange = match mechanism.as_slice() {
            b"PLAIN" => Sasl::Plain,
            b"LOGIN" => Sasl::Name,
            _ => Sasl::Response { mechanism },
        };
        match initial {
            None => (Some(exchange), None),
            Some(b"=") => exchange.decoded(Vec::new()),
            Some(initial) => exchange.line(initial),
        }
    }

    /// The client's next line; `*` cancels.
    pub(super) fn line(self, line: &[u8]) -> SaslStep {
        match decode(line.trim_ascii()) {
            _ if line == b"*" => (None, None),
            Some(response) => self.decoded(response),
            None => (None, None),
        }
    }

    fn decoded(self, response: Vec<u8>) -> SaslStep {
        match self {
            Sasl::Plain => (None, plain(&response)),
            Sasl::Name => (Some(Sasl::Password(response)), None),
            Sasl::Password(user) => (None, Some(Credentials::password(&user, &response))),
            // The first of NTLM's two messages has no name.
            Sasl::Response { mechanism } if response.starts_with(b"NTLMSSP\0\x01") => {
                (Some(Sasl::Response { mechanism }), None)
            }
            Sasl::Response { mechanism } => {
                let user = user(&mechanism, &response).unwrap_or_default();
                (Some(Sasl::Rest), Some(Credentials::scheme(&user, &mechanism)))
            }
            Sasl::Rest => (Some(Sasl::Rest), None),
        }
    }
}

/// Mechanisms that identify SASL's AUTH by themselves.
pub(super) fn is_mechanism(word: &[u8]) -> bool {
    const KNOWN: [&[u8]; 7] =
        [b"PLAIN", b"LOGIN", b"CRAM-MD5", b"DIGEST-MD5", b"NTLM", b"XOAUTH2", b"OAUTHBEARER"];
    KNOWN.iter().any(|known| known.eq_ignore_ascii_case(word)) || after(b"SCRAM-", word).is_some()
}

/// Three fields with NULs between (RFC 4616); the first, the identity to act for, is usually empty.
pub(super) fn plain(response: &[u8]) -> Option<Credentials> {
    let mut fields = response.splitn(3, |&byte| byte == 0);
    let (actor, user, password) = (fields.next()?, fields.next()?, fields.next()?);
    Some(Credentials::password(if user.is_empty() { actor } else { user }, password))
}

/// Finding in the first response of a mechanism, without base64.
pub(super) fn response(mechanism: &[u8], response: &[u8]) -> Option<Credentials> {
    match mechanism {
        b"PLAIN" => plain(response),
        _ => Some(Credentials::scheme(&user(mechanism, response).unwrap_or_default(), mechanism)),
    }
}

/// The name in the first response of a mechanism that does not send the secret.
fn user(mechanism: &[u8], response: &[u8]) -> Option<Vec<u8>> {
    let field = |separator: u8, name: &[u8]| {
        response
            .split(|&byte| byte == separator)
            .find_map(|field| field.strip_prefix(name))
            .map(<[u8]>::to_vec)
    };
    match mechanism {
        b"CRAM-MD5" => Some(response[..response.iter().rposition(|&byte| byte == b' ')?].to_vec()),
        b"DIGEST-MD5" => parameter(b"username", response),
        b"EXTERNAL" | b"ANONYMOUS" => Some(response.to_vec()),
        b"XOAUTH2" => field(1, b"user="),
        b"OAUTHBEARER" => field(b',', b"a="),
        b"NTLM" => ntlm_user(response),
        _ if mechanism.starts_with(b"SCRAM-") => field(b',', b"n="),
        _ => None,
    }
}

/// The user in NTLM's last message, where its length and place stand at fixed offsets. UTF-16 is
/// the rule; an 8-bit name is found out by its having no zero bytes.
pub(super) fn ntlm_user(message: &[u8]) -> Option<Vec<u8>> {
    if !message.starts_with(b"NTLMSSP\0\x03") {
        return None;
    }
    let length = u16::from_le_bytes(*message.get(36..)?.first_chunk()?);
    let start = usize::try_from(u32::from_le_bytes(*message.get(40..)?.first_chunk()?)).ok()?;
    let user = message.get(start..)?.get(..usize::from(length))?;
    if !user.contains(&0) {
        return Some(user.to_vec());
    }
    let units = user.as_chunks::<2>().0.iter().map(|&unit| u16::from_le_bytes(unit));
    Some(
        char::decode_utf16(units)
            .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
            .collect::<String>()
            .into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(mechanism: &str, response: &[u8]) -> SaslStep {
        Sasl::begin(mechanism.as_bytes(), Some(BASE64.encode(response).as_bytes()))
    }

    #[test]
    fn plain_has_three_fields() {
        assert_eq!(first("plain", b"\0bob\0pw"), (None, Some(Credentials::password(b"bob", b"pw"))));
        assert_eq!(first("PLAIN", b"bob\0\0pw"), (None, Some(Credentials::password(b"bob", b"pw"))));
        assert_eq!(first("PLAIN", b"bob\0pw"), (None, None));
        assert_eq!(Sasl::begin(b"PLAIN", Some(b"=")), (None, None));
        assert_eq!(Sasl::begin(b"PLAIN", Some(b"!!")), (None, None));
    }

    #[test]
    fn login_takes_two_lines() {
        let (Some(exchange), None) = Sasl::begin(b"LOGIN", None) else { panic!() };
        let (Some(exchange), None) = exchange.line(b"Ym9i") else { panic!() };
        assert_eq!(exchange.line(b"cHc"), (None, Some(Credentials::password(b"bob", b"pw"))));
        assert_eq!(Sasl::Name.line(b"*"), (None, None));
    }

    #[test]
    fn challenge_mechanisms_show_the_user() {
        let ntlm =
            [b"NTLMSSP\0\x03\0\0\0".as_slice(), &[0; 24], b"\x06\0\x06\0\x2c\0\0\0", b"b\0o\0b\0"].concat();
        for (mechanism, response) in [
            ("CRAM-MD5", b"bob 0123456789abcdef".as_slice()),
            ("DIGEST-MD5", b"charset=utf-8,username=\"bob\",realm=\"x\""),
            ("SCRAM-SHA-256", b"n,,n=bob,r=nonce"),
            ("XOAUTH2", b"user=bob\x01auth=Bearer token\x01\x01"),
            ("OAUTHBEARER", b"n,a=bob,\x01host=x\x01auth=Bearer token\x01\x01"),
            ("NTLM", &ntlm),
        ] {
            let found = Credentials::scheme(b"bob", mechanism.as_bytes());
            assert_eq!(first(mechanism, response), (Some(Sasl::Rest), Some(found)));
            assert!(is_mechanism(mechanism.as_bytes()));
        }
        assert_eq!(first("GSSAPI", b"\x60\x82").1, Some(Credentials::scheme(b"", b"GSSAPI")));
        assert_eq!(first("NTLM", b"NTLMSSP\0\x01").1, None);
    }
}
