//! Confinement of the parent.

use std::os::fd::AsFd;

use privsep::confine::{Confined, Dropped, Identity, StepError};
use privsep::landlock::{Connect, Landlock};

use crate::config::{Approach, Config, Endpoint, Port};
use crate::exit::{Failure, Status};
use crate::hooks::Hooks;
use crate::messages::Sandbox;
use crate::parent::net::listener::Listener;
use crate::parent::no_user;
use crate::parent::startup::identity::Start;
use crate::parent::startup::pidfile::PidFile;
use crate::parent::supervisor::Peers;
use crate::policy::{Extra, Role};
use crate::role;

fn unconfined(error: StepError) -> Failure {
    Failure::new(Status::Os, format!("the parent cannot be confined: {error}"))
}

/// Drops the privileges, after everything has been bound.
pub(in crate::parent) fn drop_privileges<H: Hooks>(
    start: Start,
    identity: Identity,
) -> Result<Dropped, Failure> {
    let dropped = start.with_privilege(|| role::drop_privileges::<H>(Role::Parent, identity, None));
    dropped.map_err(no_user)?.map_err(unconfined)
}

/// Applies Landlock and the filter. `background` is set if a process waits in the foreground.
pub(in crate::parent) fn close<H: Hooks>(
    dropped: Dropped,
    config: &Config,
    peers: &Peers,
    pidfile: Option<&PidFile>,
    background: bool,
) -> Result<Confined, Failure> {
    let listeners = [&peers.client_listener, &peers.server_listener];
    let places: Vec<_> = listeners.into_iter().flatten().filter_map(Listener::directory).collect();
    let remove: Vec<_> = places.iter().copied().chain(pidfile.map(AsFd::as_fd)).collect();
    let landlock = Landlock {
        remove: &remove,
        connect: Connect::Anywhere,
        abstract_sockets: [&config.client, &config.server].into_iter().any(dials_abstract),
        // Signals are not restricted for the parent, whose filter has no kill: the kernel signals the roles when the
        // parent dies, and Landlock would block that signal.
        signals: true,
        ..Landlock::default()
    };
    let fenced = dropped.fence(&landlock).map_err(unconfined)?;
    let extras: Vec<Extra> = [
        (Extra::Background, background),
        (Extra::SocketFiles, !places.is_empty()),
        (Extra::PidFile, pidfile.is_some()),
        (Extra::Packets, config.has_packets()),
    ]
    .into_iter()
    .filter_map(|(extra, needed)| needed.then_some(extra))
    .collect();
    role::lock::<H>(Role::Parent, &extras, fenced, config.sandbox).map_err(unconfined)
}

/// Applies Landlock and the filter in a run without peers: no file, no network.
pub(in crate::parent) fn close_alone<H: Hooks>(
    dropped: Dropped,
    sandbox: Sandbox,
) -> Result<Confined, Failure> {
    let fenced = dropped.fence(&Landlock { signals: true, ..Landlock::default() }).map_err(unconfined)?;
    role::lock::<H>(Role::Parent, &[], fenced, sandbox).map_err(unconfined)
}

/// Checks for a connection to an abstract Unix socket, which Landlock would block.
fn dials_abstract(endpoint: &Endpoint) -> bool {
    let named = matches!(&endpoint.port, Port::Path(path) if path.as_encoded_bytes().first() == Some(&b'@'));
    named && endpoint.approach == Approach::Connect
}
