//! Resolves endpoints to addresses: numbers here, names through the resolver.

use crate::signals::{advice, describe};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::ffi::OsStrExt;

use nix::ifaddrs::getifaddrs;
use nix::sys::signalfd::SignalFd;

use crate::config::{Approach, Config, Endpoint, Family, Port};
use crate::exit::{Failure, Status};
use crate::messages::{Address, Find, IpFamily, ProcessEnd, ToParent, ToResolver};
use crate::parent::startup::limits;
use crate::parent::startup::roles::RunningRole;
use crate::parent::startup::stop::Stop;
use crate::reason::shown_name;

/// Names an endpoint in an error as 1.4.4 does: `[NODE ]port SERVICE`, as typed.
pub(in crate::parent) fn label(endpoint: &Endpoint) -> String {
    let port = match &endpoint.port {
        Port::Dynamic => "0".into(),
        Port::Number(number) => number.to_string(),
        Port::Service(name) => name.escape_debug().to_string(),
        Port::Path(path) => shown_name(path.as_bytes()),
    };
    match &endpoint.host {
        Some(host) => format!("{} port {port}", host.escape_debug()),
        None => format!("port {port}"),
    }
}

/// Builds the error for an endpoint.
pub(in crate::parent) fn failure(endpoint: &Endpoint, status: Status, reason: &str) -> Failure {
    Failure::new(status, format!("{}: {reason}", label(endpoint)))
}

/// Addresses of both sides.
pub(in crate::parent) struct Addresses {
    pub(in crate::parent) client: Vec<Address>,
    pub(in crate::parent) server: Vec<Address>,
}

impl Addresses {
    pub(in crate::parent) fn find(
        config: &Config,
        resolver: &RunningRole<ToResolver>,
        signals: &SignalFd,
    ) -> Result<Addresses, Stop> {
        let server = interleave(find(&config.server, resolver, signals)?);
        let client = interleave(find(&config.client, resolver, signals)?);
        Ok(Addresses { client, server })
    }
}

/// Finds every address of an endpoint, best first.
fn find(
    endpoint: &Endpoint,
    resolver: &RunningRole<ToResolver>,
    signals: &SignalFd,
) -> Result<Vec<Address>, Stop> {
    let port = match &endpoint.port {
        Port::Path(path) => return Ok(vec![Address::Unix(path.as_bytes().to_vec())]),
        Port::Dynamic => Some(0),
        Port::Number(number) => Some(*number),
        Port::Service(_) => None,
    };
    if let (Some(port), Some(addresses)) = (port, without_resolver(endpoint)?) {
        return Ok(addresses.into_iter().map(|host| with_port(host, port)).collect());
    }
    ask(endpoint, resolver, signals)
}

/// An address without a port.
#[derive(Clone, Copy)]
struct Host {
    ip: IpAddr,
    scope: u32,
}

fn with_port(host: Host, port: u16) -> Address {
    match host.ip {
        IpAddr::V4(ip) => Address::V4 { host: ip, port },
        IpAddr::V6(ip) => Address::V6 { host: ip, port, scope: host.scope },
    }
}

/// Resolves what needs no lookup: defaults, numbers, and names of network interfaces.
fn without_resolver(endpoint: &Endpoint) -> Result<Option<Vec<Host>>, Failure> {
    let host = |ip| Host { ip, scope: 0 };
    let Some(name) = &endpoint.host else {
        let (v4, v6) = match endpoint.approach {
            Approach::Listen => (Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED),
            Approach::Connect => (Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST),
        };
        let (v4, v6) = (host(v4.into()), host(v6.into()));
        return Ok(Some(match endpoint.family {
            Family::Ipv4 => vec![v4],
            Family::Ipv6 => vec![v6],
            Family::Any | Family::Unix | Family::UnixPackets => vec![v4, v6],
        }));
    };
    if let Some(number) = number(name) {
        return match (number.ip, endpoint.family) {
            (IpAddr::V6(_), Family::Ipv4) | (IpAddr::V4(_), Family::Ipv6) if !is_mapped(name) => {
                Err(failure(endpoint, Status::NoHost, "Address family for hostname not supported"))
            }
            _ => Ok(Some(vec![number])),
        };
    }
    Ok(match endpoint.approach {
        Approach::Listen => interface(name, endpoint.family),
        Approach::Connect => None,
    })
}

/// `::ffff:192.0.2.1`
fn is_mapped(name: &str) -> bool {
    name.parse::<Ipv6Addr>().is_ok_and(|ip| ip.to_ipv4_mapped().is_some())
}

/// Alternates between the families, beginning with that of the first address, and keeps the order within each
/// (RFC 8305, section 4): if one family does not work, only every second attempt fails.
pub(in crate::parent) fn interleave(addresses: Vec<Address>) -> Vec<Address> {
    let is_v6 = |address: &Address| matches!(address, Address::V6 { .. });
    let first = addresses.first().is_some_and(is_v6);
    let (one, other): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| is_v6(address) == first);
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    std::iter::from_fn(|| match (one.next(), other.next()) {
        (None, None) => None,
        (first, second) => Some(first.into_iter().chain(second)),
    })
    .flatten()
    .collect()
}

/// Splits `127.0.0.1`, `::1`, `fe80::1%eth0` into address and zone; `None` for a name.
fn split_number(text: &str) -> Option<(IpAddr, Option<&str>)> {
    let (ip, zone) = match text.split_once('%') {
        Some((ip, zone)) => (ip, Some(zone)),
        None => (text, None),
    };
    Some((ip.parse().ok()?, zone))
}

/// Parses an address with its zone. An IPv4-mapped IPv6 address becomes the IPv4 address.
fn number(text: &str) -> Option<Host> {
    let (ip, zone) = split_number(text)?;
    let ip = ip.to_canonical();
    let scope = match zone {
        None => 0,
        Some(zone) => zone.parse().ok().or_else(|| nix::net::if_::if_nametoindex(zone).ok())?,
    };
    Some(Host { ip, scope })
}

/// Addresses of a network interface, IPv4 first.
fn interface(name: &str, family: Family) -> Option<Vec<Host>> {
    let mut found: Vec<Host> = getifaddrs()
        .ok()?
        .filter(|interface| interface.interface_name == name)
        .filter_map(|interface| interface.address)
        .filter_map(|address| {
            let v4 = address.as_sockaddr_in().map(|v4| Host { ip: v4.ip().into(), scope: 0 });
            v4.or_else(|| {
                address.as_sockaddr_in6().map(|v6| Host { ip: v6.ip().into(), scope: v6.scope_id() })
            })
        })
        .filter(|host| match family {
            Family::Ipv4 => host.ip.is_ipv4(),
            Family::Ipv6 => host.ip.is_ipv6(),
            Family::Any | Family::Unix | Family::UnixPackets => true,
        })
        .collect();
    found.sort_by_key(|host| host.ip.is_ipv6());
    (!found.is_empty()).then_some(found)
}

/// Checks for an endpoint that is dialled and whose host is a name: its address may change while the bridge
/// runs. Makes no system call: the confined parent asks this, too.
pub(in crate::parent) fn may_move(endpoint: &Endpoint) -> bool {
    let is_name = endpoint.host.as_ref().is_some_and(|host| split_number(host).is_none());
    endpoint.approach == Approach::Connect && is_name
}

/// The resolver's question for an endpoint.
pub(in crate::parent) fn question(endpoint: &Endpoint) -> Find {
    let service = match &endpoint.port {
        Port::Service(name) => Some(name.clone()),
        Port::Number(number) => Some(number.to_string()),
        Port::Dynamic | Port::Path(_) => None,
    };
    let family = match endpoint.family {
        Family::Any | Family::Unix | Family::UnixPackets => IpFamily::Any,
        Family::Ipv4 => IpFamily::Ipv4,
        Family::Ipv6 => IpFamily::Ipv6,
    };
    let listen = endpoint.approach == Approach::Listen;
    Find { host: endpoint.host.clone(), service, family, listen }
}

/// Reason for a missing answer if the system has refused a process for the lookup.
pub(in crate::parent) fn no_process(errno: i32) -> String {
    format!("no process for the lookup: {}", limits::shortage(errno))
}

fn ask(
    endpoint: &Endpoint,
    resolver: &RunningRole<ToResolver>,
    signals: &SignalFd,
) -> Result<Vec<Address>, Stop> {
    resolver.send(&ToResolver::Find(question(endpoint)))?;
    let mut lost = None;
    loop {
        match resolver.wait(signals)? {
            ToParent::Found(addresses) => return Ok(addresses),
            ToParent::NotFound { reason } => {
                let mut failure = failure(endpoint, Status::NoHost, &reason.to_string());
                failure.text.extend(lost.map(|lost| format!("\n{lost}")));
                return Err(failure.into());
            }
            ToParent::ForkFailed { errno } => {
                return Err(failure(endpoint, Status::Os, &no_process(errno)).into());
            }
            // Arrives before the answer.
            ToParent::LookupLost { pid, end } => lost = Some(lost_lookup(pid, end)),
            _ => return Err(resolver.nonsense().into()),
        }
    }
}

/// Error for the end of a lookup.
pub(in crate::parent) fn lost_lookup(pid: i32, end: ProcessEnd) -> String {
    match end {
        ProcessEnd::Status(status) => {
            format!("name lookup {pid} ended with status {status} and without an answer")
        }
        ProcessEnd::Signal(signal) => {
            let text = format!("name lookup {pid} killed by signal {signal} ({})", describe(signal));
            advice(signal, pid).into_iter().fold(text, |text, advice| format!("{text}\n{advice}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(host: u8) -> Address {
        Address::V4 { host: [192, 0, 2, host].into(), port: 80 }
    }

    fn v6(host: u16) -> Address {
        Address::V6 { host: [0x2001, 0xdb8, 0, 0, 0, 0, 0, host].into(), port: 80, scope: 0 }
    }

    #[test]
    fn families_are_interleaved_in_their_order() {
        let sorted = vec![v4(1), v4(2), v4(3), v6(1)];
        assert_eq!(interleave(sorted), [v4(1), v6(1), v4(2), v4(3)]);
        assert_eq!(interleave(vec![v6(1), v6(2), v4(1)]), [v6(1), v4(1), v6(2)]);
        assert_eq!(interleave(Vec::new()), []);
        let unix = vec![Address::Unix(b"/run/x".to_vec())];
        assert_eq!(interleave(unix.clone()), unix);
    }

    #[test]
    fn an_ipv4_address_in_ipv6_notation_is_the_ipv4_address() {
        let host = number("::ffff:127.0.0.1").expect("a number");
        assert_eq!(host.ip, IpAddr::from(Ipv4Addr::LOCALHOST));
        assert!(is_mapped("::ffff:127.0.0.1") && !is_mapped("::1") && !is_mapped("127.0.0.1"));
    }
}
