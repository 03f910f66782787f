//! The bodies of the fuzz targets: each takes any bytes and panics when a promise is broken.

mod mail;
mod run;
mod smtp;
mod text;
mod values;

pub use mail::message;
pub use run::{LIMITS, compile_and_run};
pub use smtp::{addresses, auth, bdat, proxy_header, smtp_server};
pub use text::{formatter, lexer, parser};
pub use values::{json_decode, regex};

/// A target: any bytes in, a panic when something is wrong.
pub type Target = fn(&[u8]);

/// All targets, by the names of their corpora.
pub const TARGETS: &[(&str, Target)] = &[
    ("addresses", addresses),
    ("auth", auth),
    ("bdat", bdat),
    ("compile_and_run", compile_and_run),
    ("formatter", formatter),
    ("json_decode", json_decode),
    ("lexer", lexer),
    ("message", message),
    ("parser", parser),
    ("proxy_header", proxy_header),
    ("regex", regex),
    ("smtp_server", smtp_server),
];
