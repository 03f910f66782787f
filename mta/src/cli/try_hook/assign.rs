//! `--set VARIABLE=VALUE`: which variables there are, and their values.

use angarium_config::HookType;
use angarium_runtime::array::{Array, Key};
use angarium_runtime::native::VarDecl;
use angarium_runtime::value::Value;
use angarium_smtp::address::{Mailbox, ReversePath};

use crate::cli::failure::Failure;

/// Deeper paths lead nowhere.
const MAX_DEPTH: usize = 16;

/// Variables that are set by speaking to the server: the client says so, and all that follows from it fits.
const SPOKEN: &[&str] = &[
    "arguments.command",
    "arguments.password",
    "arguments.recipient",
    "arguments.response",
    "arguments.sender",
    "arguments.username",
    "arguments.host",
    "arguments.verb",
    "arguments.remoteip",
    "arguments.remoteport",
    "arguments.localip",
    "arguments.localport",
    "connection.remoteip",
    "connection.remoteport",
    "connection.remoteptr",
    "connection.localip",
    "connection.localport",
    "connection.helo.host",
    "connection.helo.verb",
    "transaction.sender",
    "message.sender",
    "message.recipient",
    "message.transportid",
];

/// The flat names of what the client says.
const FLAT: &[(&str, &str)] = &[
    ("sender", "message.sender"),
    ("recipient", "message.recipient"),
    ("senderip", "connection.remoteip"),
    ("senderport", "connection.remoteport"),
    ("serverip", "connection.localip"),
    ("serverport", "connection.localport"),
    ("senderhelo", "connection.helo.host"),
    ("senderhelotype", "connection.helo.verb"),
];

/// The context of an eod hook that runs for each recipient.
const EACH: &str = "eodrcpt";

/// All `--set` of a command.
pub(super) struct Assignments(Vec<(String, String, Value)>);

impl Assignments {
    /// Checks that `hook` has the variables in the context that it runs in, with the spellings of a release, and that the
    /// values are of their types.
    ///
    /// # Errors
    /// The first one that is wrong, with what would be right.
    pub fn parse(
        hook: HookType,
        context: &str,
        compat: u8,
        given: &[String],
    ) -> Result<Assignments, Failure> {
        let library = crate::scripts::library_of(compat);
        let declared: Vec<&VarDecl> = library
            .contexts()
            .filter(|known| known.name == context)
            .flat_map(|context| context.variables)
            .collect();
        let mut assignments = Vec::new();
        for text in given {
            let (path, written) = text.split_once('=').ok_or_else(|| {
                Failure::Usage(format!(
                    "`--set {text}` has no value: give it as VARIABLE=VALUE"
                ))
            })?;
            let path = path.trim_start_matches('$');
            let types = types(&declared, path)
                // The client is the same in every phase, also where scripts see it under another name.
                .or_else(|| is_client(hook, path).then_some("string"))
                .ok_or_else(|| unknown(&declared, hook, path))?;
            let value = value(types, written)
                .ok_or_else(|| Failure::Usage(format!("`{path}` is a {types}, not `{written}`")))?;
            let path = match FLAT.iter().find(|(flat, _)| *flat == path) {
                Some((_, spoken)) => spoken,
                None if context == EACH && path == "transportid" => "message.transportid",
                None => path,
            };
            if context == EACH && !SPOKEN.contains(&path) {
                return Err(Failure::Usage(format!(
                    "`{path}` cannot be set for a hook that runs for each recipient: only what the client says can"
                )));
            }
            assignments.push((path.to_owned(), written.to_owned(), value));
        }
        Ok(Assignments(assignments))
    }

    /// What was written for a variable, the last time.
    pub fn text(&self, path: &str) -> Option<&str> {
        let found = self.0.iter().rev().find(|(set, ..)| set == path);
        found.map(|(_, written, _)| written.as_str())
    }

    /// What was written for the first of these variables that is set.
    pub fn first(&self, paths: &[&str]) -> Option<&str> {
        paths.iter().find_map(|path| self.text(path))
    }

    /// A number that was set.
    ///
    /// # Errors
    /// When it is none, or not a whole one.
    pub fn number(&self, path: &str) -> Result<Option<u32>, Failure> {
        match self.text(path) {
            None => Ok(None),
            Some(text) => text
                .parse()
                .map(Some)
                .map_err(|_| Failure::Usage(format!("`{path}` is a whole number, not `{text}`"))),
        }
    }

    /// The sender of the message.
    ///
    /// # Errors
    /// When it is no address.
    pub fn sender(&self) -> Result<ReversePath, Failure> {
        let paths = ["arguments.sender", "transaction.sender", "message.sender"];
        let text = self.first(&paths).unwrap_or("me@example.net");
        ReversePath::parse(text).map_err(|_| Failure::Usage(format!("`{text}` is no mail address")))
    }

    /// The recipient of the message.
    ///
    /// # Errors
    /// When it is no address.
    pub fn recipient(&self) -> Result<Mailbox, Failure> {
        let text = self
            .first(&["arguments.recipient", "message.recipient"])
            .unwrap_or("you@example.com");
        Mailbox::parse(text).map_err(|_| Failure::Usage(format!("`{text}` is no mail address")))
    }

    /// Writes the values into the variables of the hook.
    pub fn apply(&self, variables: &mut [(&'static str, Value)]) {
        for (path, _, value) in &self.0 {
            if SPOKEN.contains(&path.as_str()) {
                continue;
            }
            let mut steps = path.split('.');
            let root = steps.next().unwrap_or_default();
            let steps: Vec<&str> = steps.collect();
            for (_, variable) in variables.iter_mut().filter(|(name, _)| *name == root) {
                *variable = put(variable, &steps, value.clone());
            }
        }
    }
}

/// Whether the path says something about the client of a session.
fn is_client(hook: HookType, path: &str) -> bool {
    HookType::SESSION.contains(&hook) && path.starts_with("connection.") && SPOKEN.contains(&path)
}

/// The types of a variable: as declared, or any below an array that is declared as a whole.
fn types(declared: &[&'static VarDecl], path: &str) -> Option<&'static str> {
    if path.split('.').count() > MAX_DEPTH {
        return None;
    }
    let mut below = None;
    for variable in declared {
        let name = variable.path.trim_start_matches('$');
        if name == path {
            return Some(variable.types);
        }
        let open = variable.types.contains("array") || variable.types.contains("any");
        if open
            && path
                .strip_prefix(name)
                .is_some_and(|rest| rest.starts_with('.'))
        {
            below = Some("any");
        }
    }
    below
}

fn unknown(declared: &[&VarDecl], hook: HookType, path: &str) -> Failure {
    let root = path.split('.').next().unwrap_or_default();
    let all = declared
        .iter()
        .map(|variable| variable.path.trim_start_matches('$'));
    let near: Vec<&str> = all
        .clone()
        .filter(|name| name.split('.').next() == Some(root))
        .collect();
    let shown: Vec<&str> = if near.is_empty() { all.collect() } else { near };
    Failure::Usage(format!(
        "there is no variable `{path}` in {hook}; there are {}",
        shown.join(", ")
    ))
}

/// A written value as one of the declared types; none if it is of no such type.
fn value(types: &str, written: &str) -> Option<Value> {
    let has = |wanted: &str| types.split('|').any(|one| one == wanted);
    if has("string") {
        return Some(Value::from(written));
    }
    if has("number")
        && let Ok(number) = written.parse::<f64>()
    {
        return Some(Value::from(number));
    }
    if has("boolean")
        && let Ok(boolean) = written.parse::<bool>()
    {
        return Some(Value::from(boolean));
    }
    if types.contains("array") || has("any") {
        return match serde_json::from_str(written) {
            Ok(json) => Some(from_json(&json)),
            Err(_) if has("any") => Some(Value::from(written)),
            Err(_) => None,
        };
    }
    None
}

/// JSON as a value. The parser bounds how deep it nests.
fn from_json(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::None,
        serde_json::Value::Bool(boolean) => Value::from(*boolean),
        serde_json::Value::Number(number) => Value::from(number.as_f64().unwrap_or(f64::NAN)),
        serde_json::Value::String(text) => Value::from(text.as_str()),
        serde_json::Value::Array(items) => items.iter().map(from_json).collect::<Array>().into(),
        serde_json::Value::Object(entries) => {
            let mut array = Array::new();
            for (key, value) in entries {
                array.insert(Key::from(key.as_str()), from_json(value));
            }
            array.into()
        }
    }
}

/// `value` with `new` at the path; what is on the way and no array becomes one.
fn put(value: &Value, path: &[&str], new: Value) -> Value {
    let [step, rest @ ..] = path else {
        return new;
    };
    let mut array = Array::new();
    for (key, entry) in value.as_array().into_iter().flat_map(|view| view.iter()) {
        array.insert(key, entry);
    }
    let inner = array.get_str(step).cloned().unwrap_or_default();
    array.insert(Key::from(*step), put(&inner, rest, new));
    array.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use angarium_runtime::convert::dump;

    fn parse(hook: HookType, texts: &[&str]) -> Result<Assignments, Failure> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        Assignments::parse(hook, hook.name(), 6, &texts)
    }

    #[test]
    fn values_are_of_the_declared_types_and_land_in_their_variable() {
        let set = parse(
            HookType::RcptTo,
            &[
                "connection.priority=5",
                "$connection.auth.username=joe",
                "context={\"a\":[1]}",
            ],
        )
        .unwrap();
        let mut variables = vec![("connection", Value::None), ("context", Value::None)];
        set.apply(&mut variables);
        let shown = |at: usize| String::from_utf8(dump(&variables[at].1)).unwrap();
        assert_eq!(shown(0), r#"["priority"=>5,"auth"=>["username"=>"joe"]]"#);
        assert_eq!(shown(1), r#"["a"=>[0=>1]]"#);
    }

    #[test]
    fn flat_names_mean_what_the_client_says() {
        let texts = |texts: &[&str]| -> Vec<String> {
            texts.iter().map(|text| (*text).to_owned()).collect()
        };
        let each = |given: &[&str]| Assignments::parse(HookType::Eod, EACH, 6, &texts(given));
        let set = each(&["recipient=a@example.com", "transportid=out"]).unwrap();
        assert_eq!(set.recipient().unwrap().to_string(), "a@example.com");
        assert_eq!(set.text("message.transportid"), Some("out"));
        assert!(each(&["tlsstarted=true"]).is_err());
        let rcptto = |compat| {
            let given = texts(&["senderip=192.0.2.1"]);
            Assignments::parse(HookType::RcptTo, "rcptto", compat, &given)
        };
        assert_eq!(
            rcptto(5).unwrap().text("connection.remoteip"),
            Some("192.0.2.1")
        );
        assert!(rcptto(6).is_err());
    }

    #[test]
    fn what_the_hook_does_not_have_is_refused() {
        for wrong in [
            "connection.remotip=1",
            "nothing.at.all=1",
            "connection.remoteip",
            "connection.priority=high",
        ] {
            assert!(parse(HookType::RcptTo, &[wrong]).is_err(), "{wrong}");
        }
        assert!(parse(HookType::Connect, &["arguments.recipient=a@example.com"]).is_err());
    }
}
