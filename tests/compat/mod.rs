//! Tests that tcpreen 1.4.4 has to pass, too: the common behaviour.

pub(crate) mod clients;
pub(crate) mod diagnostics;
pub(crate) mod formats;
pub(crate) mod limits;
pub(crate) mod loss;
pub(crate) mod modes;
pub(crate) mod names;
pub(crate) mod relay;
pub(crate) mod weaknesses;
