//! The parent's own turns of the ratchet.

use std::os::fd::AsFd;

use privsep::confine::{Dropped, Identity, Locked, StepError};
use privsep::landlock::{Connect, Landlock};

use super::identity::Start;
use super::listener::Listener;
use super::no_user;
use super::pidfile::PidFile;
use super::supervisor::Peers;
use crate::config::{Approach, Config, Endpoint, Port};
use crate::exit::{Failure, Status};
use crate::hooks::Hooks;
use crate::policy::{Extra, Role};
use crate::role;

fn unconfined(error: StepError) -> Failure {
    Failure::new(Status::Os, format!("the parent cannot be confined: {error}"))
}

/// Everything is bound: nothing that comes needs a privilege.
pub(super) fn drop_privileges<H: Hooks>(start: Start, identity: Identity) -> Result<Dropped, Failure> {
    let dropped = start.with_privilege(|| role::drop_privileges::<H>(Role::Parent, identity, None));
    dropped.map_err(no_user)?.map_err(unconfined)
}

/// Fences and locks. `background` tells that somebody waits in the foreground.
pub(super) fn close<H: Hooks>(
    dropped: Dropped,
    config: &Config,
    peers: &Peers,
    pidfile: Option<&PidFile>,
    background: bool,
) -> Result<Locked, Failure> {
    let listeners = [&peers.client_listener, &peers.server_listener];
    let places: Vec<_> = listeners.into_iter().flatten().filter_map(Listener::directory).collect();
    let remove: Vec<_> = places.iter().copied().chain(pidfile.map(AsFd::as_fd)).collect();
    let landlock = Landlock {
        remove: &remove,
        connect: Connect::Anywhere,
        abstract_sockets: [&config.client, &config.server].into_iter().any(dials_abstract),
        // None of ours, whose filter has no kill: the one by which our roles end with us.
        signals: true,
        ..Landlock::default()
    };
    let fenced = dropped.fence(&landlock).map_err(unconfined)?;
    let extras: Vec<Extra> = [
        (Extra::Background, background),
        (Extra::SocketFiles, !places.is_empty()),
        (Extra::PidFile, pidfile.is_some()),
    ]
    .into_iter()
    .filter_map(|(extra, needed)| needed.then_some(extra))
    .collect();
    role::lock::<H>(Role::Parent, &extras, fenced, config.sandbox).map_err(unconfined)
}

/// Whether a peer is met at an abstract Unix socket, which Landlock would put out of reach.
fn dials_abstract(endpoint: &Endpoint) -> bool {
    let named = matches!(&endpoint.port, Port::Path(path) if path.as_encoded_bytes().first() == Some(&b'@'));
    named && endpoint.approach == Approach::Connect
}
