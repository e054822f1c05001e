//! Explains permission errors: the user, and the file or directory that denies access.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{Gid, Uid, User};

use crate::reason::shown_name;

/// The user behind an operation, as named in errors.
#[derive(Clone, Debug)]
pub(in crate::parent) struct Actor {
    uid: Uid,
    gid: Gid,
    /// Includes the reason for this user, and how to change it.
    account: String,
}

impl Actor {
    pub(in crate::parent) fn new(uid: Uid, gid: Gid, account: String) -> Actor {
        Actor { uid, gid, account }
    }

    /// Returns a line to follow the system's error about a path; empty for other errors.
    pub(in crate::parent) fn denied(&self, error: &io::Error, path: &Path) -> String {
        match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EACCES | Errno::EPERM) => {
                let owner = self.obstacle(path).map(|(path, uid)| {
                    format!("; {} belongs to {}", shown_name(path.as_os_str().as_bytes()), account(uid))
                });
                format!("\nDenied for {}{}", self.account, owner.unwrap_or_default())
            }
            _ => String::new(),
        }
    }

    /// Finds the file or directory that denies access, and its owner: the first directory of the path that
    /// the user may not enter, or the file at its end.
    fn obstacle(&self, path: &Path) -> Option<(PathBuf, u32)> {
        let path = std::path::absolute(path).ok()?;
        let mut last = None;
        let above: Vec<&Path> = path.ancestors().collect();
        for place in above.into_iter().rev() {
            let Ok(found) = place.metadata() else { break };
            let may_pass = self.may(&found, 0o1);
            last = Some((place.to_owned(), found.uid()));
            if found.is_dir() && !may_pass {
                break;
            }
        }
        last
    }

    /// Ignores access lists and capabilities: the result only selects the name in a message.
    fn may(&self, found: &std::fs::Metadata, bit: u32) -> bool {
        let shift = match found.uid() == self.uid.as_raw() {
            true => 6,
            false if found.gid() == self.gid.as_raw() => 3,
            false => 0,
        };
        self.uid.is_root() || found.mode() >> shift & bit != 0
    }
}

/// Returns the name of an account, or its number if it has none.
pub(in crate::parent) fn account(uid: u32) -> String {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name.escape_debug().to_string(),
        _ => format!("uid {uid}"),
    }
}
