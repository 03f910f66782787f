//! Prints the reference page of the configuration.
//!
//! `cargo run -p angarium-config --example reference > docs/reference/configuration.md`

#[allow(clippy::print_stdout, reason = "printing is what this program is for")]
fn main() {
    print!("{}", angarium_config::reference::configuration_page());
}
