//! Files to a configuration in force: read, validate, put together, check the references.
//!
//! Everything that is wrong in all files is reported at once. A reload does the same without the
//! startup configuration and gives a new [`Running`]; when anything is wrong the old one stays as it
//! is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use angarium_queue::matcher::Lists;
use angarium_queue::policy::Setup;
use base64::Engine as _;
use serde::de::DeserializeOwned;

use crate::check::Checker;
use crate::delivery::{Delivery, DeliveryDocument};
use crate::document::Document;
use crate::error::{ConfigError, ConfigErrors, Problem};
use crate::path::KeyPath;
use crate::pki::{KeySource, Material, PrivateKey};
use crate::policy::{PolicyDocument, SuspendDocument};
use crate::running::{Running, RunningDocument};
use crate::schema::FileKind;
use crate::script::{HookType, Script, VirtualFile};
use crate::server::{ClientCert, Server};
use crate::source::{FileSource, Source, Tree, is_absent};
use crate::startup::{ControlSocket, ControlTls, Startup};
use crate::tree::{Sources, gather};
use crate::types::{FilePath, Id};
use crate::yaml::{Node, parse};

/// A whole configuration. It never changes and can be shared between threads.
#[derive(Debug, Clone)]
pub struct Config {
    /// What was read at start.
    pub startup: Arc<Startup>,
    /// What a reload replaces.
    pub running: Arc<Running>,
}

/// A configuration and what was passed over in it.
#[derive(Debug, Clone)]
pub struct Loaded<T> {
    /// The configuration.
    pub config: T,
    /// What was passed over, and what looks like a mistake.
    pub warnings: Vec<ConfigError>,
}

/// How to load.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Keys that are unknown, or ask for what is not available yet, are passed over with a warning.
    pub ignore_unknown: bool,
    /// Values that take the place of what the files say.
    pub set: Vec<Override>,
}

/// A value that takes the place of what a file says.
#[derive(Debug, Clone, PartialEq)]
pub struct Override {
    /// The file.
    pub file: FileKind,
    /// The key, as messages write it: `servers[0].listeners[0].port`.
    pub path: String,
    /// The value.
    pub value: serde_json::Value,
}

impl Override {
    /// A value for a key of a file.
    pub fn new(
        file: FileKind,
        path: impl Into<String>,
        value: impl Into<serde_json::Value>,
    ) -> Self {
        Self {
            file,
            path: path.into(),
            value: value.into(),
        }
    }
}

/// Loads all files.
///
/// # Errors
/// Everything that is wrong with them.
pub fn load(
    files: &dyn FileSource,
    source: &Source,
    options: &Options,
) -> Result<Loaded<Config>, ConfigErrors> {
    let mut loader = Loader::new(files, options);
    let place = Place::find(files, source)?;
    let startup = loader.document(&place.startup, FileKind::Startup);
    let running_path = match &startup {
        Some(document) => place.running(
            files,
            document
                .root
                .at(&["environment", "appconf"])
                .and_then(Node::text),
        ),
        None => place.running(files, None),
    };
    let running = loader.document(&running_path, FileKind::Running);
    let queue_files = loader.queue_files(&place, |key| {
        let written = startup.as_ref()?.root.at(&["environment", key]);
        written.and_then(Node::text).map(PathBuf::from)
    });
    let sources = match &running {
        Some(document) => loader.sources(&place, document),
        None => Sources::default(),
    };
    let (Some(startup_file), Some(running_file)) = (startup, running) else {
        return Err(ConfigErrors::sorted(loader.errors));
    };
    if loader.broken {
        return Err(ConfigErrors::sorted(loader.errors));
    }
    let typed = (
        loader.typed::<Startup>(&startup_file),
        loader.typed::<RunningDocument>(&running_file),
    );
    let (Some(mut startup), Some(document)) = typed else {
        return Err(ConfigErrors::sorted(loader.errors));
    };
    startup.resolve_paths(&place);
    Checker {
        document: &startup_file,
        loader: &mut loader,
    }
    .startup(&startup, place.tree.is_some());
    let base = place.base_of(&running_path);
    let running = loader.running(
        &running_file,
        document,
        sources,
        &startup,
        &base,
        queue_files,
    );
    loader.finish(Config {
        startup: Arc::new(startup),
        running: Arc::new(running),
    })
}

/// Loads the running configuration again, to serve with the startup configuration in force.
///
/// # Errors
/// Everything that is wrong with it.
pub fn reload(
    files: &dyn FileSource,
    source: &Source,
    options: &Options,
    startup: &Startup,
) -> Result<Loaded<Arc<Running>>, ConfigErrors> {
    let mut loader = Loader::new(files, options);
    let place = Place::find(files, source)?;
    // The paths in the startup configuration in force are resolved already.
    let path = match (&place.tree, &startup.environment.appconf) {
        (None, Some(path)) => path.to_path_buf(),
        _ => place.running(files, None),
    };
    let Some(file) = loader.document(&path, FileKind::Running) else {
        return Err(ConfigErrors::sorted(loader.errors));
    };
    let environment = &startup.environment;
    let queue_files = loader.queue_files(&place, |key| {
        let path = match key {
            "policyconf" => &environment.policyconf,
            "suspendconf" => &environment.suspendconf,
            _ => &environment.deliveryconf,
        };
        path.as_ref().map(|path| path.as_path().to_owned())
    });
    let sources = loader.sources(&place, &file);
    if loader.broken {
        return Err(ConfigErrors::sorted(loader.errors));
    }
    let Some(document) = loader.typed::<RunningDocument>(&file) else {
        return Err(ConfigErrors::sorted(loader.errors));
    };
    let base = place.base_of(&path);
    let running = loader.running(&file, document, sources, startup, &base, queue_files);
    loader.finish(Arc::new(running))
}

/// The files of the queue that are there.
struct QueueFiles {
    policy: Option<Document>,
    suspend: Option<Document>,
    delivery: Option<Document>,
}

/// Where the files of a source are.
pub(crate) struct Place {
    pub tree: Option<Tree>,
    /// Path of `smtpd.yaml`.
    pub startup: PathBuf,
    /// The folder that relative paths in `smtpd.yaml` are seen from.
    pub base: PathBuf,
}

/// Where the running configuration is looked for when nothing else says so.
const DEFAULT_FOLDER: &str = "/etc/angarium";

impl Place {
    pub fn find(files: &dyn FileSource, source: &Source) -> Result<Self, ConfigErrors> {
        Ok(match source {
            Source::Tree(dir) => {
                let tree = Tree::find(files, dir)?;
                let startup = tree.config(FileKind::Startup.file_name());
                Self {
                    startup,
                    base: tree.root.clone(),
                    tree: Some(tree),
                }
            }
            Source::Packed(path) => {
                if files.list(path).is_ok() {
                    let problem = "is a folder, and a packed configuration is a file".to_owned();
                    let hint =
                        "name its smtpd.yaml, or give the folder of a source tree without -c";
                    let shown = path.display().to_string();
                    let error = ConfigError::of_file(shown, Problem::Invalid(problem));
                    return Err(error.with_hint(hint).into());
                }
                let base = path.parent().unwrap_or(Path::new("")).to_owned();
                // The hooks of a tree lie beside its files: without them each would be missed by itself.
                if base.ends_with("src/config") && files.list(&base.with_file_name("hooks")).is_ok()
                {
                    let problem =
                        "is a file of a source tree, whose scripts lie in files of their own";
                    let tree = base.ancestors().nth(2).unwrap_or(Path::new("."));
                    let tree = match tree.as_os_str().is_empty() {
                        true => Path::new("."),
                        false => tree,
                    };
                    let hint = format!("name the folder of the tree: {}", tree.display());
                    let shown = path.display().to_string();
                    let problem = Problem::Invalid(problem.to_owned());
                    return Err(ConfigError::of_file(shown, problem).with_hint(hint).into());
                }
                Self {
                    tree: None,
                    startup: path.clone(),
                    base,
                }
            }
        })
    }

    /// The path of the running configuration, when `appconf` is what the startup file says.
    pub fn running(&self, files: &dyn FileSource, appconf: Option<&str>) -> PathBuf {
        let name = FileKind::Running.file_name();
        if let Some(tree) = &self.tree {
            return tree.config(name);
        }
        if let Some(path) = appconf {
            return self.base.join(path);
        }
        let beside = self.base.join(name);
        let elsewhere = Path::new(DEFAULT_FOLDER).join(name);
        let absent = |path: &Path| files.read(path).is_err_and(|error| is_absent(&error));
        if absent(&beside) && !absent(&elsewhere) {
            elsewhere
        } else {
            beside
        }
    }

    /// The path of a file of the queue's, when `configured` is what the startup file says.
    pub fn queue_file(&self, name: &str, configured: Option<&Path>) -> PathBuf {
        match (&self.tree, configured) {
            (Some(tree), _) => tree.config(name),
            (None, path) => self.base.join(path.unwrap_or(Path::new(name))),
        }
    }

    /// The folder that relative paths in a file are seen from: the bundle's, or the file's own.
    pub fn base_of(&self, file: &Path) -> PathBuf {
        match &self.tree {
            Some(tree) => tree.root.clone(),
            None => file.parent().unwrap_or(Path::new("")).to_owned(),
        }
    }
}

impl Startup {
    /// Makes every path absolute to the folder that it is seen from and settles the root folder.
    fn resolve_paths(&mut self, place: &Place) {
        let base = place.base.as_path();
        let below = |path: &mut FilePath| *path = path.below(base);
        below(&mut self.spool.path);
        below(&mut self.spool.tmp);
        let listeners = self
            .servers
            .iter_mut()
            .flat_map(|server| &mut server.listeners);
        listeners
            .filter_map(|listener| listener.path.as_mut())
            .for_each(below);
        let environment = &mut self.environment;
        let paths = [
            &mut self.logging.json.path,
            &mut environment.appconf,
            &mut environment.policyconf,
            &mut environment.suspendconf,
            &mut environment.deliveryconf,
            &mut self.scripting.rootpath,
        ];
        paths.into_iter().flatten().for_each(below);
        self.pki
            .private
            .iter_mut()
            .for_each(|key| key.resolve_paths(base));
        self.environment.controlsocket.resolve_paths(base);
        if self.scripting.rootpath.is_none() {
            let root = if place.tree.is_some() {
                base.to_owned()
            } else {
                PathBuf::from("/")
            };
            self.scripting.rootpath = Some(FilePath::from(root));
        }
    }

    /// The folder below which `file://` paths lie.
    #[must_use]
    pub fn rootpath(&self) -> &Path {
        self.scripting
            .rootpath
            .as_ref()
            .map_or(Path::new("/"), FilePath::as_path)
    }
}

impl Material {
    fn resolve_path(&mut self, base: &Path) {
        if let Some(path) = &mut self.path {
            *path = path.below(base);
        }
    }
}

impl ControlSocket {
    /// Makes every path absolute to the folder that it is seen from.
    pub fn resolve_paths(&mut self, base: &Path) {
        if let Some(path) = &mut self.path {
            *path = path.below(base);
        }
        self.tls.resolve_paths(base);
    }
}

impl ControlTls {
    fn resolve_paths(&mut self, base: &Path) {
        for side in [&mut self.server, &mut self.client].into_iter().flatten() {
            let parts = [&mut side.certificate, &mut side.privatekey, &mut side.ca];
            for material in parts.into_iter().flatten() {
                material.resolve_path(base);
            }
        }
    }
}

impl Server {
    fn resolve_paths(&mut self, base: &Path) {
        if let ClientCert::Detailed(settings) = &mut self.tls.clientcert
            && let Some(material) = &mut settings.ca
        {
            material.resolve_path(base);
        }
    }
}

impl PrivateKey {
    fn resolve_paths(&mut self, base: &Path) {
        for material in [&mut self.privatekey, &mut self.certificate]
            .into_iter()
            .flatten()
        {
            material.resolve_path(base);
        }
    }

    /// What is wrong with the way the parts are given: key and message.
    pub(crate) fn faults(&self) -> Vec<(&'static str, Problem)> {
        let fault = |material: &Option<Material>| {
            material.as_ref().is_some_and(|one| one.source().is_none())
        };
        let problem = || Problem::Invalid("must have either `path` or `data`".to_owned());
        let parts = [
            ("privatekey", &self.privatekey),
            ("certificate", &self.certificate),
        ];
        parts
            .into_iter()
            .filter(|(_, part)| fault(part))
            .map(|(name, _)| (name, problem()))
            .collect()
    }

    pub(crate) fn key_source(&self) -> Option<KeySource> {
        self.privatekey.as_ref().and_then(Material::source)
    }

    pub(crate) fn certificate_source(&self) -> Option<KeySource> {
        self.certificate.as_ref().and_then(Material::source)
    }
}

/// The work of one load: what was found so far.
pub(crate) struct Loader<'a> {
    pub files: &'a dyn FileSource,
    options: &'a Options,
    pub errors: Vec<ConfigError>,
    pub warnings: Vec<ConfigError>,
    /// Ids of key pairs that have no private key.
    pub keyless: BTreeSet<Id>,
    /// A file does not fit its schema, so nothing can be made of it.
    broken: bool,
}

impl<'a> Loader<'a> {
    fn new(files: &'a dyn FileSource, options: &'a Options) -> Self {
        Self {
            files,
            options,
            errors: Vec::new(),
            warnings: Vec::new(),
            keyless: BTreeSet::new(),
            broken: false,
        }
    }

    fn finish<T>(self, config: T) -> Result<Loaded<T>, ConfigErrors> {
        if self.errors.is_empty() {
            Ok(Loaded {
                config,
                warnings: self.warnings,
            })
        } else {
            Err(ConfigErrors::sorted(self.errors))
        }
    }

    /// Reads a file and checks it against its schema.
    fn document(&mut self, path: &Path, kind: FileKind) -> Option<Document> {
        let mut document = match Document::read(self.files, path, kind) {
            Ok(document) => document,
            Err(errors) => {
                self.errors.extend(errors);
                return None;
            }
        };
        for set in self.options.set.iter().filter(|set| set.file == kind) {
            let result = match KeyPath::parse(&set.path) {
                Some(path) => document.set(&path, &set.value),
                None => Err("is no path of a key".to_owned()),
            };
            if let Err(reason) = result {
                let mut error = ConfigError::of_file("--set", Problem::Invalid(reason));
                error.path.clone_from(&set.path);
                self.errors.push(error);
            }
        }
        let outcome = document.validate(self.options.ignore_unknown);
        let passable =
            |problem: &Problem| matches!(problem, Problem::UnknownKey | Problem::NotYet(_));
        self.broken |= outcome.errors.iter().any(|found| !passable(&found.problem));
        self.errors.extend(
            outcome
                .errors
                .into_iter()
                .map(|found| document.found(found)),
        );
        self.warnings.extend(
            outcome
                .warnings
                .into_iter()
                .map(|found| document.found(found)),
        );
        Some(document)
    }

    fn sources(&mut self, place: &Place, running: &Document) -> Sources {
        let Some(tree) = &place.tree else {
            return Sources::default();
        };
        let (sources, errors) = gather(self.files, tree, running, &[]);
        self.errors.extend(errors);
        sources
    }

    fn typed<T: DeserializeOwned>(&mut self, document: &Document) -> Option<T> {
        match serde_json::from_value(document.root.to_json()) {
            Ok(typed) => Some(typed),
            Err(error) => {
                // The schema let through what the type does not take: say at least what serde says.
                let problem = Problem::Invalid(error.to_string());
                self.errors
                    .push(ConfigError::of_file(document.file.clone(), problem));
                None
            }
        }
    }

    /// Reads a file of the queue. One that is not there, or is empty, sets nothing.
    fn queue_file(
        &mut self,
        place: &Place,
        kind: FileKind,
        configured: Option<&Path>,
    ) -> Option<Document> {
        let path = place.queue_file(kind.file_name(), configured);
        let empty = match self.files.read(&path) {
            Ok(bytes) => parse(&bytes).is_ok_and(|root| root.is_empty()),
            Err(error) => is_absent(&error),
        };
        let set = |set: &Override| set.file == kind;
        if empty && !self.options.set.iter().any(set) {
            return None;
        }
        self.document(&path, kind)
    }

    /// The files of the queue; `path` gives the one that is configured for a key of `environment`.
    fn queue_files(
        &mut self,
        place: &Place,
        path: impl Fn(&'static str) -> Option<PathBuf>,
    ) -> QueueFiles {
        let mut file = |kind, key| self.queue_file(place, kind, path(key).as_deref());
        QueueFiles {
            policy: file(FileKind::Policy, "policyconf"),
            suspend: file(FileKind::Suspend, "suspendconf"),
            delivery: file(FileKind::Delivery, "deliveryconf"),
        }
    }

    /// Puts the running configuration together and checks it against itself and the startup file.
    fn running(
        &mut self,
        file: &Document,
        mut document: RunningDocument,
        sources: Sources,
        startup: &Startup,
        base: &Path,
        queue_files: QueueFiles,
    ) -> Running {
        document
            .pki
            .private
            .iter_mut()
            .for_each(|key| key.resolve_paths(base));
        document
            .servers
            .iter_mut()
            .for_each(|server| server.resolve_paths(base));
        let files = self.bundle_files(file, &document, &sources);
        let mut checker = Checker {
            document: file,
            loader: self,
        };
        let pki = checker.key_pairs(startup, &document.pki.private);
        let transports = checker.transports();
        let scripts = checker.scripts(&document, &sources);
        checker.duplicates();
        checker.servers(&document, startup, &transports, &scripts, &pki);
        checker.monitor(&document.monitor);
        checker.transport_references(&document, &transports, &pki);
        let lists = checker.lists(&document.queues.lists);
        let groupings = checker.groupings(&document.queues.grouping, &lists);
        let delivery = self.delivery(queue_files.delivery, &lists);
        let policies = self.policies(queue_files.policy, queue_files.suspend, lists);
        Running {
            servers: document
                .servers
                .into_iter()
                .map(|server| (server.id.clone(), server))
                .collect(),
            scripts,
            files,
            compat: document.scripting.compat,
            addresses: document
                .addresses
                .into_iter()
                .map(|address| (address.id.clone(), address))
                .collect(),
            pki,
            transports,
            queues: document.queues,
            groupings,
            delivery,
            policies: Arc::new(policies),
            resolver: document.resolver,
            monitor: document.monitor,
            mail: document.mail,
        }
    }

    fn policies(
        &mut self,
        policy: Option<Document>,
        suspend: Option<Document>,
        lists: Lists,
    ) -> Setup {
        let mut setup = Setup::default();
        let policy = policy.and_then(|file| Some((self.typed::<PolicyDocument>(&file)?, file)));
        if let Some((written, file)) = policy {
            let mut checker = Checker {
                document: &file,
                loader: self,
            };
            setup.algorithm = written.rate.algorithm.into();
            setup.policies = checker.policies(&written, &lists);
        }
        let suspend = suspend.and_then(|file| Some((self.typed::<SuspendDocument>(&file)?, file)));
        if let Some((written, file)) = suspend {
            let mut checker = Checker {
                document: &file,
                loader: self,
            };
            setup.suspends = checker.suspends(&written, &lists);
        }
        setup.lists = lists;
        setup
    }

    fn delivery(&mut self, file: Option<Document>, lists: &Lists) -> Delivery {
        let written = file.and_then(|file| Some((self.typed::<DeliveryDocument>(&file)?, file)));
        let Some((written, file)) = written else {
            return Delivery::default();
        };
        let mut checker = Checker {
            document: &file,
            loader: self,
        };
        checker.delivery(written, lists)
    }

    fn bundle_files(
        &mut self,
        file: &Document,
        document: &RunningDocument,
        sources: &Sources,
    ) -> BTreeMap<String, VirtualFile> {
        let mut files = BTreeMap::new();
        for (index, entry) in document.scripting.files.iter().enumerate() {
            let data = if entry.binary {
                match decode_base64(&entry.data) {
                    Ok(data) => data,
                    Err(reason) => {
                        let path = KeyPath::root()
                            .keys(&["scripting", "files"])
                            .index(index)
                            .key("data");
                        self.errors
                            .push(file.error(&path, Problem::Invalid(reason)));
                        continue;
                    }
                }
            } else {
                entry.data.clone().into_bytes()
            };
            let id = entry.id.to_string();
            files.insert(
                id.clone(),
                VirtualFile {
                    data: data.into(),
                    file: id.into(),
                },
            );
        }
        for (id, (data, path)) in &sources.files {
            let file = path.display().to_string().into();
            files.insert(
                id.clone(),
                VirtualFile {
                    data: data.as_slice().into(),
                    file,
                },
            );
        }
        files
    }
}

/// Decodes base64, line breaks allowed.
pub(crate) fn decode_base64(text: &str) -> Result<Vec<u8>, String> {
    let compact: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let decoded = base64::engine::general_purpose::STANDARD.decode(compact);
    decoded.map_err(|error| format!("must be base64, since `binary` is true: {error}"))
}

/// The script of a hook entry or of a file of the tree.
pub(crate) fn script(hook: HookType, id: &Id, text: &str, file: Option<&Path>) -> Script {
    let file = match file {
        Some(path) => path.display().to_string(),
        None if HookType::QUEUE.contains(&hook) => format!("hooks/queue/{hook}.hsl"),
        None => format!("hooks/{hook}/{id}.hsl"),
    };
    Script {
        hook,
        id: id.clone(),
        text: text.into(),
        file: file.into(),
    }
}
