//! What happened in the sessions, and how it is written down: the vocabulary of worker, logger and converter, and the
//! output formats as [`Encoder`]s of it.

#[allow(dead_code, reason = "the formats that use all of it are not written yet")]
mod encoder;
#[allow(dead_code, reason = "likewise")]
mod event;
pub(crate) mod order;
pub(crate) mod read;
pub(crate) mod text;
pub(crate) mod visible;

#[cfg(test)]
mod golden;

pub(crate) use encoder::{Encoder, FileStart, Purpose, encoder};
pub(crate) use event::{ConnState, End, Event, Kind, Peer, SessionInfo, State, Time};
pub(crate) use text::find;
