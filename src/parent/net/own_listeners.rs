//! Own listeners: a connection to one of them would bridge a session to itself endlessly.

use std::ffi::OsStr;
use std::fs;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

use nix::ifaddrs::getifaddrs;

use crate::config::{Approach, Endpoint};
use crate::exit::{Failure, Status};
use crate::messages::Address;
use crate::parent::net::address;
use crate::parent::net::listener::Listener;

/// Addresses of the listeners.
#[derive(Default)]
pub(in crate::parent) struct OwnListeners(Vec<Own>);

struct Own {
    address: Address,
    is_dual_stack: bool,
}

impl OwnListeners {
    /// Excludes shared ports: a connection to one may reach another process.
    pub(in crate::parent) fn of<'a>(listeners: impl IntoIterator<Item = &'a Listener>) -> OwnListeners {
        let listeners = listeners.into_iter().filter(|listener| !listener.is_shared);
        OwnListeners(
            listeners
                .map(|listener| Own {
                    address: listener.address.clone(),
                    is_dual_stack: listener.is_dual_stack,
                })
                .collect(),
        )
    }

    /// Checks whether a connection to `peer` certainly reaches an own listener. `local` is its local address,
    /// once connected.
    pub(in crate::parent) fn leads_back(&self, peer: &Address, local: Option<&Address>) -> bool {
        let ip = peer.ip();
        let is_here = ip.is_some_and(|ip| ip.is_loopback() || ip.is_unspecified())
            || ip.is_some() && ip == local.and_then(Address::ip);
        self.0.iter().any(|own| own.is_reached_by(peer, is_here))
    }

    /// Rejects a start in which every address of `endpoint` is an own listener.
    pub(in crate::parent) fn refuse_loop(
        &self,
        endpoint: &Endpoint,
        addresses: &[Address],
    ) -> Result<(), Failure> {
        if endpoint.approach == Approach::Listen || self.0.is_empty() || addresses.is_empty() {
            return Ok(());
        }
        let may_be_own =
            |address: &Address| self.0.iter().any(|own| own.has_port_of(address) || own.has_file_of(address));
        if !addresses.iter().all(may_be_own) {
            return Ok(());
        }
        let here = local_hosts();
        let leads_back = |address: &Address| {
            let is_here = address.ip().is_some_and(|ip| here.contains(&ip));
            self.leads_back(address, is_here.then_some(address))
                || self.0.iter().any(|own| own.has_file_of(address))
        };
        if addresses.iter().all(leads_back) {
            let reason = "tcpreen itself listens there: sessions would loop";
            return Err(address::failure(endpoint, Status::Usage, reason));
        }
        Ok(())
    }
}

impl Own {
    fn is_reached_by(&self, peer: &Address, is_here: bool) -> bool {
        let (Some(own), Some(ip)) = (self.address.ip(), peer.ip()) else { return self.address == *peer };
        let same_family = own.is_ipv4() == ip.is_ipv4() || self.is_dual_stack;
        let any = own.is_unspecified() && same_family && is_here;
        self.has_port_of(peer) && (own == ip || any)
    }

    /// Checks whether two paths, which may be written differently, lead to one Unix socket.
    fn has_file_of(&self, peer: &Address) -> bool {
        let file = |address: &Address| match address {
            Address::Unix(path) if !path.is_empty() && path[0] != 0 => {
                fs::metadata(OsStr::from_bytes(path)).ok()
            }
            _ => None,
        };
        let id = |found: fs::Metadata| (found.dev(), found.ino());
        file(&self.address).zip(file(peer)).is_some_and(|(own, its)| id(own) == id(its))
    }

    fn has_port_of(&self, peer: &Address) -> bool {
        match (self.address.port(), peer.port()) {
            (Some(own), Some(port)) => own == port,
            _ => self.address == *peer,
        }
    }
}

/// The addresses of this machine, read before the filter is installed.
fn local_hosts() -> Vec<IpAddr> {
    let Ok(interfaces) = getifaddrs() else { return Vec::new() };
    let addresses = interfaces.filter_map(|interface| interface.address);
    addresses
        .filter_map(|address| {
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| v6.ip().into()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        match text.parse().expect("an address and a port") {
            std::net::SocketAddr::V4(v4) => Address::V4 { host: *v4.ip(), port: v4.port() },
            std::net::SocketAddr::V6(v6) => Address::V6 { host: *v6.ip(), port: v6.port(), scope: 0 },
        }
    }

    fn leads_back(own: &str, is_dual_stack: bool, peer: &str, local: Option<&str>) -> bool {
        let own = OwnListeners(vec![Own { address: address(own), is_dual_stack }]);
        own.leads_back(&address(peer), local.map(address).as_ref())
    }

    #[test]
    fn a_connection_to_our_own_listener_is_recognized() {
        for (own, dual, peer) in [
            ("127.0.0.1:80", false, "127.0.0.1:80"),
            ("0.0.0.0:80", false, "127.0.0.1:80"),
            ("0.0.0.0:80", false, "127.9.9.9:80"),
            ("0.0.0.0:80", false, "0.0.0.0:80"),
            ("[::]:80", true, "[::1]:80"),
            ("[::]:80", true, "127.0.0.1:80"),
            ("[::1]:80", false, "[::1]:80"),
        ] {
            assert!(leads_back(own, dual, peer, None), "{own} {peer}");
        }
        assert!(leads_back("0.0.0.0:80", false, "192.0.2.1:80", Some("192.0.2.1:4711")), "our own address");
    }

    #[test]
    fn other_servers_are_not_taken_for_us() {
        for (own, dual, peer) in [
            ("127.0.0.1:80", false, "127.0.0.1:81"),
            ("127.0.0.1:80", false, "127.0.0.2:80"),
            ("0.0.0.0:80", false, "192.0.2.1:80"),
            ("0.0.0.0:80", false, "[::1]:80"),
            ("[::]:80", false, "127.0.0.1:80"),
            ("[::1]:80", false, "127.0.0.1:80"),
        ] {
            assert!(!leads_back(own, dual, peer, None), "{own} {peer}");
        }
        assert!(!leads_back("0.0.0.0:80", false, "192.0.2.1:80", Some("192.0.2.2:4711")));
    }

    #[test]
    fn unix_sockets_are_compared_by_name() {
        let own = OwnListeners(vec![Own { address: Address::Unix(b"@a".into()), is_dual_stack: false }]);
        assert!(own.leads_back(&Address::Unix(b"@a".into()), None));
        assert!(!own.leads_back(&Address::Unix(b"@b".into()), None));
        assert!(!own.leads_back(&address("127.0.0.1:80"), None));
    }
}
