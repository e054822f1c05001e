//! One side of the bridge, from its positional argument, its host option and its half of `-p`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::cli::usage::{shown, usage};
use crate::cli::values::{bracketed, decimal, is_host};
use crate::config::{Approach, Endpoint, Family, Port};
use crate::exit::Failure;

/// Maximum length of `sun_path` without its NUL.
const LONGEST_PATH: usize = 107;
/// Maximum length for getservbyname(3) (`NI_MAXSERV`, without its NUL).
const LONGEST_SERVICE: usize = 31;

/// Settings of one side.
pub(super) struct Given<'a> {
    pub(super) approach: Approach,
    /// The family of this side, from its half of `-p`.
    pub(super) family: Family,
    /// `-a` or `-s`.
    pub(super) host: Option<String>,
    /// `SERVERPORT` or `LOCALPORT`.
    pub(super) place: &'a OsStr,
}

/// With `-p unix` the positional argument is always a path, as in 1.4.4. Otherwise it is a port, or one of the forms
/// that cannot be a port: `HOST:PORT`, `[ADDRESS]:PORT`, `unix:PATH` and `@NAME`.
pub(super) fn endpoint(given: Given) -> Result<Endpoint, Failure> {
    if given.family.is_unix() {
        return unix(&given, given.place);
    }
    let bytes = given.place.as_bytes();
    let path = if bytes.starts_with(b"@") { Some(bytes) } else { bytes.strip_prefix(b"unix:") };
    match path {
        Some(path) if given.family == Family::Any => unix(&given, OsStr::from_bytes(path)),
        Some(_) => Err(refused(given.place, "-p says another protocol")),
        None => internet(given),
    }
}

fn unix(given: &Given, path: &OsStr) -> Result<Endpoint, Failure> {
    if let Some(host) = &given.host {
        let port = shown(given.place);
        return Err(usage(format!("{} port {port}: A Unix socket has no address.", shown(host.as_ref()))));
    }
    // The @ of an abstract name takes the place of the NUL that ends a path.
    let (shortest, longest) =
        if path.as_bytes().starts_with(b"@") { (2, LONGEST_PATH + 1) } else { (1, LONGEST_PATH) };
    if !(shortest..=longest).contains(&path.len()) || path.as_bytes().contains(&0) {
        return Err(refused(
            given.place,
            &format!("invalid path of a Unix socket (1 to {LONGEST_PATH} bytes)"),
        ));
    }
    Ok(Endpoint {
        approach: given.approach,
        family: if given.family == Family::UnixPackets { given.family } else { Family::Unix },
        host: None,
        port: Port::Path(path.to_owned()),
    })
}

fn internet(given: Given) -> Result<Endpoint, Failure> {
    let text = given.place.to_str().unwrap_or_default();
    let (host, port) = match text.rsplit_once(':') {
        None => (given.host, text),
        Some((host, port)) => {
            let host = address(host).ok_or_else(|| {
                refused(given.place, "invalid address (HOST:PORT, [IPV6]:PORT or unix:PATH)")
            })?;
            if given.host.is_some() {
                return Err(refused(given.place, "the address is given twice"));
            }
            (Some(host.to_owned()), port)
        }
    };
    let port = number_or_service(port, given.approach)
        .ok_or_else(|| refused(given.place, "invalid port (1 to 65535, or the name of a service)"))?;
    // `-a '*'` is an explicit default in 1.4.4.
    let host = host.filter(|host| given.approach == Approach::Connect || host != "*");
    Ok(Endpoint { approach: given.approach, family: given.family, host, port })
}

/// Parses the host in `HOST:PORT`. An IPv6 address needs brackets: `::1:80` is ambiguous.
fn address(text: &str) -> Option<&str> {
    bracketed(text).or(Some(text).filter(|text| is_host(text) && !text.contains(':')))
}

/// Rejects port 0 for connections, where it cannot be dynamic.
fn number_or_service(text: &str, approach: Approach) -> Option<Port> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return match decimal(text)? {
            0 if approach == Approach::Connect => None,
            0 => Some(Port::Dynamic),
            number => Some(Port::Number(number)),
        };
    }
    // A service name contains a letter (RFC 6335), so `-1` and `80.` are errors, not names.
    let named = text.bytes().any(|byte| byte.is_ascii_alphabetic());
    let possible = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"/:@[]".contains(&byte));
    (named && possible && text.len() <= LONGEST_SERVICE).then(|| Port::Service(text.to_owned()))
}

fn refused(place: &OsStr, reason: &str) -> Failure {
    usage(format!("{}: {reason}.", shown(place)))
}
