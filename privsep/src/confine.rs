//! The ratchet: a process gives up identity, capabilities and limits ([`drop_privileges`]), then access to
//! files and the network ([`Dropped::fence`]), then most system calls ([`LandlockApplied::lock`]). The types enforce
//! the order; comments beside the steps give its reasons.

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
use crate::memory::{self, Memory};
use crate::seccomp::{self, Filter, Violation};
use crate::sys::{self, Alone};
use crate::userns::Namespace;

/// Identity that a process assumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Started unprivileged: keeps its identity.
    Keep,
    /// Started with root's privileges: changes to this user, without supplementary groups.
    Become { uid: u32, gid: u32 },
}

/// Root directory of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    Keep,
    /// An empty directory in which nothing can be created. Needs privilege, and /proc or /var/empty; without
    /// them only Landlock restricts access to files.
    Nothing,
}

/// Parameters of [`drop_privileges`].
pub struct Privileges<'a> {
    pub identity: Identity,
    pub root: Root,
    pub limits: &'a [(Resource, u64)],
    /// Parent process, and the signal that the kernel sends when it dies.
    pub parent: Option<(Pid, Signal)>,
}

/// A step of confinement that failed.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {error}")]
pub struct StepError {
    pub step: &'static str,
    #[source]
    pub error: io::Error,
}

/// Attaches the name of the step to an error.
trait Step<T> {
    fn step(self, step: &'static str) -> Result<T, StepError>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step(self, step: &'static str) -> Result<T, StepError> {
        self.map_err(|error| StepError { step, error: error.into() })
    }
}

/// Restrictions that could not be applied because applying them takes a privilege that the process lacks.
/// None weakens a process without capabilities and with `no_new_privs`; after a start as root none is left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unrestricted {
    /// The root directory; only Landlock restricts access to files.
    pub root: bool,
    pub bounding_set: bool,
    pub groups: bool,
}

/// Strength of a sandbox, as the process itself found it to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxStatus {
    pub landlock: landlock::Status,
    /// Action of the filter on a call that is in no table; that the filter is in force was tried.
    pub seccomp: Violation,
    pub kept: Unrestricted,
    pub memory: Memory,
}

impl SandboxStatus {
    /// Lists the restrictions that a full sandbox has and this one lacks, with what each one requires.
    pub fn missing(self) -> Vec<&'static str> {
        let landlock = match self.landlock {
            landlock::Status::Full { .. } => None,
            landlock::Status::Partial { .. } => Some("Landlock in part (Linux 6.12 has all of it)"),
            landlock::Status::None => Some("Landlock (Linux 5.13 or newer, and lsm=landlock)"),
        };
        let missing = [
            (!self.memory.mdwe, "memory that never becomes executable (Linux 6.3)"),
            (!self.memory.sealed, "sealed code and constants (Linux 6.10)"),
            (self.kept.root, "an empty root directory (CAP_SYS_CHROOT, and /proc or /var/empty)"),
            (self.kept.bounding_set, "an empty capability bounding set (CAP_SETPCAP)"),
            (self.kept.groups, "a life without supplementary groups (CAP_SETGID)"),
        ];
        landlock.into_iter().chain(missing.into_iter().filter_map(|(is, what)| is.then_some(what))).collect()
    }
}

/// Proof that a process holds no privilege and cannot regain any.
pub struct Dropped {
    kept: Unrestricted,
    memory: Memory,
    probe: landlock::Probe,
}

/// Proof that a process has dropped its privileges and is inside Landlock.
pub struct LandlockApplied {
    landlock: landlock::Status,
    kept: Unrestricted,
    memory: Memory,
}

/// Proof that Landlock (as far as the kernel has it) and seccomp are on.
pub struct Confined {
    pub sandbox_status: SandboxStatus,
}

/// Gives up identity, capabilities and limits, and verifies that they are gone.
pub fn drop_privileges(privileges: &Privileges<'_>) -> Result<Dropped, StepError> {
    // The first step: after it, no exec grants privileges.
    nix::sys::prctl::set_no_new_privs().step("no_new_privs")?;
    verify(nix::sys::prctl::get_no_new_privs(), true).step("no_new_privs")?;
    // Set while still privileged, because a hard limit may have to be raised to the exact value. Prevents core dumps
    // of monitored data.
    setrlimit(Resource::RLIMIT_CORE, 0, 0).step("core limit")?;
    for &(resource, value) in privileges.limits {
        lower_limit(resource, value).step("resource limit")?;
    }
    // Read before the root directory, with /proc and /dev, is given up.
    let here = Namespace::find();
    let probe = landlock::Probe::new();
    let memory = memory::protect();
    let kept = match privileges.identity {
        Identity::Become { uid, gid } => {
            become_user(Uid::from_raw(uid), Gid::from_raw(gid), privileges.root, here)?
        }
        // An unprivileged process may still hold capabilities: root of a user namespace with a single user.
        Identity::Keep => Unrestricted { groups: has_groups()?, ..give_up(privileges.root)? },
    };
    verify_identity(privileges.identity, here)?;
    clear_capabilities().step("capabilities")?;
    verify_no_capabilities()?;
    // Set after the change of user, which clears it.
    if let Some((parent, signal)) = privileges.parent {
        nix::sys::prctl::set_pdeathsig(signal).step("parent death signal")?;
        verify(nix::sys::prctl::get_pdeathsig(), Some(signal)).step("parent death signal")?;
        // The parent may have died before the signal was set.
        if sys::parent() != parent {
            return Err(io::Error::from(io::ErrorKind::BrokenPipe)).step("parent is gone");
        }
    }
    // Prevents processes of the same user from tracing this one and reading its memory. Set after exec and the change
    // of user, which both reset it.
    nix::sys::prctl::set_dumpable(false).step("dumpable")?;
    verify(nix::sys::prctl::get_dumpable(), false).step("dumpable")?;
    Ok(Dropped { kept, memory, probe })
}

/// Sets a soft and hard limit to `value`, unless the limit is lower already.
pub fn lower_limit(resource: Resource, value: u64) -> io::Result<()> {
    let (soft, hard) = nix::sys::resource::getrlimit(resource)?;
    Ok(setrlimit(resource, soft.min(value), hard.min(value))?)
}

fn become_user(uid: Uid, gid: Gid, root: Root, here: Namespace) -> Result<Unrestricted, StepError> {
    if uid.is_root() {
        return Err(io::Error::from(io::ErrorKind::InvalidInput)).step("user is root");
    }
    // Both need capabilities.
    let kept = give_up(root)?;
    // Groups before the user: afterwards there is no right to change them.
    drop_groups_in(here).step("setgroups")?;
    setresgid(gid, gid, gid).step("setresgid")?;
    setresuid(uid, uid, uid).step("setresuid")?;
    Ok(Unrestricted { groups: here.denies_setgroups && has_groups()?, ..kept })
}

/// Gives up the file system and the bounding set. A process that never had the capability for one of them (an
/// ordinary user, often root in a container) continues without it; a process that has the capability must
/// succeed.
fn give_up(root: Root) -> Result<Unrestricted, StepError> {
    let mut kept = Unrestricted::default();
    if root == Root::Nothing {
        match has(Capability::CAP_SYS_CHROOT)? {
            true => kept.root = !enter_nothing().step("chroot")?,
            false => kept.root = true,
        }
    }
    if has(Capability::CAP_SETPCAP)? {
        for capability in 0..CAPABILITIES {
            if !sys::drop_bounding(capability).step("capability bounding set")? {
                break;
            }
        }
        verify(Ok::<_, io::Error>(bounding_set_is_left()?), false).step("capability bounding set")?;
    }
    kept.bounding_set = bounding_set_is_left()?;
    Ok(kept)
}

/// Gives up all supplementary groups. Where a user namespace denies setgroups they stay, as those of an
/// ordinary user do, and the sandbox status reports that.
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

/// Capabilities are bits of two 32-bit words (capability.h), so there are no more than this.
const CAPABILITIES: u32 = 64;

/// Compares the state that the system reports with the one that was requested: an outer filter can make a call
/// return a false success.
fn verify<T: PartialEq, E: Into<io::Error>>(found: Result<T, E>, expected: T) -> io::Result<()> {
    if found.map_err(Into::into)? == expected { Ok(()) } else { Err(still_privileged(UNDONE)) }
}

/// Error of a step that the system reports as done although it is not.
const UNDONE: &str = "reported as done, but without effect";

fn has(capability: Capability) -> Result<bool, StepError> {
    caps::has_cap(None, CapSet::Effective, capability).map_err(io::Error::other).step("read capabilities")
}

fn bounding_set_is_left() -> Result<bool, StepError> {
    let left = caps::read(None, CapSet::Bounding).map_err(io::Error::other).step("read capabilities")?;
    Ok(!left.is_empty())
}

/// Checks whether this process can change to another user at all; in some containers root cannot.
pub fn may_become_another() -> Result<bool, StepError> {
    Ok(has(Capability::CAP_SETUID)? && has(Capability::CAP_SETGID)?)
}

/// Directories that exist and stay empty: nothing can be created in them.
///
/// The first belongs to a process that has ended by the time it is used, so that it lists nothing; the second
/// belongs to root. Neither is created here, so that no name can be predicted, and a read-only system will
/// do.
const EMPTY_PLACES: [&str; 2] = ["/proc/self/fdinfo", "/var/empty"];

/// Makes an empty directory the root of the file system. Returns `false` if there is none.
fn enter_nothing() -> io::Result<bool> {
    let child = match sys::fork_with_common_root(&Alone::check()?)? {
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

/// Exit status of the child if there is no empty directory; not an errno value.
const NO_PLACE: i32 = 255;

/// Runs in the child, which shares its root directory with this process. Returns an errno value, or 0.
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

/// Clears every capability set of this thread that can be cleared without privilege.
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
    // An ordinary user outside this namespace, for whom uid 0 is only a name; the capabilities are cleared
    // next.
    if identity == Identity::Keep && here.is_alone {
        return Ok(());
    }
    if [users.real, users.effective, users.saved].iter().any(|uid| uid.is_root()) {
        return Err(still_privileged("a user id is still root's")).step("verify identity");
    }
    // Verification: an attempt to become root again must fail.
    if setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0)).is_ok() {
        return Err(still_privileged("root can be regained")).step("verify identity");
    }
    Ok(())
}

fn still_privileged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, what)
}

impl Dropped {
    /// Applies Landlock. Threads created from here on inherit it.
    pub fn fence(self, landlock: &Landlock<'_>) -> Result<LandlockApplied, StepError> {
        let landlock = landlock::restrict(landlock, self.probe).step("landlock")?;
        Ok(LandlockApplied { landlock, kept: self.kept, memory: self.memory })
    }
}

impl LandlockApplied {
    /// Installs the filter for all threads. It excludes the calls of all earlier steps.
    pub fn lock(self, filter: &Filter) -> Result<Confined, StepError> {
        let seccomp = filter.install().step("seccomp")?;
        Ok(Confined {
            sandbox_status: SandboxStatus {
                landlock: self.landlock,
                seccomp,
                kept: self.kept,
                memory: self.memory,
            },
        })
    }
}

/// Checks whether this thread runs under a seccomp filter.
pub fn filtered() -> io::Result<bool> {
    Ok(sys::seccomp_mode()? == seccomp::MODE_FILTER)
}
