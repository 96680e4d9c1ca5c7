//! Processes: start one, wait for it while reaping all others, end what it leaves behind.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};

/// Runs the command, with this program's own streams, to its end.
pub(crate) fn run(command: &[OsString]) -> io::Result<u8> {
    let child = spawn(&mut prepare(command))?;
    wait(&child)
}

/// The command in a process group of its own.
pub(crate) fn prepare(command: &[OsString]) -> Command {
    let mut prepared = Command::new(&command[0]);
    prepared.args(&command[1..]).process_group(0);
    prepared
}

pub(crate) fn spawn(command: &mut Command) -> io::Result<Child> {
    command.spawn().map_err(|error| {
        let program = command.get_program().to_string_lossy();
        io::Error::new(error.kind(), format!("{program} cannot be run: {error}"))
    })
}

/// Waits for the child's end; orphans that end meanwhile are reaped, as PID 1 must. Only this
/// function waits: a second waiter could take the child's status away.
pub(crate) fn wait(child: &Child) -> io::Result<u8> {
    // Anywhere but as PID 1 (in a test) other children are somebody else's to wait for.
    let awaited = if is_pid_1() { None } else { Some(pid_of(child)) };
    loop {
        let ended = match awaited {
            None => rustix::process::wait(WaitOptions::empty()),
            Some(pid) => rustix::process::waitpid(Some(pid), WaitOptions::empty()),
        };
        match ended {
            Ok(Some((pid, status))) if pid == pid_of(child) => return Ok(exit_code(status)),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Kills and reaps whatever a command left running, so that it cannot meddle with the next.
pub(crate) fn end_strays(child: &Child) {
    // For PID 1 the group "1" is every other process of the container; anywhere else (in a test)
    // it would be every process of the machine.
    let group = if is_pid_1() { Pid::INIT } else { pid_of(child) };
    // No such process is what is wanted.
    let _ = rustix::process::kill_process_group(group, Signal::KILL);
    if group == Pid::INIT {
        while let Ok(Some(_)) = rustix::process::wait(WaitOptions::empty()) {}
    }
}

fn is_pid_1() -> bool {
    std::process::id() == 1
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_child(child)
}

/// As a shell tells it.
fn exit_code(status: WaitStatus) -> u8 {
    let code = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 255,
    };
    u8::try_from(code).unwrap_or(255)
}
