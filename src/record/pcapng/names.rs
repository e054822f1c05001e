//! Addresses that stand for peers in packets, and their names.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv6Addr};

use super::block;
use super::packet::TcpEndpoint;
use crate::messages::{Address, Side};
use crate::record::address::{endpoint, host_name};
use crate::record::event::SessionInfo;

/// Maximum number of paths and names that are kept. A path that was dropped gets another address the next time.
const MOST: usize = 4096;

#[derive(Default)]
pub(super) struct AddressNames {
    /// Unix sockets have the addresses `100::1` and so on (RFC 6666: discard-only).
    paths: HashMap<Vec<u8>, u64>,
    last: u64,
    /// Names that are in this file.
    written: HashSet<(IpAddr, String)>,
}

impl AddressNames {
    /// Begins a file, which has no names yet.
    pub(super) fn forget_written(&mut self) {
        self.written.clear();
    }

    /// Returns both ends of a session's connection, which have one address family.
    pub(super) fn ends(&mut self, info: &SessionInfo) -> [TcpEndpoint; 2] {
        let [client, server] = [Side::Client, Side::Server].map(|side| &info.peer(side).address);
        let [client_ip, server_ip] = [client, server].map(|address| self.ip(address));
        let mapped = client_ip.is_ipv4() != server_ip.is_ipv4();
        let ip = |ip: IpAddr| match ip {
            IpAddr::V4(v4) if mapped => v4.to_ipv6_mapped().into(),
            other => other,
        };
        let client_port = client.port().unwrap_or((1024 + info.number % 64_000) as u16);
        let listening = info.peer(Side::Client).local.as_ref().and_then(Address::port);
        let server_port = server.port().or(listening).unwrap_or(1);
        [
            TcpEndpoint { ip: ip(client_ip), port: client_port },
            TcpEndpoint { ip: ip(server_ip), port: server_port },
        ]
    }

    fn ip(&mut self, address: &Address) -> IpAddr {
        let path = match address {
            Address::Unix(path) => path,
            other => return other.ip().unwrap_or(Ipv6Addr::UNSPECIFIED.into()),
        };
        let number = match self.paths.get(path) {
            Some(number) => *number,
            None => self.number(path),
        };
        Ipv6Addr::from((0x100 << 112) | u128::from(number)).into()
    }

    fn number(&mut self, path: &[u8]) -> u64 {
        if self.paths.len() >= MOST {
            self.paths.clear();
        }
        self.last += 1;
        self.paths.insert(path.to_vec(), self.last);
        self.last
    }

    /// Writes the names of a session's peers that are not in the file yet.
    pub(super) fn write(&mut self, info: &SessionInfo, ends: &[TcpEndpoint; 2], out: &mut Vec<u8>) {
        for (peer, end) in info.peers.iter().zip(ends) {
            let name = match &peer.address {
                unix @ Address::Unix(_) => endpoint(unix),
                ip => host_name(ip, &peer.name).to_owned(),
            };
            if self.written.len() >= MOST {
                self.written.clear();
            }
            if name.is_empty() || !self.written.insert((end.ip, name.clone())) {
                continue;
            }
            match end.ip {
                IpAddr::V4(ip) => block::name(&ip.octets(), &name, out),
                IpAddr::V6(ip) => block::name(&ip.octets(), &name, out),
            }
        }
    }
}
