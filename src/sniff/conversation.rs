//! The interface of all protocols.

use super::lines::{Cutting, LinePiece};
use crate::sniff::pending::PendingCredentials;

/// The reader of a known protocol.
pub(super) trait Conversation: Send {
    /// Initial cutting of the two directions, the client's first.
    fn start(&self) -> [Cutting; 2] {
        [Cutting::Line; 2]
    }

    fn client(&mut self, item: LinePiece<'_>, logins: &mut PendingCredentials, out: &mut Vec<u8>) -> Cutting;

    fn server(&mut self, item: LinePiece<'_>, logins: &mut PendingCredentials, out: &mut Vec<u8>) -> Cutting;

    /// New cutting of the client's stream, if the server's last message changed it; asked once.
    fn redirect_client(&mut self) -> Option<Cutting> {
        None
    }

    /// Requests that the client's stream, read as lines, is cut anew ([`Self::redirect_client`]).
    fn takes_over(&self) -> bool {
        false
    }

    /// Protocol that follows on the connection after the server's last message; asked once.
    fn gives_way(&mut self) -> Option<Switch> {
        None
    }
}

/// Successor of a protocol on its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Switch {
    /// Any other protocol.
    Tunnel,
    /// Something that cannot be read.
    Opaque,
}
