//! What no schema can say: ids that must differ, ids that must exist, keys that need each other.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use crate::document::Document;
use crate::error::Problem;
use crate::load::{Loader, script};
use crate::path::KeyPath;
use crate::pki::{KeyPair, PrivateKey};
use crate::running::{MetricType, RunningDocument, RunningMonitor};
use crate::script::{HookType, Script};
use crate::server::{Implicit, RcptHook, Server};
use crate::startup::{ControlSocket, Listener, ServerKind, Startup};
use crate::transport::Transport;
use crate::tree::{Sources, hook_references};
use crate::types::{HostName, Id, is_inside};
use crate::validate::nearest;
use crate::yaml::Node;

/// Checks one document; what is wrong goes to the loader.
pub(crate) struct Checker<'a, 'b> {
    pub document: &'a Document,
    pub loader: &'a mut Loader<'b>,
}

/// Lists whose entries must have ids that differ: path and kind.
const UNIQUE: &[(&[&str], &str)] = &[
    (&["servers"], "the ids of servers"),
    (&["addresses"], "the ids of addresses"),
    (&["pki", "private"], "the ids of key pairs"),
    (&["plugins"], "the ids of plugins"),
    (&["queues", "grouping", "groupings"], "the ids of groupings"),
    (&["scripting", "files"], "the ids of files"),
    (
        &["scripting", "hooks", "connect"],
        "the ids of hooks of a type",
    ),
    (
        &["scripting", "hooks", "disconnect"],
        "the ids of hooks of a type",
    ),
    (
        &["scripting", "hooks", "proxy"],
        "the ids of hooks of a type",
    ),
    (
        &["scripting", "hooks", "helo"],
        "the ids of hooks of a type",
    ),
    (
        &["scripting", "hooks", "auth"],
        "the ids of hooks of a type",
    ),
    (
        &["scripting", "hooks", "mailfrom"],
        "the ids of hooks of a type",
    ),
    (
        &["scripting", "hooks", "rcptto"],
        "the ids of hooks of a type",
    ),
    (&["scripting", "hooks", "eod"], "the ids of hooks of a type"),
];

impl Checker<'_, '_> {
    pub fn error(&mut self, path: &KeyPath, problem: Problem) {
        let error = self.document.error(path, problem);
        self.loader.errors.push(error);
    }

    fn warn(&mut self, path: &KeyPath, text: &str) {
        let error = self.document.error(path, Problem::Invalid(text.to_owned()));
        self.loader.warnings.push(error);
    }

    /// Reports a reference to what does not exist, with the nearest id that does.
    pub fn unresolved<'k>(
        &mut self,
        path: &KeyPath,
        what: &'static str,
        id: &str,
        known: impl Iterator<Item = &'k str>,
    ) {
        let mut error = self.document.error(
            path,
            Problem::Unresolved {
                what,
                id: id.to_owned(),
            },
        );
        error.hint = nearest(id, known).map(|name| format!("did you mean {name:?}?"));
        self.loader.errors.push(error);
    }

    /// Ids that stand twice in one of the lists.
    pub fn duplicates(&mut self) {
        for (keys, what) in UNIQUE {
            let list = self
                .document
                .root
                .at(keys)
                .map(|list| list.items().collect::<Vec<&Node>>());
            let mut seen = BTreeSet::new();
            for (index, item) in list.unwrap_or_default().into_iter().enumerate() {
                let Some(id) = item.get("id").and_then(Node::text) else {
                    continue;
                };
                if !seen.insert(id) {
                    let path = KeyPath::root().keys(keys).index(index).key("id");
                    self.error(
                        &path,
                        Problem::Duplicate {
                            id: id.to_owned(),
                            what,
                        },
                    );
                }
            }
        }
    }

    /// The startup file by itself; `tree`: it is one of a source tree.
    pub fn startup(&mut self, startup: &Startup, tree: bool) {
        self.duplicates();
        if startup.servers.is_empty() {
            self.warn(
                &KeyPath::root().key("servers"),
                "is empty: no mail is received",
            );
        }
        let root = KeyPath::root().keys(&["scripting", "rootpath"]);
        if self.document.has(&root) && self.loader.files.list(startup.rootpath()).is_err() {
            let folder = startup.rootpath().display();
            self.warn(
                &root,
                &format!("names the folder {folder}, which cannot be read"),
            );
        }
        for key in ["appconf", "policyconf", "suspendconf", "deliveryconf"] {
            let path = KeyPath::root().keys(&["environment", key]);
            if tree && self.document.has(&path) {
                self.warn(
                    &path,
                    "is not looked at: a source tree has that file in `src/config`",
                );
            }
        }
        let (mut sockets, mut paths) = (Vec::new(), BTreeMap::new());
        for (index, server) in startup.servers.iter().enumerate() {
            let path = KeyPath::root().key("servers").index(index);
            let listeners = path.key("listeners");
            match (server.kind, server.listeners.len()) {
                (ServerKind::Plugin, 0) | (ServerKind::Http | ServerKind::Https, 1) => {}
                (ServerKind::Smtp, count) if count > 0 => {}
                (ServerKind::Plugin, _) => {
                    self.error(
                        &listeners,
                        Problem::Invalid("must be left out for type `plugin`".to_owned()),
                    );
                }
                (ServerKind::Http | ServerKind::Https, _) => {
                    let text = "must have exactly one entry for this type of server".to_owned();
                    self.error(&listeners, Problem::Invalid(text));
                }
                (ServerKind::Smtp, _) => {
                    self.error(
                        &listeners,
                        Problem::Invalid("must name at least one port to listen on".to_owned()),
                    );
                }
            }
            let mut ids = BTreeSet::new();
            for (number, listener) in server.listeners.iter().enumerate() {
                let path = listeners.index(number);
                // A socket that was refused or passed over is there all the same.
                let refused = self.document.has(&path.key("path"));
                if listener.port.is_some() == (listener.path.is_some() || refused) {
                    self.error(
                        &path,
                        Problem::Invalid("must have either `port` or `path`".to_owned()),
                    );
                }
                if let Some(id) = &listener.id
                    && !ids.insert(id)
                {
                    let what = "the ids of a server's listeners";
                    self.error(
                        &path.key("id"),
                        Problem::Duplicate {
                            id: id.to_string(),
                            what,
                        },
                    );
                }
                self.unix_listener(&path, listener);
                if let Some(own) = &listener.path
                    && let Some(other) = paths.insert(own.clone(), server.id.clone())
                {
                    let text = format!("is the path that server {:?} listens on already", &*other);
                    self.error(&path.key("path"), Problem::Invalid(text));
                }
                let Some(port) = listener.port else { continue };
                let socket = (port, listener.address.map(|address| address.0));
                let name = format!("server {:?}", &*server.id);
                self.socket(&path.key("port"), socket, name, &mut sockets);
            }
        }
        let monitor = &startup.monitor.listener;
        if let Some(port) = monitor.port {
            let path = KeyPath::root().keys(&["monitor", "listener", "port"]);
            let socket = (port, monitor.address.map(|address| address.0));
            self.socket(&path, socket, "the monitor".to_owned(), &mut sockets);
        }
        let control = &startup.environment.controlsocket;
        if let Some(port) = control.port {
            let path = KeyPath::root().keys(&["environment", "controlsocket", "port"]);
            let address = control
                .address
                .map_or(Ipv4Addr::LOCALHOST.into(), |address| address.0);
            let name = "the control socket".to_owned();
            self.socket(&path, (port, Some(address)), name, &mut sockets);
        }
        if startup.spool.path == startup.spool.tmp {
            let path = KeyPath::root().keys(&["spool", "tmp"]);
            self.error(
                &path,
                Problem::Invalid("must differ from `spool.path`".to_owned()),
            );
        }
        self.key_parts(&startup.pki.private);
        self.control_socket(&startup.environment.controlsocket);
        let drop = &startup.environment.privdrop;
        if drop.group.is_some() && drop.user.is_none() {
            let path = KeyPath::root().keys(&["environment", "privdrop", "group"]);
            let text = "needs `environment.privdrop.user`".to_owned();
            self.error(&path, Problem::Invalid(text));
        }
    }

    /// A TCP socket, which no other may get in the way of. No address stands for all.
    fn socket(
        &mut self,
        path: &KeyPath,
        socket: (u16, Option<IpAddr>),
        name: String,
        known: &mut Vec<((u16, Option<IpAddr>), String)>,
    ) {
        let (port, address) = socket;
        let meets = |other: Option<IpAddr>| match (address, other) {
            (Some(one), Some(other)) if one.is_ipv4() == other.is_ipv4() => {
                one == other || one.is_unspecified() || other.is_unspecified()
            }
            (Some(_), Some(_)) => false,
            _ => true,
        };
        let other = known
            .iter()
            .find(|((at, other), _)| *at == port && meets(*other));
        if let Some((_, other)) = other {
            let text = format!("is the port {port} that {other} listens on already");
            self.error(path, Problem::Invalid(text));
        }
        known.push((socket, name));
    }

    /// What only one kind of socket has.
    fn unix_listener(&mut self, path: &KeyPath, listener: &Listener) {
        let mut needs = |key: &str, given: bool, other: &str| {
            if given {
                let text = format!("needs a `{other}`");
                self.error(&path.key(key), Problem::Invalid(text));
            }
        };
        if listener.path.is_some() {
            needs("address", listener.address.is_some(), "port");
        } else {
            needs("owner", listener.owner.is_some(), "path");
            needs("group", listener.group.is_some(), "path");
            needs("chmod", listener.chmod.is_some(), "path");
        }
    }

    /// Either a path or a port, with TLS that can work.
    fn control_socket(&mut self, socket: &ControlSocket) {
        let path = KeyPath::root().keys(&["environment", "controlsocket"]);
        let mut wrong = |path: &KeyPath, text: &str| {
            self.error(path, Problem::Invalid(text.to_owned()));
        };
        if socket.port.is_some() && socket.path.is_some() {
            wrong(
                &path.key("port"),
                "stands in place of `path`: leave one out",
            );
        }
        if socket.port.is_none() {
            if socket.address.is_some() {
                wrong(&path.key("address"), "needs a `port`");
            }
            if socket.tls.server.is_some() || socket.tls.client.is_some() {
                wrong(&path.key("tls"), "needs a `port`");
            }
        }
        let tls = path.key("tls");
        for (name, side) in [
            ("server", &socket.tls.server),
            ("client", &socket.tls.client),
        ] {
            let Some(side) = side else { continue };
            let path = tls.key(name);
            if side.certificate.is_some() != side.privatekey.is_some() {
                wrong(
                    &path,
                    "must have both `certificate` and `privatekey`, or neither",
                );
            } else if name == "server" && side.certificate.is_none() {
                wrong(&path, "must have `certificate` and `privatekey`");
            }
            let parts = [
                ("certificate", &side.certificate),
                ("privatekey", &side.privatekey),
                ("ca", &side.ca),
            ];
            for (part, material) in parts {
                if material.as_ref().is_some_and(|one| one.source().is_none()) {
                    wrong(&path.key(part), "must have either `path` or `data`");
                }
            }
        }
    }

    fn key_parts(&mut self, keys: &[PrivateKey]) {
        for (index, key) in keys.iter().enumerate() {
            for (part, problem) in key.faults() {
                let path = KeyPath::root()
                    .keys(&["pki", "private"])
                    .index(index)
                    .key(part);
                self.error(&path, problem);
            }
        }
    }

    /// The key pairs of both files. An incomplete one is no error until something refers to it.
    pub fn key_pairs(
        &mut self,
        startup: &Startup,
        running: &[PrivateKey],
    ) -> BTreeMap<Id, KeyPair> {
        self.key_parts(running);
        let mut pairs = BTreeMap::new();
        for key in running.iter().chain(&startup.pki.private) {
            let same = || {
                running
                    .iter()
                    .chain(&startup.pki.private)
                    .filter(|other| other.id == key.id)
            };
            let parts = (
                same().find_map(PrivateKey::key_source),
                same().find_map(PrivateKey::certificate_source),
            );
            if let (Some(privatekey), certificate) = parts {
                pairs.insert(
                    key.id.clone(),
                    KeyPair {
                        privatekey,
                        certificate,
                    },
                );
            }
        }
        let keyless = startup.pki.private.iter().chain(running);
        let keyless = keyless.filter(|key| !pairs.contains_key(&key.id));
        self.loader.keyless = keyless.map(|key| key.id.clone()).collect();
        for (index, key) in running.iter().enumerate() {
            if !pairs.contains_key(&key.id) && key.faults().is_empty() {
                let path = KeyPath::root().keys(&["pki", "private"]).index(index);
                self.warn(&path, "has no private key, neither here nor in smtpd.yaml");
            }
        }
        pairs
    }

    /// A key pair that something for TLS refers to.
    pub fn pki_reference(&mut self, path: &KeyPath, id: &str, pki: &BTreeMap<Id, KeyPair>) {
        self.key_reference(path, id, pki);
        if pki.get(id).is_some_and(|pair| pair.certificate.is_none()) {
            let why = format!("names the key pair {id:?}, which has no certificate");
            self.error(path, Problem::Invalid(why));
        }
    }

    /// A private key that something refers to; a certificate is not asked for.
    pub fn key_reference(&mut self, path: &KeyPath, id: &str, pki: &BTreeMap<Id, KeyPair>) {
        if self.loader.keyless.contains(id) {
            let why = format!("names the key pair {id:?}, which has no private key");
            self.error(path, Problem::Invalid(why));
        } else if !pki.contains_key(id) {
            self.unresolved(path, "key pair", id, pki.keys().map(|id| &**id));
        }
    }

    /// All hooks that can run: those in the file, then those of the tree in place of the same ids.
    pub fn scripts(
        &mut self,
        document: &RunningDocument,
        sources: &Sources,
    ) -> BTreeMap<(HookType, Id), Script> {
        let mut scripts = BTreeMap::new();
        let wanted = hook_references(&self.document.root);
        let hooks = &document.scripting.hooks;
        for hook in HookType::SESSION {
            for entry in hooks.of(hook) {
                if wanted
                    .iter()
                    .any(|(kind, id, _)| *kind == hook && **id == *entry.id)
                {
                    scripts.insert(
                        (hook, entry.id.clone()),
                        script(hook, &entry.id, &entry.data, None),
                    );
                }
            }
        }
        for (hook, text) in [
            (HookType::PreDelivery, &hooks.predelivery),
            (HookType::PostDelivery, &hooks.postdelivery),
        ] {
            if let (false, Ok(id)) = (text.is_empty(), hook.name().parse::<Id>()) {
                scripts.insert((hook, id.clone()), script(hook, &id, text, None));
            }
        }
        for source in &sources.hooks {
            if let Ok(id) = source.id.parse::<Id>() {
                let one = script(source.hook, &id, &source.text, Some(&source.path));
                scripts.insert((source.hook, id), one);
            }
        }
        scripts
    }

    /// Everything that a server refers to.
    pub fn servers(
        &mut self,
        document: &RunningDocument,
        startup: &Startup,
        transports: &BTreeMap<Id, Transport>,
        scripts: &BTreeMap<(HookType, Id), Script>,
        pki: &BTreeMap<Id, KeyPair>,
    ) {
        for (hook, id, path) in hook_references(&self.document.root) {
            let known = || {
                scripts
                    .keys()
                    .filter(|(kind, _)| *kind == hook)
                    .map(|(_, id)| &**id)
            };
            // What cannot be a file's name was reported when the tree was read.
            if !known().any(|name| name == id) && is_inside(&id) && !self.reported(&path) {
                let what = match hook {
                    HookType::Connect => "connect hook",
                    HookType::Proxy => "proxy hook",
                    HookType::Helo => "helo hook",
                    HookType::Auth => "auth hook",
                    HookType::MailFrom => "mailfrom hook",
                    HookType::RcptTo => "rcptto hook",
                    HookType::Eod => "eod hook",
                    _ => "disconnect hook",
                };
                self.unresolved(
                    &path,
                    what,
                    &id,
                    document
                        .scripting
                        .hooks
                        .of(hook)
                        .iter()
                        .map(|entry| &*entry.id),
                );
            }
        }
        for (index, server) in document.servers.iter().enumerate() {
            self.server(
                &KeyPath::root().key("servers").index(index),
                server,
                startup,
                transports,
                pki,
            );
        }
        for sockets in &startup.servers {
            let named = |server: &Node| server.get("id").and_then(Node::text) == Some(&*sockets.id);
            if !self.document.all("servers").any(named) {
                let known = document.servers.iter().map(|server| &*server.id);
                let hint =
                    nearest(&sockets.id, known).map(|name| format!("did you mean {name:?}?"));
                let text = format!(
                    "must have an entry with the id {:?}, since smtpd.yaml has",
                    &*sockets.id
                );
                let mut error = self
                    .document
                    .error(&KeyPath::root().key("servers"), Problem::Invalid(text));
                error.hint = hint;
                self.loader.errors.push(error);
            }
        }
    }

    /// Says whether there is an error at a path already.
    fn reported(&self, path: &KeyPath) -> bool {
        let text = self.document.error(path, Problem::Missing);
        self.loader
            .errors
            .iter()
            .any(|error| error.file == text.file && error.path == text.path)
    }

    /// The monitor's keys and the operator's own metrics.
    pub fn monitor(&mut self, monitor: &RunningMonitor) {
        let path = KeyPath::root().key("monitor");
        let keys = path.key("apikeys");
        for (index, key) in monitor.apikeys.iter().enumerate() {
            self.api_key(&keys.index(index), key);
        }
        let bounds = &monitor.healthy.maxmessages;
        if bounds.lower.is_some() && bounds.upper.is_none() {
            let lower = path.keys(&["healthy", "maxmessages", "lower"]);
            let text = "needs `monitor.healthy.maxmessages.upper`".to_owned();
            self.error(&lower, Problem::Invalid(text));
        }
        if bounds
            .lower
            .zip(bounds.upper)
            .is_some_and(|(lower, upper)| lower > upper)
        {
            let text = "must not be more than `upper`".to_owned();
            let lower = path.keys(&["healthy", "maxmessages", "lower"]);
            self.error(&lower, Problem::Invalid(text));
        }
        let mut seen = BTreeSet::new();
        for (index, metric) in monitor.metrics.iter().enumerate() {
            let path = path.key("metrics").index(index);
            let what = "the names of metrics";
            let id = metric.name.to_string();
            // A counter is shown with `_total`, whether its name has it or not.
            let base = id.strip_suffix("_total").unwrap_or(&id);
            if !seen.insert(base.to_owned()) {
                self.error(&path.key("name"), Problem::Duplicate { id, what });
            } else if id.starts_with(&*monitor.prefix) {
                let text = format!(
                    "begins with `{}`, as the server's own metrics do",
                    &*monitor.prefix
                );
                self.error(&path.key("name"), Problem::Invalid(text));
            }
            if metric.kind != MetricType::Histogram && !metric.buckets.is_empty() {
                let text = "are for a histogram only".to_owned();
                self.error(&path.key("buckets"), Problem::Invalid(text));
            }
        }
    }

    /// A key is the value of a field of HTTP.
    fn api_key(&mut self, path: &KeyPath, key: &str) {
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            let text = "must be one or more visible ASCII characters without blanks".to_owned();
            self.error(path, Problem::Invalid(text));
        }
    }

    fn server(
        &mut self,
        path: &KeyPath,
        server: &Server,
        startup: &Startup,
        transports: &BTreeMap<Id, Transport>,
        pki: &BTreeMap<Id, KeyPair>,
    ) {
        let sockets = startup
            .servers
            .iter()
            .find(|sockets| sockets.id == server.id);
        match sockets {
            Some(sockets) if sockets.kind != server.kind => {
                let name = |kind: ServerKind| match kind {
                    ServerKind::Smtp => "smtp",
                    ServerKind::Http => "http",
                    ServerKind::Https => "https",
                    ServerKind::Plugin => "plugin",
                };
                let (there, here) = (name(sockets.kind), name(server.kind));
                let text = format!("must be `{there}`, as in smtpd.yaml, not `{here}`");
                self.error(&path.key("type"), Problem::Invalid(text));
            }
            Some(_) => {}
            None => self.warn(
                &path.key("id"),
                "is a server without sockets: smtpd.yaml does not name it",
            ),
        }
        let is_web = matches!(server.kind, ServerKind::Http | ServerKind::Https);
        match &server.transport {
            Some(id) if !transports.contains_key(id) => {
                self.unresolved(
                    &path.key("transport"),
                    "transport",
                    id,
                    transports.keys().map(|id| &**id),
                );
            }
            None if server.phases.eod.hook.is_none()
                && (is_web || server.phases.rcptto.hook.is_none()) =>
            {
                let text = "must be given, since no hook chooses a transport".to_owned();
                self.error(&path.key("transport"), Problem::Invalid(text));
            }
            _ => {}
        }
        if let Some(RcptHook::ByDomain(hooks)) = &server.phases.rcptto.hook {
            let table = path.keys(&["phases", "rcptto", "hook", "recipientdomains"]);
            for domain in hooks.recipientdomains.keys() {
                let name = domain.strip_prefix("*.").unwrap_or(domain);
                if name.parse::<HostName>().is_err() || name.contains('*') {
                    let text = "must be a domain, or `*.domain` for all below it".to_owned();
                    self.error(&table.key(domain), Problem::Invalid(text));
                }
            }
        }
        let mechanisms = path.key("phases").key("auth").key("mechanisms");
        for (index, name) in server.phases.auth.mechanisms.iter().enumerate() {
            // RFC 4422 §3.1; anything else would break the line that announces them.
            let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
            if name.is_empty() || name.len() > 20 || !name.bytes().all(letter) {
                let text = "is no name of a SASL mechanism".to_owned();
                self.error(&mechanisms.index(index), Problem::Invalid(text));
            }
        }
        let tls = path.key("tls");
        let certs = tls.key("certs");
        if let Some(id) = &server.tls.certs.cert {
            self.pki_reference(&certs.key("cert"), id, pki);
        }
        let needs = "needs a certificate: `tls.certs.cert` is not set";
        let mut names = BTreeSet::new();
        for (index, sni) in server.tls.certs.sni.iter().enumerate() {
            let path = certs.key("sni").index(index);
            self.pki_reference(&path.key("cert"), &sni.cert, pki);
            if !names.insert(&sni.hostname) {
                let (id, what) = (sni.hostname.to_string(), "the names of certificates");
                self.error(&path.key("hostname"), Problem::Duplicate { id, what });
            }
        }
        if server.tls.certs.cert.is_none() && !server.tls.certs.sni.is_empty() {
            self.error(&certs.key("sni"), Problem::Invalid(needs.to_owned()));
        }
        let clients = &server.tls.clientcert;
        let asked = tls.key("clientcert");
        if clients.is_on() && server.tls.certs.cert.is_none() {
            self.error(&asked, Problem::Invalid(needs.to_owned()));
        }
        if clients.ca().is_some_and(|ca| ca.source().is_none()) {
            let text = "must have either `path` or `data`".to_owned();
            self.error(&asked.key("ca"), Problem::Invalid(text));
        }
        for name in server.tls.ciphers.missing() {
            let text = format!("names {name}, which does not exist here and is passed over");
            self.warn(&tls.key("ciphers"), &text);
        }
        if server.tls.starttls == Some(true) && server.tls.certs.cert.is_none() {
            self.error(&tls.key("starttls"), Problem::Invalid(needs.to_owned()));
        }
        let extensions = &server.extensions;
        if extensions.binarymime == Some(true) && !extensions.chunking {
            let text = "needs `extensions.chunking`: what is binary is sent with BDAT".to_owned();
            let key = path.key("extensions").key("binarymime");
            self.error(&key, Problem::Invalid(text));
        }
        if server.kind == ServerKind::Https && server.tls.certs.cert.is_none() {
            let text = "must be given for type `https`".to_owned();
            self.error(&certs.key("cert"), Problem::Invalid(text));
        }
        let keys = path.key("apikeys");
        for (index, key) in server.apikeys.iter().enumerate() {
            self.api_key(&keys.index(index), key);
        }
        let implicit = tls.key("implicit");
        match &server.tls.implicit {
            Implicit::All(false) => {}
            _ if server.tls.certs.cert.is_none() => {
                self.error(&implicit, Problem::Invalid(needs.to_owned()))
            }
            Implicit::All(true) => {}
            Implicit::Listeners(ids) => {
                let known: Vec<&str> = sockets
                    .into_iter()
                    .flat_map(|sockets| &sockets.listeners)
                    .filter_map(|listener| listener.id.as_deref())
                    .collect();
                for (index, id) in ids.iter().enumerate() {
                    if !known.contains(&&**id) {
                        self.unresolved(
                            &implicit.index(index),
                            "listener",
                            id,
                            known.iter().copied(),
                        );
                    }
                }
            }
        }
    }
}
