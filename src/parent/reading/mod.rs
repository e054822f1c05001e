//! `--read` and `--diff`: a converter in the place of peers and workers. The parent opens the record, reads nothing
//! from it, and waits until the logger has written the converter's events.

pub(super) mod parts;
pub(super) mod replay;

use crate::parent::startup::stop::{interrupted, signals_of};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use privsep::channel::no_fds;
use privsep::confine::Confined;
use privsep::spawn::Program;

use crate::config::{Config, Diff, Reading, RecordInput, Task};
use crate::exit::{Failure, Status};
use crate::hooks::Hooks;
use crate::messages::{Flaw, Hangup, Level, ToConverter, ToLogger, ToParent, Unplayable};
use crate::parent::reading::parts::RecordPart;
use crate::parent::startup::roles::{RunningRole, Starter};
use crate::parent::startup::stop::Stop;
use crate::parent::startup::{confine, limits};
use crate::parent::supervisor::sighup;
use crate::parent::{Descriptors, Start, TargetIdentity, no_proc};
use crate::parent::{account, announce_user, block_signals, refuse_open_sandbox, startup_notices};
use crate::policy::Role;
use crate::reason::reason;
use crate::record::quantity;

/// Maximum number of messages of the logger between two checks for signals.
const TURN: usize = 64;

/// Maximum number of missing sessions in a message.
const MOST_LISTED: usize = 10;

/// Maximum time from a signal to the end: a converter that hangs keeps the logger waiting.
const ENDING: Duration = Duration::from_secs(10);

/// Starts logger and converter, drops all privileges, and waits for both.
pub(super) fn run<H: Hooks>(
    mut config: Config,
    order: &ConversionRequest<'_>,
    start: Start,
    descriptors: Descriptors,
) -> Result<u8, Stop> {
    refuse_open_sandbox(&config)?;
    let actor = start.actor();
    let parts = RecordPart::open_all(order.inputs, &config, (&descriptors, &actor))?;
    let keys = RecordPart::open_all(order.keys, &config, (&descriptors, &actor))?;
    let signals = block_signals()?;
    let limits::Limits { backlog, shortage } = limits::raise(&mut config)?;
    let program = Program::current("tcpreen").map_err(|error| no_proc(&error))?;
    let target = TargetIdentity::choose(start, config.user.as_deref())?;
    let hangup = sighup::meaning().map_err(|error| Failure::new(Status::Os, format!("signals: {error}")))?;
    let (identity, sandbox) = (target.identity, config.sandbox);
    let starter = Starter { program: &program, identity, actor: &target.actor, sandbox };
    announce_user(&config, &target);
    let logger = starter.logger(&config, None, hangup, backlog, &descriptors)?;
    drop(descriptors);
    let (converter, saved) = starter.converter(&parts, keys.first(), order.masks, None)?;
    let (sandbox_status, outputs_wait) = logger.ready_to_record(&signals)?;
    let mut statuses = vec![(Role::Logger, sandbox_status)];
    statuses.push((Role::Converter, converter.ready(&signals)?));
    let who = account(identity);
    let locked = confine::close_alone::<H>(confine::drop_privileges::<H>(start, identity)?, sandbox)?;
    statuses.push((Role::Parent, locked.sandbox_status));
    let names = parts.into_iter().chain(keys).map(|part| part.name).collect();
    let conversion = Conversion {
        logger,
        converter: Some(converter),
        outputs_wait,
        signals: &signals,
        hangup,
        names,
        flaws: Vec::new(),
        failure: None,
        sessions: 0,
        missing: Vec::new(),
        stopped_by: None,
        until: None,
        output_lost: false,
        is_different: false,
        _locked: &locked,
    };
    for (level, text) in startup_notices(&config, (&target, &who), [shortage, None], &statuses) {
        conversion.logger.send(&ToLogger::Notice { level, text })?;
    }
    Ok(conversion.run(saved, order)?)
}

/// The task for the converter: the records, and the operation.
pub(super) struct ConversionRequest<'a> {
    inputs: &'a [RecordInput],
    /// `--tls-keys`, if any.
    keys: &'a [RecordInput],
    sessions: &'a [u64],
    masks: &'a [String],
    compares: bool,
}

impl ConversionRequest<'_> {
    /// Returns `None` for a run with peers.
    pub(super) fn of(task: &Task) -> Option<ConversionRequest<'_>> {
        match task {
            Task::Read(Reading { inputs, sessions, keys }) => Some(ConversionRequest {
                inputs,
                keys: keys.as_slice(),
                sessions,
                masks: &[],
                compares: false,
            }),
            Task::Diff(Diff { inputs, sessions, masks }) => {
                Some(ConversionRequest { inputs, keys: &[], sessions, masks, compares: true })
            }
            Task::Bridge | Task::Replay(_) => None,
        }
    }

    fn message(&self) -> ToConverter {
        let sessions = self.sessions.to_vec();
        if self.compares { ToConverter::Compare { sessions } } else { ToConverter::Convert { sessions } }
    }

    /// Checks what a converter reports of sessions: it lists none that was not asked for.
    fn may_lack(&self, missing: &[u64]) -> bool {
        !self.compares
            && missing.len() <= self.sessions.len()
            && missing.iter().all(|number| self.sessions.contains(number))
    }
}

/// A conversion under way.
struct Conversion<'a> {
    logger: RunningRole<ToLogger>,
    /// `None` once the converter has no more work.
    converter: Option<RunningRole<ToConverter>>,
    /// An output is a FIFO without a reader: the converter begins when it has one.
    outputs_wait: bool,
    signals: &'a SignalFd,
    hangup: Hangup,
    /// Names of the parts, then of the files with secrets.
    names: Vec<String>,
    /// Unreadable places, in the order of the parts.
    flaws: Vec<(u32, Flaw)>,
    /// Reason for an exit status other than 0, besides flaws.
    failure: Option<Failure>,
    /// Number of sessions found.
    sessions: u64,
    /// Numbers of wanted sessions that were not.
    missing: Vec<u64>,
    stopped_by: Option<Signal>,
    /// Deadline, set when the conversion is stopped.
    until: Option<Instant>,
    output_lost: bool,
    /// The compared records differ.
    is_different: bool,
    _locked: &'a Confined,
}

/// Events reported by poll.
struct Polled {
    signal: bool,
    logger: bool,
    converter: bool,
}

impl<'a> Conversion<'a> {
    /// Runs to the end of the record; returns the exit status.
    fn run(mut self, saved: OwnedFd, order: &ConversionRequest<'_>) -> Result<u8, Failure> {
        self.logger.send_with(&ToLogger::Saved, &[saved.as_fd()])?;
        // Closed here so that the logger sees the end of the channel when the converter exits.
        drop(saved);
        if !self.outputs_wait {
            self.begin(order)?;
        }
        while !self.is_finished(order)? {}
        self.status(order)
    }

    fn begin(&self, order: &ConversionRequest<'_>) -> Result<(), Failure> {
        self.converter.as_ref().map_or(Ok(()), |converter| converter.send(&order.message()))
    }

    /// Waits for an event and handles it; returns `true` once everything is written.
    fn is_finished(&mut self, order: &ConversionRequest<'_>) -> Result<bool, Failure> {
        let found = self.wait()?;
        if self.until.is_some_and(|until| until <= Instant::now()) {
            let text = "the record was not written in time: the last events may be missing";
            return Err(Failure::new(Status::Io, text));
        }
        if found.signal {
            self.handle_signals()?;
        }
        if found.converter {
            self.handle_converter_messages(order)?;
        }
        if !found.logger {
            return Ok(false);
        }
        for _ in 0..TURN {
            let Some((message, fds)) = self.logger.receive()? else { break };
            no_fds(fds).map_err(|_| self.logger.nonsense())?;
            match message {
                ToParent::OutputLost => self.lose_output()?,
                ToParent::OutputsOpen if self.outputs_wait => {
                    self.outputs_wait = false;
                    self.begin(order)?;
                }
                // There are no sessions of workers here.
                ToParent::Recorded { .. } | ToParent::Reopened => {}
                ToParent::Finished if self.converter.is_none() => return Ok(true),
                _ => return Err(self.logger.nonsense()),
            }
        }
        Ok(false)
    }

    fn wait(&self) -> Result<Polled, Failure> {
        let converter = self.converter.as_ref().map(|converter| converter.channel.as_fd());
        let fds = [Some(self.signals.as_fd()), Some(self.logger.channel.as_fd()), converter];
        let mut fds: Vec<PollFd<'_>> =
            fds.into_iter().flatten().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        match poll(&mut fds, self.time_left()) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Failure::new(Status::Os, reason(errno as i32))),
        }
        let is_ready = |index: usize| fds.get(index).is_some_and(|fd| fd.any().unwrap_or(false));
        Ok(Polled { signal: is_ready(0), logger: is_ready(1), converter: is_ready(2) })
    }

    /// Time to the deadline, rounded up, so that the deadline has passed when poll returns.
    fn time_left(&self) -> PollTimeout {
        let Some(until) = self.until else { return PollTimeout::NONE };
        let left = until.saturating_duration_since(Instant::now()).as_millis() + 1;
        PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
    }

    fn handle_converter_messages(&mut self, order: &ConversionRequest<'_>) -> Result<(), Failure> {
        while let Some(converter) = &self.converter {
            let (message, fds) = match converter.receive() {
                Ok(Some(message)) => message,
                Ok(None) => return Ok(()),
                Err(lost) => return self.finish(Some(lost)),
            };
            let in_order = self.flaws.last().map_or(0, |(part, _)| part + 1);
            match message {
                ToParent::Flaw { part, flaw }
                    if no_fds(fds).is_ok() && (in_order..self.names.len() as u32).contains(&part) =>
                {
                    self.flaws.push((part, flaw));
                }
                ToParent::Compared { same } if order.compares => {
                    self.is_different = !same;
                    return self.finish(None);
                }
                ToParent::Unplayable(why) if order.compares => {
                    return self.finish(Some(unplayable(&self.names.join(" "), why)));
                }
                ToParent::Converted { sessions, missing, unended } if order.may_lack(&missing) => {
                    (self.sessions, self.missing) = (sessions, missing);
                    self.note_unended(unended, order)?;
                    return self.finish(None);
                }
                _ => return self.finish(Some(converter.nonsense())),
            }
        }
        Ok(())
    }

    /// Prints that sessions have no end, unless a flaw is the reason.
    fn note_unended(&self, sessions: u64, order: &ConversionRequest<'_>) -> Result<(), Failure> {
        let what = match sessions {
            0 => return Ok(()),
            1 => "1 session has".to_owned(),
            sessions => format!("{sessions} sessions have"),
        };
        if !self.flaws.is_empty() {
            return Ok(());
        }
        let text = format!("{}: {what} no end in the record", self.names[..order.inputs.len()].join(" "));
        self.logger.send(&ToLogger::Notice { level: Level::Normal, text })
    }

    /// Makes the logger write everything received so far; no more events are sent.
    fn finish(&mut self, failure: Option<Failure>) -> Result<(), Failure> {
        self.failure = self.failure.take().or(failure);
        self.converter = None;
        self.logger.send(&ToLogger::Finish)
    }

    fn lose_output(&mut self) -> Result<(), Failure> {
        self.output_lost = true;
        self.stop()
    }

    /// Stops the conversion: the converter exits when its channel is closed.
    fn stop(&mut self) -> Result<(), Failure> {
        self.until.get_or_insert_with(|| Instant::now() + ENDING);
        match self.converter.take() {
            // Closes the channel.
            Some(_) => self.logger.send(&ToLogger::Finish),
            None => Ok(()),
        }
    }

    fn handle_signals(&mut self) -> Result<(), Failure> {
        let signals: Vec<Signal> = signals_of(self.signals).collect();
        for signal in signals {
            match signal {
                Signal::SIGCHLD | Signal::SIGUSR2 => {}
                Signal::SIGUSR1 => self.logger.send(&ToLogger::Statistics)?,
                Signal::SIGHUP if self.hangup == Hangup::Reopens => self.logger.send(&ToLogger::Reopen)?,
                // A second signal does not wait for the outputs.
                signal if self.stopped_by.is_some() => {
                    let text = format!("ended by a second signal ({signal}): records may be missing");
                    return Err(Failure::new(Status::Io, text));
                }
                signal => {
                    self.stopped_by = Some(signal);
                    self.stop()?;
                }
            }
        }
        Ok(())
    }

    fn status(self, order: &ConversionRequest<'_>) -> Result<u8, Failure> {
        let mut lines: Vec<String> =
            self.flaws.iter().map(|(part, flaw)| flaw_text(&self.names[*part as usize], *flaw)).collect();
        if let Some(failure) = self.failure {
            lines.push(failure.text);
            return Err(Failure::new(failure.status, lines.join("\n")));
        }
        // Of a record that gave nothing, the flaw is the reason.
        let is_known = lines.is_empty() || self.sessions > 0;
        if !self.missing.is_empty() && is_known && self.stopped_by.is_none() {
            let names = self.names[..order.inputs.len()].join(" ");
            lines.push(format!("{names}: no such session in it: {}", listed(&self.missing)));
        }
        let failed = |status| match lines.is_empty() {
            true => Ok(status as u8),
            false => Err(Failure::new(status, lines.join("\n"))),
        };
        match self.stopped_by {
            Some(signal) => Ok(interrupted(signal)),
            None if self.output_lost => failed(Status::Io),
            None if lines.is_empty() && self.is_different => Ok(Status::Different as u8),
            None if lines.is_empty() => Ok(0),
            None => {
                let only_unread = self.flaws.iter().all(|(_, flaw)| matches!(flaw, Flaw::Read { .. }));
                failed(if only_unread && !self.flaws.is_empty() { Status::NoInput } else { Status::Data })
            }
        }
    }
}

/// Numbers for a message, as far as they fit on a line.
fn listed(numbers: &[u64]) -> String {
    let shown: Vec<String> = numbers.iter().take(MOST_LISTED).map(u64::to_string).collect();
    match numbers.len().checked_sub(shown.len()) {
        None | Some(0) => shown.join(", "),
        Some(more) => format!("{} and {more} more", shown.join(", ")),
    }
}

/// A session that cannot be played or compared.
pub(super) fn unplayable(name: &str, why: Unplayable) -> Failure {
    let text = match why {
        Unplayable::Missing => "no such session in it",
        Unplayable::OnlyLengths => "only lengths were recorded, no bytes that could be played",
        Unplayable::Gap => "bytes are missing in the session",
        Unplayable::TooLong => "too many bytes to hold them (64 MiB); choose sessions with --session",
    };
    Failure::new(Status::Data, format!("{name}: {text}"))
}

pub(super) fn flaw_text(name: &str, flaw: Flaw) -> String {
    match flaw {
        Flaw::Foreign => format!(
            "{name}: not a record of tcpreen (-f json or -f pcapng); Wireshark and tshark read other captures"
        ),
        Flaw::Cut { at } => format!("{name}: cut off within the event at byte {at}; all before it was read"),
        Flaw::Damaged { at, left_out: None } => {
            format!("{name}: damaged at byte {at}; all before it was read")
        }
        Flaw::Damaged { at, left_out: Some(bytes) } => {
            format!("{name}: damaged at byte {at}; {} left out, all else was read", quantity(bytes))
        }
        Flaw::NoKeys => {
            format!("{name}: no secrets of TLS in it; a client writes them where SSLKEYLOGFILE says")
        }
        Flaw::TooLong => format!("{name}: longer than 16 MiB; take the lines of these sessions alone"),
        Flaw::Read { errno } => format!("{name}: {}", reason(errno)),
    }
}
