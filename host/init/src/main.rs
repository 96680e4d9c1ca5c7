//! PID 1 of a function's container.
//!
//! `dunnage-init --contract runtime-api -- COMMAND…` runs a program that takes its events from the
//! host itself, and reaps what it leaves behind. `--contract one-shot` takes the events in its place
//! and runs the command once for each. The exit code is the command's, 128 + N for signal N.
//!
//! It shares the container with the function, which may do to it as it likes: the host believes
//! nothing of what it says, and it need not defend itself.

mod one_shot;
mod process;
mod runtime_api;

use std::ffi::OsString;
use std::process::ExitCode;

/// BSD's `EX_USAGE`.
const EXIT_USAGE: u8 = 64;
/// The command could not be run, or the host could not be talked to.
const EXIT_FAILED: u8 = 125;

#[derive(Debug, PartialEq, Eq)]
enum Contract {
    RuntimeApi,
    OneShot,
}

fn main() -> ExitCode {
    let (contract, command) = match arguments(std::env::args_os().skip(1)) {
        Ok(parsed) => parsed,
        Err(reason) => {
            eprintln!("dunnage-init: {reason}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let ended = match contract {
        Contract::RuntimeApi => process::run(&command),
        Contract::OneShot => one_shot::serve(&command),
    };
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("dunnage-init: {error}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}

/// `--contract NAME -- COMMAND ARGUMENTS…`
fn arguments(mut given: impl Iterator<Item = OsString>) -> Result<(Contract, Vec<OsString>), &'static str> {
    const USAGE: &str = "usage: dunnage-init --contract runtime-api|one-shot -- COMMAND [ARGUMENT…]";
    let mut next = || given.next().ok_or(USAGE);
    if next()? != "--contract" {
        return Err(USAGE);
    }
    let contract = match next()?.to_str() {
        Some("runtime-api") => Contract::RuntimeApi,
        Some("one-shot") => Contract::OneShot,
        _ => return Err(USAGE),
    };
    if next()? != "--" {
        return Err(USAGE);
    }
    let command: Vec<OsString> = given.collect();
    if command.is_empty() {
        return Err("the image names no command: give it an ENTRYPOINT or CMD");
    }
    Ok((contract, command))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<(Contract, Vec<OsString>), &'static str> {
        arguments(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn arguments_name_contract_and_command() {
        let (contract, command) = parse("--contract one-shot -- /function -- x").unwrap();
        assert_eq!(contract, Contract::OneShot);
        assert_eq!(command, ["/function", "--", "x"]);
        for bad in ["", "--contract", "--contract other -- x", "--contract one-shot x", "-- x"] {
            assert!(parse(bad).unwrap_err().starts_with("usage"), "{bad}");
        }
        assert!(parse("--contract one-shot --").unwrap_err().contains("ENTRYPOINT"));
    }
}
