//! Unix sockets of this machine: the control socket, and listeners for mail.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this module implements an effect over the system"
)]

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::io::{AsyncRead, AsyncWrite};

/// Connections that wait to be accepted, where nobody says how many may.
const BACKLOG: u32 = 128;

/// Both directions of a local connection.
pub trait LocalStream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> LocalStream for T {}

/// Who may connect.
#[derive(Clone, Debug, Default)]
pub struct Rights {
    /// The mode of the socket, such as `0o660`.
    pub mode: u32,
    /// Its owner; none: whoever the process is.
    pub owner: Option<u32>,
    /// Its group.
    pub group: Option<u32>,
}

/// Why a path cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// Another process answers there.
    #[error("another process listens on {}", .0.display())]
    Busy(PathBuf),
    /// There is something that is no socket.
    #[error("{} is there and is no socket", .0.display())]
    NoSocket(PathBuf),
    /// The system refuses.
    #[error("{}: {error}", path.display())]
    System {
        /// The path.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
}

/// A socket that is listened on. Its name goes with it, if it still names it.
#[derive(Debug)]
pub struct LocalListener {
    listener: tokio::net::UnixListener,
    path: PathBuf,
    /// Device and inode, to know whether the name is still ours.
    identity: (u64, u64),
}

/// A socket that is listened on and that no runtime knows yet.
#[derive(Debug)]
pub struct Bound {
    listener: std::os::unix::net::UnixListener,
    path: PathBuf,
    identity: (u64, u64),
}

/// Listens on `path`. A socket that was left behind there is replaced; it is visible under its name
/// only when its owner and mode are set.
///
/// # Errors
/// Somebody listens there, it is no socket, or the system refuses.
pub fn listen(path: &Path, rights: &Rights) -> Result<Bound, LocalError> {
    listen_with(path, rights, None)
}

/// The same with a queue of so many connections that wait to be accepted.
///
/// # Errors
/// As [`listen`].
pub fn listen_with(
    path: &Path,
    rights: &Rights,
    backlog: Option<u32>,
) -> Result<Bound, LocalError> {
    let failed = |error: io::Error| LocalError::System {
        path: path.to_owned(),
        error,
    };
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(LocalError::NoSocket(path.to_owned()));
        }
        Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => return Err(LocalError::Busy(path.to_owned())),
            // Nobody is behind it: what a process left that was killed.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // Its queue of connections is full, so somebody is.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(LocalError::Busy(path.to_owned()));
            }
            Err(error) => return Err(failed(error)),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let mut name = path.as_os_str().to_owned();
    name.push("~");
    let new = PathBuf::from(name);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let bound = bind(&new, rights, backlog).and_then(|listener| {
        let found = fs::symlink_metadata(&new)?;
        fs::rename(&new, path)?;
        Ok(Bound {
            listener,
            path: path.to_owned(),
            identity: (found.dev(), found.ino()),
        })
    });
    bound.map_err(|error| {
        let _ = fs::remove_file(&new);
        failed(error)
    })
}

/// Nobody can connect before the mode is set, because the socket listens only then.
fn bind(
    path: &Path,
    rights: &Rights,
    backlog: Option<u32>,
) -> io::Result<std::os::unix::net::UnixListener> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    if rights.owner.is_some() || rights.group.is_some() {
        chown(path, rights.owner, rights.group)?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(rights.mode))?;
    let backlog = i32::try_from(backlog.unwrap_or(BACKLOG)).unwrap_or(i32::MAX);
    rustix::net::listen(&socket, backlog)?;
    Ok(socket.into())
}

impl Bound {
    /// Binds it to the calling thread's runtime.
    ///
    /// # Errors
    /// When it cannot be registered there.
    pub fn adopt(self) -> io::Result<LocalListener> {
        Ok(LocalListener {
            listener: tokio::net::UnixListener::from_std(self.listener)?,
            path: self.path,
            identity: self.identity,
        })
    }
}

impl LocalListener {
    /// The socket itself, whose name lives as long as `self`.
    pub(crate) fn socket(&self) -> &tokio::net::UnixListener {
        &self.listener
    }

    /// The next connection.
    ///
    /// # Errors
    /// As the system reports it.
    pub async fn accept(&self) -> io::Result<Box<dyn LocalStream>> {
        let (stream, _) = self.listener.accept().await?;
        Ok(Box::new(stream))
    }
}

impl Drop for LocalListener {
    fn drop(&mut self) {
        let found = fs::symlink_metadata(&self.path);
        if found.is_ok_and(|found| (found.dev(), found.ino()) == self.identity) {
            // What cannot be removed is replaced by the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Messages to a socket of this machine, such as that of the system log. Nothing is waited for: a message that the
/// receiver has no room for is lost.
#[derive(Debug)]
pub struct Datagrams {
    path: PathBuf,
    socket: Mutex<Option<UnixDatagram>>,
}

impl Datagrams {
    /// Messages to the socket at `path`, which need not be there yet.
    #[must_use]
    pub fn to(path: &Path) -> Datagrams {
        Datagrams {
            path: path.to_owned(),
            socket: Mutex::new(None),
        }
    }

    /// Sends a message; a receiver that has begun anew is looked for.
    ///
    /// # Errors
    /// As the system reports it.
    pub fn send(&self, message: &[u8]) -> io::Result<()> {
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = &*socket {
            match open.send(message) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
                Err(_) => *socket = None,
            }
        }
        let open = UnixDatagram::unbound()?;
        open.set_nonblocking(true)?;
        open.connect(&self.path)?;
        open.send(message)?;
        *socket = Some(open);
        Ok(())
    }
}

/// Connects to the socket at `path`.
///
/// # Errors
/// As the system reports it.
pub async fn connect(path: &Path) -> io::Result<Box<dyn LocalStream>> {
    Ok(Box::new(tokio::net::UnixStream::connect(path).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights() -> Rights {
        Rights {
            mode: 0o640,
            ..Rights::default()
        }
    }

    #[tokio::test]
    async fn the_socket_has_its_mode_and_goes_with_its_listener() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.ctl");
        let listener = listen(&path, &rights()).unwrap().adopt().unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o640);
        let (client, server) = tokio::join!(connect(&path), listener.accept());
        client.unwrap();
        server.unwrap();
        drop(listener);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_a_killed_process_left_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.ctl");
        // A bound socket whose process is gone.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let first = listen(&path, &rights()).unwrap().adopt().unwrap();
        let second = listen(&path, &rights());
        assert!(matches!(second, Err(LocalError::Busy(_))), "{second:?}");
        // The probe is a connection like any other.
        first.accept().await.unwrap();
        let (client, server) = tokio::join!(connect(&path), first.accept());
        client.unwrap();
        server.unwrap();
    }

    #[tokio::test]
    async fn a_file_is_never_replaced_and_another_ones_name_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.ctl");
        fs::write(&path, "precious").unwrap();
        let refused = listen(&path, &rights());
        assert!(matches!(refused, Err(LocalError::NoSocket(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        fs::remove_file(&path).unwrap();
        let listener = listen(&path, &rights()).unwrap().adopt().unwrap();
        fs::rename(&path, folder.path().join("b")).unwrap();
        fs::write(&path, "another").unwrap();
        drop(listener);
        assert!(path.exists());
        let missing = folder.path().join("none").join("a.ctl");
        assert!(matches!(
            listen(&missing, &rights()),
            Err(LocalError::System { .. })
        ));
    }
}
