//! The control socket's name and rights, or its port and certificates (`environment.controlsocket`).

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use angarium_config::pki::{KeySource, Material};
use angarium_config::startup::{ControlSocket, ControlTlsSide};
use angarium_config::types::Octal;
use angarium_config::{FileSource, plain_reason};
use angarium_effects::local::{self, Bound, LocalError, Rights};
use angarium_effects::system::{BoundTcp, SystemNet};
use nix::unistd::{Group, User};

use crate::tls::{KeyPair, MutualServer, Side, TlsError};

/// Where the socket is if the configuration does not say.
pub const DEFAULT: &str = "/var/run/angarium/smtpd.ctl";
/// Its mode if the configuration does not say.
const MODE: u32 = 0o660;

/// Why the control socket cannot be opened: a sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The path.
    #[error("environment.controlsocket.path: {}", said(.0))]
    Path(#[from] LocalError),
    /// A user or group that the machine does not have.
    #[error("{keys}.{key} is {name}, and this machine has no such {what}")]
    Unknown {
        /// Where the key stands.
        keys: &'static str,
        /// The key.
        key: &'static str,
        /// What it names.
        name: String,
        /// User or group.
        what: &'static str,
    },
    /// The port.
    #[error("environment.controlsocket.port: cannot listen on {address}: {}", plain_reason(.error))]
    Port {
        /// What was tried.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// A key or certificate.
    #[error("environment.controlsocket.tls.{side}: {reason}")]
    Tls {
        /// `server` or `client`.
        side: &'static str,
        /// What is wrong.
        reason: String,
    },
}

/// What is wrong with the path of a socket, with what to do about it.
#[must_use]
pub fn said(error: &LocalError) -> String {
    let LocalError::System { path, error } = error else {
        return error.to_string();
    };
    let shown = path.display();
    match error.kind() {
        io::ErrorKind::NotFound => {
            let folder = path.parent().unwrap_or(Path::new(""));
            let folder = folder.display();
            format!("{shown}: there is no folder {folder}; create it, or choose another path")
        }
        io::ErrorKind::InvalidFilename | io::ErrorKind::InvalidInput => {
            format!("{shown}: the path of a socket has at most 107 bytes; choose a shorter one")
        }
        _ => format!("{shown}: {}", plain_reason(error)),
    }
}

/// A control socket that is listened on and that no runtime knows yet.
#[derive(Debug)]
pub enum Opened {
    /// A path.
    Local(Bound),
    /// A port, with TLS if it has any.
    Tcp(BoundTcp, Option<MutualServer>),
}

impl From<Bound> for Opened {
    fn from(bound: Bound) -> Opened {
        Opened::Local(bound)
    }
}

/// What one end of the TLS of a TCP socket is set up with.
///
/// # Errors
/// A file cannot be read, or its content cannot be used.
pub fn side(
    name: &'static str,
    written: &ControlTlsSide,
    files: &dyn FileSource,
) -> Result<Side, SocketError> {
    let refused = |reason: String| SocketError::Tls { side: name, reason };
    let read = |material: &Option<Material>| -> Result<Option<Vec<u8>>, SocketError> {
        // The configuration has checked that each has one source.
        match material.as_ref().and_then(Material::source) {
            None => Ok(None),
            Some(KeySource::Data(text)) => Ok(Some(text.into_bytes())),
            Some(KeySource::Path(path)) => match files.read(&path) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(error) => Err(refused(format!("{}: {error}", path.display()))),
            },
        }
    };
    let pair = match (read(&written.certificate)?, read(&written.privatekey)?) {
        (Some(certificate), Some(key)) => {
            let pair = KeyPair::from_pem(&certificate, &key);
            Some(pair.map_err(|error| refused(error.to_string()))?)
        }
        _ => None,
    };
    Ok(Side {
        pair,
        authorities: read(&written.ca)?,
        verify: written.verify,
        name: written.verifyname.as_ref().map(ToString::to_string),
    })
}

/// The TLS of the end that listens, if it has any.
///
/// # Errors
/// A file cannot be read, or its content cannot be used.
pub fn server_tls(
    config: &ControlSocket,
    files: &dyn FileSource,
) -> Result<Option<MutualServer>, SocketError> {
    let Some(written) = &config.tls.server else {
        return Ok(None);
    };
    let refused = |error: TlsError| SocketError::Tls {
        side: "server",
        reason: error.to_string(),
    };
    let side = side("server", written, files)?;
    MutualServer::new(&side).map(Some).map_err(refused)
}

/// The address of a socket that has a port.
#[must_use]
pub fn address(config: &ControlSocket) -> Option<SocketAddr> {
    let address = config.address.as_ref().map(|address| address.0);
    // Whoever reaches it commands the server: others than this machine only if it is said so.
    let address = address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    Some(SocketAddr::new(address, config.port?))
}

/// The path of the socket.
#[must_use]
pub fn path(config: &ControlSocket) -> PathBuf {
    config
        .path
        .as_ref()
        .map_or_else(|| PathBuf::from(DEFAULT), |path| path.to_path_buf())
}

/// Opens the socket. Without a path in the configuration it is opened at [`DEFAULT`] if that can be; the inner
/// error is why not: there is no such folder, say, or another server has the default.
///
/// # Errors
/// What is wrong with the path, its rights or their owners.
pub fn open(
    config: &ControlSocket,
    files: &dyn FileSource,
) -> Result<Result<Opened, String>, SocketError> {
    if let Some(address) = address(config) {
        let tls = server_tls(config, files)?;
        let bound = SystemNet::bind(address, None);
        let bound = bound.map_err(|error| SocketError::Port { address, error })?;
        return Ok(Ok(Opened::Tcp(bound, tls)));
    }
    let path = path(config);
    let bound = local::listen(
        &path,
        &rights(
            "environment.controlsocket",
            config.owner.as_deref(),
            config.group.as_deref(),
            config.chmod,
        )?,
    );
    match bound {
        Ok(bound) => Ok(Ok(bound.into())),
        Err(error) if config.path.is_none() => Ok(Err(said(&error))),
        Err(error) => Err(error.into()),
    }
}

/// The rights of a Unix socket of the server; `keys` is where they stand in the configuration.
///
/// # Errors
/// A user or group that the machine does not have.
pub fn rights(
    keys: &'static str,
    owner: Option<&str>,
    group: Option<&str>,
    chmod: Option<Octal>,
) -> Result<Rights, SocketError> {
    let unknown = |key, name: &str, what| SocketError::Unknown {
        keys,
        key,
        name: name.to_owned(),
        what,
    };
    // A number names a user or group that has no name here.
    let owner = owner.map(|name| match User::from_name(name) {
        Ok(Some(user)) => Ok(user.uid.as_raw()),
        _ => name.parse().map_err(|_| unknown("owner", name, "user")),
    });
    let group = group.map(|name| match Group::from_name(name) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        _ => name.parse().map_err(|_| unknown("group", name, "group")),
    });
    Ok(Rights {
        mode: chmod.map_or(MODE, |mode| mode.0),
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
    use angarium_config::MemoryFiles;
    use angarium_config::types::FilePath;

    fn open(config: &ControlSocket) -> Result<Option<Opened>, SocketError> {
        super::open(config, &MemoryFiles::default()).map(Result::ok)
    }

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
        let expected =
            "environment.controlsocket.path: /nonexistent/folder/smtpd.ctl: there is no folder";
        assert!(error.starts_with(expected), "{error}");
        let long = Path::new("/tmp").join("x".repeat(120));
        let error = open(&config(&long)).unwrap_err().to_string();
        assert!(error.contains("at most 107 bytes"), "{error}");
    }
}
