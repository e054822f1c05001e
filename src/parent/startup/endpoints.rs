//! Endpoints of the peers: inherited or bound sockets.

use std::path::Path;

use nix::errno::Errno;
use privsep::confine::Identity;

use crate::config::{Approach, Config, Endpoint, Port};
use crate::exit::{Failure, Status};
use crate::messages::{Address, Transport};
use crate::parent::net::address;
use crate::parent::net::address::Addresses;
use crate::parent::net::dial::Connection;
use crate::parent::net::listener::Listener;
use crate::parent::net::own_listeners::OwnListeners;
use crate::parent::net::socket::SocketOptions;
use crate::parent::no_user;
use crate::parent::startup::identity::Start;
use crate::parent::startup::inherited;
use crate::parent::startup::inherited::{InheritedSocket, InheritedSockets};
use crate::parent::supervisor::Peers;
use crate::reason::reason;

/// Binds the listeners with the rights that each one needs; takes over inherited sockets. Also returns the first client,
/// if it is already connected.
pub(in crate::parent) fn prepare(
    config: &Config,
    sockets: InheritedSockets,
    addresses: Addresses,
    start: Start,
    identity: Identity,
) -> Result<(Peers, Option<Connection>), Failure> {
    let Addresses { client, server } = addresses;
    let listen = |endpoint: &Endpoint, addresses: &[Address], inherited: Option<Listener>| match inherited {
        Some(listener) => inherited::check(endpoint, addresses, &listener.address).map(|()| Some(listener)),
        None => bind(endpoint, addresses, SocketOptions::of(config), start, identity),
    };
    let (client_listener, first_client) = match sockets.client {
        Some(InheritedSocket::Client { client: first, here }) => {
            inherited::check(&config.client, &client, &here)?;
            (None, Some(first))
        }
        Some(InheritedSocket::Listening(listener)) => {
            (listen(&config.client, &client, Some(listener))?, None)
        }
        None => (listen(&config.client, &client, None)?, None),
    };
    let server_listener = listen(&config.server, &server, sockets.server)?;
    let own = OwnListeners::of(client_listener.iter().chain(&server_listener));
    own.refuse_loop(&config.server, &server)?;
    own.refuse_loop(&config.client, &client)?;
    Ok((Peers { client, server, client_listener, server_listener }, first_client))
}

/// Checks whether both peers are on Unix sockets, over which descriptors pass.
pub(in crate::parent) fn are_local(peers: &Peers, first_client: Option<&Connection>) -> bool {
    let here = |listener: &Option<Listener>| listener.as_ref().map(|listener| listener.address.clone());
    let client = first_client.map(|client| client.address.clone());
    let client = client.or_else(|| here(&peers.client_listener)).or_else(|| peers.client.first().cloned());
    let server = here(&peers.server_listener).or_else(|| peers.server.first().cloned());
    let is_unix = |address: &Address| address.transport() != Transport::Tcp;
    [client, server].iter().all(|address| address.as_ref().is_some_and(is_unix))
}

/// Listens if the peer connects to this side.
fn bind(
    endpoint: &Endpoint,
    addresses: &[Address],
    options: SocketOptions,
    start: Start,
    identity: Identity,
) -> Result<Option<Listener>, Failure> {
    if endpoint.approach == Approach::Connect {
        return Ok(None);
    }
    let bound = match &endpoint.port {
        Port::Path(path) => bind_file(Path::new(path), addresses, options, start, identity)?,
        _ => start.with_privilege(|| Listener::bind(addresses, options)).map_err(no_user)?,
    };
    bound.map(Some).map_err(|errno| {
        let error = errno.into();
        let (status, advice) = match (errno, &endpoint.port) {
            (Errno::EACCES | Errno::EPERM, Port::Path(path)) => {
                (Status::NoPermission, start.actor().denied(&error, Path::new(path)))
            }
            (Errno::EACCES | Errno::EPERM, _) => (Status::NoPermission, format!("\n{RESERVED}")),
            _ => (Status::Unavailable, String::new()),
        };
        address::failure(endpoint, status, &format!("{}{advice}", reason(errno as i32)))
    })
}

/// Remedies for a port below 1024.
const RESERVED: &str = "Ports below 1024 are reserved. Three ways: start tcpreen as root, which it does not stay; give \
                        the file a capability (setcap cap_net_bind_service=ep FILE); or have systemd or inetd open the \
                        port (see INSTALLATION in tcpreen(1)).";

/// Binds a socket file, which belongs to the serving user. In a directory that only root may write to, root creates
/// the file.
fn bind_file(
    path: &Path,
    addresses: &[Address],
    options: SocketOptions,
    start: Start,
    identity: Identity,
) -> Result<Result<Listener, Errno>, Failure> {
    let bound = start.as_user(identity, || Listener::bind(addresses, options)).map_err(no_user)?;
    let is_abstract = path.as_os_str().as_encoded_bytes().starts_with(b"@");
    match bound {
        Err(Errno::EACCES | Errno::EPERM) if start == Start::Root && !is_abstract => {
            start.with_privilege(|| Listener::bind(addresses, options)).map_err(no_user)
        }
        bound => Ok(bound),
    }
}
