//! The one-shot contract: a program that knows nothing of the Runtime API is run once per call.
//!
//! It finds the event in `FUNCTION_INPUT` and in `request.json`; its standard output is the answer,
//! unless it wrote `result.json`; its standard error is the log.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::process;
use crate::runtime_api::{Failure, Host, Invocation};

/// What is larger is only in `request.json`: the kernel bounds one variable at 128 KiB.
const VARIABLE_BYTES_MAX: usize = 64 * 1024;
/// One byte over what the host takes as an answer, so that the host refuses it and says why.
const OUTPUT_BYTES_MAX: u64 = 6 * 1024 * 1024 + 1;

/// The members of an event that get variables of their own.
#[derive(Default, Deserialize)]
struct Event<'a> {
    #[serde(borrow, default)]
    body: Option<&'a RawValue>,
    #[serde(borrow, default)]
    query: Option<&'a RawValue>,
    #[serde(default)]
    method: Option<String>,
}

/// Serves calls until the host is gone.
pub(crate) fn serve(command: &[OsString]) -> io::Result<u8> {
    let socket = required("DUNNAGE_RUNTIME_SOCKET")?;
    let shared = required("SHARED_PATH")?;
    let mut host = Host::connect(&socket)?;
    loop {
        let call = host.next()?;
        match answer(command, &shared, &call) {
            Ok(body) => host.respond(&call.id, &body)?,
            Err(failure) => host.fail(&call.id, &failure)?,
        }
    }
}

fn required(name: &str) -> io::Result<PathBuf> {
    let value = std::env::var_os(name).map(PathBuf::from);
    value.ok_or_else(|| io::Error::other(format!("{name} is not set")))
}

/// Runs the command for one call; its answer as JSON.
fn answer(command: &[OsString], shared: &Path, call: &Invocation) -> Result<Vec<u8>, Failure> {
    let prepared = clear(shared).and_then(|()| fs::write(shared.join("request.json"), &call.event));
    prepared.map_err(|error| platform_failure("preparing the working directory", &error))?;
    let (code, output) =
        run(command, shared, &call.event).map_err(|error| platform_failure("running the command", &error))?;
    if code != 0 {
        return Err(Failure {
            error_message: format!("the command exited with code {code}"),
            error_type: "exit-code",
            exit_code: Some(code),
        });
    }
    result_file(shared).map_err(|error| platform_failure("reading result.json", &error)).and_then(|file| {
        match file {
            Some(text) if serde_json::from_slice::<&RawValue>(&text).is_err() => Err(Failure {
                error_message: "result.json is not JSON".to_owned(),
                error_type: "bad-result",
                exit_code: None,
            }),
            Some(text) => Ok(text),
            None => Ok(as_json(&output)),
        }
    })
}

fn run(command: &[OsString], shared: &Path, event: &[u8]) -> io::Result<(u8, Vec<u8>)> {
    let mut prepared = process::prepare(command);
    prepared.current_dir(shared).stdin(Stdio::null()).stdout(Stdio::piped());
    for (name, value) in variables(event) {
        prepared.env(name, value);
    }
    let mut child = process::spawn(&mut prepared)?;
    let stdout = child.stdout.take();
    let reader = std::thread::spawn(move || stdout.map_or(Ok(Vec::new()), read_bounded));
    let code = process::wait(&child)?;
    // What it left running could hold the pipe open for ever.
    process::end_strays(&child);
    let output = reader.join().map_err(|_| io::Error::other("the reader of the output ended"))??;
    Ok((code, output))
}

/// The output up to the bound; the rest is read and dropped, so that the command is not held up.
fn read_bounded(mut pipe: impl Read) -> io::Result<Vec<u8>> {
    let mut output = Vec::new();
    (&mut pipe).take(OUTPUT_BYTES_MAX).read_to_end(&mut output)?;
    io::copy(&mut pipe, &mut io::sink())?;
    Ok(output)
}

/// The event and its members, where they fit and where an environment can hold them.
fn variables(event: &[u8]) -> Vec<(&'static str, String)> {
    let text = String::from_utf8_lossy(event);
    let members: Event<'_> = serde_json::from_str(&text).unwrap_or_default();
    let raw = |value: Option<&RawValue>| value.map_or_else(|| "null".to_owned(), |v| v.get().to_owned());
    let all = [
        ("HTTP_BODY", raw(members.body)),
        ("HTTP_QUERY", raw(members.query)),
        ("HTTP_METHOD", members.method.unwrap_or_default()),
        ("FUNCTION_INPUT", text.clone().into_owned()),
    ];
    let fits = |(_, value): &(&str, String)| value.len() <= VARIABLE_BYTES_MAX && !value.contains('\0');
    all.into_iter().filter(fits).collect()
}

/// Trimmed output: JSON as it is, else a JSON string.
fn as_json(output: &[u8]) -> Vec<u8> {
    let output = output.trim_ascii();
    if serde_json::from_slice::<&RawValue>(output).is_ok() {
        return output.to_vec();
    }
    serde_json::Value::from(String::from_utf8_lossy(output)).to_string().into_bytes()
}

/// `result.json`, when the command wrote one; no link and no pipe is followed.
fn result_file(shared: &Path) -> io::Result<Option<Vec<u8>>> {
    const O_NOFOLLOW_NONBLOCK: i32 = 0o400_000 | 0o4_000;
    let path = shared.join("result.json");
    match OpenOptions::new().read(true).custom_flags(O_NOFOLLOW_NONBLOCK).open(path) {
        Ok(file) if file.metadata()?.is_file() => read_bounded_file(&file).map(Some),
        Ok(_) => Err(io::Error::other("it is not a regular file")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn read_bounded_file(file: &File) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    file.take(OUTPUT_BYTES_MAX).read_to_end(&mut text)?;
    Ok(text)
}

/// Empties the working directory, so that no call sees another's files.
fn clear(shared: &Path) -> io::Result<()> {
    for entry in fs::read_dir(shared)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn platform_failure(doing: &str, error: &io::Error) -> Failure {
    Failure { error_message: format!("{doing}: {error}"), error_type: "one-shot", exit_code: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(script: &str, event: &str) -> Result<String, Failure> {
        let shared = tempfile::tempdir().unwrap();
        let command = ["/bin/sh", "-c", script].map(OsString::from);
        let call = Invocation { id: "1".to_owned(), event: event.as_bytes().to_vec() };
        answer(&command, shared.path(), &call).map(|body| String::from_utf8(body).unwrap())
    }

    #[test]
    fn output_is_the_answer() {
        assert_eq!(call("echo ' {\"a\": 1} '", "{}").unwrap(), "{\"a\": 1}");
        assert_eq!(call("echo two words", "{}").unwrap(), "\"two words\"");
        assert_eq!(call("printf '\\377'", "{}").unwrap(), "\"\u{fffd}\"");
        assert_eq!(call("true", "{}").unwrap(), "\"\"");
    }

    #[test]
    fn the_event_is_in_the_environment_and_in_a_file() {
        let event = r#"{"body":{"n":1.50},"query":{"q":"x"},"headers":{},"method":"PUT","path":"/"}"#;
        assert_eq!(call("printf %s \"$HTTP_BODY\"", event).unwrap(), r#"{"n":1.50}"#);
        assert_eq!(call("printf %s \"$HTTP_QUERY\"", event).unwrap(), r#"{"q":"x"}"#);
        assert_eq!(call("echo $HTTP_METHOD", event).unwrap(), "\"PUT\"");
        assert_eq!(call("printf %s \"$FUNCTION_INPUT\"", event).unwrap(), event);
        assert_eq!(call("cat request.json", event).unwrap(), event);
    }

    #[test]
    fn what_is_too_large_for_a_variable_is_only_in_the_file() {
        let event = format!(r#"{{"body":"{}"}}"#, "x".repeat(VARIABLE_BYTES_MAX));
        assert_eq!(call("echo \"${FUNCTION_INPUT-unset}\"", &event).unwrap(), "\"unset\"");
        assert_eq!(call("wc -c <request.json", &event).unwrap(), event.len().to_string());
    }

    #[test]
    fn a_result_file_wins() {
        let written = call("echo ignored; echo '{\"statusCode\":201}' >result.json", "{}").unwrap();
        assert_eq!(written.trim(), r#"{"statusCode":201}"#);
        assert_eq!(call("echo '{' >result.json", "{}").unwrap_err().error_type, "bad-result");
        for hostile in ["ln -s /etc/passwd result.json", "mkfifo result.json", "mkdir result.json"] {
            assert_eq!(call(hostile, "{}").unwrap_err().error_type, "one-shot", "{hostile}");
        }
    }

    #[test]
    fn a_code_other_than_zero_is_a_failure() {
        assert_eq!(call("echo no; exit 3", "{}").unwrap_err().exit_code, Some(3));
        assert_eq!(call("kill -9 $$", "{}").unwrap_err().exit_code, Some(137));
    }

    #[test]
    fn what_runs_on_does_not_hold_up_the_answer() {
        let begun = std::time::Instant::now();
        assert_eq!(call("sleep 60 & echo done", "{}").unwrap(), "\"done\"");
        assert!(begun.elapsed().as_secs() < 30);
    }

    #[test]
    fn output_is_bounded() {
        let long = call("head -c 20000000 /dev/zero | tr '\\0' x", "{}").unwrap();
        assert_eq!(long.len() as u64, OUTPUT_BYTES_MAX + 2);
    }
}
