//! Observe: what becomes of a call is counted and told to its record, also when its caller is gone.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::{Answer, Error, Outcome, Output};
use crate::containers;
use crate::metrics::Metrics;

/// What became of a call, as its record keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub wait_us: u64,
    pub run_us: u64,
    /// `ok`, a failure's kind, or the class of an error.
    pub outcome: &'static str,
    pub status: u16,
    pub error: Option<String>,
    pub memory_peak_bytes: Option<u64>,
}

/// One call that is being counted. Dropped before its end, the caller has gone.
pub struct Observed {
    metrics: Arc<Metrics>,
    begun: Instant,
    verdict: Option<oneshot::Sender<Verdict>>,
}

impl Observed {
    pub fn begin(metrics: Arc<Metrics>) -> (Self, oneshot::Receiver<Verdict>) {
        let (verdict, receiver) = oneshot::channel();
        (Self { metrics, begun: Instant::now(), verdict: Some(verdict) }, receiver)
    }

    pub fn end(mut self, result: &Result<Answer, Error>) {
        self.tell(match result {
            Ok(answer) => Verdict::of(answer),
            Err(error) => Verdict::failed(error),
        });
    }

    fn tell(&mut self, verdict: Verdict) {
        let Some(sender) = self.verdict.take() else { return };
        self.metrics.invocations.with_label_values(&[verdict.outcome]).inc();
        self.metrics.invocation_seconds.observe(self.begun.elapsed().as_secs_f64());
        // A call that was turned away before it had an instance has no record.
        let _ = sender.send(verdict);
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        self.tell(Verdict::cancelled());
    }
}

impl Verdict {
    fn of(answer: &Answer) -> Self {
        let (outcome, status, error) = match &answer.outcome {
            Outcome::Answered(Output::Json(_)) => ("ok", 200, None),
            Outcome::Answered(Output::Full(response)) => ("ok", response.status, None),
            Outcome::Failed(failure) => (failure.kind.as_str(), 400, Some(failure.message.clone())),
        };
        Self {
            wait_us: answer.wait_us,
            run_us: answer.run_us,
            outcome,
            status,
            error,
            memory_peak_bytes: answer.memory_peak_bytes,
        }
    }

    fn failed(error: &Error) -> Self {
        let (outcome, status) = class(error);
        Self::without_answer(outcome, status, error.to_string())
    }

    pub(super) fn cancelled() -> Self {
        Self::without_answer("cancelled", 499, "the caller went away before the answer".to_owned())
    }

    fn without_answer(outcome: &'static str, status: u16, error: String) -> Self {
        Self { wait_us: 0, run_us: 0, outcome, status, error: Some(error), memory_peak_bytes: None }
    }
}

/// The label in metrics, and the status that records keep.
fn class(error: &Error) -> (&'static str, u16) {
    match error {
        Error::NoSuchFunction(_) => ("no-such-function", 404),
        Error::NotDeployed(_) => ("not-deployed", 404),
        Error::Denied(_) => ("denied", 403),
        Error::Withheld(_) => ("withheld", 502),
        Error::Plugin(_) => ("plugin-failed", 503),
        Error::Full { .. } => ("full", 429),
        Error::Containers(containers::Error::NoSuchImage(_)) => ("no-image", 503),
        Error::Containers(_) => ("engine-failed", 503),
        Error::Io { .. } => ("io-failed", 500),
        Error::ShuttingDown => ("shutting-down", 503),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dropped_call_is_counted_once_as_cancelled() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let (observed, verdict) = Observed::begin(metrics.clone());
        drop(observed);
        assert_eq!(verdict.await.unwrap().outcome, "cancelled");
        let (observed, verdict) = Observed::begin(metrics.clone());
        observed.end(&Err(Error::Full { retry_after_seconds: 3 }));
        let verdict = verdict.await.unwrap();
        assert_eq!((verdict.outcome, verdict.status), ("full", 429));
        let count = |outcome| metrics.invocations.with_label_values(&[outcome]).get();
        assert_eq!((count("cancelled"), count("full"), count("ok")), (1, 1, 0));
        assert_eq!(metrics.invocation_seconds.get_sample_count(), 2);
    }
}
