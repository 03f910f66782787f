//! What of a foreign bundle this program would use: the report of `angarium check --halon`.

use std::path::Path;

use crate::document::Document;
use crate::error::{ConfigError, ConfigErrors};
use crate::load::Place;
use crate::path::KeyPath;
use crate::schema::FileKind;
use crate::source::{FileSource, Source, is_absent};
use crate::validate::KeyUse;
use crate::yaml::{Node, Position};

/// A key of a configuration and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyReport {
    /// Name of the file.
    pub file: String,
    /// Where the key stands.
    pub position: Option<Position>,
    /// The path of the key.
    pub path: KeyPath,
    /// What becomes of it.
    pub key_use: KeyUse,
}

/// The keys of a bundle, and what is wrong with their values.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    /// Every key, file by file from top to bottom. Of a refused key the keys below are not listed.
    pub keys: Vec<KeyReport>,
    /// Files that cannot be read or parsed, and wrong values.
    pub errors: Vec<ConfigError>,
}

/// Looks through the configuration of a bundle without loading it.
///
/// # Errors
/// There is no bundle.
pub fn survey(files: &dyn FileSource, source: &Source) -> Result<Survey, ConfigErrors> {
    let place = Place::find(files, source)?;
    let mut survey = Survey::default();
    let startup = survey.file(files, &place.startup, FileKind::Startup);
    let path = |key: &str| {
        let startup = startup.as_ref()?;
        startup.root.at(&["environment", key]).and_then(Node::text)
    };
    let running = place.running(files, path("appconf"));
    survey.file(files, &running, FileKind::Running);
    let absent = |path: &Path| files.read(path).is_err_and(|error| is_absent(&error));
    for (kind, key) in [
        (FileKind::Policy, "policyconf"),
        (FileKind::Suspend, "suspendconf"),
        (FileKind::Delivery, "deliveryconf"),
    ] {
        let file = place.queue_file(kind.file_name(), path(key).map(Path::new));
        if !absent(&file) {
            survey.file(files, &file, kind);
        }
    }
    Ok(survey)
}

impl Survey {
    /// Looks through a file, and gives it.
    fn file(&mut self, files: &dyn FileSource, path: &Path, kind: FileKind) -> Option<Document> {
        let mut document = match Document::read(files, path, kind) {
            Ok(document) => document,
            Err(errors) => {
                self.errors.extend(errors);
                return None;
            }
        };
        let outcome = document.validate(true);
        let file = document.file.clone();
        let report = |(path, position, key_use)| KeyReport {
            file: file.clone(),
            position,
            path,
            key_use,
        };
        self.keys.extend(outcome.uses.into_iter().map(report));
        self.errors.extend(
            outcome
                .errors
                .into_iter()
                .map(|found| document.found(found)),
        );
        Some(document)
    }
}
