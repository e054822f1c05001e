//! A lookup: a process forked for one question, which inherits the resolver's filter.

use nix::libc;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigEvent, SigevNotify, Signal};
use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
use nix::time::ClockId;
use nix::unistd::Pid;
use privsep::channel::Channel;
use privsep::confine::Confined;
use privsep::sys::{self, Title};

use super::lookup;
use super::lookup::Question;
use crate::messages::LookupAnswer;

/// Title of a lookup, as formatted by `privsep::role::argument`.
const TITLE: &str = "[lookup]";

/// State of a lookup that the resolver lacks.
pub(super) struct Lookup {
    question: Question,
    answer: Channel<LookupAnswer, ()>,
    resolver: Pid,
}

impl Lookup {
    pub(super) fn new(question: Question, answer: Channel<LookupAnswer, ()>, resolver: Pid) -> Lookup {
        Lookup { question, answer, resolver }
    }

    /// Answers the question and exits.
    pub(super) fn live(self, title: Option<Title>, _locked: &Confined) -> ! {
        if let Some(title) = title {
            title.set(TITLE);
        }
        let answered = self.settle().is_ok_and(|()| {
            let answer = lookup::answer(&self.question);
            self.answer.send(&answer).is_ok()
        });
        sys::exit_now(if answered { 0 } else { libc::EXIT_FAILURE })
    }

    /// Sets what fork does not inherit: the parent-death signal, a limit of no processes, and a deadline at which the
    /// kernel kills the lookup, even if the C library blocks.
    fn settle(&self) -> nix::Result<()> {
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
        if sys::parent() != self.resolver {
            return Err(nix::errno::Errno::ESRCH);
        }
        setrlimit(Resource::RLIMIT_NPROC, 0, 0)?;
        nix::sys::prctl::set_name(c"tcpreen-lookup")?;
        let kill = SigevNotify::SigevSignal { signal: Signal::SIGKILL, si_value: 0 };
        let mut timer = Timer::new(ClockId::CLOCK_MONOTONIC, SigEvent::new(kill))?;
        let limit = Expiration::OneShot(self.question.time_limit().into());
        timer.set(limit, TimerSetTimeFlags::empty())?;
        // The kernel deletes the timer with the process; the filter forbids deleting it.
        std::mem::forget(timer);
        Ok(())
    }
}
