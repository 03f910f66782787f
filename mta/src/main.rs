//! The Angarium mail transfer agent: the program.

/// Scripts make and drop strings and arrays by the million: see docs/decisions/0030-allocator-and-linking.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    angarium::cli::main(std::env::args_os())
}
