//! Landlock, the second line of defence. Best effort, because kernels differ; the resulting status is
//! reported, never assumed.

use std::io;
use std::os::fd::BorrowedFd;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, NetPort, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope,
};
use serde::{Deserialize, Serialize};

/// Newest ABI that the rules cover (Linux 6.12).
const ABI_KNOWN: ABI = ABI::V6;

/// Access that a role keeps. Everything else in the file system is out of reach.
#[derive(Default)]
pub struct Landlock<'a> {
    /// Readable: files and directories beneath these.
    pub read: &'a [BorrowedFd<'a>],
    /// Files beneath these may be created and written.
    pub write: &'a [BorrowedFd<'a>],
    /// These files themselves may be written. No directories.
    pub write_files: &'a [BorrowedFd<'a>],
    /// Files beneath these may be removed.
    pub remove: &'a [BorrowedFd<'a>],
    pub connect: Connect<'a>,
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

/// Extent to which this kernel enforces the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    Full,
    Partial,
    None,
}

impl Status {
    pub fn name(self) -> &'static str {
        match self {
            Status::Full => "full",
            Status::Partial => "partial",
            Status::None => "none",
        }
    }
}

/// Restricts the calling thread, and the threads and processes that it creates later.
pub fn restrict(rules: &Landlock<'_>) -> io::Result<Status> {
    match apply(rules) {
        // A container profile that forbids one of the calls disables Landlock altogether.
        Err(error) if matches!(errno_of(&error), Some(libc::EPERM | libc::ENOSYS)) => Ok(Status::None),
        result => result.map_err(io::Error::other),
    }
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
    let mut scope = Scope::from_all(ABI_KNOWN);
    if rules.abstract_sockets {
        scope.remove(Scope::AbstractUnixSocket);
    }
    if rules.signals {
        scope.remove(Scope::Signal);
    }
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ABI_KNOWN))?
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
    Ok(match ruleset.restrict_self()?.ruleset {
        RulesetStatus::FullyEnforced => Status::Full,
        RulesetStatus::PartiallyEnforced => Status::Partial,
        RulesetStatus::NotEnforced => Status::None,
    })
}
