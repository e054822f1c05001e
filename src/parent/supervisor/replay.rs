//! `--replay`: one peer of the only session is the player.

use std::os::fd::OwnedFd;

use super::Supervisor;
use crate::exit::{Failure, Status};
use crate::messages::{Address, Level, Side, ToConverter, ToParent};
use crate::parent::startup::roles::RunningRole;
use crate::parent::supervisor::pending::Present;

impl Supervisor<'_> {
    /// Adds the player as one peer; the other peer is dialled or awaited.
    pub(in crate::parent) fn begin_replay(
        &mut self,
        player: RunningRole<ToConverter>,
        side: Side,
        peer: OwnedFd,
    ) {
        self.player = Some(player);
        self.arrived(side, Present::new(peer, Address::Unix(Vec::new())));
    }

    /// Starts the player when the session begins.
    pub(super) fn start_player(&mut self) {
        if let Some(player) = &self.player
            && player.send_now(&ToConverter::Play).is_err()
        {
            self.fail_player(Status::Unavailable);
        }
    }

    /// Checks whether the player has begun or may begin, and has not reported its result.
    pub(super) fn is_playing(&self) -> bool {
        self.player.is_some() && self.failed.is_none()
    }

    pub(super) fn handle_player_messages(&mut self) -> Result<(), Failure> {
        let Some(player) = &self.player else { return Ok(()) };
        match player.receive() {
            Ok(Some((ToParent::Compared { same }, [None, None]))) => {
                if !same {
                    self.failed = self.failed.or(Some(Status::Different));
                }
                self.dismiss_player();
            }
            Ok(None) => {}
            Ok(Some(_)) => {
                let failure = player.nonsense();
                self.report_failure(&failure);
            }
            Err(failure) => self.report_failure(&failure),
        }
        Ok(())
    }

    fn report_failure(&mut self, failure: &Failure) {
        self.notice(Level::Error, failure.text.clone());
        self.fail_player(failure.status);
    }

    fn fail_player(&mut self, status: Status) {
        self.failed = Some(status);
        self.dismiss_player();
    }

    /// Closes the player's channel, upon which the player exits.
    pub(super) fn dismiss_player(&mut self) {
        self.leaving.extend(self.player.take().map(|player| player.pid));
    }
}
