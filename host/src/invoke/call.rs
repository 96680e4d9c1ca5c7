//! Call: the event goes in, an answer comes out, or it is told what went wrong instead.
//!
//! Starting and running have clocks of their own. What ends a call first decides, but for one thing:
//! a process that the kernel killed for its memory is out of memory, whatever else was seen of it.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::instance::{Ending, Instance};
use super::protocol::{Event, Report, Said};
use super::{Failure, FailureKind, Outcome, Request, respond};
use crate::clock;
use crate::containers::{Exit, Stream};
use crate::limits;
use crate::model::Limits;

/// A call that has come to its end.
#[derive(Debug)]
pub struct Ended {
    pub outcome: Outcome,
    /// From the event handed over to the answer complete; 0 when it was never handed over.
    pub run_us: u64,
    pub memory_peak_bytes: Option<u64>,
    /// When the event was handed over, or it was clear that it never would be.
    pub started: Instant,
}

/// What ended a step.
#[derive(Debug)]
enum End {
    Said(Said),
    Exited(Exit),
    OutOfTime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Starting,
    Running,
}

impl Instance {
    /// Serves the one call that this instance is for.
    pub async fn call(mut self, request: &Request) -> Ended {
        let (step, begun, end) = match self.await_end(limits::INSTANCE_INIT_TIMEOUT).await {
            End::Said(Said::Ready) => {
                let timeout = Duration::from_millis(self.limits.timeout_ms.into());
                self.line.offer(self.event(request, timeout));
                let begun = Instant::now();
                (Step::Running, begun, self.await_end(timeout).await)
            }
            end => (Step::Starting, Instant::now(), end),
        };
        let run_us = if step == Step::Running { micros(begun.elapsed()) } else { 0 };
        self.conclude(step, end, run_us, begun).await
    }

    fn event(&self, request: &Request, timeout: Duration) -> Event {
        let timeout_ms = i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX);
        Event {
            id: request.id.to_string(),
            deadline_ms: clock::now_millis().saturating_add(timeout_ms),
            function: self.function.clone(),
            trace: request.request_id.clone(),
            body: Bytes::copy_from_slice(request.event.get().as_bytes()),
        }
    }

    /// Waits for the first thing that ends a step: a word, the end of the process, the clock.
    async fn await_end(&mut self, within: Duration) -> End {
        let exit = tokio::select! {
            biased;
            said = self.line.heard() => return End::Said(said),
            exit = &mut self.exit => exit.unwrap_or_default(),
            () = tokio::time::sleep(within) => return End::OutOfTime,
        };
        match self.line.last_words(limits::ANSWER_GRACE).await {
            // A program that asked for its event and ended has not answered.
            Some(Said::Ready) | None => End::Exited(exit),
            Some(said) => End::Said(said),
        }
    }

    async fn conclude(self, step: Step, end: End, run_us: u64, started: Instant) -> Ended {
        let (oom_killed, memory_peak_bytes) = self.memory_at(&end).await;
        let ending = if matches!(end, End::OutOfTime) { Ending::Kill } else { Ending::Remove };
        let may_write_more = !matches!(end, End::Exited(_));
        if let End::Said(Said::Failed(report) | Said::InitFailed(report)) = &end {
            keep_trace(&self, report);
        }
        let outcome = match attribute(step, end, oom_killed, &self.limits) {
            Ok(outcome) => outcome,
            Err(mut failure) => {
                if may_write_more {
                    tokio::time::sleep(limits::LOG_SETTLE).await;
                }
                failure.log_tail = self.log.tail();
                Outcome::Failed(failure)
            }
        };
        self.release(ending);
        Ended { outcome, run_us, memory_peak_bytes, started }
    }

    /// Whether the kernel killed for memory, and the most that was used.
    async fn memory_at(&self, end: &End) -> (bool, Option<u64>) {
        let exit = match end {
            End::Exited(exit) => exit.clone(),
            _ => Exit::default(),
        };
        let complete = exit.oom_killed && exit.memory_peak_bytes.is_some();
        let now = if complete { None } else { self.memory().await };
        let oom_killed = exit.oom_killed || now.is_some_and(|memory| memory.oom_kills > 0);
        (oom_killed, exit.memory_peak_bytes.or(now.map(|memory| memory.peak_bytes)))
    }
}

/// The trace that came with an error belongs to the function's log, where its author looks.
fn keep_trace(instance: &Instance, report: &Report) {
    for frame in &report.stack_trace {
        let line_end: &[u8] = if frame.ends_with('\n') { b"" } else { b"\n" };
        instance.log.push(Stream::Stderr, &[frame.as_bytes(), line_end].concat());
    }
}

/// What came of a call, by what ended it.
fn attribute(step: Step, end: End, oom_killed: bool, limits: &Limits) -> Result<Outcome, Failure> {
    if oom_killed {
        let message = format!("the function ran out of memory: its limit is {} MiB", limits.memory_mib);
        let exit_code = if let End::Exited(exit) = end { exit.code } else { None };
        return Err(Failure { exit_code, ..failure(FailureKind::OutOfMemory, message) });
    }
    match (step, end) {
        (Step::Running, End::Said(Said::Answered(body))) => {
            respond::parse(&body).map(Outcome::Answered).map_err(|why| failure(FailureKind::BadResponse, why))
        }
        (Step::Running, End::Said(Said::TooLarge)) => Err(too_large()),
        (Step::Running, End::Said(Said::Failed(report))) => Err(reported(FailureKind::FunctionError, report)),
        (Step::Running, End::Exited(exit)) => Err(exited(FailureKind::Exited, "before it answered", &exit)),
        (Step::Running, End::OutOfTime) => {
            let message = format!("the function did not answer within {} ms", limits.timeout_ms);
            Err(failure(FailureKind::Timeout, message))
        }
        (_, End::Said(Said::InitFailed(report))) => Err(reported(FailureKind::InitError, report)),
        (Step::Starting, End::Exited(exit)) => {
            Err(exited(FailureKind::InitError, "before it was ready", &exit))
        }
        (Step::Starting, _) => {
            let seconds = limits::INSTANCE_INIT_TIMEOUT.as_secs();
            let message = format!("the function was not ready within {seconds} s of its start");
            Err(failure(FailureKind::InitError, message))
        }
        // The session says that it is ready once, before it hands an event over.
        (Step::Running, End::Said(Said::Ready)) => Err(failure(
            FailureKind::BadResponse,
            "the function asked for another event before it answered".to_owned(),
        )),
    }
}

fn failure(kind: FailureKind, message: String) -> Failure {
    Failure { kind, message, error_type: None, exit_code: None, log_tail: Vec::new() }
}

fn too_large() -> Failure {
    let mib = limits::RESPONSE_BYTES_MAX / limits::MIB;
    failure(FailureKind::ResponseTooLarge, format!("the function's answer is over {mib} MiB"))
}

fn reported(kind: FailureKind, report: Report) -> Failure {
    Failure { error_type: report.error_type, exit_code: report.exit_code, ..failure(kind, report.message) }
}

fn exited(kind: FailureKind, when: &str, exit: &Exit) -> Failure {
    let message = match exit.code {
        Some(code) => format!("the function's process ended with code {code} {when}"),
        None => format!("the function's process ended {when}"),
    };
    Failure { exit_code: exit.code, ..failure(kind, message) }
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invoke::Output;

    const LIMITS: Limits = Limits { memory_mib: 128, cpu_millis: 1000, timeout_ms: 700, concurrency: 1 };

    fn exit(code: i32) -> End {
        End::Exited(Exit { code: Some(code), ..Exit::default() })
    }

    fn failed(step: Step, end: End, oom_killed: bool) -> Failure {
        attribute(step, end, oom_killed, &LIMITS).unwrap_err()
    }

    #[test]
    fn an_answer_is_an_answer() {
        let answered = End::Said(Said::Answered(Bytes::from_static(b"[1]")));
        let outcome = attribute(Step::Running, answered, false, &LIMITS).unwrap();
        assert!(matches!(outcome, Outcome::Answered(Output::Json(json)) if json == "[1]"));
    }

    #[test]
    fn out_of_memory_wins_over_all_that_follows_from_it() {
        for (step, end) in [
            (Step::Starting, exit(137)),
            (Step::Starting, End::OutOfTime),
            (Step::Running, exit(137)),
            (Step::Running, End::OutOfTime),
            (Step::Running, End::Said(Said::Answered(Bytes::from_static(b"-9")))),
            (Step::Running, End::Said(Said::Failed(Report::default()))),
        ] {
            let failure = failed(step, end, true);
            assert_eq!(failure.kind, FailureKind::OutOfMemory);
            assert!(failure.message.contains("128 MiB"));
        }
        assert_eq!(failed(Step::Running, exit(137), true).exit_code, Some(137));
    }

    #[test]
    fn each_end_has_its_kind() {
        let report = || Report { message: "no".to_owned(), exit_code: Some(3), ..Report::default() };
        for (step, end, kind, says) in [
            (Step::Running, exit(3), FailureKind::Exited, "with code 3 before it answered"),
            (Step::Running, End::Exited(Exit::default()), FailureKind::Exited, "ended before it answered"),
            (Step::Running, End::OutOfTime, FailureKind::Timeout, "within 700 ms"),
            (Step::Running, End::Said(Said::TooLarge), FailureKind::ResponseTooLarge, "over 6 MiB"),
            (Step::Running, End::Said(Said::Failed(report())), FailureKind::FunctionError, "no"),
            (Step::Running, End::Said(Said::Answered(Bytes::new())), FailureKind::BadResponse, "not JSON"),
            (Step::Starting, exit(1), FailureKind::InitError, "with code 1 before it was ready"),
            (Step::Starting, End::OutOfTime, FailureKind::InitError, "not ready within 10 s"),
            (Step::Starting, End::Said(Said::InitFailed(report())), FailureKind::InitError, "no"),
        ] {
            let failure = failed(step, end, false);
            assert_eq!(failure.kind, kind);
            assert!(failure.message.contains(says), "{}", failure.message);
        }
        assert_eq!(failed(Step::Running, exit(3), false).exit_code, Some(3));
        let reported = failed(Step::Running, End::Said(Said::Failed(report())), false);
        assert_eq!(reported.exit_code, Some(3));
    }
}
