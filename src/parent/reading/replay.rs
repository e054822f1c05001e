//! `--replay`: the player, a converter that plays one peer of a saved session. It holds one end of a stream; a worker
//! gets the other end as that peer.

use std::os::fd::{AsFd, OwnedFd};

use nix::sys::signalfd::SignalFd;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use privsep::confine::SandboxStatus;

use crate::config::{Config, Task};
use crate::exit::{Failure, Status};
use crate::messages::{Side, ToConverter, ToParent};
use crate::parent::net::socket::keep_urgent_bytes;
use crate::parent::reading::parts::RecordPart;
use crate::parent::reading::{flaw_text, unplayable};
use crate::parent::startup::denied::Actor;
use crate::parent::startup::descriptors::Descriptors;
use crate::parent::startup::roles::{RunningRole, Starter};
use crate::parent::startup::stop::Stop;
use crate::reason::reason;

/// The player, ready to play.
pub(in crate::parent) struct Player {
    role: RunningRole<ToConverter>,
    pub(in crate::parent) sandbox_status: SandboxStatus,
    side: Side,
    /// The worker's end of the stream.
    peer: OwnedFd,
    /// The logger's end of the player's channel.
    pub(in crate::parent) reports: OwnedFd,
}

impl Player {
    /// Splits the player after the logger has received its end of the channel.
    pub(in crate::parent) fn split(self) -> (RunningRole<ToConverter>, Side, OwnedFd) {
        (self.role, self.side, self.peer)
    }
}

/// Opens the record to be played, if any.
pub(in crate::parent) fn open(
    config: &Config,
    descriptors: &Descriptors,
    actor: &Actor,
) -> Result<Option<RecordPart>, Failure> {
    let Task::Replay(replay) = &config.task else { return Ok(None) };
    let parts = RecordPart::open_all(std::slice::from_ref(&replay.input), config, (descriptors, actor))?;
    Ok(parts.into_iter().next())
}

/// Starts the player, and waits until it has found its session.
pub(in crate::parent) fn start(
    config: &Config,
    part: Option<RecordPart>,
    starter: &Starter<'_>,
    signals: &SignalFd,
) -> Result<Option<Player>, Stop> {
    let (Task::Replay(replay), Some(part)) = (&config.task, part) else { return Ok(None) };
    let (stream, peer) = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)
        .map_err(|errno| Failure::new(Status::Os, format!("a stream: {}", reason(errno as i32))))?;
    // The worker sends urgent bytes of the live peer as such, and the record has them in the stream. The player's
    // filter has no call that sets this.
    keep_urgent_bytes(&stream);
    let name = part.name.clone();
    let (role, reports) = starter.converter(&[part], None, &replay.masks, Some(stream.as_fd()))?;
    drop(stream);
    let sandbox_status = role.ready(signals)?;
    let (side, session, pace, wait) = (replay.side, replay.session, replay.pace, replay.wait);
    role.send(&ToConverter::Load { side, session, pace, wait })?;
    match role.wait(signals)? {
        ToParent::Loaded => Ok(Some(Player { role, sandbox_status, side, peer, reports })),
        ToParent::Flaw { flaw, .. } => Err(Failure::new(Status::Data, flaw_text(&name, flaw)).into()),
        ToParent::Unplayable(why) => Err(unplayable(&name, why).into()),
        _ => Err(role.nonsense().into()),
    }
}
