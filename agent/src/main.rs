//! `hutong-agent`: the department's side of the exchange.

use std::process::ExitCode;

/// Returns memory to the system sooner than the system's own allocator, and does not grow one arena
/// per thread.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    hutong_agent::cli::main()
}
