//! The converter reads saved records (`--read`): bytes that a stranger may have written, parsed in a process that can
//! do nothing but read them and send events to the logger, which trusts it no more than a worker.

mod compare;
mod diff;
mod input;
mod keys;
mod output;
mod play;
mod script;

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use privsep::channel::{Channel, Incoming, Wait, no_fds, one_fd};
use privsep::confine::Confined;
use privsep::landlock::Landlock;
use privsep::role::Entry;
use regex::bytes::{Regex, RegexBuilder};

use crate::hooks::Hooks;
use crate::messages::{Flaw, Pace, Problem, Side, ToConverter, ToParent, Unplayable};
use crate::policy::Role;
use crate::record::read::{DecodeError, Decoded, Decoder, EventSink};
use crate::record::{Event, Kind};
use crate::role::{self, RoleError};
use compare::Expected;
use input::{More, PartReader};
use keys::KeyLog;
use output::EventOutput;
use play::Playback;
use script::PlaybackScript;

/// Maximum size of a compiled mask.
const MASK_SIZE: usize = 1 << 20;

/// Characters of what is wrong with a mask.
const LONGEST_REASON: usize = 200;

/// What the operator asked for in vain.
const NOT_FOUND: &str = "--tls-keys: no session of the record has its secrets there";

type Parent = Channel<ToParent, ToConverter>;

/// The whole life of the converter.
pub(crate) fn live<H: Hooks>(entry: Entry) -> Result<(), RoleError> {
    let parent: Parent = entry.open(c"tcpreen-conv")?;
    let (ToConverter::Prepare { prepare, parts, masks, plays, keys }, fds) = role::first(&parent)? else {
        return Err(RoleError::Protocol);
    };
    let logger = Channel::adopt(one_fd(fds)?)?;
    let parts = receive_parts(&parent, parts)?;
    let keys = if keys { Some(receive(&parent, ToConverter::Keys)?) } else { None };
    let masks = role::report(&parent, receive_masks(&parent, masks)?)?;
    let stream = if plays { Some(receive(&parent, ToConverter::Stream)?) } else { None };
    let output = EventOutput::new(logger)?;
    let dropped = role::drop_and_tell::<H, _, _>(Role::Converter, &prepare, &parent)?;
    let fenced = role::fence(dropped, &Landlock::default(), &parent)?;
    let locked = role::lock_and_tell::<H, _, _>(Role::Converter, &[], fenced, prepare.sandbox, &parent)?;
    let Incoming::Message(order, fds) = parent.receive(Wait::Yes)? else { return Ok(()) };
    no_fds(fds)?;
    match (order, stream) {
        (ToConverter::Convert { sessions }, None) => {
            convert(&parent, parts, keys, output.only(sessions), &locked)
        }
        (ToConverter::Compare { sessions }, None) => {
            diff::compare(&parent, parts, (&output, &sessions), &masks, &locked)
        }
        (ToConverter::Load { side, session, pace, wait }, Some(stream)) => {
            let play = Play { side, session, pace, wait };
            play.load_and_play(&parent, parts, (&output, stream), &masks, &locked)
        }
        _ => Err(RoleError::Protocol),
    }
}

fn receive_parts(parent: &Parent, number: u32) -> Result<Vec<PartReader>, RoleError> {
    let mut parts = Vec::new();
    for _ in 0..number {
        let (ToConverter::Part, fds) = role::first(parent)? else { return Err(RoleError::Protocol) };
        parts.push(PartReader::new(one_fd(fds)?.accept()?));
    }
    Ok(parts)
}

/// The descriptor of this message, which comes next.
fn receive(parent: &Parent, expected: ToConverter) -> Result<OwnedFd, RoleError> {
    match role::first(parent)? {
        (message, fds) if message == expected => Ok(one_fd(fds)?.accept()?),
        _ => Err(RoleError::Protocol),
    }
}

/// Compiled masks; a bad one is the operator's mistake.
fn receive_masks(parent: &Parent, number: u32) -> Result<Result<Vec<Regex>, Problem>, RoleError> {
    let mut masks = Vec::new();
    for _ in 0..number {
        let (ToConverter::Mask(text), fds) = role::first(parent)? else { return Err(RoleError::Protocol) };
        no_fds(fds)?;
        let mut mask = RegexBuilder::new(&text);
        match mask.unicode(false).size_limit(MASK_SIZE).dot_matches_new_line(true).build() {
            Ok(mask) => masks.push(mask),
            Err(error) => {
                let mask: String = text.chars().take(LONGEST_REASON).collect();
                let reason = format!("{mask}: {}", last_line(&error.to_string()));
                return Ok(Err(Problem::Mask { reason: reason.into() }));
            }
        }
    }
    Ok(Ok(masks))
}

/// The lines before it repeat the expression.
fn last_line(text: &str) -> String {
    let line = text.lines().last().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).trim_end_matches('.').chars().take(LONGEST_REASON).collect()
}

/// A session that is to be played.
struct Play {
    side: Side,
    session: Option<u64>,
    pace: Pace,
    wait: Duration,
}

impl Play {
    fn load_and_play(
        self,
        parent: &Parent,
        parts: Vec<PartReader>,
        (output, stream): (&EventOutput, OwnedFd),
        masks: &[Regex],
        _locked: &Confined,
    ) -> Result<(), RoleError> {
        let Some(script) = self.load(parent, parts)? else { return Ok(()) };
        parent.send(&ToParent::Loaded)?;
        let Incoming::Message(ToConverter::Play, fds) = parent.receive(Wait::Yes)? else { return Ok(()) };
        no_fds(fds)?;
        let expected = Expected::new(script.theirs, masks);
        let player = Playback::new(stream, parent.as_fd(), (self.pace, self.wait), expected);
        let Some(outcome) = player.play(script.steps, script.they_finish)? else { return Ok(()) };
        for line in outcome.lines(script.number, self.side.other()) {
            output.print(line)?;
        }
        Ok(parent.send(&ToParent::Compared { same: outcome.is_same() })?)
    }

    /// The session, unless it cannot be played, which the parent has been sent then.
    fn load(&self, parent: &Parent, parts: Vec<PartReader>) -> Result<Option<PlaybackScript>, RoleError> {
        let mut decoder = Decoder::default();
        let mut script = PlaybackScript::new(self.side);
        for (part, mut input) in (0..).zip(parts) {
            decoder.begin_part();
            let mut sink = |event: Event, payload: &[u8]| {
                script.add(&event, payload, self.session);
                Ok(())
            };
            match decode_part(parent, &mut decoder, &mut input, &mut sink) {
                Ok(()) => {}
                Err(_) if script.is_over => {}
                Err(Break::Flaw(flaw)) => {
                    parent.send(&ToParent::Flaw { part, flaw })?;
                    return Ok(None);
                }
                Err(Break::Unwanted) => return Ok(None),
                Err(Break::RoleError(trouble)) => return Err(trouble),
            }
        }
        let unplayable = if script.has_begun() { script.unplayable } else { Some(Unplayable::Missing) };
        match unplayable {
            None => Ok(Some(script)),
            Some(why) => {
                parent.send(&ToParent::Unplayable(why))?;
                Ok(None)
            }
        }
    }
}

/// Why a part ends early.
enum Break {
    Flaw(Flaw),
    /// The parent wants no more of it.
    Unwanted,
    RoleError(RoleError),
}

impl<T: Into<RoleError>> From<T> for Break {
    fn from(error: T) -> Break {
        Break::RoleError(error.into())
    }
}

fn convert(
    parent: &Parent,
    parts: Vec<PartReader>,
    keys: Option<OwnedFd>,
    mut output: EventOutput,
    _locked: &Confined,
) -> Result<(), RoleError> {
    let mut decoder = Decoder::default();
    let last = parts.len() as u32;
    let keys_wanted = keys.is_some();
    let (mut keys, useless) = match keys.map(|fd| KeyLog::read(PartReader::new(fd), parent.as_fd())) {
        Some(Err(Break::Flaw(flaw))) => (KeyLog::default(), Some(flaw)),
        Some(Err(Break::Unwanted)) => return Ok(()),
        Some(Err(Break::RoleError(error))) => return Err(error),
        Some(Ok(keys)) => (keys, None),
        None => (KeyLog::default(), None),
    };
    for (part, mut input) in (0..).zip(parts) {
        decoder.begin_part();
        match convert_part(parent, &mut decoder, &mut input, (&mut keys, &mut output)) {
            Ok(()) => {}
            Err(Break::Flaw(flaw)) => parent.send(&ToParent::Flaw { part, flaw })?,
            Err(Break::Unwanted) => return Ok(()),
            Err(Break::RoleError(trouble)) => return Err(trouble),
        }
    }
    match useless {
        Some(flaw) => parent.send(&ToParent::Flaw { part: last, flaw })?,
        None if keys_wanted && keys.found == 0 => output.print(NOT_FOUND.to_owned())?,
        None => {}
    }
    // The logger sees the end of its channel before the parent orders it to finish.
    let converted = output.finish();
    Ok(parent.send(&converted)?)
}

/// Passes the events of a part on, and the secrets of each session before the data that they decrypt.
fn convert_part(
    parent: &Parent,
    decoder: &mut Decoder,
    input: &mut PartReader,
    (keys, output): (&mut KeyLog, &mut EventOutput),
) -> Result<(), Break> {
    loop {
        let mut sink = |event: Event, payload: &[u8]| {
            if let Some(lines) = keys.before(&event, payload) {
                output.send(Event { kind: Kind::Secrets, ..event.clone() }, lines)?;
            }
            output.send(event, payload)
        };
        if !step(parent, decoder, input, &mut sink)? {
            return Ok(());
        }
        keys.add(&decoder.take_secrets());
    }
}

fn decode_part(
    parent: &Parent,
    decoder: &mut Decoder,
    input: &mut PartReader,
    sink: &mut EventSink<'_, RoleError>,
) -> Result<(), Break> {
    while step(parent, decoder, input, sink)? {}
    Ok(())
}

/// Decodes one unit, or reads more; returns whether there is more to be done. A flaw that other events follow is
/// reported at the end of the part.
fn step(
    parent: &Parent,
    decoder: &mut Decoder,
    input: &mut PartReader,
    sink: &mut EventSink<'_, RoleError>,
) -> Result<bool, Break> {
    let (bytes, at, is_all) = (input.bytes(), input.offset(), input.is_all());
    if is_all && bytes.is_empty() {
        return flaw(decoder, input).map_or(Ok(false), |flaw| Err(Break::Flaw(flaw)));
    }
    match decoder.take(bytes, is_all, sink) {
        Ok(Decoded::Bytes(used)) => input.consume(used),
        Ok(Decoded::Needs(_)) if is_all => {
            input.add_flaw(Flaw::Cut { at });
            decoder.resync();
        }
        Ok(Decoded::Needs(number)) => match input.fetch(number, parent.as_fd())? {
            More::Bytes | More::End => {}
            More::Unwanted => return Err(Break::Unwanted),
        },
        Err(DecodeError::Foreign) => return Err(Break::Flaw(flaw(decoder, input).unwrap_or(Flaw::Foreign))),
        Err(DecodeError::Damaged) => {
            input.add_flaw(Flaw::Damaged { at, left_out: None });
            decoder.resync();
        }
        Err(DecodeError::EventSink(trouble)) => return Err(Break::RoleError(trouble)),
    }
    Ok(true)
}

/// The first flaw of a part, and the number of bytes that were left out, if other events follow.
fn flaw(decoder: &Decoder, input: &PartReader) -> Option<Flaw> {
    match (input.flaw()?, decoder.left_out()) {
        (Flaw::Cut { at } | Flaw::Damaged { at, .. }, Some(bytes)) => {
            Some(Flaw::Damaged { at, left_out: Some(bytes) })
        }
        (flaw, _) => Some(flaw),
    }
}
