//! The Angarium mail transfer agent.
fn main() {}
