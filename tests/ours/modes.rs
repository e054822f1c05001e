//! Sides of the bridge: options of 2.0.0.

pub(crate) mod internet;
pub(crate) mod socket_files;
pub(crate) mod unix;
