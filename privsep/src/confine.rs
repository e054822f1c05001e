//! The ratchet: a process gives up identity, capabilities and limits ([`drop_privileges`]), and then the
//! way to files and the network ([`Dropped::fence`]) and the right to most system
//! calls ([`Fenced::lock`]). Each step is possible only where it stands; the reasons
//! for the order are beside the steps.

use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt;

use caps::{CapSet, CapsHashSet};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Pid, Uid, getgroups, getresgid, getresuid, setgroups, setresgid, setresuid};

use crate::landlock::{self, Landlock};
use crate::seccomp::{self, Filter};
use crate::sys;

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
    /// A directory that is empty and already removed, so that nothing can ever be put there. Needs
    /// privilege; without it Landlock alone has to do.
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

/// Proof that a process holds no privilege and cannot regain any.
pub struct Dropped {
    _only_made_here: (),
}

/// Proof that a process has dropped its privileges and is inside Landlock.
pub struct Fenced {
    landlock: landlock::Status,
}

/// Proof that Landlock (as far as the kernel has it) and seccomp are on.
pub struct Locked {
    pub landlock: landlock::Status,
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
    if let Identity::Become { uid, gid } = privileges.identity {
        become_user(Uid::from_raw(uid), Gid::from_raw(gid), privileges.root)?;
    }
    verify_identity(privileges.identity)?;
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
    Ok(Dropped { _only_made_here: () })
}

/// Lowers a soft and hard limit to `value`, or leaves a limit that is lower already.
pub fn lower_limit(resource: Resource, value: u64) -> io::Result<()> {
    let (soft, hard) = nix::sys::resource::getrlimit(resource)?;
    Ok(setrlimit(resource, soft.min(value), hard.min(value))?)
}

fn become_user(uid: Uid, gid: Gid, root: Root) -> Result<(), StepError> {
    if uid.is_root() {
        return Err(io::Error::from(io::ErrorKind::InvalidInput)).step("user is root");
    }
    // Needs CAP_SYS_CHROOT, so before the capabilities go.
    if root == Root::Nothing {
        enter_nothing().step("chroot")?;
    }
    // Needs CAP_SETPCAP, likewise.
    for capability in 0.. {
        if !sys::drop_bounding(capability).step("capability bounding set")? {
            break;
        }
    }
    // Groups before the user: afterwards there is no right to change them.
    setgroups(&[]).step("setgroups")?;
    setresgid(gid, gid, gid).step("setresgid")?;
    setresuid(uid, uid, uid).step("setresuid")
}

/// Makes an empty directory, removes it, and stays in it.
fn enter_nothing() -> io::Result<()> {
    let mut place = std::env::temp_dir();
    for base in ["/run", "/tmp"] {
        place = format!("{base}/.privsep-{}", std::process::id()).into();
        match std::fs::create_dir(&place) {
            Ok(()) => break,
            Err(error) if base == "/tmp" => return Err(error),
            Err(_) => {}
        }
    }
    let entered = std::fs::set_permissions(&place, std::fs::Permissions::from_mode(0o555))
        .and_then(|()| std::env::set_current_dir(&place));
    std::fs::remove_dir(&place)?;
    entered?;
    nix::unistd::chroot(".")?;
    std::env::set_current_dir("/").or(Ok(()))
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

fn verify_identity(identity: Identity) -> Result<(), StepError> {
    let users = getresuid().step("getresuid")?;
    let groups = getresgid().step("getresgid")?;
    if let Identity::Become { uid, gid } = identity {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        if [users.real, users.effective, users.saved] != [uid; 3]
            || [groups.real, groups.effective, groups.saved] != [gid; 3]
            || !getgroups().step("getgroups")?.is_empty()
        {
            return Err(still_privileged("the identity did not change")).step("verify identity");
        }
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
        Ok(Fenced { landlock: landlock::restrict(landlock).step("landlock")? })
    }
}

impl Fenced {
    /// Closes the cage, for all threads: the calls of every step before are not in the filter.
    pub fn lock(self, filter: &Filter) -> Result<Locked, StepError> {
        filter.install().step("seccomp")?;
        Ok(Locked { landlock: self.landlock })
    }
}

/// Whether this thread runs under a seccomp filter.
pub fn filtered() -> io::Result<bool> {
    Ok(sys::seccomp_mode()? == seccomp::MODE_FILTER)
}
