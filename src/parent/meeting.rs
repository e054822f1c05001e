//! Where the peers are met: sockets that were handed over, or that we bind.

use std::os::fd::OwnedFd;

use nix::errno::Errno;
use privsep::confine::Identity;

use super::address::{self, Addresses};
use super::handed::{self, Door, Doors};
use super::identity::Start;
use super::listener::Listener;
use super::no_user;
use super::supervisor::Peers;
use crate::config::{Approach, Config, Endpoint, Port};
use crate::exit::{Failure, Status};
use crate::messages::Address;
use crate::reason::reason;

/// The first client, if it is there already.
type FirstClient = Option<(OwnedFd, Address)>;

/// Binds what has to be bound, as whom it has to be; takes what was handed over.
pub(super) fn prepare(
    config: &Config,
    doors: Doors,
    addresses: Addresses,
    start: Start,
    identity: Identity,
) -> Result<(Peers, FirstClient), Failure> {
    let Addresses { client, server } = addresses;
    let listen = |endpoint: &Endpoint, addresses: &[Address], door: Option<Listener>| match door {
        Some(listener) => handed::check(endpoint, addresses, &listener.address).map(|()| Some(listener)),
        None => bind(endpoint, addresses, start, identity),
    };
    let (client_listener, first_client) = match doors.client {
        Some(Door::Client { socket, client: peer, here }) => {
            handed::check(&config.client, &client, &here)?;
            (None, Some((socket, peer)))
        }
        Some(Door::Listening(listener)) => (listen(&config.client, &client, Some(listener))?, None),
        Some(Door::Gone) | None => (listen(&config.client, &client, None)?, None),
    };
    let server_listener = listen(&config.server, &server, doors.server)?;
    Ok((Peers { client, server, client_listener, server_listener }, first_client))
}

/// Listens where we have to wait for the peer.
fn bind(
    endpoint: &Endpoint,
    addresses: &[Address],
    start: Start,
    identity: Identity,
) -> Result<Option<Listener>, Failure> {
    if endpoint.approach == Approach::Connect {
        return Ok(None);
    }
    let bound = match endpoint.port {
        // A file is the user's own business.
        Port::Path(_) => start.as_user(identity, || Listener::bind(addresses)),
        _ => start.with_privilege(|| Listener::bind(addresses)),
    };
    let bound = bound.map_err(no_user)?;
    bound.map(Some).map_err(|errno| {
        let status = match errno {
            Errno::EACCES | Errno::EPERM => Status::NoPermission,
            _ => Status::Unavailable,
        };
        address::failure(endpoint, status, &reason(errno as i32))
    })
}
