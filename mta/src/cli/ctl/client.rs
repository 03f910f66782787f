//! The client's end of the control socket.

use std::path::{Path, PathBuf};

use angarium_config::{FileSource, Options, Source};
use angarium_control::frame::{Answers, Kind, VERSION, request};
use angarium_effects::local::{self, LocalStream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::cli::{Failure, terminal};
use crate::control::socket;

/// Nobody answers: a status of its own, so that scripts can tell.
const NO_SERVER: u8 = 2;

/// The way to a server. The socket is not opened before the first request: what is wrong with the arguments
/// is said without a server.
pub struct Client {
    path: PathBuf,
    connection: Option<Connection>,
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

/// The path of the socket: as told, or as a configuration has it.
///
/// # Errors
/// The configuration cannot be read.
pub fn socket(
    path: Option<PathBuf>,
    config: Option<PathBuf>,
    files: &dyn FileSource,
) -> Result<PathBuf, Failure> {
    let (None, Some(config)) = (&path, config) else {
        return Ok(path.unwrap_or_else(|| PathBuf::from(socket::DEFAULT)));
    };
    let source = match config.file_name().and_then(|name| name.to_str()) {
        Some("halonctl.yaml") => return of_halonctl(&config, files),
        Some(name) if name.ends_with(".yaml") || name.ends_with(".yml") => Source::Packed(config),
        _ => Source::Tree(config),
    };
    let loaded = angarium_config::load(files, &source, &Options::default())?;
    Ok(socket::path(
        &loaded.config.startup.environment.controlsocket,
    ))
}

/// `halonctl.yaml`: `environment.controlsocket.path`
fn of_halonctl(path: &Path, files: &dyn FileSource) -> Result<PathBuf, Failure> {
    let bytes = files
        .read(path)
        .map_err(|error| Failure::of_file("read", path, &error))?;
    let node = angarium_config::yaml::parse(&bytes).map_err(|faults| {
        let what = faults.first().map_or("", |fault| &fault.message);
        Failure::Failed(format!("{}: {what}", path.display()))
    })?;
    let keys = ["environment", "controlsocket", "path"];
    match node.at(&keys).and_then(|node| node.text()) {
        Some(named) => Ok(path.parent().unwrap_or(Path::new("")).join(named)),
        None => Ok(PathBuf::from(socket::DEFAULT)),
    }
}

impl Client {
    /// The way to the socket at `path`.
    #[must_use]
    pub fn new(path: PathBuf) -> Client {
        Client {
            path,
            connection: None,
        }
    }

    /// Connects, unless that is done.
    ///
    /// # Errors
    /// Nobody listens there, or we may not.
    pub async fn connect(&mut self) -> Result<(), Failure> {
        if self.connection.is_some() {
            return Ok(());
        }
        let refused = |error: std::io::Error| {
            let reason = crate::cli::failure::reason(&error);
            let text = format!("cannot reach a server at {}: {reason}", self.path.display());
            no_server(&text)
        };
        let mut stream = local::connect(&self.path).await.map_err(refused)?;
        stream.write_all(&VERSION).await.map_err(refused)?;
        let answers = Answers::default();
        self.connection = Some(Connection { stream, answers });
        Ok(())
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// The server refuses, it has gone, or nobody listens.
    pub async fn call(&mut self, letter: u8, body: Option<&[u8]>) -> Result<Vec<u8>, Failure> {
        self.connect().await?;
        let gone = || no_server(&format!("the server at {} has gone", self.path.display()));
        let Some(connection) = &mut self.connection else {
            return Err(gone());
        };
        let frame = request(letter, body);
        // A server that is busy says so and closes: its answer is read all the same.
        let sent = connection.stream.write_all(&frame).await;
        let mut buffer = vec![0; 64 << 10];
        loop {
            let answer = connection.answers.take();
            match answer.map_err(|error| Failure::Failed(error.to_string()))? {
                Some(answer) => match answer.kind {
                    Kind::Done => return Ok(answer.data),
                    Kind::Failed => {
                        let reason = String::from_utf8_lossy(&answer.data).into_owned();
                        return Err(Failure::Failed(reason));
                    }
                    Kind::Record => {}
                },
                None => match connection.stream.read(&mut buffer).await {
                    Ok(count) if count > 0 => {
                        let bytes = buffer.get(..count).unwrap_or_default();
                        connection.answers.feed(bytes);
                    }
                    _ => {
                        drop(sent);
                        return Err(gone());
                    }
                },
            }
        }
    }
}
