//! What the service manager is told: that we listen, how many sessions there are, and that every role is alive.

use std::time::{Duration, Instant};

use super::{Phase, Supervisor};
use crate::exit::Failure;
use crate::messages::{ToLogger, ToZygote};
use crate::parent::manager::Manager;
use crate::policy::Role;

/// How often the line about sessions may change.
const STATUS: Duration = Duration::from_secs(1);

/// What the manager knows of us.
pub(in crate::parent) struct Service {
    manager: Manager,
    status: String,
    /// When it may hear of a change.
    next_status: Instant,
    watchdog: Option<Watchdog>,
}

/// Each role without which nothing is forwarded is asked whether it is there, and the manager hears of it once all
/// have answered: a role that hangs ends the service as surely as one that is lost. Not the resolver: names are not
/// worth the sessions that a restart would end.
struct Watchdog {
    every: Duration,
    next: Instant,
    /// Asked, and has not answered.
    silent: Vec<Role>,
}

impl Service {
    pub(in crate::parent) fn new(manager: Manager) -> Service {
        let now = Instant::now();
        let watchdog = manager.watchdog().map(|every| Watchdog { every, next: now, silent: Vec::new() });
        Service { manager, status: String::new(), next_status: now, watchdog }
    }
}

impl Supervisor<'_> {
    pub(super) fn tell_ready(&self) {
        // Who is stopping is not ready any more, whatever it has opened again.
        if let Some(service) = self.service.as_ref().filter(|_| self.phase == Phase::Serving) {
            service.manager.ready();
        }
    }

    pub(super) fn tell_reloading(&self) {
        if let Some(service) = self.service.as_ref().filter(|_| self.phase == Phase::Serving) {
            service.manager.reloading();
        }
    }

    pub(super) fn tell_stopping(&self) {
        if let Some(service) = &self.service {
            service.manager.stopping();
        }
    }

    /// Tells the manager what is due now.
    pub(super) fn keep_manager_informed(&mut self) -> Result<(), Failure> {
        let now = Instant::now();
        let status = self.service.is_some().then(|| self.status());
        let Some(service) = &mut self.service else { return Ok(()) };
        if let Some(status) = status.filter(|status| *status != service.status && service.next_status <= now)
        {
            service.manager.status(&status);
            (service.status, service.next_status) = (status, now + STATUS);
        }
        match &mut service.watchdog {
            Some(watchdog) if watchdog.next <= now => {
                watchdog.next = now + watchdog.every;
                // While the last records are written, which has a time limit of its own, the zygote is gone and the
                // logger takes no more messages.
                if matches!(self.phase, Phase::WritingOut { .. }) {
                    service.manager.alive();
                } else if watchdog.silent.is_empty() {
                    watchdog.silent.extend([Role::Logger, Role::Zygote]);
                    return self.ask_roles();
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn status(&self) -> String {
        let running = self.running.len();
        match self.phase {
            Phase::Serving => format!("{running} sessions running, {} begun", self.begun),
            _ => format!("{running} sessions left"),
        }
    }

    fn ask_roles(&mut self) -> Result<(), Failure> {
        self.roles.zygote.send(&ToZygote::Ping)?;
        self.tell(ToLogger::Ping);
        self.flush_outbox()
    }

    /// A role has answered; false if nobody has asked it.
    pub(super) fn has_answered(&mut self, role: Role) -> bool {
        let Some(service) = &mut self.service else { return false };
        let Some(watchdog) = &mut service.watchdog else { return false };
        let Some(index) = watchdog.silent.iter().position(|silent| *silent == role) else {
            // The logger says so by itself while it waits for an output.
            return role == Role::Logger;
        };
        watchdog.silent.remove(index);
        if watchdog.silent.is_empty() {
            service.manager.alive();
        }
        true
    }

    /// When the manager is to hear something.
    pub(super) fn next_report(&self) -> Option<Instant> {
        let service = self.service.as_ref()?;
        let status = (self.status() != service.status).then_some(service.next_status);
        let watchdog = service.watchdog.as_ref().map(|watchdog| watchdog.next);
        [status, watchdog].into_iter().flatten().min()
    }
}
