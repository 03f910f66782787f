//! Compiles the messages of the control protocol. No `protoc` is needed.
#![allow(
    clippy::disallowed_methods,
    reason = "a build script writes what it makes"
)]

use std::path::PathBuf;

use prost::Message as _;

const FILES: [&str; 6] = [
    "types.proto",
    "queue.proto",
    "policy.proto",
    "process.proto",
    "connections.proto",
    "livestage.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let folder = root.join("proto");
    println!("cargo:rerun-if-changed={}", folder.display());
    let files = protox::compile(FILES, [&folder])?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
    std::fs::write(out.join("control.bin"), files.encode_to_vec())?;
    prost_build::Config::new()
        .btree_map(["."])
        .out_dir(out)
        .compile_fds(files)?;
    Ok(())
}
