//! What stands around a script that a tool runs: the configurations whose files it sees, and its root.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use angarium_config::{FileSource, Listed, Options, Running, Source as ConfigSource, load, yaml};
use angarium_effects::disk::{Disk, SystemDisk};

use super::failure::Failure;
use super::files::{self, SystemFiles};
use crate::bundle_loader::{ScriptFiles, SystemRoot};
use crate::scripts::Root;

/// The startup configuration that is read when no other is named and it exists.
const DEFAULT_CONFIG: &str = "/etc/angarium/smtpd.yaml";

/// Which files stand around a script, as the arguments name them.
#[derive(Clone, Copy)]
pub(super) struct Named<'a> {
    /// `-c`
    pub config: Option<&'a Path>,
    /// `-A`
    pub appconf: Option<&'a Path>,
    /// `-R`
    pub rootpath: Option<&'a Path>,
    /// The script file; none when it comes from standard input.
    pub script: Option<&'a Path>,
}

/// What stands around a script.
pub(super) struct Surroundings {
    /// The configuration whose files the script sees.
    pub running: Option<Arc<Running>>,
    /// The folder that it sees files below.
    pub root: SystemRoot,
    /// Whom `-P` makes of the process.
    pub privdrop: PrivDrop,
}

/// `environment.privdrop`, read as it is written: the server may not know the key yet, and then drops it on loading.
#[derive(Default)]
pub(super) struct PrivDrop {
    pub user: Option<String>,
    /// In place of the user's own group.
    pub group: Option<String>,
}

impl PrivDrop {
    fn of(startup: &yaml::Node) -> PrivDrop {
        let name = |key| {
            let node = startup.at(&["environment", "privdrop", key]);
            node.and_then(yaml::Node::text).map(str::to_owned)
        };
        PrivDrop {
            user: name("user"),
            group: name("group"),
        }
    }
}

impl Surroundings {
    /// What the script may read.
    pub fn files(&self) -> ScriptFiles {
        let root: Arc<dyn Root> = Arc::new(self.root.clone());
        ScriptFiles::new(self.running.clone(), vec![root])
    }
}

/// Reads the configurations that are named; `appconf` is what `-A -` read from standard input.
///
/// # Errors
/// What cannot be read, and a root that is no folder.
pub(super) fn surroundings(
    named: Named<'_>,
    appconf: Option<Vec<u8>>,
) -> Result<Surroundings, Failure> {
    let mut root = named.rootpath.map(Path::to_owned);
    let config = match named.config {
        Some(path) if path == Path::new("/dev/null") => None,
        Some(path) => {
            files::read(path)?;
            Some(path.to_owned())
        }
        None => {
            Some(PathBuf::from(DEFAULT_CONFIG)).filter(|path| SystemDisk.metadata(path).is_ok())
        }
    };
    let appconf = match (named.appconf, appconf) {
        (Some(_), Some(text)) => Some((PathBuf::from("-"), text)),
        (Some(path), None) if path == Path::new("-") => Some((path.to_owned(), read_stdin()?)),
        (Some(path), None) => Some((path.to_owned(), files::read(path)?)),
        (None, _) => None,
    };
    let privdrop = match &config {
        Some(path) => PrivDrop::of(&parse(path, &files::read(path)?)?),
        None => PrivDrop::default(),
    };
    let running = if config.is_some() || appconf.is_some() {
        let files = Overlay::new(config.as_deref(), appconf)?;
        // A tool only wants files and a root: keys that the server would refuse do not stop it.
        let options = Options {
            ignore_unknown: true,
            set: Vec::new(),
        };
        let loaded = load(
            &files,
            &ConfigSource::Packed(files.startup.clone()),
            &options,
        )?;
        if root.is_none() && named.config.is_some() {
            root = Some(loaded.config.startup.rootpath().to_owned());
        }
        Some(loaded.config.running)
    } else {
        None
    };
    let root = root.unwrap_or_else(|| match named.script.and_then(Path::parent) {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    });
    if named.rootpath.is_some() && !files::is_folder(&root) {
        return Err(Failure::Usage(format!(
            "the root path {} is no folder",
            root.display()
        )));
    }
    Ok(Surroundings {
        running,
        root: SystemRoot::new(&root),
        privdrop,
    })
}

/// The files of the machine, with a startup configuration and a running one put in their place.
struct Overlay {
    startup: PathBuf,
    startup_text: Option<Vec<u8>>,
    running: Option<(PathBuf, Vec<u8>)>,
}

impl Overlay {
    fn new(config: Option<&Path>, appconf: Option<(PathBuf, Vec<u8>)>) -> Result<Overlay, Failure> {
        let startup = config.map_or_else(|| PathBuf::from("smtpd.yaml"), Path::to_owned);
        let Some((path, text)) = appconf else {
            return Ok(Overlay {
                startup,
                startup_text: None,
                running: None,
            });
        };
        // The startup file keeps everything but the path of the running one.
        let mut document = match config {
            Some(config) => parse(config, &files::read(config)?)?,
            None => parse(Path::new("-"), b"version: \"6.0\"\n")?,
        };
        let path = if path == Path::new("-") {
            PathBuf::from("/dev/stdin")
        } else {
            std::path::absolute(&path).unwrap_or(path)
        };
        let name = path.display().to_string();
        let mut environment = document
            .get("environment")
            .map_or_else(|| serde_json::json!({}), yaml::Node::to_json);
        environment["appconf"] = name.into();
        document.set("environment", yaml::Node::from_json(&environment));
        let mut running = parse(&path, &text)?;
        running.remove("__entrypoint");
        // The servers of the running file are none of the tool's business.
        running.remove("servers");
        document.remove("servers");
        Ok(Overlay {
            startup,
            startup_text: Some(angarium_config::emit::emit(&document).into_bytes()),
            running: Some((path, angarium_config::emit::emit(&running).into_bytes())),
        })
    }
}

impl FileSource for Overlay {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        if let Some(text) = self.startup_text.as_ref().filter(|_| path == self.startup) {
            return Ok(text.clone());
        }
        match &self.running {
            Some((running, text)) if running == path => Ok(text.clone()),
            _ => SystemFiles.read(path),
        }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Listed>> {
        SystemFiles.list(path)
    }
}

fn parse(path: &Path, text: &[u8]) -> Result<yaml::Node, Failure> {
    yaml::parse(text).map_err(|faults| {
        let what: Vec<String> = faults.into_iter().map(|fault| fault.message).collect();
        Failure::Failed(format!("{}: {}", path.display(), what.join("; ")))
    })
}

/// The script that a running configuration from standard input brings along.
///
/// # Errors
/// When it is no YAML, or has no `__entrypoint`.
pub(super) fn entry_point(text: &[u8]) -> Result<Vec<u8>, Failure> {
    let document = parse(Path::new("-"), text)?;
    match document.get("__entrypoint").and_then(yaml::Node::text) {
        Some(script) => Ok(script.as_bytes().to_vec()),
        None => Err(Failure::Usage(
            "the configuration on standard input has no `__entrypoint`: name a script file"
                .to_owned(),
        )),
    }
}

/// All of standard input.
///
/// # Errors
/// When it cannot be read.
pub(super) fn read_stdin() -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    io::stdin()
        .lock()
        .read_to_end(&mut text)
        .map_err(|error| Failure::Failed(format!("cannot read standard input: {error}")))?;
    Ok(text)
}
