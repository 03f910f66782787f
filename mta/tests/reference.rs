//! The table of built-ins beside the reference's: as data (`reference/api.json` beside the suites), and for the core library also
//! as text (`spec/stdlib.md`), which wins where both differ.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use angarium_lang::builtins::Signature;
use serde_json::Value;

/// The contexts of a session's and the queue's scripts.
const CONTEXTS: [&str; 10] = [
    "connect",
    "proxy",
    "helo",
    "auth",
    "mailfrom",
    "rcptto",
    "eod",
    "disconnect",
    "predelivery",
    "postdelivery",
];

/// Differences that are meant, each with its reason; every other one is a mistake.
const MEANT: &[(&str, &str)] = &[
    (
        "eod Accept(reason)",
        "Accept(reason, options) of documented scripts is taken too",
    ),
    (
        "connect $arguments.remoteuser",
        "the name of the user behind `remoteuid`",
    ),
    (
        "eod EODMailMessage->queue option requiretls",
        "RFC 8689, beyond the reference",
    ),
    (
        "eod Accept option metadata is not in the reference",
        "what the answer to a submission over HTTP says besides",
    ),
    (
        "predelivery Try option chunking default",
        "BDAT is used where it is asked for",
    ),
    (
        "predelivery Try option tls_default_ca default",
        "the system's authorities are trusted unless a script says otherwise",
    ),
    (
        "predelivery $message.dsn.notify type",
        "a comma list, as the reference's own examples show it",
    ),
    (
        "postdelivery $arguments.attempt.connection.tls.tlsa.error.temporary",
        "the one key of `error`, which the data leaves out",
    ),
    (
        "postdelivery $message.dsn.notify type",
        "a comma list, as the reference's own examples show it",
    ),
];

/// The same for the core library.
const MEANT_IN_CORE: &[(&str, &str)] = &[
    (
        "core Iterator is not in the reference",
        "what `entries()` and `values()` give, a type of the language",
    ),
    (
        "core MIME(id) is not in the reference",
        "MIME(\"0\"), the older name of the received message",
    ),
    (
        "core MIME->queue option requiretls",
        "RFC 8689, beyond the reference",
    ),
    (
        "core MailMessage->queue option requiretls",
        "RFC 8689, beyond the reference",
    ),
    (
        "legacy spf option",
        "those of spf_query and the one that the text names; the data has none",
    ),
];

fn reference() -> Option<Value> {
    let text = beside_the_suites("reference/api.json")?;
    Some(serde_json::from_str(&text).expect("JSON"))
}

fn beside_the_suites(file: &str) -> Option<String> {
    let suites = std::env::var_os("ANGARIUM_SUITES").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/suites")),
        PathBuf::from,
    );
    let path = suites.parent()?.join(file);
    #[expect(clippy::disallowed_methods, reason = "a test reads its data")]
    match std::fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "a skipped test says why")]
            {
                eprintln!("skipped: {}: {error}", path.display());
            }
            None
        }
    }
}

fn entries(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn name(value: &Value) -> &str {
    value["name"].as_str().unwrap_or_default()
}

/// Types in one order, whatever the order they are written in.
fn types(value: &Value) -> String {
    let types: BTreeSet<&str> = entries(value).iter().filter_map(Value::as_str).collect();
    types.into_iter().collect::<Vec<_>>().join("|")
}

fn by_name(value: &Value) -> BTreeMap<&str, &Value> {
    entries(value)
        .iter()
        .map(|entry| (name(entry), entry))
        .collect()
}

/// What two listings say differently.
struct Comparison<'a> {
    groups: &'a Value,
    /// Parameters and results as the reference's text has them, by name: it wins over the data.
    written: BTreeMap<String, (String, String)>,
    found: Vec<String>,
}

impl Comparison<'_> {
    /// Notes the keys that only one side has and gives those that both have.
    fn common<'m, T: Clone>(
        &mut self,
        place: &str,
        theirs: &'m BTreeMap<&str, T>,
        ours: &'m BTreeMap<&str, T>,
    ) -> Vec<(&'m str, T, T)> {
        for key in theirs.keys().filter(|key| !ours.contains_key(*key)) {
            self.found.push(format!("{place}{key} is missing"));
        }
        for key in ours.keys().filter(|key| !theirs.contains_key(*key)) {
            self.found
                .push(format!("{place}{key} is not in the reference"));
        }
        let both = theirs
            .iter()
            .filter_map(|(key, theirs)| Some((*key, theirs.clone(), ours.get(key)?.clone())));
        both.collect()
    }

    fn same(&mut self, what: &str, theirs: &str, ours: &str) {
        if theirs != ours {
            self.found
                .push(format!("{what}: {ours} instead of {theirs}"));
        }
    }

    fn functions(&mut self, place: &str, theirs: &Value, ours: &Value) {
        for (name, theirs, ours) in self.common(place, &by_name(theirs), &by_name(ours)) {
            self.function(&format!("{place}{name}"), theirs, ours);
        }
    }

    fn function(&mut self, place: &str, theirs: &Value, ours: &Value) {
        let params = |function: &Value| entries(function).iter().map(param).collect::<Vec<_>>();
        let (want, mut got) = (params(&theirs["params"]), params(&ours["params"]));
        if got.len() == want.len() + 1 && got.ends_with(&want) {
            let first = entries(&ours["params"]).first().map(name);
            let first = first.unwrap_or_default();
            self.found
                .push(format!("{place}({first}) is not in the reference"));
            got.remove(0);
        }
        let (want, got) = (want.join(", "), got.join(", "));
        let key = place.split_once(' ').map_or(place, |(_, key)| key);
        let (params, returns) = self.written.get(key).cloned().unwrap_or_default();
        if got != params {
            self.same(place, &want, &got);
        }
        let got = types(&ours["returns"]);
        if got != returns || returns.is_empty() {
            let want = types(&theirs["returns"]);
            self.same(&format!("{place} returns"), &want, &got);
        }
        let groups: Vec<&Value> = entries(&theirs["option_groups"])
            .iter()
            .filter_map(Value::as_str)
            .flat_map(|group| entries(&self.groups[group]["options"]))
            .collect();
        let want: BTreeMap<&str, &Value> = groups
            .into_iter()
            .chain(entries(&theirs["options"]))
            .map(|option| (name(option), option))
            .collect();
        let place = format!("{place} option ");
        for (option, theirs, ours) in self.common(&place, &want, &by_name(&ours["options"])) {
            let (want, got) = (types(&theirs["types"]), types(&ours["types"]));
            self.same(&format!("{place}{option} type"), &want, &got);
            let default = |option: &Value| option["default"].to_string();
            self.same(
                &format!("{place}{option} default"),
                &default(theirs),
                &default(ours),
            );
        }
    }

    /// Methods that the reference's class has itself, or by the classes that it extends.
    fn methods(&mut self, context: &str, theirs: &Value, ours: &Value, core: &Value) {
        let mut known = by_name(&theirs["methods"]);
        let mut missing: BTreeMap<&str, &Value> = known.clone();
        let classes = by_name(&core["classes"]);
        if name(theirs) == "EODMailMessage" {
            for base in ["MailMessage", "MIMEPart"] {
                for (name, method) in by_name(&classes[base]["methods"]) {
                    known.entry(name).or_insert(method);
                }
            }
        }
        let place = format!("{context} {}->", name(theirs));
        for (name, method) in by_name(&ours["methods"]) {
            missing.remove(name);
            match known.get(name) {
                Some(theirs) => self.function(&format!("{place}{name}"), theirs, method),
                None => self
                    .found
                    .push(format!("{place}{name} is not in the reference")),
            }
        }
        for name in missing.keys() {
            self.found.push(format!("{place}{name} is missing"));
        }
    }

    fn variables(&mut self, context: &str, theirs: &Value, ours: &Value) {
        let (theirs, ours) = (paths(theirs), paths(ours));
        let place = format!("{context} ");
        for (path, want, got) in self.common(&place, &borrowed(&theirs), &borrowed(&ours)) {
            self.same(&format!("{place}{path} type"), want, got);
        }
    }

    /// When a variable is there, in the words of the table.
    fn availability(&mut self, context: &str, theirs: &Value, ours: &Value) {
        let mut want = BTreeMap::new();
        for variable in entries(theirs) {
            self.expand(variable, "", context, &mut want);
        }
        for variable in entries(ours) {
            let path = variable["path"].as_str().unwrap_or_default();
            let got = variable["available"].as_str().unwrap_or_default();
            if let Some(want) = want.get(path) {
                self.same(&format!("{context} {path} is there"), want, got);
            }
        }
    }

    fn expand(
        &self,
        variable: &Value,
        prefix: &str,
        context: &str,
        want: &mut BTreeMap<String, String>,
    ) {
        let path = format!("{prefix}{}", variable["path"].as_str().unwrap_or_default());
        let available = variable["available"].as_str().unwrap_or_default();
        let group = variable["group"].as_str().unwrap_or_default();
        // The entries of a list have no path.
        if group.is_empty() || group == "RECIPIENT" {
            if available != "eod only" || context == "eod" {
                // One table serves all contexts; in ours each context has its own.
                let whole = match available.split_once("; not in the ") {
                    Some((whole, _)) => format!("{whole})"),
                    None => available.to_owned(),
                };
                want.insert(path, whole);
            }
            return;
        }
        for inner in entries(&self.groups[group]["vars"]) {
            // What a whole group needs, its members need.
            let mut inner = inner.clone();
            if inner["available"] == "always" {
                inner["available"] = available.into();
            }
            self.expand(&inner, &format!("{path}."), context, want);
        }
    }
}

impl Comparison<'_> {
    /// Nothing but what is meant differs, and all of that does.
    fn ends(mut self, meant: &[(&str, &str)]) {
        let mut unused: BTreeSet<&str> = meant.iter().map(|(place, _)| *place).collect();
        self.found.retain(|difference| {
            let mut meant = meant.iter();
            let meant = meant.find(|(place, _)| difference.starts_with(place));
            meant.is_none_or(|(place, _)| {
                unused.remove(place);
                false
            })
        });
        let found = self.found.join("\n");
        assert!(found.is_empty(), "{found}");
        assert!(unused.is_empty(), "no such differences: {unused:?}");
    }
}

/// What the core library has of the reference's names.
impl Comparison<'_> {
    fn listed(&mut self, place: &str, theirs: &Value, ours: &Value) {
        let (theirs, ours) = both(theirs, ours);
        for (name, theirs, ours) in self.common(place, &theirs, &ours) {
            let place = format!("{place}{name}");
            self.function(&place, theirs, ours);
            self.same(
                &format!("{place} since"),
                text(theirs, "since"),
                text(ours, "since"),
            );
        }
    }

    fn classes(&mut self, theirs: &Value, ours: &Value) {
        let (theirs, ours) = both(theirs, ours);
        for (name, theirs, ours) in self.common("core ", &theirs, &ours) {
            let place = format!("core {name}");
            self.constructor(&place, theirs, ours);
            self.same(
                &format!("{place} since"),
                text(theirs, "since"),
                text(ours, "since"),
            );
            self.listed(&format!("{place}->"), &theirs["methods"], &ours["methods"]);
            self.listed(&format!("{place}::"), &theirs["static"], &ours["static"]);
        }
    }

    /// The data names what a class's call gives only where that is not an object of it.
    fn constructor(&mut self, place: &str, theirs: &Value, ours: &Value) {
        let mut ours = ours.clone();
        ours["returns"] = theirs["returns"].clone();
        self.function(place, theirs, &ours);
    }

    /// Older names: what is an alias has no description of its own in the data.
    fn legacy(&mut self, theirs: &Value, ours: &Value) {
        let (theirs, ours) = both(theirs, ours);
        for (name, theirs) in theirs {
            let level = text(theirs, "level");
            // Scanners of other makers and the queue's figures stand with the hooks and the queue, not with the library.
            let elsewhere =
                name != "ScanDMARC" && name.starts_with("Scan") || name == "GetMailQueueMetric";
            if elsewhere || ["no", "module", "statement"].contains(&level) {
                continue;
            }
            let place = format!("legacy {name}");
            match ours.get(name) {
                None => self.found.push(format!("{place} is missing")),
                Some(ours) if !theirs["params"].is_null() => self.function(&place, theirs, ours),
                Some(_) => {}
            }
        }
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// The entries of both by name, without those that are not there because their family is not.
fn both<'a>(
    theirs: &'a Value,
    ours: &'a Value,
) -> (BTreeMap<&'a str, &'a Value>, BTreeMap<&'a str, &'a Value>) {
    let (mut theirs, ours) = (by_name(theirs), by_name(ours));
    theirs.retain(|name, _| ours.contains_key(name) || !is_later(name));
    (theirs, ours)
}

/// Encryption, keys, certificates and foreign functions: families that are not whole yet. What there is of them is compared.
fn is_later(name: &str) -> bool {
    const FAMILIES: [&str; 13] = [
        "aes_",
        "rsa_",
        "is_rsa_",
        "ec_",
        "is_ec_",
        "ed25519_",
        "is_ed25519_",
        "pkcs7_",
        "cms_",
        "X509",
        "FFI",
        "LDAP",
        "ldap_",
    ];
    FAMILIES.iter().any(|family| name.starts_with(family))
        || ["crypt", "toFFIValue"].contains(&name)
}

/// A parameter in one form.
fn param(param: &Value) -> String {
    let optional = if param["optional"] == true { "?" } else { "" };
    let (types, default) = (types(&param["types"]), &param["default"]);
    format!("{}{optional}: {types} = {default}", name(param))
}

/// The signatures in the reference's text: headings with a name, and below each a line `sig:`.
fn written(text: &str) -> BTreeMap<String, (String, String)> {
    let mut found = BTreeMap::new();
    let mut key = String::new();
    for line in text.lines() {
        if let Some(heading) = line.trim_start_matches('#').strip_prefix(' ') {
            let heading = heading.split_once(' ').map_or("", |(_, name)| name);
            key = heading.replace('.', "->");
        }
        // Types of keys and values are those that the object was made for.
        let Some(signature) = line.strip_prefix("sig: ") else {
            continue;
        };
        let signature = signature.replace(": K", ": any").replace(": V", ": any");
        let Ok(signature) = Signature::parse(Box::leak(signature.into_boxed_str())) else {
            continue;
        };
        let params = signature.params.iter().map(|declared| {
            let default = declared
                .default
                .map(|text| serde_json::from_str(text).unwrap_or_else(|_| Value::from(text)));
            param(&serde_json::json!({
                "name": declared.name,
                "types": declared.written,
                "optional": declared.optional || declared.variadic,
                "default": default,
            }))
        });
        let params: Vec<String> = params.collect();
        let returns = types(&signature.returns.iter().copied().collect());
        found
            .entry(key.clone())
            .or_insert((params.join(", "), returns));
    }
    found
}

/// The types of every path in a tree of variables.
fn paths(list: &Value) -> BTreeMap<String, String> {
    fn walk(list: &Value, prefix: &str, paths: &mut BTreeMap<String, String>) {
        for entry in entries(list) {
            let path = format!("{prefix}{}", name(entry));
            let read_only = if entry["readonly"] == true {
                " read-only"
            } else {
                ""
            };
            paths.insert(path.clone(), types(&entry["types"]) + read_only);
            walk(&entry["keys"], &format!("{path}."), paths);
        }
    }
    let mut paths = BTreeMap::new();
    walk(list, "", &mut paths);
    paths
}

fn borrowed(paths: &BTreeMap<String, String>) -> BTreeMap<&str, &str> {
    let pairs = paths.iter();
    pairs
        .map(|(path, types)| (path.as_str(), types.as_str()))
        .collect()
}

#[test]
fn every_hook_has_what_the_reference_lists_and_nothing_else() {
    let Some(reference) = reference() else {
        return;
    };
    let listing = angarium::listing::listing(&angarium::scripts::library());
    let mut comparison = Comparison {
        groups: &reference["groups"],
        written: BTreeMap::new(),
        found: Vec::new(),
    };
    let core = &reference["contexts"]["core"];
    for context in CONTEXTS {
        let theirs = &reference["contexts"][context];
        let ours = &listing["contexts"][context];
        assert!(theirs.is_object() && ours.is_object(), "{context}");
        let place = format!("{context} ");
        comparison.functions(&place, &theirs["functions"], &ours["functions"]);
        let classes = (by_name(&theirs["classes"]), by_name(&ours["classes"]));
        for (_, theirs, ours) in comparison.common(&place, &classes.0, &classes.1) {
            comparison.methods(context, theirs, ours, core);
        }
        comparison.variables(context, &theirs["variables"], &ours["variables"]);
        let written = "spec_variables";
        comparison.availability(context, &theirs[written], &ours[written]);
    }
    comparison.ends(MEANT);
}

#[test]
fn the_core_library_has_what_the_reference_lists_and_nothing_else() {
    let (Some(reference), Some(text)) = (reference(), beside_the_suites("spec/stdlib.md")) else {
        return;
    };
    let listing = angarium::listing::listing(&angarium::scripts::library());
    let mut comparison = Comparison {
        groups: &reference["groups"],
        written: written(&text),
        found: Vec::new(),
    };
    assert!(
        comparison.written.len() > 250,
        "{}",
        comparison.written.len()
    );
    let theirs = &reference["contexts"]["core"];
    let ours = &listing["contexts"]["core"];
    assert!(theirs.is_object() && ours.is_object());
    comparison.listed("core ", &theirs["functions"], &ours["functions"]);
    comparison.classes(&theirs["classes"], &ours["classes"]);
    comparison.variables("core", &theirs["variables"], &ours["variables"]);
    comparison.legacy(&reference["legacy"], &listing["legacy"]);
    comparison.ends(MEANT_IN_CORE);
}

#[test]
fn the_older_hook_for_each_recipient_has_what_the_reference_lists() {
    let Some(reference) = reference() else {
        return;
    };
    let listing = angarium::listing::listing(&angarium::scripts::library());
    let mut comparison = Comparison {
        groups: &reference["groups"],
        written: BTreeMap::new(),
        found: Vec::new(),
    };
    let theirs = &reference["extra_contexts"]["eodrcpt"];
    let ours = &listing["contexts"]["eodrcpt"];
    assert!(theirs.is_object() && ours.is_object());
    comparison.functions("eodrcpt ", &theirs["functions"], &ours["functions"]);
    let written = "spec_variables";
    comparison.availability("eodrcpt", &theirs[written], &ours[written]);
    comparison.ends(&[]);
}
