//! The invariants of a session's events, checked on events that come from elsewhere: by the decoder of saved records,
//! and by the logger, which does not trust what parsed them.

use super::{Event, Kind, LONGEST_SECRETS, Time};

/// State of a session.
#[derive(Debug)]
pub(crate) struct EventOrder {
    last: Time,
    /// Bytes of client and server.
    positions: [u64; 2],
    ended: [bool; 2],
}

impl EventOrder {
    /// State of a session after its first event; `None` if the event does not begin one.
    pub(crate) fn begin(event: &Event) -> Option<EventOrder> {
        let Kind::Start(info) = &event.kind else { return None };
        let in_time = info.accepted <= info.started && info.started <= event.time;
        in_time.then_some(EventOrder { last: event.time, positions: [0; 2], ended: [false; 2] })
    }

    /// Checks whether this event, with a payload of this length, may come next. Nothing may follow the end.
    pub(crate) fn allows(&mut self, event: &Event, payload: usize) -> bool {
        if event.time < self.last {
            return false;
        }
        self.last = event.time;
        match &event.kind {
            Kind::Start(_) => false,
            Kind::Data { from, position, bytes, .. } => {
                let side = *from as usize;
                let is_next = !self.ended[side] && *position >= self.positions[side];
                let fits = *bytes > 0 && (payload == 0 || payload as u64 == *bytes);
                let Some(end) = position.checked_add(*bytes).filter(|_| is_next && fits) else {
                    return false;
                };
                self.positions[side] = end;
                true
            }
            Kind::Eof { from, total } => {
                let side = *from as usize;
                let first = !std::mem::replace(&mut self.ended[side], true);
                payload == 0 && first && *total >= self.positions[side]
            }
            Kind::Secrets => (1..=LONGEST_SECRETS).contains(&payload),
            Kind::Note(_) | Kind::End(_) => payload == 0,
        }
    }
}
