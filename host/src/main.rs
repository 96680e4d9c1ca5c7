//! The `dunnage` program.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    dunnage::cli::run().await
}
