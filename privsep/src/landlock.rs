//! Landlock, the second line of defence. Best effort, because kernels differ; the resulting status is
//! reported, never assumed.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::OpenOptionsExt;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, LandlockStatus, NetPort, PathBeneath,
    RestrictionStatus, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope,
};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use serde::{Deserialize, Serialize};

/// Newest ABI that the rules cover (Linux 7.1). Rules that the kernel lacks are left out.
const ABI_KNOWN: ABI = ABI::V9;

/// Oldest ABI with all required rules (Linux 6.12). Newer ones restrict Unix sockets.
const ABI_FULL: ABI = ABI::V6;

/// Access that a role keeps. All other access to the file system is denied.
#[derive(Default)]
pub struct Landlock<'a> {
    /// Files and directories beneath these may be read.
    pub read: &'a [BorrowedFd<'a>],
    /// Files beneath these may be created and written.
    pub write: &'a [BorrowedFd<'a>],
    /// These files themselves may be written; directories are not permitted here.
    pub write_files: &'a [BorrowedFd<'a>],
    /// Files beneath these may be removed.
    pub remove: &'a [BorrowedFd<'a>],
    pub connect: Connect<'a>,
    /// Restricts connections to Unix sockets in the file system to those beneath these, from Linux 7.1 on; `None`
    /// allows all.
    pub sockets: Option<&'a [BorrowedFd<'a>]>,
    /// Allows connections to abstract Unix sockets of processes outside.
    pub abstract_sockets: bool,
    /// Allows signals to processes outside. The signal that the kernel sends to children when their parent
    /// dies counts as sent by the parent: a parent that may not signal its children does not end them.
    pub signals: bool,
}

/// Permitted targets of new TCP connections. Binding to a TCP port is never permitted.
#[derive(Default)]
pub enum Connect<'a> {
    #[default]
    Nowhere,
    Ports(&'a [u16]),
    Anywhere,
}

/// Extent to which this kernel enforces the rules, and the ABI version by which it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    Full { abi: u8 },
    Partial { abi: u8 },
    None,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Status::Full { abi } => write!(f, "full (ABI {abi})"),
            Status::Partial { abi } => write!(f, "partial (ABI {abi})"),
            Status::None => f.write_str("none"),
        }
    }
}

/// A file that no role may read and that any unconfined process can read: `/dev/null`. Opening it tests Landlock
/// without trust in the return value of `landlock_restrict_self`, and without any file in the root directory.
#[derive(Debug)]
pub struct Probe(Option<File>);

impl Probe {
    /// Opens `/dev`. Must be called while the root directory is that of the system.
    pub fn new() -> Probe {
        Probe(File::options().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open("/dev").ok())
    }

    /// The result of opening the file for reading.
    fn open(&self) -> nix::Result<()> {
        let Some(directory) = &self.0 else { return Err(Errno::ENOENT) };
        openat(directory, "null", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).map(drop)
    }
}

impl Default for Probe {
    fn default() -> Probe {
        Probe::new()
    }
}

/// Restricts the calling thread, and the threads and processes that it makes later. Returns the status that the probe
/// found: [`Status::None`] if the probe could not be opened before, or can still be opened.
pub fn restrict(rules: &Landlock<'_>, probe: Probe) -> io::Result<Status> {
    let before = probe.open();
    let claimed = match apply(rules) {
        // A container's profile that forbids a part of Landlock disables all of it.
        Err(error) if matches!(errno_of(&error), Some(libc::EPERM | libc::ENOSYS)) => Status::None,
        result => result.map_err(io::Error::other)?,
    };
    let enforced = before.is_ok() && probe.open() == Err(Errno::EACCES);
    Ok(if enforced { claimed } else { Status::None })
}

/// Returns the errno value if the error came from the system.
fn errno_of(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return error.raw_os_error();
        }
        next = error.source();
    }
    None
}

fn apply(rules: &Landlock<'_>) -> Result<Status, landlock::RulesetError> {
    let net = match rules.connect {
        Connect::Anywhere => AccessNet::BindTcp.into(),
        Connect::Nowhere | Connect::Ports(_) => AccessNet::from_all(ABI_KNOWN),
    };
    let mut files = AccessFs::from_all(ABI_KNOWN);
    if rules.sockets.is_none() {
        files.remove(AccessFs::ResolveUnix);
    }
    let mut scope = Scope::from_all(ABI_KNOWN);
    if rules.abstract_sockets {
        scope.remove(Scope::AbstractUnixSocket);
    }
    if rules.signals {
        scope.remove(Scope::Signal);
    }
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(files)?
        .handle_access(net)?;
    // The crate rejects an empty set of scopes.
    let ruleset = if scope.is_empty() { ruleset } else { ruleset.scope(scope)? };
    let mut ruleset = ruleset.create()?;
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let write = AccessFs::WriteFile | AccessFs::MakeReg;
    let remove = AccessFs::RemoveFile;
    let places = [
        (rules.read, read),
        (rules.write, write),
        (rules.write_files, AccessFs::WriteFile.into()),
        (rules.remove, remove.into()),
        (rules.sockets.unwrap_or_default(), AccessFs::ResolveUnix.into()),
    ];
    for (places, access) in places {
        for place in places {
            ruleset = ruleset.add_rule(PathBeneath::new(place, access))?;
        }
    }
    if let Connect::Ports(ports) = rules.connect {
        for &port in ports {
            ruleset = ruleset.add_rule(NetPort::new(port, AccessNet::ConnectTcp))?;
        }
    }
    Ok(status(&ruleset.restrict_self()?))
}

fn status(restriction: &RestrictionStatus) -> Status {
    let LandlockStatus::Available { effective_abi, .. } = restriction.landlock else { return Status::None };
    let abi = effective_abi.min(ABI_KNOWN);
    let number = abi as u8;
    match restriction.ruleset {
        RulesetStatus::NotEnforced => Status::None,
        RulesetStatus::FullyEnforced => Status::Full { abi: number },
        // Only newer parts are missing.
        RulesetStatus::PartiallyEnforced if abi >= ABI_FULL => Status::Full { abi: number },
        RulesetStatus::PartiallyEnforced => Status::Partial { abi: number },
    }
}
