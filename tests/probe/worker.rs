//! `src/worker/mod.rs`, and a door before a session is served: one trial in each worker.

use privsep::confine::Locked;

use super::assignment;
use super::messages::WorkersEnd;

#[path = "../../src/worker/mod.rs"]
mod real;
pub(crate) use real::*;

pub(crate) fn serve(channel: &WorkersEnd, session: Session, buffers: [Buffer; 2], locked: &Locked) -> ! {
    if let Some(assignment) = assignment::of("worker")
        && let Some(index) = assignment.board().next(assignment.plan().len())
    {
        assignment.board().began(index);
        let outcome = assignment.plan()[index].perform();
        assignment.board().came_back(index, outcome);
    }
    real::serve(channel, session, buffers, locked)
}
