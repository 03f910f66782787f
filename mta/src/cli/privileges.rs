//! Giving up the rights of root for those of another user (`hsh -P`).

use std::ffi::CString;

use nix::unistd::{Group, User, geteuid, initgroups, setgid, setuid};

use super::failure::Failure;

/// Becomes `user`, with the groups that the user is in; `group` takes the place of the user's own group.
///
/// Every thread of the process changes, and there is no way back.
///
/// # Errors
/// When the process is not root's, the user or group is not known, or the system refuses.
pub(super) fn become_user(user: &str, group: Option<&str>) -> Result<(), Failure> {
    if !geteuid().is_root() {
        return Err(Failure::Usage(format!(
            "--privdrop works only as root: run it as root to become {user}, or without --privdrop"
        )));
    }
    let unknown = |what: &str, name: &str| {
        Failure::Failed(format!(
            "environment.privdrop.{what} is {name}, and this machine has no such {what}"
        ))
    };
    let refused =
        |error: nix::Error| Failure::Failed(format!("cannot drop privileges to {user}: {error}"));
    let account = User::from_name(user)
        .map_err(refused)?
        .ok_or_else(|| unknown("user", user))?;
    let gid = match group {
        None => account.gid,
        Some(name) => {
            let group = Group::from_name(name).map_err(refused)?;
            group.ok_or_else(|| unknown("group", name))?.gid
        }
    };
    let name = CString::new(account.name)
        .map_err(|_| Failure::Failed(format!("the user {user} has no usable name")))?;
    // The user comes last: only root may change groups.
    initgroups(&name, gid).map_err(refused)?;
    setgid(gid).map_err(refused)?;
    setuid(account.uid).map_err(refused)
}
