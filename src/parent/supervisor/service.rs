//! Notifications to the service manager: readiness, number of sessions, and the watchdog.

use std::time::{Duration, Instant};

use super::{Phase, Supervisor};
use crate::exit::Failure;
use crate::messages::{ToLogger, ToZygote};
use crate::parent::supervisor::manager::Manager;
use crate::policy::Role;

/// Minimum interval of the status line.
const STATUS: Duration = Duration::from_secs(1);

/// State of the notifications.
pub(in crate::parent) struct Service {
    manager: Manager,
    status: String,
    /// Earliest time of the next status line.
    next_status: Instant,
    watchdog: Option<Watchdog>,
}

/// Every role without which nothing is forwarded is pinged, and the manager is notified once all have
/// answered: a role that hangs ends the service as reliably as a lost one. Not the resolver: names do not
/// justify the loss of sessions by a restart.
struct Watchdog {
    every: Duration,
    next: Instant,
    /// Roles that were pinged and have not answered.
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
    pub(super) fn notify_ready(&self) {
        // A program that is stopping stays not ready, even if it reopens outputs.
        if let Some(service) = self.service.as_ref().filter(|_| self.phase == Phase::Serving) {
            service.manager.ready();
        }
    }

    pub(super) fn notify_reloading(&self) {
        if let Some(service) = self.service.as_ref().filter(|_| self.phase == Phase::Serving) {
            service.manager.reloading();
        }
    }

    pub(super) fn notify_stopping(&self) {
        if let Some(service) = &self.service {
            service.manager.stopping();
        }
    }

    /// Sends the notifications that are due.
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
                // While the last records are written, which has its own time limit, the zygote is gone and
                // the logger accepts no messages.
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
        self.queue(ToLogger::Ping);
        self.flush_outbox()
    }

    /// Records a role's answer; returns `false` if the role was not pinged.
    pub(super) fn has_answered(&mut self, role: Role) -> bool {
        let Some(service) = &mut self.service else { return false };
        let Some(watchdog) = &mut service.watchdog else { return false };
        let Some(index) = watchdog.silent.iter().position(|silent| *silent == role) else {
            // The logger sends it unrequested while it waits for an output.
            return role == Role::Logger;
        };
        watchdog.silent.remove(index);
        if watchdog.silent.is_empty() {
            service.manager.alive();
        }
        true
    }

    /// Time of the next notification.
    pub(super) fn next_report(&self) -> Option<Instant> {
        let service = self.service.as_ref()?;
        let status = (self.status() != service.status).then_some(service.next_status);
        let watchdog = service.watchdog.as_ref().map(|watchdog| watchdog.next);
        [status, watchdog].into_iter().flatten().min()
    }
}
