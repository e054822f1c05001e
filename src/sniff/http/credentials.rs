//! Headers with credentials.

use super::super::sasl::{decode, ntlm_user};
use super::super::words::{parameter, word};
use super::message::Header;
use crate::sniff::pending::{Credentials, Protocol};

const ORIGIN: &[u8] = b"Authorization";
const PROXY: &[u8] = b"Proxy-Authorization";

pub(super) fn is_name(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(ORIGIN) || name.eq_ignore_ascii_case(PROXY)
}

/// Credentials in a header; `all` includes tokens.
pub(super) fn credentials(
    name: &'static str,
    header: &Header<'_>,
    all: bool,
) -> Option<(Protocol, Credentials)> {
    let protocol = match header.name {
        name_ if name_.eq_ignore_ascii_case(ORIGIN) => Protocol::Named(name),
        name_ if name_.eq_ignore_ascii_case(PROXY) => Protocol::Proxy(name),
        _ => return None,
    };
    let (scheme, credentials) = word(header.value);
    let credentials = credentials.trim_ascii_end();
    // An unknown scheme is a token without a name.
    let token = || {
        (all && !is_known(scheme) && !credentials.is_empty()).then(|| Credentials::token(scheme, credentials))
    };
    Some((protocol, found(scheme, credentials).or_else(token)?))
}

fn is_known(scheme: &[u8]) -> bool {
    const KNOWN: [&[u8]; 4] = [b"Basic", b"Digest", b"NTLM", b"Negotiate"];
    KNOWN.iter().any(|known| scheme.eq_ignore_ascii_case(known))
}

/// Credentials of a known scheme.
fn found(scheme: &[u8], credentials: &[u8]) -> Option<Credentials> {
    let is = |name: &[u8]| scheme.eq_ignore_ascii_case(name);
    if is(b"Basic") {
        let pair = decode(credentials)?;
        let colon = pair.iter().position(|&byte| byte == b':')?;
        Some(Credentials::password(&pair[..colon], &pair[colon + 1..]))
    } else if is(b"Digest") {
        let user = parameter(b"username", credentials).unwrap_or_default();
        let realm = parameter(b"realm", credentials);
        let realm = realm.map(|realm| [b", realm ", realm.as_slice()].concat()).unwrap_or_default();
        Some(Credentials::scheme(&user, &[b"Digest".as_slice(), &realm].concat()))
    } else if is(b"NTLM") || is(b"Negotiate") {
        let message = decode(credentials)?;
        let user = ntlm_user(&message);
        let hello = message.starts_with(b"NTLMSSP\0") && user.is_none();
        (!hello).then(|| Credentials::scheme(&user.unwrap_or_default(), scheme))
    } else {
        None
    }
}
