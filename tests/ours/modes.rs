//! Directions and transports: `-c`, `-l`, both, and each side over IPv4, IPv6 or a Unix socket.

pub(crate) mod internet;
pub(crate) mod socket_files;
pub(crate) mod unix;
