//! The table of built-ins beside the reference's, as data (`reference/api.json` beside the suites).

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

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
        "connect $arguments.remoteuser",
        "the name of the user behind `remoteuid`",
    ),
    (
        "eod Accept(reason)",
        "Accept(reason, options) of documented scripts is taken too",
    ),
    (
        "eod EODMailMessage->queue option requiretls",
        "RFC 8689, beyond the reference",
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

/// The same of what every script sees. Where the data and the description of the library differ, the description counts.
const MEANT_OF_CORE: &[(&str, &str)] = &[
    ("array_join:", "the default is described"),
    ("zlib_compress:", "the defaults are described"),
    (
        "zlib_uncompress",
        "the default, and none for what is damaged, are described",
    ),
    ("str_strip:", "the default is described"),
    ("str_lstrip:", "the default is described"),
    ("str_rstrip:", "the default is described"),
    (
        "str_chunk",
        "the parameters are numbers, and spelled as words",
    ),
    ("metrics_increment:", "the default is described"),
    ("metrics_decrement:", "the default is described"),
    ("array_random returns", "none for an empty array"),
    ("strptime returns", "none for what does not match"),
    ("strpduration returns", "none for what is no duration"),
    ("queue_suspend returns", "none for what cannot be"),
    ("queue_policy returns", "none for what cannot be"),
    ("csv_encode returns", "a string, as its example shows"),
    ("http:", "a File is a body too"),
    ("spf_query", "the options are described"),
    (
        "Map->",
        "keys and values have the types that the map was made with",
    ),
    ("Set->", "keys have the type that the set was made with"),
    ("File:", "names of files are described"),
    ("File returns", "constructors give what they construct"),
    ("MIME:", "the older name of the received message"),
    (
        "MailMessage->signDKIM returns",
        "the value with return_header",
    ),
    ("MIMEPart->prependPart:", "parts of messages are taken too"),
    ("MIMEPart->appendPart:", "parts of messages are taken too"),
    ("MIMEPart->replacePart:", "parts of messages are taken too"),
    ("Socket->recv:", "one flag is a string"),
    ("TLSSocket:", "the options are optional, as scripts have it"),
    (
        "MIME->queue option requiretls",
        "RFC 8689, beyond the reference",
    ),
    (
        "MailMessage->queue option requiretls",
        "RFC 8689, beyond the reference",
    ),
    ("X509->subject returns", "an array"),
    ("X509->issuer returns", "an array"),
    ("X509->String returns", "a list with `multiple`, and none"),
];

/// What is built later: cryptography as such, and foreign functions.
const LATER: &[&str] = &[
    "aes_decrypt",
    "aes_encrypt",
    "cms_decrypt",
    "cms_encrypt",
    "cms_sign",
    "cms_verify",
    "crypt",
    "ec_privatekey",
    "FFI",
    "FFIFunction",
    "is_ec_privatekey",
    "pkcs7_sign",
    "X509CRL",
];

fn reference() -> Option<Value> {
    let suites = std::env::var_os("ANGARIUM_SUITES").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/suites")),
        PathBuf::from,
    );
    let path = suites.parent()?.join("reference/api.json");
    #[expect(clippy::disallowed_methods, reason = "a test reads its data")]
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "a skipped test says why")]
            {
                eprintln!("skipped: {}: {error}", path.display());
            }
            return None;
        }
    };
    Some(serde_json::from_str(&text).expect("JSON"))
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
        let params = |function: &Value| {
            let list = entries(&function["params"]).iter().map(|param| {
                let optional = if param["optional"] == true { "?" } else { "" };
                let (types, default) = (types(&param["types"]), &param["default"]);
                format!("{}{optional}: {types} = {default}", name(param))
            });
            list.collect::<Vec<_>>()
        };
        let (want, mut got) = (params(theirs), params(ours));
        if got.len() == want.len() + 1 && got.ends_with(&want) {
            let first = entries(&ours["params"]).first().map(name);
            let first = first.unwrap_or_default();
            self.found
                .push(format!("{place}({first}) is not in the reference"));
            got.remove(0);
        }
        self.same(place, &want.join(", "), &got.join(", "));
        self.same(
            &format!("{place} returns"),
            &types(&theirs["returns"]),
            &types(&ours["returns"]),
        );
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
    judge(comparison, MEANT);
}

/// Fails for differences that are not meant, and for meant ones that there are not.
fn judge(mut comparison: Comparison<'_>, all: &[(&str, &str)]) {
    let mut unused: BTreeSet<&str> = all.iter().map(|(place, _)| *place).collect();
    comparison.found.retain(|difference| {
        let mut meant = all.iter();
        let meant = meant.find(|(place, _)| difference.starts_with(place));
        meant.is_none_or(|(place, _)| {
            unused.remove(place);
            false
        })
    });
    let found = comparison.found.join("\n");
    assert!(found.is_empty(), "{found}");
    assert!(unused.is_empty(), "no such differences: {unused:?}");
}

#[test]
fn the_library_has_what_the_reference_lists_and_nothing_else() {
    let Some(reference) = reference() else {
        return;
    };
    let listing = angarium::listing::listing(&angarium::scripts::library());
    let mut comparison = Comparison {
        groups: &reference["groups"],
        found: Vec::new(),
    };
    let theirs = &reference["contexts"]["core"];
    let mut ours = listing["contexts"]["core"].clone();
    let without_later = |list: &Value| {
        let list = entries(list).iter();
        let list = list.filter(|entry| !LATER.contains(&name(entry))).cloned();
        Value::Array(list.collect())
    };
    // The options of a group are listed where they are an argument of their own.
    let server = by_name(&by_name(&ours["classes"])["MIME"]["methods"])["send"]["options"].clone();
    for function in ours["functions"].as_array_mut().into_iter().flatten() {
        if function["option_groups"] == serde_json::json!(["SERVER"]) {
            let own = entries(&function["options"]).to_vec();
            let all = own.into_iter().chain(entries(&server).to_vec());
            function["options"] = all.collect();
        }
    }
    let functions = without_later(&theirs["functions"]);
    comparison.functions("", &functions, &ours["functions"]);
    let classes = without_later(&theirs["classes"]);
    let (classes, own) = (by_name(&classes), by_name(&ours["classes"]));
    for (class, theirs, ours) in comparison.common("", &classes, &own) {
        comparison.function(class, theirs, ours);
        for kind in ["methods", "static"] {
            comparison.functions(&format!("{class}->"), &theirs[kind], &ours[kind]);
        }
    }
    judge(comparison, MEANT_OF_CORE);
}

#[test]
fn the_older_hook_for_each_recipient_has_what_the_reference_lists() {
    let Some(reference) = reference() else {
        return;
    };
    let listing = angarium::listing::listing(&angarium::scripts::library());
    let mut comparison = Comparison {
        groups: &reference["groups"],
        found: Vec::new(),
    };
    let theirs = &reference["extra_contexts"]["eodrcpt"];
    let ours = &listing["contexts"]["eodrcpt"];
    assert!(theirs.is_object() && ours.is_object());
    comparison.functions("eodrcpt ", &theirs["functions"], &ours["functions"]);
    let written = "spec_variables";
    comparison.availability("eodrcpt", &theirs[written], &ours[written]);
    judge(comparison, &[]);
}
