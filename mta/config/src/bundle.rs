//! The bundle that `angarium init` writes: the files of `examples/quickstart`, so that the example
//! and a new bundle are one text.

use std::path::{Path, PathBuf};

use crate::source::MemoryFiles;

macro_rules! quickstart {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../../examples/quickstart/", $path)))),*]
    };
}

/// The files of the quickstart bundle: path inside the bundle, and text.
pub const QUICKSTART: &[(&str, &str)] = quickstart![
    ".gitignore",
    "README.md",
    "src/config/smtpd.yaml",
    "src/config/smtpd-app.yaml",
    "src/files/domains.hsl",
    "src/hooks/connect/default.hsl",
    "src/hooks/helo/default.hsl",
    "src/hooks/mailfrom/default.hsl",
    "src/hooks/rcptto/default.hsl",
    "src/hooks/eod/default.hsl",
    "src/hooks/queue/predelivery.hsl",
    "src/hooks/queue/postdelivery.hsl",
];

/// The quickstart bundle in memory, below `dir`.
#[must_use]
pub fn quickstart(dir: &Path) -> MemoryFiles {
    let place = |path: &str| -> PathBuf { dir.join(path) };
    QUICKSTART
        .iter()
        .map(|(path, text)| (place(path), *text))
        .collect()
}
