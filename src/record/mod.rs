//! Events of sessions, the common vocabulary of worker, logger and converter, and the output formats as
//! [`Encoder`]s of them.

pub(crate) mod address;
pub(crate) mod civil;
mod color;
mod encoder;
mod encoders;
mod event;
mod gaps;
mod html;
mod json;
mod ndjson;
mod object;
pub(crate) mod order;
mod pcapng;
pub(crate) mod read;
pub(crate) mod text;
mod view;
pub(crate) mod visible;
mod zone;

#[cfg(test)]
mod golden;

pub(crate) use encoder::{Encoder, FileStart, Purpose, Setting};
pub(crate) use encoders::encoder;
pub(crate) use event::LONGEST_SECRETS;
pub(crate) use event::{ConnState, End, Event, Kind, Meeting, Peer, SessionInfo, State, TcpInfo, Time};
pub(crate) use gaps::{Gaps, quantity};
pub(crate) use text::find;
pub(crate) use zone::Zone;
