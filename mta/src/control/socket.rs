//! The control socket's name and rights (`environment.controlsocket`).

use std::path::{Path, PathBuf};

use angarium_config::startup::ControlSocket;
use angarium_effects::local::{self, Bound, LocalError, Rights};
use nix::unistd::{Group, User};

/// Where the socket is if the configuration does not say.
pub const DEFAULT: &str = "/var/run/angarium/smtpd.ctl";
/// Its mode if the configuration does not say.
const MODE: u32 = 0o660;

/// Why the control socket cannot be opened: a sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The path.
    #[error("the control socket cannot be opened: {0}")]
    Path(#[from] LocalError),
    /// A user or group that the machine does not have.
    #[error("environment.controlsocket.{key} is {name}, and this machine has no such {what}")]
    Unknown {
        /// The key.
        key: &'static str,
        /// What it names.
        name: String,
        /// User or group.
        what: &'static str,
    },
}

/// The path of the socket.
#[must_use]
pub fn path(config: &ControlSocket) -> PathBuf {
    config
        .path
        .as_ref()
        .map_or_else(|| PathBuf::from(DEFAULT), |path| path.to_path_buf())
}

/// Opens the socket. Without a path in the configuration it is opened at [`DEFAULT`] where that folder
/// is; none: there is no such folder, or another server has the default.
///
/// # Errors
/// What is wrong with the path, its rights or their owners.
pub fn open(config: &ControlSocket) -> Result<Option<Bound>, SocketError> {
    let path = path(config);
    let bound = local::listen(&path, &rights(config)?);
    match bound {
        Ok(bound) => Ok(Some(bound)),
        Err(_) if config.path.is_none() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn rights(config: &ControlSocket) -> Result<Rights, SocketError> {
    let unknown = |key, name: &str, what| SocketError::Unknown {
        key,
        name: name.to_owned(),
        what,
    };
    // A number names a user or group that has no name here.
    let owner = config
        .owner
        .as_deref()
        .map(|name| match User::from_name(name) {
            Ok(Some(user)) => Ok(user.uid.as_raw()),
            _ => name.parse().map_err(|_| unknown("owner", name, "user")),
        });
    let group = config
        .group
        .as_deref()
        .map(|name| match Group::from_name(name) {
            Ok(Some(group)) => Ok(group.gid.as_raw()),
            _ => name.parse().map_err(|_| unknown("group", name, "group")),
        });
    Ok(Rights {
        mode: config.chmod.map_or(MODE, |mode| mode.0),
        owner: owner.transpose()?,
        group: group.transpose()?,
    })
}

/// Whether there is a socket at this path, for a better message.
#[must_use]
pub fn is_default(path: &Path) -> bool {
    path == Path::new(DEFAULT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use angarium_config::types::FilePath;

    fn config(path: &Path) -> ControlSocket {
        ControlSocket {
            path: Some(FilePath::from(path.to_path_buf())),
            ..ControlSocket::default()
        }
    }

    #[tokio::test]
    async fn owners_that_the_machine_does_not_have_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut wanted = config(&folder.path().join("c"));
        wanted.owner = Some("nobody-of-that-name".to_owned());
        let error = open(&wanted).unwrap_err().to_string();
        assert_eq!(
            error,
            "environment.controlsocket.owner is nobody-of-that-name, and this machine has no such user"
        );
        wanted.owner = None;
        wanted.group = Some("no-such-group".to_owned());
        assert!(
            open(&wanted)
                .unwrap_err()
                .to_string()
                .contains("no such group")
        );
    }

    #[tokio::test]
    async fn a_path_that_was_asked_for_has_to_work() {
        let wanted = config(Path::new("/nonexistent/folder/smtpd.ctl"));
        let error = open(&wanted).unwrap_err().to_string();
        assert!(
            error.starts_with("the control socket cannot be opened: /nonexistent"),
            "{error}"
        );
    }
}
