//! Bytes that are missing from a record because of `--only`, `--match`, damage, or a missing part.

use super::event::{Event, Kind};
use crate::messages::Side;

/// Positions in the streams of client and server.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gaps([u64; 2]);

impl Gaps {
    /// Description of the bytes that are missing right before an event.
    pub(super) fn before(&mut self, event: &Event, only: Option<Side>) -> Vec<String> {
        let is_wanted = |side: &Side| only.is_none_or(|only| only == *side);
        let missing = self.add(event).into_iter().zip([Side::Client, Side::Server]);
        missing
            .filter(|(missing, side)| *missing > 0 && is_wanted(side))
            .map(|(missing, side)| {
                let are = if missing == 1 { "is" } else { "are" };
                side_first(side, &format!("{} {are} not in the record", quantity(missing)))
            })
            .collect()
    }

    /// Number of bytes of each side that are missing right before an event.
    pub(crate) fn add(&mut self, event: &Event) -> [u64; 2] {
        let mut starts = self.0;
        let mut ends = self.0;
        match event.kind {
            Kind::Data { from, position, bytes, .. } => {
                starts[from as usize] = position;
                ends[from as usize] = position.saturating_add(bytes);
            }
            Kind::Eof { from, total } => {
                starts[from as usize] = total;
                ends[from as usize] = total;
            }
            Kind::End(end) => (starts, ends) = (end.totals, end.totals),
            Kind::Start(_) | Kind::Secrets | Kind::Note(_) => {}
        }
        let missing = [0, 1].map(|side: usize| starts[side].saturating_sub(self.0[side]));
        self.0 = [0, 1].map(|side: usize| ends[side].max(self.0[side]));
        missing
    }
}

/// Formats a number of bytes for people.
pub(crate) fn quantity(bytes: u64) -> String {
    if bytes == 1 { "1 byte".into() } else { format!("{bytes} bytes") }
}

pub(super) fn side_first(from: Side, text: &str) -> String {
    match from {
        Side::Client => format!("client: {text}"),
        Side::Server => format!("server: {text}"),
    }
}
