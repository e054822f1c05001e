//! Starts the three executed roles, waits until they are ready, and handles their loss. Logger and zygote run as long
//! as the parent.

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use privsep::channel::{Channel, ChannelError, Incoming, Wait, one_fd};
use privsep::confine::{Identity, SandboxStatus};
use privsep::spawn::{Program, Streams};
use privsep::sys::Fds;
use privsep::text::Text;
use serde::Serialize;

use crate::config::{Config, Target as ConfigTarget, Verbosity};
use crate::exit::{Failure, Status};
use crate::format::Format;
use crate::messages::{
    FromConverter, Hangup, MinLevel, NameAnswer, NameQuestion, NoticeSink, Notices, OutputMode, OutputTarget,
    Prepare, Problem, Reaping, Recording, Sandbox, Taken, ToConverter, ToLogger, ToParent, ToResolver,
    ToWorker, ToZygote, VERSION, View, WorkersNeed,
};
use crate::parent::reading::parts::RecordPart;
use crate::parent::startup::denied::Actor;
use crate::parent::startup::descriptors;
use crate::parent::startup::descriptors::Descriptors;
use crate::parent::startup::limits;
use crate::parent::startup::stop::{Stop, signals_of};
use crate::policy::Role;
use crate::reason::reason;
use crate::signals;

/// The logger's end of its channel to the resolver.
type ResolverEnd = Channel<NameQuestion, NameAnswer>;

/// A worker without a session.
pub(in crate::parent) struct IdleWorker {
    pub(in crate::parent) pid: i32,
    pub(in crate::parent) channel: Channel<ToWorker, ()>,
}

/// A running role.
pub(in crate::parent) struct RunningRole<Out> {
    pub(in crate::parent) role: Role,
    pub(in crate::parent) pid: Pid,
    pub(in crate::parent) channel: Channel<Out, ToParent>,
    /// The user with whose rights the role runs.
    pub(in crate::parent) actor: Actor,
}

/// Maximum length of a path, with its NUL (`PATH_MAX` of linux/limits.h).
const PATH_MAX: usize = 4096;

/// Time for which a start waits when other programs of the user have too many descriptors in flight.
const CROWDED: Duration = Duration::from_secs(5);

/// Shortens glibc's time-outs for name servers that do not answer.
const RESOLVER_ENVIRONMENT: &str = "RES_OPTIONS=timeout:1 attempts:2";

/// A single heap for all threads of the logger: glibc returns memory of a second one only after it has read a
/// file in `/proc`, which the filter forbids.
const LOGGER_ENVIRONMENT: &str = "GLIBC_TUNABLES=glibc.malloc.arena_max=1";

/// From this number of concurrent sessions on, ended workers are reaped in batches: a slot that becomes free
/// a few milliseconds late delays no client.
const MANY: u32 = 16;

/// Maximum number of messages of a lost role that are searched for its reason: a role that still runs could send
/// endlessly.
const LAST_WORDS: usize = 1000;

/// Room for undelivered messages in the channel from converter to logger.
const SAVED_ROOM: usize = 1 << 20;

/// Consequence of the resolver's loss, for names on the command line and for peers.
const WITHOUT_NAMES: &str = "no name can be looked up any more, only numeric addresses and ports work";

/// Starts the roles.
pub(in crate::parent) struct Starter<'a> {
    pub(in crate::parent) program: &'a Program,
    pub(in crate::parent) identity: Identity,
    pub(in crate::parent) actor: &'a Actor,
    pub(in crate::parent) sandbox: Sandbox,
}

/// The operator's time zone. In a start with more privileges than its caller has, the environment is not trusted.
fn zone() -> Option<CString> {
    let zone = std::env::var_os("TZ").filter(|_| !privsep::sys::is_secure_start())?;
    CString::new([b"TZ=", zone.as_encoded_bytes()].concat()).ok()
}

impl Starter<'_> {
    fn start<Out: Serialize>(
        &self,
        role: Role,
        streams: Streams,
        environment: &[CString],
    ) -> Result<RunningRole<Out>, Failure> {
        let (pid, channel) = self.program.start(role.name(), streams, environment).map_err(|error| {
            let why = error.raw_os_error().map_or_else(|| error.to_string(), limits::shortage);
            Failure::new(Status::Os, format!("Process creation: {why} ({})", role.name()))
        })?;
        // Only the zygote sends descriptors: the other end of each worker's channel.
        if role != Role::Zygote {
            channel.refuse_descriptors().map_err(|error| Failure::new(Status::Os, error.to_string()))?;
        }
        Ok(RunningRole { role, pid, channel, actor: self.actor.clone() })
    }

    fn prepare(&self) -> Prepare {
        Prepare {
            version: VERSION,
            parent: Pid::this().as_raw(),
            identity: self.identity,
            sandbox: self.sandbox,
        }
    }

    /// Starts the resolver, with a channel to the logger, unless names are disabled.
    pub(in crate::parent) fn resolver(
        &self,
        numeric: bool,
    ) -> Result<(RunningRole<ToResolver>, Option<ResolverEnd>), Failure> {
        let environment = [CString::new(RESOLVER_ENVIRONMENT).unwrap_or_default()];
        let resolver = self.start(Role::Resolver, Streams::Null, &environment)?;
        let prepare = ToResolver::Prepare(self.prepare());
        if numeric {
            resolver.send(&prepare)?;
            return Ok((resolver, None));
        }
        let (questions, answers) =
            Channel::pair().map_err(|error| Failure::new(Status::Os, error.to_string()))?;
        names_take_no_descriptors(&questions, &answers)?;
        resolver.send_with(&prepare, &[answers.as_fd()])?;
        Ok((resolver, Some(questions)))
    }

    /// Starts the logger, which opens its outputs.
    pub(in crate::parent) fn logger(
        &self,
        config: &Config,
        names: Option<ResolverEnd>,
        hangup: Hangup,
        backlog: u32,
        descriptors: &Descriptors,
    ) -> Result<RunningRole<ToLogger>, Failure> {
        let mut environment = vec![CString::new(LOGGER_ENVIRONMENT).unwrap_or_default()];
        environment.extend(zone());
        let logger = self.start(Role::Logger, Streams::Output, &environment)?;
        let prepare = ToLogger::Prepare {
            prepare: self.prepare(),
            sharing: if config.at_once > 1 { OutputMode::Labelled } else { OutputMode::Serial },
            backlog,
            notices: notices(config),
            hangup,
            rotation: config.rotation,
            beginning: config.beginning,
            appearance: config.appearance,
            recording: Recording {
                acknowledge: limits::acknowledge(config),
                taken: config.record_first.unwrap_or(Taken::Written),
            },
        };
        let fds: Vec<_> = names.as_ref().map(AsFd::as_fd).into_iter().collect();
        logger.send_with(&prepare, &fds)?;
        if let Some(expression) = &config.matching {
            logger.send(&ToLogger::Match(expression.clone()))?;
        }
        for output in &config.outputs {
            let view = output.view;
            let target = match &output.target {
                ConfigTarget::Stdout => OutputTarget::Stdout,
                ConfigTarget::Descriptor(number) => {
                    let target = OutputTarget::Descriptor(descriptors::name(*number));
                    let fd = descriptors.get(*number)?;
                    logger.send_with(&ToLogger::Output { target, view }, &[fd])?;
                    continue;
                }
                ConfigTarget::File(name) => OutputTarget::File(file_name(name)?),
            };
            logger.send(&ToLogger::Output { target, view })?;
        }
        if let Some(file) = &config.metrics {
            let view = View { format: Format::Null, only: None, time: None };
            let target = OutputTarget::Metrics(file_name(file.as_os_str())?);
            logger.send(&ToLogger::Output { target, view })?;
        }
        logger.send(&ToLogger::Serve)?;
        Ok(logger)
    }

    /// Starts the converter with the parts of a record; also returns the logger's end of the channel between the two.
    pub(in crate::parent) fn converter(
        &self,
        parts: &[RecordPart],
        keys: Option<&RecordPart>,
        masks: &[String],
        stream: Option<BorrowedFd<'_>>,
    ) -> Result<(RunningRole<ToConverter>, OwnedFd), Failure> {
        let converter = self.start(Role::Converter, Streams::Null, &[])?;
        let (theirs, loggers) =
            saved_channel().map_err(|error| Failure::new(Status::Os, error.to_string()))?;
        let prepare = ToConverter::Prepare {
            prepare: self.prepare(),
            parts: parts.len() as u32,
            masks: masks.len() as u32,
            plays: stream.is_some(),
            keys: keys.is_some(),
        };
        converter.send_with(&prepare, &[theirs.as_fd()])?;
        for part in parts {
            converter.send_with(&ToConverter::Part, &[part.as_fd()])?;
        }
        if let Some(keys) = keys {
            converter.send_with(&ToConverter::Keys, &[keys.as_fd()])?;
        }
        for mask in masks {
            converter.send(&ToConverter::Mask(mask.clone()))?;
        }
        if let Some(stream) = stream {
            converter.send_with(&ToConverter::Stream, &[stream])?;
        }
        Ok((converter, loggers))
    }

    pub(in crate::parent) fn zygote(
        &self,
        at_once: u32,
        workers: WorkersNeed,
    ) -> Result<RunningRole<ToZygote>, Failure> {
        let zygote = self.start(Role::Zygote, Streams::Null, &[])?;
        let reaping = if at_once < MANY { Reaping::AtOnce } else { Reaping::InTurns };
        zygote.send(&ToZygote::Prepare { prepare: self.prepare(), reaping, workers })?;
        Ok(zygote)
    }
}

/// A channel from converter to logger, with room for the longest message.
fn saved_channel() -> Result<(OwnedFd, OwnedFd), ChannelError> {
    let (theirs, loggers) = Channel::<FromConverter, ()>::pair()?;
    setsockopt(&theirs, sockopt::SndBuf, &SAVED_ROOM).map_err(std::io::Error::from)?;
    loggers.refuse_descriptors()?;
    theirs.refuse_descriptors()?;
    Ok((theirs.into_socket(), loggers.into_socket()))
}

/// Both directions carry text only.
fn names_take_no_descriptors(
    questions: &ResolverEnd,
    answers: &Channel<NameAnswer, NameQuestion>,
) -> Result<(), Failure> {
    let refused = questions.refuse_descriptors().and_then(|()| answers.refuse_descriptors());
    refused.map_err(|error| Failure::new(Status::Os, error.to_string()))
}

fn notices(config: &Config) -> Notices {
    let sink = match (config.daemon, config.syslog) {
        (true, _) => NoticeSink::SyslogAlone,
        (false, true) => NoticeSink::Syslog,
        (false, false) => NoticeSink::Stderr,
    };
    let min_level = match config.verbosity {
        Verbosity::Quiet => MinLevel::Errors,
        Verbosity::Normal | Verbosity::Verbose => MinLevel::Normal,
        Verbosity::Debug => MinLevel::Everything,
    };
    Notices { sink, min_level }
}

impl RunningRole<ToZygote> {
    /// Waits for the first worker: a start that could serve no session fails.
    pub(in crate::parent) fn first_worker(&self, signals: &SignalFd) -> Result<IdleWorker, Stop> {
        let until = Instant::now() + CROWDED;
        let mut is_crowded = false;
        self.send(&ToZygote::Fork(1))?;
        loop {
            match self.wait_with_fds(signals)? {
                (ToParent::WorkerStarted { pid }, fds) => {
                    let channel = one_fd(fds).and_then(Channel::adopt).map_err(|_| self.nonsense())?;
                    return Ok(IdleWorker { pid, channel });
                }
                (ToParent::ForkFailed { errno: libc::ETOOMANYREFS }, [None, None])
                    if Instant::now() < until =>
                {
                    is_crowded = true;
                    let _ = poll(
                        &mut [],
                        PollTimeout::try_from(limits::IN_FLIGHT_RETRY).unwrap_or(PollTimeout::MAX),
                    );
                    self.send(&ToZygote::Fork(1))?;
                }
                // End of a worker whose channel could not be sent.
                (ToParent::Exited { .. }, [None, None]) if is_crowded => {}
                (ToParent::ForkFailed { errno }, [None, None]) => {
                    let text = format!("Process creation: {} (worker)", limits::shortage(errno));
                    return Err(Failure::new(Status::Os, text).into());
                }
                _ => return Err(self.nonsense().into()),
            }
        }
    }
}

impl<Out: Serialize> RunningRole<Out> {
    pub(in crate::parent) fn send(&self, message: &Out) -> Result<(), Failure> {
        self.send_with(message, &[])
    }

    /// Sends without blocking, because the role may have stopped reading.
    pub(in crate::parent) fn send_now(&self, message: &Out) -> Result<(), Failure> {
        self.channel.send_with(message, &[], Wait::No).map_err(|error| match error {
            ChannelError::Full => self.broken(&error),
            _ => self.lost(),
        })
    }

    pub(in crate::parent) fn send_with(
        &self,
        message: &Out,
        fds: &[std::os::fd::BorrowedFd<'_>],
    ) -> Result<(), Failure> {
        self.channel.send_with(message, fds, Wait::Yes).map_err(|_| self.lost())
    }

    /// Receives a message, if there is one. A role that has ended or violates the protocol is lost.
    pub(in crate::parent) fn receive(&self) -> Result<Option<(ToParent, Fds)>, Failure> {
        match self.channel.receive(Wait::No) {
            Ok(Incoming::Message(message, fds)) => Ok(Some((message, fds))),
            Ok(Incoming::Nothing) => Ok(None),
            Ok(Incoming::Closed) => Err(self.lost()),
            Err(error) => Err(self.broken(&error)),
        }
    }

    fn broken(&self, error: &ChannelError) -> Failure {
        self.accused(&error.to_string())
    }

    /// Error for a message that the role may not send, or may not send in this state.
    pub(in crate::parent) fn nonsense(&self) -> Failure {
        self.accused("message out of order")
    }

    fn accused(&self, of: &str) -> Failure {
        let mut text = format!("the {}: {of}", self.role.name());
        if self.role == Role::Resolver {
            text += &format!("; {WITHOUT_NAMES}");
        }
        Failure::new(Status::Software, text)
    }

    /// Waits for the next message, which has no descriptors, or for a signal that ends the program.
    pub(in crate::parent) fn wait(&self, signals: &SignalFd) -> Result<ToParent, Stop> {
        match self.wait_with_fds(signals)? {
            (message, [None, None]) => Ok(message),
            _ => Err(self.nonsense().into()),
        }
    }

    fn wait_with_fds(&self, signals: &SignalFd) -> Result<(ToParent, Fds), Stop> {
        loop {
            let mut fds = [
                PollFd::new(self.channel.as_fd(), PollFlags::POLLIN),
                PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(Failure::new(Status::Os, reason(errno as i32)).into()),
            }
            if let Some(received) = self.receive()? {
                return Ok(received);
            }
            if let Some(signal) = signals_of(signals).find(|signal| *signal != Signal::SIGCHLD) {
                return Err(Stop::Interrupted(signal));
            }
        }
    }

    /// Waits until the role is confined.
    pub(in crate::parent) fn ready(&self, signals: &SignalFd) -> Result<SandboxStatus, Stop> {
        match self.wait(signals)? {
            ToParent::Ready { sandbox_status } => Ok(sandbox_status),
            ToParent::Failed(problem) => Err(self.failed(problem).into()),
            _ => Err(self.nonsense().into()),
        }
    }

    /// Same as [`RunningRole::ready`], for the logger: also returns whether an output waits for its reader.
    pub(in crate::parent) fn ready_to_record(
        &self,
        signals: &SignalFd,
    ) -> Result<(SandboxStatus, bool), Stop> {
        match self.wait(signals)? {
            ToParent::OutputsWait => Ok((self.ready(signals)?, true)),
            ToParent::Ready { sandbox_status } => Ok((sandbox_status, false)),
            ToParent::Failed(problem) => Err(self.failed(problem).into()),
            _ => Err(self.nonsense().into()),
        }
    }

    fn failed(&self, problem: Problem) -> Failure {
        match problem {
            Problem::Confine(step) => Failure::new(
                Status::Os,
                format!(
                    "the {} cannot be confined: {step}; nothing is forwarded without it",
                    self.role.name()
                ),
            ),
            Problem::Output { errno, name } => {
                let error = std::io::Error::from_raw_os_error(errno);
                let advice = self.actor.denied(&error, Path::new(OsStr::from_bytes(&name)));
                let name = Text::from(String::from_utf8_lossy(&name));
                let reason = reason(errno);
                Failure::new(Status::CannotCreate, format!("Log file error: {reason} ({name}){advice}"))
            }
            Problem::Threads { errno } => Failure::new(
                Status::Os,
                format!("the {} cannot start its threads: {}", self.role.name(), limits::shortage(errno)),
            ),
            Problem::InUse { name } => Failure::new(
                Status::CannotCreate,
                format!(
                    "Log file error: another program, likely a tcpreen, writes it ({})",
                    Text::from(String::from_utf8_lossy(&name))
                ),
            ),
            Problem::Mask { reason } => Failure::new(Status::Usage, format!("--mask {reason}.")),
            Problem::Template { reason } => Failure::new(Status::Usage, format!("Log file error: {reason}")),
        }
    }

    /// Builds the error for the end of this role, with the reason that it reported, if any.
    pub(in crate::parent) fn lost(&self) -> Failure {
        for _ in 0..LAST_WORDS {
            let Ok(Incoming::Message(message, _)) = self.channel.receive(Wait::No) else { break };
            if let ToParent::Failed(problem) = message {
                return self.failed(problem);
            }
        }
        let mut advice = String::new();
        let how = match self.end() {
            Ok(WaitStatus::Signaled(_, signal, _)) => {
                advice =
                    signals::advice(signal as i32, self.pid.as_raw()).map_or(advice, |it| format!("\n{it}"));
                format!(" (killed by signal {}, {})", signal as i32, signals::describe(signal as i32))
            }
            Ok(WaitStatus::Exited(_, status)) => format!(" (exit status {status})"),
            _ => String::new(),
        };
        let consequence = match self.role {
            Role::Resolver => WITHOUT_NAMES,
            Role::Converter => "all events received from it are written",
            Role::Parent | Role::Logger | Role::Zygote => "nothing is forwarded without it",
        };
        Failure::new(
            Status::Unavailable,
            format!("lost the {}{how}: {consequence}{advice}", self.role.name()),
        )
    }

    /// Returns the exit status. The channel closes a moment before the process can be waited for.
    fn end(&self) -> nix::Result<WaitStatus> {
        for _ in 0..20 {
            match waitpid(self.pid, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => drop(poll(&mut [], 5u8)),
                ended => return ended,
            }
        }
        Ok(WaitStatus::StillAlive)
    }
}

/// Converts a path to bytes, which must fit into a message; the system would reject a longer path, too.
fn file_name(name: &OsStr) -> Result<Vec<u8>, Failure> {
    if name.len() >= PATH_MAX {
        return Err(Failure::new(Status::CannotCreate, "Log file error: File name too long"));
    }
    Ok(name.as_encoded_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_of_a_role_act_on_no_terminal() {
        let words =
            "\u{1b}]0;x\u{7}\nListening on: elsewhere\u{9b}2J\u{202e}\u{200b}\u{2060}\u{feff}\u{ad}\r";
        let problems = [
            Problem::Confine(words.into()),
            Problem::Template { reason: words.into() },
            Problem::Output { errno: 2, name: words.into() },
            Problem::InUse { name: words.into() },
        ];
        for problem in problems {
            let (channel, other) = Channel::<ToZygote, ToParent>::pair().expect("a pair");
            let actor = Actor::new(nix::unistd::getuid(), nix::unistd::getgid(), String::new());
            let zygote = RunningRole { role: Role::Zygote, pid: Pid::this(), channel, actor };
            other.send(&ToParent::Failed(problem)).expect("room");
            drop(other);
            let told = zygote.lost().text;
            assert!(told.contains("]0;x") && !told.chars().any(privsep::text::acts), "{told:?}");
        }
    }
}
