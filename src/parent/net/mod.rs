//! Sockets of the parent: addresses, listeners, connection attempts. No byte of a peer is read here.

pub(super) mod address;
pub(super) mod dial;
pub(super) mod listener;
pub(super) mod own_listeners;
pub(super) mod socket;
