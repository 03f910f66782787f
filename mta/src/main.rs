//! The Angarium mail transfer agent: the program.

fn main() -> std::process::ExitCode {
    angarium::cli::main(std::env::args_os())
}
