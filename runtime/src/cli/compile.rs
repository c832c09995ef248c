//! The two subcommands that nobody types: the processes in which components are compiled.

use std::process::ExitCode;

use crate::activate::compiler;

/// Starts a process for each component that is to be compiled.
pub(super) fn helper() -> anyhow::Result<()> {
    Ok(compiler::run_helper()?)
}

/// Compiles one.
pub(super) fn child(job: &str) -> anyhow::Result<ExitCode> {
    Ok(compiler::run_child(job)?)
}
