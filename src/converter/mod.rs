//! The converter reads saved records (`--read`): bytes that a stranger may have written, parsed in a process that can
//! do nothing but read them and send events to the logger, which trusts it no more than a worker.

mod input;
mod output;

use std::os::fd::AsFd;

use privsep::channel::{Channel, Incoming, Wait, no_fds, one_fd};
use privsep::confine::Locked;
use privsep::landlock::Landlock;
use privsep::role::Entry;

use crate::hooks::Hooks;
use crate::messages::{Flaw, ToConverter, ToParent};
use crate::policy::Role;
use crate::record::read::{Decoder, Stop, Taken};
use crate::role::{self, Trouble};
use input::{Input, More};
use output::Output;

type Parent = Channel<ToParent, ToConverter>;

/// The whole life of the converter.
pub(crate) fn live<H: Hooks>(entry: Entry) -> Result<(), Trouble> {
    let parent: Parent = entry.open(c"tcpreen-conv")?;
    let (ToConverter::Prepare { prepare, parts }, fds) = role::first(&parent)? else {
        return Err(Trouble::Protocol);
    };
    let logger = Channel::adopt(one_fd(fds)?)?;
    let parts = receive_parts(&parent, parts)?;
    let output = Output::new(logger)?;
    let dropped = role::drop_and_tell::<H, _, _>(Role::Converter, &prepare, &parent)?;
    let fenced = role::fence(dropped, &Landlock::default(), &parent)?;
    let locked = role::lock_and_tell::<H, _, _>(Role::Converter, &[], fenced, prepare.sandbox, &parent)?;
    match parent.receive(Wait::Yes)? {
        Incoming::Message(ToConverter::Convert { sessions }, fds) => {
            no_fds(fds)?;
            convert(&parent, parts, output.only(sessions), &locked)
        }
        Incoming::Closed => Ok(()),
        _ => Err(Trouble::Protocol),
    }
}

fn receive_parts(parent: &Parent, number: u32) -> Result<Vec<Input>, Trouble> {
    let mut parts = Vec::new();
    for _ in 0..number {
        let (ToConverter::Part, fds) = role::first(parent)? else { return Err(Trouble::Protocol) };
        parts.push(Input::new(one_fd(fds)?.accept()?));
    }
    Ok(parts)
}

/// Why a part ends early.
enum Break {
    Flaw(Flaw),
    /// The parent wants no more of it.
    Unwanted,
    Trouble(Trouble),
}

impl<T: Into<Trouble>> From<T> for Break {
    fn from(error: T) -> Break {
        Break::Trouble(error.into())
    }
}

fn convert(parent: &Parent, parts: Vec<Input>, mut output: Output, _locked: &Locked) -> Result<(), Trouble> {
    let mut decoder = Decoder::default();
    for (part, mut input) in (0..).zip(parts) {
        decoder.begin_part();
        match convert_part(parent, &mut decoder, &mut input, &mut output) {
            Ok(()) => {}
            Err(Break::Flaw(flaw)) => parent.send(&ToParent::Flaw { part, flaw })?,
            Err(Break::Unwanted) => return Ok(()),
            Err(Break::Trouble(trouble)) => return Err(trouble),
        }
    }
    let sessions = output.sessions();
    // The logger sees the end of its channel before the parent orders it to finish.
    drop(output);
    Ok(parent.send(&ToParent::Converted { sessions })?)
}

fn convert_part(
    parent: &Parent,
    decoder: &mut Decoder,
    input: &mut Input,
    output: &mut Output,
) -> Result<(), Break> {
    let mut is_all = false;
    loop {
        let bytes = input.bytes();
        if is_all && bytes.is_empty() {
            return Ok(());
        }
        let at = input.offset();
        match decoder.take(bytes, is_all, &mut |event, payload| output.send(event, payload)) {
            Ok(Taken::Bytes(used)) => input.consume(used),
            Ok(Taken::Needs(_)) if is_all => return Err(Break::Flaw(Flaw::Cut { at })),
            Ok(Taken::Needs(number)) => match input.fetch(number, parent.as_fd())? {
                More::Bytes => {}
                More::End => is_all = true,
                More::Unwanted => return Err(Break::Unwanted),
            },
            Err(Stop::Foreign) => return Err(Break::Flaw(Flaw::Foreign)),
            Err(Stop::Damaged) => return Err(Break::Flaw(Flaw::Damaged { at })),
            Err(Stop::Sink(trouble)) => return Err(Break::Trouble(trouble)),
        }
    }
}
