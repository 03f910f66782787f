//! Writes the reference manual of the library.
//!
//! `cargo run -p angarium-stdlib --example manual`
#![allow(
    clippy::disallowed_methods,
    reason = "it writes files of the repository"
)]

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference");
    for (name, text) in angarium_stdlib::manual::pages()? {
        std::fs::write(folder.join(name), text)?;
    }
    Ok(())
}
