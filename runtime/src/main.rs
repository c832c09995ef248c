//! The binary: parses arguments, runs one subcommand, turns its error into an exit code.

use std::process::ExitCode;

use eyot::cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main()
}
