//! The shutdown as a state machine: the effect of a phase, a deadline, a signal, a lost output. The supervisor
//! carries out the actions. This module performs none, so that a test can go through every state.

use std::time::{Duration, Instant};

/// Maximum time for sessions to end in order.
const ENDING: Duration = Duration::from_secs(5);

/// Maximum time for the logger to write the rest.
const WRITE_OUT: Duration = Duration::from_secs(20);

/// Phase of the program, up to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    Serving,
    /// No new sessions; running ones continue for a limited time (`--drain-timeout`).
    Draining {
        until: Instant,
        status: u8,
    },
    /// Sessions are ended in order.
    Ending {
        until: Instant,
        status: u8,
    },
    /// The logger writes the remaining records.
    WritingOut {
        until: Instant,
        status: u8,
    },
}

/// Sessions that are not over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left {
    /// Sessions that may still begin.
    pub(super) to_come: bool,
    /// Pairs of peers that may become sessions.
    pub(super) pairs: bool,
    pub(super) running: bool,
}

/// Action that is due in a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PhaseStep {
    Wait,
    /// All requested sessions have begun.
    CloseListeners,
    /// All requested sessions are over.
    AllServed,
    /// The time for draining has expired.
    EndSessions(u8),
    /// Workers have not ended in time.
    GiveUpWorkers(u8),
    WriteOut(u8),
    /// The logger has not finished in time.
    GiveUpLogger,
}

/// Effect of a signal that ends the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reaction {
    Drain(Duration),
    Stop,
    EndSessions,
    Exit,
}

impl Phase {
    pub(super) fn draining(now: Instant, patience: Duration, status: u8) -> Phase {
        Phase::Draining { until: now + patience, status }
    }

    pub(super) fn ending(now: Instant, status: u8) -> Phase {
        Phase::Ending { until: now + ENDING, status }
    }

    pub(super) fn writing_out(now: Instant, status: u8) -> Phase {
        Phase::WritingOut { until: now + WRITE_OUT, status }
    }

    pub(super) fn step(self, now: Instant, left: Left) -> PhaseStep {
        let is_empty = !left.pairs && !left.running;
        match self {
            Phase::Serving if left.to_come => PhaseStep::Wait,
            Phase::Serving if is_empty => PhaseStep::AllServed,
            Phase::Serving => PhaseStep::CloseListeners,
            Phase::Draining { status, .. } if is_empty => PhaseStep::WriteOut(status),
            Phase::Draining { until, status } if until <= now => PhaseStep::EndSessions(status),
            Phase::Ending { status, .. } if !left.running => PhaseStep::WriteOut(status),
            Phase::Ending { until, status } if until <= now => PhaseStep::GiveUpWorkers(status),
            Phase::WritingOut { until, .. } if until <= now => PhaseStep::GiveUpLogger,
            Phase::Draining { .. } | Phase::Ending { .. } | Phase::WritingOut { .. } => PhaseStep::Wait,
        }
    }

    /// With `patience`, the first signal lets sessions finish; the next one ends them in order, and the one after
    /// that ends the program: everything recorded is written in each case.
    pub(super) fn on_signal(self, patience: Option<Duration>) -> Reaction {
        match (self, patience) {
            (Phase::Ending { .. } | Phase::WritingOut { .. }, _) => Reaction::Exit,
            (Phase::Draining { .. }, _) => Reaction::EndSessions,
            (Phase::Serving, Some(patience)) => Reaction::Drain(patience),
            (Phase::Serving, None) => Reaction::Stop,
        }
    }

    /// Returns the same phase with another status; `None` if sessions have to be ended first.
    pub(super) fn with_status(self, status: u8) -> Option<Phase> {
        match self {
            Phase::Serving | Phase::Draining { .. } => None,
            Phase::Ending { until, .. } => Some(Phase::Ending { until, status }),
            Phase::WritingOut { until, .. } => Some(Phase::WritingOut { until, status }),
        }
    }
}

/// Goes through every state that the phases can reach with a few sessions, for all events in every order.
#[cfg(test)]
mod model {
    use std::collections::HashSet;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);
    const SIGNALLED: u8 = 143;
    const OUTPUT_LOST: u8 = 74;

    /// The bridge as far as its end depends on it. Deadlines are relative: `now` never moves, and an expired deadline
    /// equals `now`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    struct ModelState {
        phase: Phase,
        to_come: u8,
        pairs: u8,
        running: u8,
        signalled: bool,
        output_lost: bool,
        /// Exit status of the program, once it has ended.
        exited: Option<u8>,
        workers_given_up: bool,
        logger_given_up: bool,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum ModelEvent {
        /// A client connects.
        Client,
        /// A pair becomes a session.
        Begin,
        /// A pair fails.
        Fail,
        /// A session is over.
        End,
        Signal,
        OutputLost,
        /// The logger has written everything.
        Finished,
        /// The deadline of the phase expires, if there is one.
        Time,
    }

    const EVENTS: [ModelEvent; 8] = [
        ModelEvent::Client,
        ModelEvent::Begin,
        ModelEvent::Fail,
        ModelEvent::End,
        ModelEvent::Signal,
        ModelEvent::OutputLost,
        ModelEvent::Finished,
        ModelEvent::Time,
    ];

    struct Model {
        now: Instant,
        patience: Option<Duration>,
    }

    impl Model {
        fn start(&self) -> ModelState {
            let phase = Phase::Serving;
            let [to_come, pairs, running] = [2, 0, 0];
            let [signalled, output_lost, workers_given_up, logger_given_up] = [false; 4];
            ModelState {
                phase,
                to_come,
                pairs,
                running,
                signalled,
                output_lost,
                exited: None,
                workers_given_up,
                logger_given_up,
            }
        }

        /// Returns the state after an event and all actions due then; `None` if the event cannot happen.
        fn after(&self, mut state: ModelState, event: ModelEvent) -> Option<ModelState> {
            let serving = state.phase == Phase::Serving;
            match event {
                _ if state.exited.is_some() => return None,
                ModelEvent::Client if serving && state.to_come > 0 => {
                    (state.to_come, state.pairs) = (state.to_come - 1, state.pairs + 1);
                }
                ModelEvent::Begin if state.pairs > 0 => {
                    (state.pairs, state.running) = (state.pairs - 1, state.running + 1);
                }
                ModelEvent::Fail if state.pairs > 0 => state.pairs -= 1,
                ModelEvent::End if state.running > 0 => state.running -= 1,
                ModelEvent::Signal => self.signal(&mut state),
                ModelEvent::OutputLost if !state.output_lost => {
                    state.output_lost = true;
                    match state.phase.with_status(OUTPUT_LOST) {
                        Some(phase) => state.phase = phase,
                        None => self.end_sessions(&mut state, OUTPUT_LOST),
                    }
                }
                ModelEvent::Finished => match state.phase {
                    Phase::WritingOut { status, .. } => state.exited = Some(status),
                    _ => return None,
                },
                ModelEvent::Time => state.phase = self.passed(state.phase)?,
                _ => return None,
            }
            self.carry_out(&mut state);
            Some(state)
        }

        /// Models `Supervisor::handle_end_signal`.
        fn signal(&self, state: &mut ModelState) {
            match state.phase.on_signal(self.patience) {
                Reaction::Drain(patience) => state.phase = Phase::draining(self.now, patience, SIGNALLED),
                Reaction::Stop | Reaction::EndSessions => self.end_sessions(state, SIGNALLED),
                Reaction::Exit => state.exited = Some(SIGNALLED),
            }
            state.signalled = true;
        }

        /// Models `Supervisor::progress`.
        fn carry_out(&self, state: &mut ModelState) {
            let [to_come, pairs, running] = [state.to_come, state.pairs, state.running].map(|it| it > 0);
            match state.phase.step(self.now, Left { to_come, pairs, running }) {
                PhaseStep::Wait | PhaseStep::CloseListeners => {}
                PhaseStep::AllServed => state.phase = Phase::writing_out(self.now, 0),
                PhaseStep::EndSessions(status) => self.end_sessions(state, status),
                PhaseStep::GiveUpWorkers(status) => {
                    (state.running, state.workers_given_up) = (0, true);
                    state.phase = Phase::writing_out(self.now, status);
                }
                PhaseStep::WriteOut(status) => state.phase = Phase::writing_out(self.now, status),
                PhaseStep::GiveUpLogger => (state.exited, state.logger_given_up) = (Some(OUTPUT_LOST), true),
            }
        }

        fn end_sessions(&self, state: &mut ModelState, status: u8) {
            state.pairs = 0;
            state.phase = Phase::ending(self.now, status);
        }

        fn passed(&self, phase: Phase) -> Option<Phase> {
            let until = self.now;
            Some(match phase {
                Phase::Serving => return None,
                Phase::Draining { status, .. } => Phase::Draining { until, status },
                Phase::Ending { status, .. } => Phase::Ending { until, status },
                Phase::WritingOut { status, .. } => Phase::WritingOut { until, status },
            })
        }

        /// Order of the phases, and the time that remains in each.
        fn rank(&self, state: &ModelState) -> (u8, Duration) {
            match (state.exited, state.phase) {
                (Some(_), _) => (0, Duration::ZERO),
                (None, Phase::WritingOut { until, .. }) => (1, until - self.now),
                (None, Phase::Ending { until, .. }) => (2, until - self.now),
                (None, Phase::Draining { until, .. }) => (3, until - self.now),
                (None, Phase::Serving) => (4, Duration::MAX),
            }
        }

        /// Every reachable state, and every step between two of them.
        fn explore(&self) -> Vec<(ModelState, ModelEvent, ModelState)> {
            let mut seen = HashSet::from([self.start()]);
            let mut new = vec![self.start()];
            let mut steps = Vec::new();
            while let Some(state) = new.pop() {
                let after = |event| Some((state, event, self.after(state, event)?));
                for step in EVENTS.into_iter().filter_map(after) {
                    new.extend(seen.insert(step.2).then_some(step.2));
                    steps.push(step);
                }
            }
            steps
        }
    }

    fn models() -> [Model; 2] {
        [None, Some(PATIENCE)].map(|patience| Model { now: Instant::now(), patience })
    }

    #[test]
    fn no_step_leads_back_or_gives_more_time() {
        for model in models() {
            let steps = model.explore();
            assert!(steps.len() > 100, "{}", steps.len());
            for (before, event, after) in steps {
                assert!(model.rank(&after) <= model.rank(&before), "{before:?} {event:?} {after:?}");
            }
        }
    }

    #[test]
    fn once_it_ends_time_alone_brings_it_to_an_end() {
        for model in models() {
            for (_, _, mut state) in model.explore() {
                if state.phase == Phase::Serving {
                    continue;
                }
                let mut time = Duration::ZERO;
                // Each of the three phases before the end has at most one deadline.
                for _ in 0..3 {
                    time += model.rank(&state).1;
                    state = model.after(state, ModelEvent::Time).unwrap_or(state);
                }
                assert!(state.exited.is_some(), "{state:?}");
                assert!(time <= PATIENCE + ENDING + WRITE_OUT, "{time:?} {state:?}");
            }
        }
    }

    #[test]
    fn three_signals_end_it_from_every_state() {
        for model in models() {
            for (_, _, mut state) in model.explore() {
                for _ in 0..3 {
                    state = model.after(state, ModelEvent::Signal).unwrap_or(state);
                }
                assert!(state.exited.is_some(), "{state:?}");
            }
        }
    }

    #[test]
    fn the_status_names_the_cause_and_no_one_is_given_up_before_its_time() {
        for model in models() {
            for (before, event, after) in model.explore() {
                let given_up = |state: &ModelState| (state.workers_given_up, state.logger_given_up);
                let in_time = given_up(&before) == given_up(&after) || event == ModelEvent::Time;
                assert!(in_time, "{before:?} {event:?} {after:?}");
                let Some(status) = after.exited else { continue };
                let expected = match (after.output_lost, after.signalled) {
                    _ if event == ModelEvent::Signal => SIGNALLED,
                    _ if after.logger_given_up => OUTPUT_LOST,
                    (true, _) => OUTPUT_LOST,
                    (false, true) => SIGNALLED,
                    (false, false) => 0,
                };
                assert_eq!(status, expected, "{before:?} {event:?} {after:?}");
            }
        }
    }

    #[test]
    fn no_session_begins_after_the_sessions_were_ended() {
        for model in models() {
            for (before, event, after) in model.explore() {
                let late = matches!(before.phase, Phase::Ending { .. } | Phase::WritingOut { .. });
                assert!(!late || after.running <= before.running, "{before:?} {event:?} {after:?}");
            }
        }
    }
}
