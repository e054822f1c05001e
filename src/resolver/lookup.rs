//! Looks up names and addresses. The only module that uses dns-lookup, that is, the C library's resolver.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use dns_lookup::{AddrFamily, AddrInfoHints, LookupError, SockType, getaddrinfo, getnameinfo};
use nix::errno::Errno;
use nix::libc;

use crate::messages::{Address, Find, IpFamily, LookupAnswer, Name, NameQuestion};

/// Maximum number of addresses in an answer.
const MOST: usize = 32;

/// Error for the parent if a lookup ended without an answer.
pub(super) const NO_ANSWER: &str = "the lookup ended without an answer (numeric addresses need none)";

/// A question, by its sender.
#[derive(Debug)]
pub(super) enum Question {
    /// From the parent.
    Find(Find),
    /// From the logger.
    Name(NameQuestion),
}

impl Question {
    /// Maximum duration of the lookup, enforced by the kernel: glibc waits without a limit for a name server that has
    /// accepted a TCP connection. A name of a peer is too late for its session after 2 seconds, and is cached for the
    /// next one; a start waits for three name servers that do not answer and a search list.
    pub(super) fn time_limit(&self) -> Duration {
        match self {
            Question::Find(_) => Duration::from_secs(30),
            Question::Name(_) => Duration::from_secs(8),
        }
    }
}

/// Looks up the answer to a question.
pub(super) fn answer(question: &Question) -> LookupAnswer {
    match question {
        Question::Find(request) => find(request),
        Question::Name(question) => LookupAnswer::Named(name(&question.address)),
    }
}

/// Finds the addresses of a host and service, IPv4 before IPv6.
fn find(find: &Find) -> LookupAnswer {
    let hints = AddrInfoHints {
        socktype: SockType::Stream.into(),
        address: match find.family {
            IpFamily::Any => 0,
            IpFamily::Ipv4 => AddrFamily::Inet.into(),
            IpFamily::Ipv6 => AddrFamily::Inet6.into(),
        },
        flags: if find.listen { libc::AI_PASSIVE } else { 0 },
        ..AddrInfoHints::default()
    };
    // getaddrinfo requires one of the two.
    let service = find.service.as_deref().or(Some("0"));
    let found = match getaddrinfo(find.host.as_deref(), service, Some(hints)) {
        Ok(found) => found,
        Err(error) => {
            return LookupAnswer::NotFound { code: error.error_num(), errno: Errno::last_raw() };
        }
    };
    let mut addresses: Vec<Address> =
        found.filter_map(|info| info.ok()).map(|info| address(info.sockaddr)).take(MOST).collect();
    addresses.sort_by_key(|address| matches!(address, Address::V6 { .. }));
    if addresses.is_empty() {
        return LookupAnswer::NotFound { code: libc::EAI_NODATA, errno: 0 };
    }
    LookupAnswer::Found(addresses)
}

/// `gai_strerror(3)` without the crate's prefix, or the system error behind it. A lookup reports numbers
/// only, so that none of its text reaches an error message.
pub(super) fn reason(code: i32, errno: i32) -> String {
    if code == libc::EAI_SYSTEM {
        return crate::reason::reason(errno);
    }
    let text = std::io::Error::from(LookupError::new(code)).to_string();
    text.strip_prefix("failed to lookup address information: ").unwrap_or(&text).to_owned()
}

fn address(socket: SocketAddr) -> Address {
    match socket {
        SocketAddr::V4(v4) => Address::V4 { host: *v4.ip(), port: v4.port() },
        SocketAddr::V6(v6) => Address::V6 { host: *v6.ip(), port: v6.port(), scope: v6.scope_id() },
    }
}

/// Finds the names of node and service. A name that does not resolve to the address is rejected: the owner of the
/// reverse zone can claim any name.
fn name(address: &Address) -> Name {
    let numeric = address.numeric();
    let socket = match *address {
        Address::V4 { host, port } => SocketAddr::from((host, port)),
        Address::V6 { host, port, scope } => SocketAddrV6::new(host, port, 0, scope).into(),
        Address::Unix(_) => return numeric,
    };
    let numeric_host = if socket.ip().is_unspecified() { libc::NI_NUMERICHOST } else { 0 };
    let numeric_service = if address.may_be_a_service() { 0 } else { libc::NI_NUMERICSERV };
    match getnameinfo(&socket, numeric_host | numeric_service) {
        Ok((node, service)) if node == numeric.node || leads_back(&node, socket.ip()) => {
            Name { node, service }
        }
        Ok((_, service)) => Name { service, ..numeric },
        Err(_) => numeric,
    }
}

fn leads_back(node: &str, ip: IpAddr) -> bool {
    // A number: not looked up, or forged.
    if node.parse::<IpAddr>().is_ok() {
        return false;
    }
    dns_lookup::lookup_host(node).is_ok_and(|found| found.into_iter().any(|other| other == ip))
}
