//! The surroundings of a flow, and records without bytes of a peer.

use std::io;

use privsep::wire;

use super::receipt::RecordSteps;
use super::transport::PeerSocket;
use crate::messages::{Record, WorkersEnd, rights};

/// The surroundings of a flow: the two peers and the way to the logger.
pub(super) struct Ends<'a> {
    pub(super) source: &'a PeerSocket,
    pub(super) sink: &'a PeerSocket,
    pub(super) channel: &'a WorkersEnd,
    pub(super) receipts: &'a RecordSteps,
}

/// Sends a record that has no payload.
pub(super) fn report(channel: &WorkersEnd, record: &Record) -> io::Result<()> {
    let mut head = [0; Record::MAX_HEAD];
    let used = wire::encode(record, &mut head).map_err(io::Error::other)?;
    channel.send_frame(&head[..used])
}

/// Sends a record with a short payload.
pub(super) fn report_with(channel: &WorkersEnd, record: &Record, payload: &[u8]) -> io::Result<()> {
    let mut frame = [0; Record::MAX_HEAD + rights::MOST];
    let used = wire::encode(record, &mut frame).map_err(io::Error::other)?;
    let end = used + payload.len();
    frame[used..end].copy_from_slice(payload);
    channel.send_frame(&frame[..end])
}
