//! The path of a key, as messages print it: `servers[0].phases.eod.hook`.

use std::fmt;

/// The path of a key or value in a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct KeyPath(Vec<Step>);

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Into the value of a key.
    Key(String),
    /// Into an item of a list.
    Index(usize),
}

impl KeyPath {
    /// The whole file.
    #[must_use]
    pub fn root() -> Self {
        Self::default()
    }

    /// This path and a key.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        let mut path = self.clone();
        path.0.push(Step::Key(key.to_owned()));
        path
    }

    /// This path and several keys.
    #[must_use]
    pub fn keys(&self, keys: &[&str]) -> Self {
        keys.iter().fold(self.clone(), |path, key| path.key(key))
    }

    /// This path and an index.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        let mut path = self.clone();
        path.0.push(Step::Index(index));
        path
    }

    /// The steps.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    /// The path with every index as `[]`, as the table of keys writes it. Groups of transports and
    /// their transports are one thing there: `transports[]`; so are the two places of delivery
    /// settings: `delivery.settings`.
    #[must_use]
    pub fn pattern(&self) -> String {
        let mut steps = self.0.as_slice();
        let mut text = String::new();
        let is_key = |step: &Step, name: &str| matches!(step, Step::Key(key) if key == name);
        if let [group, Step::Index(_), ..] = steps
            && is_key(group, "transportgroups")
        {
            while let [name, Step::Index(_), rest @ ..] = steps
                && (is_key(name, "transportgroups") || is_key(name, "transports"))
            {
                steps = rest;
            }
            text.push_str("transports[]");
        }
        let settings = match steps {
            [top, list, Step::Index(_), then, below @ ..]
                if is_key(top, "delivery")
                    && is_key(list, "conditions")
                    && is_key(then, "then") =>
            {
                Some(below)
            }
            [top, default, below @ ..] if is_key(top, "delivery") && is_key(default, "default") => {
                Some(below)
            }
            _ => None,
        };
        if let Some(below) = settings {
            steps = below;
            text.push_str("delivery.settings");
        }
        for step in steps {
            match step {
                Step::Index(_) => text.push_str("[]"),
                Step::Key(key) => {
                    if !text.is_empty() {
                        text.push('.');
                    }
                    text.push_str(key);
                }
            }
        }
        text
    }

    /// Reads a path that is written as messages print it, such as `servers[0].listeners[0].port`.
    /// A key that holds `.`, `[` or `"` cannot be written so.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut path = Self::root();
        for part in text.split('.') {
            let (key, mut rest) = match part.find('[') {
                Some(bracket) => part.split_at(bracket),
                None => (part, ""),
            };
            if key.is_empty() {
                return None;
            }
            path.0.push(Step::Key(key.to_owned()));
            while let Some(inner) = rest.strip_prefix('[') {
                let (index, after) = inner.split_once(']')?;
                path.0.push(Step::Index(index.parse().ok()?));
                rest = after;
            }
            if !rest.is_empty() {
                return None;
            }
        }
        Some(path)
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) => {
                    let plain = !key.is_empty()
                        && key
                            .chars()
                            .all(|c| c.is_alphanumeric() || c == '_' || c == '-');
                    match (plain, number) {
                        (true, 0) => f.write_str(key)?,
                        (true, _) => write!(f, ".{key}")?,
                        (false, _) => write!(f, "[{key:?}]")?,
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_prints_as_people_write_it() {
        let path = KeyPath::root()
            .key("servers")
            .index(0)
            .keys(&["phases", "a.b"]);
        assert_eq!(path.to_string(), "servers[0].phases[\"a.b\"]");
        let plain = KeyPath::parse("servers[0].listeners[10].port").unwrap();
        assert_eq!(plain.to_string(), "servers[0].listeners[10].port");
        for bad in ["", ".", "a..b", "a[x]", "a[0]b", "[0]", "a[0"] {
            assert_eq!(KeyPath::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn groups_and_transports_have_one_pattern() {
        for text in [
            "transportgroups[0].retry.count",
            "transportgroups[0].transportgroups[2].transports[1].retry.count",
        ] {
            assert_eq!(
                KeyPath::parse(text).unwrap().pattern(),
                "transports[].retry.count"
            );
        }
        assert_eq!(
            KeyPath::parse("servers[3].id").unwrap().pattern(),
            "servers[].id"
        );
        assert_eq!(
            KeyPath::parse("transportgroups").unwrap().pattern(),
            "transportgroups"
        );
    }

    #[test]
    fn both_places_of_delivery_settings_have_one_pattern() {
        for (text, pattern) in [
            ("delivery.default.tls.mode", "delivery.settings.tls.mode"),
            (
                "delivery.conditions[2].then.tls.mode",
                "delivery.settings.tls.mode",
            ),
            (
                "delivery.conditions[2].if.remotemx",
                "delivery.conditions[].if.remotemx",
            ),
        ] {
            assert_eq!(KeyPath::parse(text).unwrap().pattern(), pattern);
        }
    }
}
