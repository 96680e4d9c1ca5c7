//! Record: what became of a call is queued and written in batches, off every call's path.
//!
//! A call takes its place in the queue before it starts, and hands its record in when its container
//! is gone, with all that it wrote. So the writer knows, when it is told to end, whom to wait for.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Request;
use super::observe::Verdict;
use super::output::Line;
use crate::catalog::Deployed;
use crate::db::{InvocationRecord, LogKind, LogRecord};
use crate::metrics::Metrics;
use crate::{clock, db, limits};

#[derive(Clone)]
pub(super) struct Recorder {
    queue: mpsc::Sender<Entry>,
    /// One permit is one byte of logs in the queue.
    log_bytes: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

struct Entry {
    record: InvocationRecord,
    _log_bytes: Option<OwnedSemaphorePermit>,
}

/// A place in the queue, and what is known of a call before it starts.
pub(super) struct Ticket {
    /// None when the queue is full.
    place: Option<mpsc::OwnedPermit<Entry>>,
    record: InvocationRecord,
    verdict: oneshot::Receiver<Verdict>,
    log_bytes: Arc<Semaphore>,
}

impl Recorder {
    /// Starts the writer. It ends when `flush` is cancelled and every ticket was handed in.
    pub(super) fn start<W, F>(
        write: W,
        metrics: Arc<Metrics>,
        tasks: &TaskTracker,
        flush: CancellationToken,
    ) -> Self
    where
        W: Fn(Arc<[InvocationRecord]>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), db::Error>> + Send + 'static,
    {
        let (queue, entries) = mpsc::channel(limits::RECORD_QUEUE_MAX);
        tasks.spawn(write_all(entries, write, metrics.clone(), flush));
        let log_bytes = Arc::new(Semaphore::new(limits::RECORD_QUEUE_LOG_BYTES_MAX));
        Self { queue, log_bytes, metrics }
    }

    pub(super) fn ticket(
        &self,
        function: &Deployed,
        request: &Request,
        verdict: oneshot::Receiver<Verdict>,
    ) -> Ticket {
        let place = self.queue.clone().try_reserve_owned().ok();
        if place.is_none() {
            self.metrics.records_dropped.inc();
        }
        let record = InvocationRecord {
            id: request.id,
            function_id: function.function.id,
            version: function.version.number,
            request_id: request.request_id.clone(),
            started_at: clock::now_millis(),
            wait_us: 0,
            run_us: 0,
            outcome: String::new(),
            status: 0,
            error: None,
            memory_peak_bytes: None,
            logs: Vec::new(),
        };
        Ticket { place, record, verdict, log_bytes: self.log_bytes.clone() }
    }
}

impl Ticket {
    /// Queues the record as soon as it is known what became of the call.
    pub(super) async fn hand_in(self, lines: Vec<Line>) {
        let Some(place) = self.place else { return };
        let verdict = self.verdict.await.unwrap_or_else(|_| Verdict::cancelled());
        let mut record = self.record;
        record.wait_us = verdict.wait_us;
        record.run_us = verdict.run_us;
        record.outcome = verdict.outcome.to_owned();
        record.status = verdict.status;
        record.error = verdict.error;
        record.memory_peak_bytes = verdict.memory_peak_bytes;
        let bytes = lines.iter().map(|line| line.text.len()).sum::<usize>();
        let permit = u32::try_from(bytes).ok().and_then(|n| self.log_bytes.try_acquire_many_owned(n).ok());
        let lines = if permit.is_some() { lines } else { vec![dropped_log()] };
        record.logs = lines.into_iter().map(|line| log_record(&record, line)).collect();
        place.send(Entry { record, _log_bytes: permit });
    }
}

fn log_record(record: &InvocationRecord, line: Line) -> LogRecord {
    LogRecord {
        function_id: record.function_id,
        version: Some(record.version),
        kind: LogKind::Invocation,
        invocation_id: Some(record.id),
        level: line.level.to_owned(),
        message: line.text,
        at: line.at,
    }
}

fn dropped_log() -> Line {
    let text = "(the output was dropped: too much waits to be written)".to_owned();
    Line { level: "warn", text, at: clock::now_millis() }
}

async fn write_all<W, F>(
    mut entries: mpsc::Receiver<Entry>,
    write: W,
    metrics: Arc<Metrics>,
    flush: CancellationToken,
) where
    W: Fn(Arc<[InvocationRecord]>) -> F,
    F: Future<Output = Result<(), db::Error>>,
{
    let mut batch = Vec::with_capacity(limits::RECORD_BATCH_MAX);
    loop {
        let count = tokio::select! {
            biased;
            count = entries.recv_many(&mut batch, limits::RECORD_BATCH_MAX) => count,
            () = flush.cancelled(), if !entries.is_closed() => {
                // Tickets that are out keep their places.
                entries.close();
                continue;
            }
        };
        if count == 0 {
            return;
        }
        let (records, _permits): (Vec<_>, Vec<_>) =
            batch.drain(..).map(|entry| (entry.record, entry._log_bytes)).unzip();
        write_batch(&records.into(), &write, &metrics).await;
    }
}

/// Tries a few times, then counts the batch as lost.
async fn write_batch<W, F>(batch: &Arc<[InvocationRecord]>, write: &W, metrics: &Metrics)
where
    W: Fn(Arc<[InvocationRecord]>) -> F,
    F: Future<Output = Result<(), db::Error>>,
{
    let mut delay = limits::RECORD_RETRY_DELAY;
    for attempt in 1..=limits::RECORD_ATTEMPTS {
        match write(batch.clone()).await {
            Ok(()) => return,
            Err(_) if attempt < limits::RECORD_ATTEMPTS => {
                tokio::time::sleep(delay).await;
                delay *= 2;
            }
            Err(error) => {
                metrics.records_dropped.inc_by(batch.len() as u64);
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    records = batch.len(),
                    "Records of invocations could not be written; they are lost."
                );
            }
        }
    }
}
