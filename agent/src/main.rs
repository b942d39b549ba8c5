//! `hutong-agent`: the department's side of the exchange.

use std::process::ExitCode;

fn main() -> ExitCode {
    hutong_agent::cli::main()
}
