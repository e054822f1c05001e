//! Sessions of a saved record: the converter reports all of them on one channel. It has parsed a file of unknown
//! origin, so that every event is checked, and the first one that is impossible ends the channel.

use std::collections::HashMap;
use std::sync::Arc;

use nix::sys::epoll::{EpollEvent, EpollFlags};
use privsep::channel::{Channel, ChannelError, Frame, Wait};
use privsep::sys::ForeignFd;
use privsep::wire;

use crate::logger::batch::BatchItem;
use crate::logger::intake::{READ_BUDGET, Reader, SAVED};
use crate::messages::{FromConverter, Level, Saved, SavedEnd, SavedEvent, SavedStart, ToParent};
use crate::record::order::EventOrder;
use crate::record::read::MOST_SESSIONS;
use crate::record::{ConnState, End, Event, Kind, Peer, SessionInfo, State, Time};
use crate::role::RoleError;

/// The channel, and the sessions that are open on it.
pub(super) struct SavedSessions {
    channel: Channel<(), FromConverter>,
    open: HashMap<u64, EventOrder>,
}

impl Reader<'_> {
    /// A converter begins.
    pub(super) fn open_saved(&mut self, channel: ForeignFd) -> Result<(), RoleError> {
        if self.saved.is_some() {
            return Err(RoleError::Protocol);
        }
        let channel = Channel::adopt(channel)?;
        self.epoll.add(&channel, EpollEvent::new(EpollFlags::EPOLLIN, SAVED))?;
        self.saved = Some(SavedSessions { channel, open: HashMap::new() });
        Ok(())
    }

    pub(super) fn handle_converter_messages(&mut self) -> Result<(), RoleError> {
        for _ in 0..READ_BUDGET {
            let Some(saved) = &self.saved else { return Ok(()) };
            match saved.channel.receive_frame(self.batch.space(), Wait::No) {
                Ok(Frame::Bytes(length)) => {
                    self.pace.read(length);
                    self.accept_saved(length);
                }
                Ok(Frame::Nothing) => return Ok(()),
                Ok(Frame::Closed) => {
                    self.saved = None;
                    return Ok(());
                }
                Err(ChannelError::TooLong | ChannelError::Descriptors) => self.cut_converter_off(),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// A message of `length` bytes stands in the batch.
    fn accept_saved(&mut self, length: usize) {
        let Some(saved) = &mut self.saved else { return };
        let (message, head) = match wire::decode_head(self.batch.frame(length)) {
            Ok((FromConverter::Saved(message), head)) => (message, head),
            Ok((FromConverter::Line(text), head)) if head == length => {
                return self.notes.print(Level::Asked, &text.to_string());
            }
            _ => return self.cut_converter_off(),
        };
        let Some(event) = event(message).filter(|event| saved.allows(event, length - head)) else {
            return self.cut_converter_off();
        };
        if let Kind::Start(info) = &event.kind {
            self.add(BatchItem::Open { session: event.session, info: Arc::clone(info) });
        }
        let payload = if length > head { self.batch.keep(head, length) } else { (0, 0) };
        self.add(BatchItem::Event { event, payload });
    }

    /// The converter ends when its channel is closed. The parent cannot rely on that: it is sent that records are
    /// missing.
    fn cut_converter_off(&mut self) {
        self.saved = None;
        // Where it does not read, its exit status is not 0 either.
        let _ = self.parent.send_with(&ToParent::OutputLost, &[], Wait::No);
        self.notes.print(Level::Error, "the converter broke the protocol");
    }
}

impl SavedSessions {
    fn allows(&mut self, event: &Event, payload: usize) -> bool {
        if let Kind::Start(info) = &event.kind {
            let is_new = !self.open.contains_key(&event.session) && self.open.len() < MOST_SESSIONS;
            let Some(order) = EventOrder::begin(event).filter(|_| is_new && info.number > 0 && payload == 0)
            else {
                return false;
            };
            self.open.insert(event.session, order);
            return true;
        }
        let allowed = self.open.get_mut(&event.session).is_some_and(|order| order.allows(event, payload));
        if matches!(event.kind, Kind::End(_)) {
            self.open.remove(&event.session);
        }
        allowed
    }
}

/// `None` if there is no such state.
fn event(Saved { session, time, event }: Saved) -> Option<Event> {
    let time = Time::from_nanos(time);
    let kind = match event {
        SavedEvent::Start(start) => Kind::Start(Arc::new(info(*start, time))),
        SavedEvent::Data { from, position, bytes, urgent } => Kind::Data { from, position, bytes, urgent },
        SavedEvent::Eof { from, total } => Kind::Eof { from, total },
        SavedEvent::Secrets => Kind::Secrets,
        SavedEvent::Note(text) => Kind::Note(text.to_string()),
        SavedEvent::End(SavedEnd { state, conn_state, errno, totals, tcp }) => Kind::End(End {
            state: *State::ALL.get(usize::from(state))?,
            conn_state: *ConnState::ALL.get(usize::from(conn_state))?,
            errno,
            totals,
            tcp,
        }),
    };
    Some(Event { time, session, kind })
}

fn info(start: SavedStart, started: Time) -> SessionInfo {
    let SavedStart { number, run, accepted, addresses, locals, names, meeting } = start;
    let [client, server] = addresses;
    let [client_local, server_local] = locals;
    let [client_name, server_name] = names;
    SessionInfo {
        number,
        run: run.into(),
        accepted: Time::from_nanos(accepted),
        started,
        peers: [
            Peer { address: client, local: client_local, name: client_name },
            Peer { address: server, local: server_local, name: server_name },
        ],
        meeting,
    }
}
