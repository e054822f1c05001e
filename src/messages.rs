//! Every message that crosses a process boundary.

use serde::{Deserialize, Serialize};

/// One of the two peers of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Side {
    Client,
    Server,
}
