//! Names of peers: asked from the resolver, waited for at most so long.

use std::time::{Duration, Instant};

use privsep::channel::{Channel, ChannelError, Incoming, Wait, no_fds};

use crate::messages::{Address, Name, NameAnswer, NameQuestion};

pub(super) type Resolver = Channel<NameQuestion, NameAnswer>;

/// A name that has not come by then is a number. From behaviour that users know: a dead name server
/// delays a name by no more.
const PATIENCE: Duration = Duration::from_secs(2);

/// Who asks the resolver.
pub(super) struct Names {
    /// `None` with `-n`.
    resolver: Option<Resolver>,
    /// An answer was overdue, and none has come since: nobody waits for the next ones.
    silent: bool,
}

impl Names {
    pub(super) fn new(resolver: Option<Resolver>) -> Names {
        Names { resolver, silent: false }
    }

    /// Asks what an address is called. Says until when it is worth waiting for the answer, or not at all.
    pub(super) fn ask(&self, id: u64, address: &Address) -> Option<Instant> {
        let question = NameQuestion { id, address: address.clone() };
        // A resolver that does not keep up is one that does not answer.
        let asked = self.resolver.as_ref()?.send_with(&question, &[], Wait::No);
        (asked.is_ok() && !self.silent && address.ip().is_some()).then(|| Instant::now() + PATIENCE)
    }

    /// The next answer. A resolver that breaks the rules is not asked, and not listened to, any more: no
    /// record may depend on it.
    pub(super) fn answer(&mut self) -> Result<Option<(u64, Name)>, ChannelError> {
        let Some(resolver) = &self.resolver else { return Ok(None) };
        let received = resolver.receive(Wait::No).and_then(|incoming| match incoming {
            Incoming::Message(answer, fds) => no_fds(fds).map(|()| Incoming::Message(answer, [None, None])),
            other => Ok(other),
        });
        match received {
            Ok(Incoming::Message(NameAnswer { id, name }, _)) => {
                self.silent = false;
                Ok(Some((id, name)))
            }
            Ok(Incoming::Nothing) => Ok(None),
            // The parent sees it, too, and ends all of us.
            Ok(Incoming::Closed) => {
                self.resolver = None;
                Ok(None)
            }
            Err(error) => {
                self.resolver = None;
                Err(error)
            }
        }
    }

    /// Nobody is there who could answer.
    pub(super) fn are_lost(&self) -> bool {
        self.resolver.is_none()
    }

    /// An answer did not come in time.
    pub(super) fn overdue(&mut self) {
        self.silent = true;
    }
}
