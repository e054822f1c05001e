//! The resolver is the only role with DNS and NSS. The parent asks it for addresses, the logger for names of
//! peers.
//!
//! ```text
//!   parent ──Find──────────► resolver ──fork──► lookup   one question, one answer, then it exits
//!   logger ──NameQuestion──►    ▲                  │
//!                               └───LookupAnswer───┘
//! ```
//!
//! The resolver parses nothing but messages. Each question is looked up in a separate process, because the
//! behaviour of the C library and its modules cannot be controlled: a lookup that is killed or hangs costs
//! one name, and a compromised one holds no other question.

mod desk;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod lookup;
mod process;

use std::fs::{File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;

use nix::libc;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use privsep::channel::Channel;
use privsep::landlock::{Connect, Landlock};
use privsep::role::Entry;
use privsep::sys::{Alone, Title};

use crate::hooks::Hooks;
use crate::messages::{NameAnswer, NameQuestion, ToParent, ToResolver};
use crate::nsswitch;
use crate::policy::{self, Extra, Role};
use crate::role::{self, RoleError};
use desk::Desk;

type Parent = Channel<ToParent, ToResolver>;
type LoggerChannel = Channel<NameAnswer, NameQuestion>;

/// Runs the resolver and, in its children, a lookup.
pub(crate) fn live<H: Hooks>(entry: Entry) -> Result<(), RoleError> {
    let parent: Parent = entry.open(c"tcpreen-resolver")?;
    let (ToResolver::Prepare(prepare), fds) = role::first(&parent)? else { return Err(RoleError::Protocol) };
    let logger = match fds {
        [Some(socket), None] => Some(LoggerChannel::adopt(socket)?),
        [None, None] => None,
        _ => return Err(RoleError::Protocol),
    };
    let title = Title::find().ok();
    let alone = Alone::check()?;
    let children = child_signals()?;
    let dropped = role::drop_and_tell::<H, _, _>(Role::Resolver, &prepare, &parent)?;
    let extras: &[Extra] = if nsswitch::asks_a_daemon() { &[Extra::NssDaemons] } else { &[] };
    let places = [&policy::NSS_FILES[..], &policy::NSS_SOCKETS[..]].map(open_all);
    let [read, sockets] = places.each_ref().map(|all| all.iter().map(File::as_fd).collect::<Vec<_>>());
    let landlock = Landlock {
        read: &read,
        connect: Connect::Ports(policy::NAME_SERVERS),
        sockets: Some(&sockets),
        ..Landlock::default()
    };
    let fenced = role::fence(dropped, &landlock, &parent)?;
    drop(places);
    let locked = role::lock_and_tell::<H, _, _>(Role::Resolver, extras, fenced, prepare.sandbox, &parent)?;
    let mut desk = Desk::new(parent, logger, alone);
    let Some(lookup) = desk.serve(&children, &locked)? else { return Ok(()) };
    drop((desk, children));
    lookup.live(title, &locked)
}

/// Opens those of the paths that exist.
fn open_all(places: &[&str]) -> Vec<File> {
    let open = |path| OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path);
    places.iter().filter_map(|path| open(path).ok()).collect()
}

fn child_signals() -> Result<SignalFd, RoleError> {
    let children = SigSet::from(Signal::SIGCHLD);
    children.thread_block()?;
    Ok(SignalFd::with_flags(&children, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?)
}
