//! The client's end of the control socket.

use std::io;
use std::path::{Path, PathBuf};

use angarium_config::startup::{ControlSocket, ControlTlsSide};
use angarium_config::types::HostName;
use angarium_config::{FileKind, FileSource, Tree};
use angarium_control::frame::{Answers, FrameError, Kind, VERSION, request};
use angarium_effects::Net as _;
use angarium_effects::local::{self, LocalStream};
use angarium_effects::net::Connect;
use angarium_effects::system::SystemNet;
use clap::Args;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::cli::{Failure, failure, terminal};
use crate::control::socket;
use crate::tls::{MutualClient, Side};

/// Nobody answers: a status of its own, so that scripts can tell.
const NO_SERVER: u8 = 2;

/// What names the socket where the options do not.
const HALONCTL: &str = "/etc/angarium/halonctl.yaml";

/// Where a server is.
#[derive(Debug, Args)]
pub struct Where {
    /// The control socket [default: as /etc/angarium/halonctl.yaml says, else /var/run/angarium/smtpd.ctl]
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Host of a control socket with a port [default: 127.0.0.1]
    #[arg(
        long,
        global = true,
        value_name = "HOST",
        conflicts_with = "socket",
        requires = "port"
    )]
    address: Option<String>,
    /// Port of the control socket
    #[arg(long, global = true, value_name = "N", conflicts_with = "socket")]
    port: Option<u16>,
    /// Talk to the port under TLS; the server's certificate is checked
    #[arg(long, global = true)]
    tls: bool,
    /// Certificate to show, PEM; its chain behind it
    #[arg(long, global = true, value_name = "FILE", requires_all = ["tls", "tls_key"])]
    tls_cert: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, global = true, value_name = "FILE", requires_all = ["tls", "tls_cert"])]
    tls_key: Option<PathBuf>,
    /// Authorities to trust, PEM [default: those behind the certificate, or the system's]
    #[arg(long, global = true, value_name = "FILE", requires = "tls")]
    tls_ca: Option<PathBuf>,
    /// Name that must stand in the server's certificate [default: the host]
    #[arg(long, global = true, value_name = "NAME", requires = "tls")]
    tls_name: Option<String>,
    /// Do not check the server's certificate
    #[arg(long, global = true, requires = "tls")]
    tls_insecure: bool,
    /// A configuration that names the socket: smtpd.yaml, halonctl.yaml, or the folder of a bundle
    #[arg(
        short,
        long,
        global = true,
        value_name = "FILE",
        conflicts_with_all = ["socket", "address", "port"]
    )]
    config: Option<PathBuf>,
}

/// The way to a server. The socket is not opened before the first request: what is wrong with the arguments
/// is said without a server.
pub struct Client {
    way: Way,
    connection: Option<Connection>,
}

/// How a server is reached.
#[derive(Debug)]
enum Way {
    Path(PathBuf),
    Port {
        host: String,
        port: u16,
        tls: Option<MutualClient>,
    },
}

/// An open connection.
struct Connection {
    stream: Box<dyn LocalStream>,
    answers: Answers,
}

/// Says that nobody answers.
fn no_server(text: &str) -> Failure {
    terminal::error(&format!("angarium: {text}\n"));
    Failure::Status(NO_SERVER)
}

impl Where {
    /// The socket: as told, or as a configuration has it.
    fn socket(&self, files: &dyn FileSource) -> Result<ControlSocket, Failure> {
        if let Some(config) = &self.config {
            let is_yaml = |end: &std::ffi::OsStr| end == "yaml" || end == "yml";
            if config.extension().is_some_and(is_yaml) {
                return of_file(config, base_of(config), files);
            }
            let tree = Tree::find(files, config)?;
            let startup = tree.config(FileKind::Startup.file_name());
            return of_file(&startup, &tree.root, files);
        }
        let told = self.socket.is_some() || self.address.is_some() || self.port.is_some();
        let usual = Path::new(HALONCTL);
        if !told && usual.exists() {
            return of_file(usual, base_of(usual), files);
        }
        Ok(ControlSocket {
            path: self.socket.clone().map(Into::into),
            port: self.port,
            ..ControlSocket::default()
        })
    }

    /// What the client shows and wants to see, by its options; none: what the configuration says.
    fn side(&self) -> Result<Option<ControlTlsSide>, Failure> {
        if !self.tls {
            return Ok(None);
        }
        let file = |path: &Option<PathBuf>| {
            let material = |path: &PathBuf| angarium_config::pki::Material {
                path: Some(path.clone().into()),
                data: None,
            };
            path.as_ref().map(material)
        };
        let name = self.tls_name.as_deref().map(str::parse::<HostName>);
        let name = name.transpose();
        Ok(Some(ControlTlsSide {
            certificate: file(&self.tls_cert),
            privatekey: file(&self.tls_key),
            ca: file(&self.tls_ca),
            verify: !self.tls_insecure,
            verifyname: name.map_err(|error| Failure::Usage(format!("--tls-name: {error}")))?,
        }))
    }
}

/// The folder that relative paths in a file are seen from: that of the bundle for a file of a source tree.
fn base_of(file: &Path) -> &Path {
    let folder = file.parent().unwrap_or(Path::new(""));
    match folder.ends_with("src/config") {
        true => folder.ancestors().nth(2).unwrap_or(folder),
        false => folder,
    }
}

/// `environment.controlsocket` of `halonctl.yaml` or `smtpd.yaml`. Nothing else in the file is looked at: what is
/// wrong elsewhere keeps nobody from asking a server that runs.
fn of_file(path: &Path, base: &Path, files: &dyn FileSource) -> Result<ControlSocket, Failure> {
    let wrong = |what: &str| Failure::Failed(format!("{}: {what}", path.display()));
    let bytes = files
        .read(path)
        .map_err(|error| Failure::of_file("read", path, &error))?;
    let node = angarium_config::yaml::parse(&bytes)
        .map_err(|faults| wrong(faults.first().map_or("", |fault| &fault.message)))?;
    let Some(node) = node.at(&["environment", "controlsocket"]) else {
        return Ok(ControlSocket::default());
    };
    let socket = serde_json::from_value::<ControlSocket>(node.to_json());
    let mut socket =
        socket.map_err(|error| wrong(&format!("environment.controlsocket: {error}")))?;
    if socket.path.is_some() && socket.port.is_some() {
        return Err(wrong("environment.controlsocket has both path and port"));
    }
    socket.resolve_paths(base);
    Ok(socket)
}

impl Client {
    /// The way to the socket that the options or a configuration name.
    ///
    /// # Errors
    /// The configuration or a certificate cannot be read, or the options do not go together.
    pub fn new(place: &Where, files: &dyn FileSource) -> Result<Client, Failure> {
        let config = place.socket(files)?;
        let way = match socket::address(&config) {
            None if place.tls => {
                return Err(Failure::Usage("--tls goes with --port".to_owned()));
            }
            None => Way::Path(socket::path(&config)),
            Some(address) => {
                // A server that has TLS does not talk without; what the client shows is its own business.
                let asked = config.tls.client.clone();
                let asked = asked.or_else(|| config.tls.server.is_some().then(Default::default));
                let tls = match place.side()?.or(asked) {
                    None => None,
                    Some(written) => {
                        let failed =
                            |error: &dyn std::fmt::Display| Failure::Failed(error.to_string());
                        let side: Side = socket::side("client", &written, files)
                            .map_err(|error| failed(&error))?;
                        Some(MutualClient::new(&side).map_err(|error| failed(&error))?)
                    }
                };
                let any = address.ip().is_unspecified();
                let here = if any {
                    "127.0.0.1".to_owned()
                } else {
                    address.ip().to_string()
                };
                Way::Port {
                    host: place.address.clone().unwrap_or(here),
                    port: address.port(),
                    tls,
                }
            }
        };
        Ok(Client {
            way,
            connection: None,
        })
    }

    /// Connects, unless that is done.
    ///
    /// # Errors
    /// Nobody listens there, or we may not.
    pub async fn connect(&mut self) -> Result<(), Failure> {
        if self.connection.is_some() {
            return Ok(());
        }
        let refused = |error: io::Error| {
            let reason = failure::reason(&error);
            let usual = matches!(&self.way, Way::Path(path) if path == Path::new(socket::DEFAULT));
            let hint = match usual {
                true => {
                    "\nhint: a server with another socket (environment.controlsocket.path) is found with `-c BUNDLE` \
                     or `--socket PATH`"
                }
                false => "",
            };
            no_server(&format!(
                "cannot reach a server at {}: {reason}{hint}",
                self.way
            ))
        };
        let mut stream = self.way.open().await.map_err(refused)?;
        stream.write_all(&VERSION).await.map_err(refused)?;
        stream.flush().await.map_err(refused)?;
        let answers = Answers::default();
        self.connection = Some(Connection { stream, answers });
        Ok(())
    }

    /// Sends a request and waits for its answer. Records that come before it are given to `record`.
    ///
    /// # Errors
    /// The server refuses, it has gone, or nobody listens.
    pub async fn call(
        &mut self,
        letter: u8,
        body: Option<&[u8]>,
        mut record: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<Vec<u8>, Failure> {
        self.connect().await?;
        let gone = |reason: &str| {
            let reason = if reason.is_empty() {
                String::new()
            } else {
                format!(": {reason}")
            };
            no_server(&format!("the server at {} has gone{reason}", self.way))
        };
        let Some(connection) = &mut self.connection else {
            return Err(gone(""));
        };
        let frame = request(letter, body);
        // A server that is busy says so and closes: its answer is read all the same.
        let sent = match connection.stream.write_all(&frame).await {
            Ok(()) => connection.stream.flush().await,
            failed => failed,
        };
        let mut buffer = vec![0; 64 << 10];
        loop {
            let answer = connection.answers.take();
            let answer = match answer {
                // The alert of TLS is what a server with TLS says to bytes that are none.
                Err(FrameError::Kind(0x15)) if self.way.is_in_clear() => {
                    let text = format!("the server at {} wants TLS: --tls", self.way);
                    return Err(no_server(&text));
                }
                Err(error) => return Err(Failure::Failed(error.to_string())),
                Ok(answer) => answer,
            };
            match answer {
                Some(answer) => match answer.kind {
                    Kind::Done => return Ok(answer.data),
                    Kind::Failed => {
                        let reason = String::from_utf8_lossy(&answer.data).into_owned();
                        return Err(Failure::Failed(reason));
                    }
                    Kind::Record => record(&answer.data)?,
                },
                None => match connection.stream.read(&mut buffer).await {
                    Ok(count) if count > 0 => {
                        let bytes = buffer.get(..count).unwrap_or_default();
                        connection.answers.feed(bytes);
                    }
                    // A server that refuses a certificate says so in its alert.
                    Err(error) => return Err(gone(&failure::reason(&error))),
                    Ok(_) => {
                        drop(sent);
                        return Err(gone(""));
                    }
                },
            }
        }
    }
}

impl std::fmt::Display for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Way::Path(path) => path.display().fmt(f),
            Way::Port { host, port, .. } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Way::Port { host, port, .. } => write!(f, "{host}:{port}"),
        }
    }
}

impl Way {
    fn is_in_clear(&self) -> bool {
        matches!(self, Way::Port { tls: None, .. })
    }

    async fn open(&self) -> io::Result<Box<dyn LocalStream>> {
        match self {
            Way::Path(path) => local::connect(path).await,
            Way::Port { host, port, tls } => {
                let mut last = io::Error::other("the host has no address");
                for address in tokio::net::lookup_host((host.as_str(), *port)).await? {
                    let connection = match SystemNet.connect(address, &Connect::default()).await {
                        Ok(connection) => connection,
                        Err(error) => {
                            last = error;
                            continue;
                        }
                    };
                    return match tls {
                        None => Ok(Box::new(connection)),
                        Some(tls) => Ok(Box::new(tls.connect(connection, host).await?)),
                    };
                }
                Err(last)
            }
        }
    }
}
