//! Who we are at the start, and who we are to become.

use nix::unistd::{Gid, Uid, User, getgid, getuid, setegid, seteuid, setgroups};
use privsep::confine::Identity;

use crate::exit::{Failure, Status};
use crate::reason::reason;

/// The accounts that a plain root start falls back to.
const ACCOUNTS: [&str; 2] = ["tcpreen", "nobody"];

/// How the process was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    Unprivileged,
    /// By root, or through sudo.
    Root,
    /// By an ordinary user, through the set-uid bit.
    SetUid {
        caller: Uid,
    },
}

impl Start {
    /// Reads it off the process. From here on a set-uid start acts as its caller; only
    /// [`Start::with_privilege`] does not.
    pub(crate) fn find() -> Result<Start, Failure> {
        let (real, effective) = (getuid(), Uid::effective());
        if !effective.is_root() {
            return Ok(Start::Unprivileged);
        }
        if real.is_root() {
            return Ok(Start::Root);
        }
        seteuid(real)
            .map_err(|errno| Failure::new(Status::Os, format!("UID setting: {}", reason(errno as i32))))?;
        Ok(Start::SetUid { caller: real })
    }

    /// Does something with all the privilege that the start gave.
    pub(super) fn with_privilege<T>(self, action: impl FnOnce() -> T) -> nix::Result<T> {
        match self {
            Start::Unprivileged | Start::Root => Ok(action()),
            Start::SetUid { caller } => {
                seteuid(Uid::from_raw(0))?;
                let result = action();
                seteuid(caller)?;
                Ok(result)
            }
        }
    }

    /// Does something as the user that we are going to be.
    pub(super) fn as_user<T>(self, identity: Identity, action: impl FnOnce() -> T) -> nix::Result<T> {
        match (self, identity) {
            (Start::Root, Identity::Become { uid, gid }) => {
                // Root's groups are never needed again.
                setgroups(&[])?;
                setegid(Gid::from_raw(gid))?;
                seteuid(Uid::from_raw(uid))?;
                let result = action();
                seteuid(Uid::from_raw(0))?;
                setegid(Gid::from_raw(0))?;
                Ok(result)
            }
            _ => Ok(action()),
        }
    }
}

/// The identity of every process of ours once everything is bound.
pub(super) struct Target {
    pub(super) identity: Identity,
    /// Nobody chose it, so it is told.
    pub(super) fallback: Option<&'static str>,
}

impl Target {
    pub(super) fn choose(start: Start, user: Option<&str>) -> Result<Target, Failure> {
        let chosen = |identity| Ok(Target { identity, fallback: None });
        match (start, user) {
            (Start::Unprivileged, _) => chosen(Identity::Keep),
            (Start::SetUid { caller }, _) => chosen(becoming(caller, getgid())?),
            // A container may have taken that from root. What it has left root is still not for us.
            (Start::Root, _) if !privsep::confine::may_become_another().map_err(powerless)? => {
                Err(Failure::new(Status::Os, POWERLESS))
            }
            (Start::Root, Some(name)) => chosen(by_name(name)?.ok_or_else(|| unknown(name))?),
            (Start::Root, None) => match through_sudo()? {
                Some(identity) => chosen(identity),
                None => fallback(),
            },
        }
    }
}

const POWERLESS: &str = "started as root without the capabilities to become another user (CAP_SETUID, CAP_SETGID), \
                         and root's power is never kept: start it as another user.";

fn powerless(error: privsep::confine::StepError) -> Failure {
    Failure::new(Status::Os, error.to_string())
}

fn becoming(uid: Uid, gid: Gid) -> Result<Identity, Failure> {
    if uid.is_root() {
        return Err(Failure::new(Status::Usage, "root: invalid user (root's power is never kept)."));
    }
    Ok(Identity::Become { uid: uid.as_raw(), gid: gid.as_raw() })
}

fn unknown(name: &str) -> Failure {
    let name = name.escape_debug();
    Failure::new(
        Status::Usage,
        format!("{name}: invalid user.\nTry \"tcpreen --help\" for more information."),
    )
}

fn by_name(name: &str) -> Result<Option<Identity>, Failure> {
    let lookup = match name.parse() {
        Ok(number) => User::from_uid(Uid::from_raw(number)),
        Err(_) => User::from_name(name),
    };
    let user =
        lookup.map_err(|errno| Failure::new(Status::Os, format!("{name}: {}", reason(errno as i32))))?;
    user.map(|user| becoming(user.uid, user.gid)).transpose()
}

/// The user who called sudo. These variables are believed because root set them: a set-uid start does
/// not come here.
fn through_sudo() -> Result<Option<Identity>, Failure> {
    let number = |name| std::env::var(name).ok().and_then(|text: String| text.parse::<u32>().ok());
    let Some(uid) = number("SUDO_UID").filter(|uid| *uid != 0) else { return Ok(None) };
    let gid = match number("SUDO_GID") {
        Some(gid) => gid,
        None => match User::from_uid(Uid::from_raw(uid)) {
            Ok(Some(user)) => user.gid.as_raw(),
            _ => return Err(unknown(&uid.to_string())),
        },
    };
    becoming(Uid::from_raw(uid), Gid::from_raw(gid)).map(Some)
}

fn fallback() -> Result<Target, Failure> {
    for name in ACCOUNTS {
        if let Some(identity) = by_name(name)? {
            return Ok(Target { identity, fallback: Some(name) });
        }
    }
    Err(Failure::new(
        Status::Config,
        "no account \"tcpreen\" or \"nobody\" to run as: choose one with -u, root's power is never kept",
    ))
}
