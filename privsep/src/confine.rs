//! The ratchet: a process gives up identity, capabilities and limits ([`drop_privileges`]), and then the
//! way to files and the network ([`Dropped::fence`]) and the right to most system
//! calls ([`Fenced::lock`]). Each step is possible only where it stands; the reasons
//! for the order are beside the steps.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use caps::{CapSet, Capability, CapsHashSet};
use nix::errno::Errno;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{
    ForkResult, Gid, Pid, Uid, getegid, getgroups, getresgid, getresuid, setgroups, setresgid, setresuid,
};
use serde::{Deserialize, Serialize};

use crate::landlock::{self, Landlock};
use crate::seccomp::{self, Filter};
use crate::sys;
use crate::userns::Namespace;

/// Who a process becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// It was started unprivileged and stays who it is.
    Keep,
    /// It was started with root's power and becomes this user, with no supplementary groups.
    Become { uid: u32, gid: u32 },
}

/// What a process sees as the root of the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    Keep,
    /// A directory that is empty, and in which nothing can ever be made. Needs privilege, and /proc or /var/empty;
    /// without them Landlock alone has to do.
    Nothing,
}

/// What [`drop_privileges`] does.
pub struct Privileges<'a> {
    pub identity: Identity,
    pub root: Root,
    pub limits: &'a [(Resource, u64)],
    /// The process must end when this one does, which must be its parent.
    pub parent: Option<(Pid, Signal)>,
}

/// A step of confinement that failed.
#[derive(Debug)]
pub struct StepError {
    pub step: &'static str,
    pub error: io::Error,
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.step, self.error)
    }
}

impl std::error::Error for StepError {}

/// Names the step that a result belongs to.
trait Step<T> {
    fn step(self, step: &'static str) -> Result<T, StepError>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step(self, step: &'static str) -> Result<T, StepError> {
        self.map_err(|error| StepError { step, error: error.into() })
    }
}

/// What a process could not give up for want of the privilege that giving it up takes. None of it is of use to
/// a process without capabilities and with `no_new_privs`; all of it is gone where root started the program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The root of the file system, which Landlock alone keeps it from.
    pub root: bool,
    pub bounding_set: bool,
    pub groups: bool,
}

/// How tight a cage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cage {
    pub landlock: landlock::Status,
    pub kept: Kept,
}

impl Cage {
    /// What a full one has and this one has not, and what it takes.
    pub fn missing(self) -> Vec<&'static str> {
        let landlock = match self.landlock {
            landlock::Status::Full => None,
            landlock::Status::Partial => Some("Landlock in part (Linux 6.12 has all of it)"),
            landlock::Status::None => Some("Landlock (Linux 5.13 or newer, and lsm=landlock)"),
        };
        let kept = [
            (self.kept.root, "an empty root directory (CAP_SYS_CHROOT, and /proc or /var/empty)"),
            (self.kept.bounding_set, "an empty capability bounding set (CAP_SETPCAP)"),
            (self.kept.groups, "a life without supplementary groups (CAP_SETGID)"),
        ];
        landlock.into_iter().chain(kept.into_iter().filter_map(|(kept, what)| kept.then_some(what))).collect()
    }
}

/// Proof that a process holds no privilege and cannot regain any.
pub struct Dropped {
    kept: Kept,
}

/// Proof that a process has dropped its privileges and is inside Landlock.
pub struct Fenced {
    cage: Cage,
}

/// Proof that Landlock (as far as the kernel has it) and seccomp are on.
pub struct Locked {
    pub cage: Cage,
}

/// Gives up identity, capabilities and limits, and verifies that they are gone.
pub fn drop_privileges(privileges: &Privileges<'_>) -> Result<Dropped, StepError> {
    // Before everything: from here on no exec grants anything.
    nix::sys::prctl::set_no_new_privs().step("no_new_privs")?;
    // While still privileged, as a hard limit may have to rise to be exact. No core dump of monitored data.
    setrlimit(Resource::RLIMIT_CORE, 0, 0).step("core limit")?;
    for &(resource, value) in privileges.limits {
        lower_limit(resource, value).step("resource limit")?;
    }
    // Before the root of the file system, and /proc with it, is given up.
    let here = Namespace::find();
    let kept = match privileges.identity {
        Identity::Become { uid, gid } => {
            become_user(Uid::from_raw(uid), Gid::from_raw(gid), privileges.root, here)?
        }
        // Who stays what it is may still have capabilities: root of a user namespace with no other user.
        Identity::Keep => Kept { groups: has_groups()?, ..give_up(privileges.root)? },
    };
    verify_identity(privileges.identity, here)?;
    clear_capabilities().step("capabilities")?;
    verify_no_capabilities()?;
    // After the change of user, which clears it.
    if let Some((parent, signal)) = privileges.parent {
        nix::sys::prctl::set_pdeathsig(signal).step("parent death signal")?;
        // The parent may have died before the signal was set.
        if sys::parent() != parent {
            return Err(io::Error::from(io::ErrorKind::BrokenPipe)).step("parent is gone");
        }
    }
    // Processes of the same user cannot trace us or read our memory. After exec and the change of user:
    // both reset it.
    nix::sys::prctl::set_dumpable(false).step("dumpable")?;
    Ok(Dropped { kept })
}

/// Lowers a soft and hard limit to `value`, or leaves a limit that is lower already.
pub fn lower_limit(resource: Resource, value: u64) -> io::Result<()> {
    let (soft, hard) = nix::sys::resource::getrlimit(resource)?;
    Ok(setrlimit(resource, soft.min(value), hard.min(value))?)
}

fn become_user(uid: Uid, gid: Gid, root: Root, here: Namespace) -> Result<Kept, StepError> {
    if uid.is_root() {
        return Err(io::Error::from(io::ErrorKind::InvalidInput)).step("user is root");
    }
    // Both while there are capabilities.
    let kept = give_up(root)?;
    // Groups before the user: afterwards there is no right to change them.
    drop_groups_in(here).step("setgroups")?;
    setresgid(gid, gid, gid).step("setresgid")?;
    setresuid(uid, uid, uid).step("setresuid")?;
    Ok(Kept { groups: here.denies_setgroups && has_groups()?, ..kept })
}

/// Gives up the file system and the bounding set. Who never had the capability for one (an ordinary user; root in a
/// container, often) goes on without; who has it must succeed.
fn give_up(root: Root) -> Result<Kept, StepError> {
    let mut kept = Kept::default();
    if root == Root::Nothing {
        match has(Capability::CAP_SYS_CHROOT)? {
            true => kept.root = !enter_nothing().step("chroot")?,
            false => kept.root = true,
        }
    }
    if has(Capability::CAP_SETPCAP)? {
        for capability in 0.. {
            if !sys::drop_bounding(capability).step("capability bounding set")? {
                break;
            }
        }
    }
    kept.bounding_set = bounding_set_is_left()?;
    Ok(kept)
}

/// Gives up all supplementary groups. A user namespace may forbid that to everybody: then they stay, as those of an
/// ordinary user do, and the cage says so.
pub fn drop_groups() -> nix::Result<()> {
    drop_groups_in(Namespace::find())
}

fn drop_groups_in(here: Namespace) -> nix::Result<()> {
    match setgroups(&[]) {
        Err(Errno::EPERM) if here.denies_setgroups => Ok(()),
        result => result,
    }
}

fn has_groups() -> Result<bool, StepError> {
    Ok(getgroups().step("getgroups")?.iter().any(|group| *group != getegid()))
}

fn has(capability: Capability) -> Result<bool, StepError> {
    caps::has_cap(None, CapSet::Effective, capability).map_err(io::Error::other).step("read capabilities")
}

fn bounding_set_is_left() -> Result<bool, StepError> {
    let left = caps::read(None, CapSet::Bounding).map_err(io::Error::other).step("read capabilities")?;
    Ok(!left.is_empty())
}

/// Whether this process can become another user at all; root cannot in some containers.
pub fn may_become_another() -> Result<bool, StepError> {
    Ok(has(Capability::CAP_SETUID)? && has(Capability::CAP_SETGID)?)
}

/// Directories that are there, and empty for ever: nobody can make anything in them.
///
/// The first is that of a process that has ended by the time it is used, in which nothing is found any more; the
/// second belongs to root. Nothing is made, so that nobody can foresee a name, and a read-only system will do.
const EMPTY_PLACES: [&str; 2] = ["/proc/self/fdinfo", "/var/empty"];

/// Makes an empty place the root of the file system; says whether there is one.
fn enter_nothing() -> io::Result<bool> {
    let child = match sys::fork_with_common_root()? {
        ForkResult::Child => sys::exit_now(change_root()),
        ForkResult::Parent { child } => child,
    };
    match waitpid(child, None)? {
        WaitStatus::Exited(_, 0) if Path::new("/proc").symlink_metadata().is_err() => Ok(true),
        WaitStatus::Exited(_, 0) => Err(still_privileged("the root is still that of the system")),
        WaitStatus::Exited(_, NO_PLACE) => Ok(false),
        WaitStatus::Exited(_, errno) => Err(io::Error::from_raw_os_error(errno)),
        _ => Err(io::Error::other("the process that changes the root was killed")),
    }
}

/// How the child says that there is no empty place: no number of an error.
const NO_PLACE: i32 = 255;

/// The child, whose root is ours too. The number of an error, or 0.
fn change_root() -> i32 {
    for place in EMPTY_PLACES.into_iter().filter(|place| is_empty_for_ever(place)) {
        let changed = nix::unistd::chdir(place).and_then(|()| nix::unistd::chroot("."));
        match changed {
            Ok(()) => return 0,
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES) => {}
            Err(errno) => return errno as i32,
        }
    }
    NO_PLACE
}

fn is_empty_for_ever(place: &str) -> bool {
    if place.starts_with("/proc/") {
        return true;
    }
    let of_root = std::fs::symlink_metadata(place)
        .is_ok_and(|found| found.is_dir() && found.uid() == 0 && found.mode() & 0o022 == 0);
    of_root && std::fs::read_dir(place).is_ok_and(|mut entries| entries.next().is_none())
}

/// Clears every capability set of this thread that may be cleared without privilege.
pub(crate) fn clear_capabilities() -> io::Result<()> {
    for set in [CapSet::Ambient, CapSet::Effective, CapSet::Permitted, CapSet::Inheritable] {
        caps::clear(None, set).map_err(io::Error::other)?;
    }
    Ok(())
}

fn verify_no_capabilities() -> Result<(), StepError> {
    for set in [CapSet::Effective, CapSet::Permitted, CapSet::Inheritable] {
        let left: CapsHashSet = caps::read(None, set).map_err(io::Error::other).step("read capabilities")?;
        if !left.is_empty() {
            return Err(still_privileged("capabilities are left")).step("verify capabilities");
        }
    }
    Ok(())
}

fn verify_identity(identity: Identity, here: Namespace) -> Result<(), StepError> {
    let users = getresuid().step("getresuid")?;
    let groups = getresgid().step("getresgid")?;
    if let Identity::Become { uid, gid } = identity {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        if [users.real, users.effective, users.saved] != [uid; 3]
            || [groups.real, groups.effective, groups.saved] != [gid; 3]
            || !getgroups().step("getgroups")?.is_empty() && !here.denies_setgroups
        {
            return Err(still_privileged("the identity did not change")).step("verify identity");
        }
    }
    // An ordinary user outside, for whom uid 0 is a name; the capabilities go next.
    if identity == Identity::Keep && here.is_alone {
        return Ok(());
    }
    if [users.real, users.effective, users.saved].iter().any(|uid| uid.is_root()) {
        return Err(still_privileged("a user id is still root's")).step("verify identity");
    }
    // The proof of the pudding: an attempt to get back must fail.
    if setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0)).is_ok() {
        return Err(still_privileged("root can be regained")).step("verify identity");
    }
    Ok(())
}

fn still_privileged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, what)
}

impl Dropped {
    /// Fences in the file system and the network. Threads made from here on are inside.
    pub fn fence(self, landlock: &Landlock<'_>) -> Result<Fenced, StepError> {
        let landlock = landlock::restrict(landlock).step("landlock")?;
        Ok(Fenced { cage: Cage { landlock, kept: self.kept } })
    }
}

impl Fenced {
    /// Closes the cage, for all threads: the calls of every step before are not in the filter.
    pub fn lock(self, filter: &Filter) -> Result<Locked, StepError> {
        filter.install().step("seccomp")?;
        Ok(Locked { cage: self.cage })
    }
}

/// Whether this thread runs under a seccomp filter.
pub fn filtered() -> io::Result<bool> {
    Ok(sys::seccomp_mode()? == seccomp::MODE_FILTER)
}
