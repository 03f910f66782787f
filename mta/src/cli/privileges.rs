//! The rights and limits of the process: giving up root's for those of another user (`hsh -P`,
//! `environment.privdrop`), open files, the mode of new files.

use std::ffi::CString;

use angarium_config::startup::Environment;
use nix::unistd::{Group, User, geteuid, getuid, initgroups, setgid, setuid};
use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, umask};

use super::failure::Failure;

/// Sets `environment.umask` and `environment.rlimit`.
///
/// # Errors
/// The system does not allow so many open files.
pub(super) fn limit(environment: &Environment) -> Result<(), Failure> {
    if let Some(mask) = &environment.umask {
        umask(Mode::from_raw_mode(mask.0));
    }
    let Some(wanted) = environment.rlimit.nofile else {
        return Ok(());
    };
    let now = getrlimit(Resource::Nofile);
    // No maximum stands for as many as one likes.
    let maximum = now.maximum.map(|maximum| maximum.max(wanted));
    let limit = Rlimit {
        current: Some(wanted),
        maximum,
    };
    setrlimit(Resource::Nofile, limit).map_err(|error| {
        let most = now.maximum.map_or_else(|| "as many as one likes".to_owned(), |most| most.to_string());
        Failure::Failed(format!(
            "environment.rlimit.nofile is {wanted}, and the system allows this process {most} ({error}): \
             start it as root, raise the limit of the system, or ask for less"
        ))
    })
}

/// Whether the process is that user's already.
pub(super) fn is(user: &str) -> bool {
    matches!(User::from_name(user), Ok(Some(account)) if account.uid == getuid())
}

/// Becomes `user`, with the groups that the user is in; `group` takes the place of the user's own group.
/// `what` names what asks for it.
///
/// Every thread of the process changes, and there is no way back.
///
/// # Errors
/// When the process is not root's, the user or group is not known, or the system refuses.
pub(super) fn become_user(what: &str, user: &str, group: Option<&str>) -> Result<(), Failure> {
    if !geteuid().is_root() {
        return Err(Failure::Usage(format!(
            "{what} works only as root: run it as root to become {user}, or without {what}"
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
