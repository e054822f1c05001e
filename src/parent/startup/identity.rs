//! Identity at the start, and the identity to assume.

use nix::errno::Errno;
use nix::unistd::{Gid, Group, Uid, User, getgid, getresgid, getresuid, getuid, setegid, seteuid};
use privsep::confine::{self, Identity};
use privsep::userns::{IdMap, Namespace};

use crate::exit::{Failure, Status};
use crate::parent::startup::denied::{Actor, account};
use crate::reason::reason;

/// Accounts that a plain start as root falls back to.
const ACCOUNTS: [&str; 2] = ["tcpreen", "nobody"];

/// User and group where there are no accounts: the ids that the kernel shows for unmapped ids
/// (`/proc/sys/kernel/overflowuid`).
const OVERFLOW: u32 = 65534;

/// Kind of start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    Unprivileged,
    /// Started by root, or through sudo.
    Root,
    /// Started by an ordinary user with uid 0, the only user of a user namespace.
    Alone,
    /// Started by an ordinary user, through the set-uid bit.
    SetUid {
        caller: Uid,
    },
}

impl Start {
    /// Determines the kind of start. From here on a set-uid start acts as its caller, except inside
    /// [`Start::with_privilege`].
    pub(crate) fn find() -> Result<Start, Failure> {
        refuse_mixed_ids()?;
        if !Uid::effective().is_root() {
            return Ok(Start::Unprivileged);
        }
        let real = getuid();
        if real.is_root() {
            return root();
        }
        seteuid(real)
            .map_err(|errno| Failure::new(Status::Os, format!("UID setting: {}", reason(errno as i32))))?;
        Ok(Start::SetUid { caller: real })
    }

    /// Runs `action` with all the privilege of the start.
    pub(in crate::parent) fn with_privilege<T>(self, action: impl FnOnce() -> T) -> nix::Result<T> {
        match self {
            Start::Unprivileged | Start::Root | Start::Alone => Ok(action()),
            Start::SetUid { caller } => {
                seteuid(Uid::from_raw(0))?;
                let result = action();
                seteuid(caller)?;
                Ok(result)
            }
        }
    }

    /// Runs `action` as the target user.
    pub(in crate::parent) fn as_user<T>(
        self,
        identity: Identity,
        action: impl FnOnce() -> T,
    ) -> nix::Result<T> {
        match (self, identity) {
            (Start::Root, Identity::Become { uid, gid }) => {
                // Root's groups are not needed any more.
                confine::drop_groups()?;
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

    /// The user who started the program, with whose rights the files of the start are made.
    pub(in crate::parent) fn actor(self) -> Actor {
        let (uid, gid) = (getuid(), getgid());
        let who = match self {
            Start::Root => "root".to_owned(),
            Start::Unprivileged => account(uid.as_raw()),
            Start::Alone => "uid 0 of this user namespace, an ordinary user outside".to_owned(),
            // No lookup of the account: libc loads libraries for it, possibly with root's privileges.
            Start::SetUid { .. } => format!("uid {uid}, who started it: the set-uid bit only grants ports"),
        };
        Actor::new(uid, gid, who)
    }
}

/// Accepts only two kinds of additional privilege: a set-uid bit of root, and file capabilities, which do not change
/// ids. Others would be kept, and outputs opened with them.
fn refuse_mixed_ids() -> Result<(), Failure> {
    let ids = |errno: Errno| Failure::new(Status::Os, format!("UID setting: {}", reason(errno as i32)));
    let (users, groups) = (getresuid().map_err(ids)?, getresgid().map_err(ids)?);
    let text = if groups.real != groups.effective {
        format!("started with the group {} of another program or file (set-gid)", groups.effective)
    } else if users.real != users.effective && !users.effective.is_root() {
        format!("started by uid {} with the power of uid {} (set-uid)", users.real, users.effective)
    } else {
        return Ok(());
    };
    let remedy = "only a set-uid bit of root's, or a file capability, is supported: chmod ug-s the file";
    Err(Failure::new(Status::NoPermission, format!("{text}: {remedy}.")))
}

/// Recognises a user namespace in which root cannot change to another user.
fn root() -> Result<Start, Failure> {
    match IdMap::of_users().only_root() {
        None => Ok(Start::Root),
        Some(_) if Namespace::find().is_alone => Ok(Start::Alone),
        Some(_) => Err(Failure::new(Status::Os, ROOT_OUTSIDE)),
    }
}

const ROOT_OUTSIDE: &str = "started as root of a user namespace that has no other user, and that is root outside, too; \
                            root's power is never kept: start it as another user, or map more users.";

/// Identity of every process once everything is bound.
pub(in crate::parent) struct TargetIdentity {
    pub(in crate::parent) identity: Identity,
    /// Notice for an identity that the operator did not select.
    pub(in crate::parent) notice: Option<String>,
    /// The identity as named in errors.
    pub(in crate::parent) actor: Actor,
}

impl TargetIdentity {
    pub(in crate::parent) fn choose(start: Start, user: Option<&str>) -> Result<TargetIdentity, Failure> {
        let kept = |notice| TargetIdentity { identity: Identity::Keep, notice, actor: start.actor() };
        match (start, user) {
            (Start::Unprivileged, _) => Ok(kept(None)),
            (Start::Alone, _) => Ok(kept(Some(ALONE.to_owned()))),
            (Start::SetUid { caller }, _) => {
                Ok(TargetIdentity { identity: becoming(caller, getgid())?, ..kept(None) })
            }
            // A container may have denied that to root. Root's remaining privileges are still not for a bridge.
            (Start::Root, _) if !confine::may_become_another().map_err(powerless)? => {
                Err(Failure::new(Status::Os, POWERLESS))
            }
            (Start::Root, Some(name)) => {
                TargetIdentity::of_root(by_name(name)?.ok_or_else(|| unknown(name))?, None)
            }
            (Start::Root, None) => match through_sudo()? {
                Some(identity) => TargetIdentity::of_root(identity, None),
                None => fallback(),
            },
        }
    }

    /// Identity to which root changes; its ids must exist in this namespace.
    fn of_root(identity: Identity, notice: Option<String>) -> Result<TargetIdentity, Failure> {
        let Identity::Become { uid, gid } = identity else { return Err(Failure::new(Status::Os, POWERLESS)) };
        for (kind, id, map) in [("uid", uid, IdMap::of_users()), ("gid", gid, IdMap::of_groups())] {
            if !map.has(id) {
                let text =
                    format!("{kind} {id} does not exist in this user namespace: choose another with -u.");
                return Err(Failure::new(Status::Os, text));
            }
        }
        let who = format!("{}, which tcpreen became (choose another with -u)", account(uid));
        Ok(TargetIdentity {
            identity,
            notice,
            actor: Actor::new(Uid::from_raw(uid), Gid::from_raw(gid), who),
        })
    }
}

const ALONE: &str =
    "Started as uid 0 of a user namespace with no other user: going on as that user, without root's power";

const POWERLESS: &str = "started as root without the capabilities to become another user (CAP_SETUID, CAP_SETGID), \
                         and root's power is never kept: start it as another user.";

fn powerless(error: confine::StepError) -> Failure {
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
    let hint = match std::path::Path::new("/etc/passwd").exists() {
        true => "",
        false => " (there is no /etc/passwd: numbers do without, -u UID:GID)",
    };
    Failure::new(
        Status::Usage,
        format!("{name}: invalid user{hint}.\nTry \"tcpreen --help\" for more information."),
    )
}

/// Parses `USER` or `USER:GROUP`, each a name or a number. A user without an account, as in many containers,
/// is a number, and its group has the same number.
fn by_name(text: &str) -> Result<Option<Identity>, Failure> {
    let (name, group) = match text.split_once(':') {
        Some((name, group)) => (name, Some(group)),
        None => (text, None),
    };
    let user = match number(name) {
        Some(number) => found(name, User::from_uid(Uid::from_raw(number)))?.map(|user| (number, user.gid)),
        None => found(name, User::from_name(name))?.map(|user| (user.uid.as_raw(), user.gid)),
    };
    let Some((uid, gid)) = user.or_else(|| number(name).map(|uid| (uid, Gid::from_raw(uid)))) else {
        return Ok(None);
    };
    let gid = match group {
        None => gid,
        Some(name) => match number(name) {
            Some(number) => Gid::from_raw(number),
            None => match found(name, Group::from_name(name))? {
                Some(group) => group.gid,
                None => return Ok(None),
            },
        },
    };
    if group.is_some() && gid.as_raw() == 0 {
        return Err(Failure::new(Status::Usage, "root: invalid group (root's power is never kept)."));
    }
    becoming(Uid::from_raw(uid), gid).map(Some)
}

/// Parses an id. The largest number is no id: to the system it means "unchanged".
fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|number| *number != u32::MAX)
}

/// Maps the result of an account lookup, whose database may not exist (getpwnam(3), ERRORS).
fn found<T>(name: &str, lookup: nix::Result<Option<T>>) -> Result<Option<T>, Failure> {
    match lookup {
        Ok(found) => Ok(found),
        Err(Errno::ENOENT | Errno::ESRCH | Errno::EBADF | Errno::EPERM | Errno::EACCES | Errno::ENOTDIR) => {
            Ok(None)
        }
        Err(errno) => {
            Err(Failure::new(Status::Os, format!("{}: {}", name.escape_debug(), reason(errno as i32))))
        }
    }
}

/// Finds the user who called sudo. The variables are trusted because root set them: a set-uid start never reaches
/// this function.
fn through_sudo() -> Result<Option<Identity>, Failure> {
    let number = |name| std::env::var(name).ok().and_then(|text: String| number(&text));
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

fn fallback() -> Result<TargetIdentity, Failure> {
    let notice =
        |account: &str| Some(format!("Started as root: going on as {account} (choose a user with -u)"));
    let (users, groups) = (IdMap::of_users(), IdMap::of_groups());
    for name in ACCOUNTS {
        match by_name(name)? {
            Some(identity @ Identity::Become { uid, gid }) if users.has(uid) && groups.has(gid) => {
                return TargetIdentity::of_root(identity, notice(name));
            }
            _ => {}
        }
    }
    let nobody = Identity::Become { uid: OVERFLOW, gid: OVERFLOW };
    TargetIdentity::of_root(nobody, notice(&format!("uid {OVERFLOW}")))
}
