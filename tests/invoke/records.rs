//! Records: all are written before the host ends; a database that fails costs records, never calls.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dunnage::containers::Exit;
use dunnage::db;
use dunnage::db::InvocationRecord;
use dunnage::invoke::protocol::Peers;
use dunnage::invoke::{Invoker, Observed, Options};
use dunnage::metrics::Metrics;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::rig::{Double, function, own_uid, program, request};

/// Serves `calls` calls over a database that fails the first `failures` batches, then stops; the
/// records that were written, and how many were counted as dropped.
async fn written(calls: usize, failures: usize) -> (Vec<InvocationRecord>, u64) {
    let engine = Double::new(program(|inside| async move {
        inside.connect().await.serve("1").await;
        std::future::pending::<Exit>().await
    }));
    let (tasks, flush) = (TaskTracker::new(), CancellationToken::new());
    let (metrics, dir) = (Arc::new(Metrics::new().unwrap()), tempfile::tempdir().unwrap());
    let options = Options {
        containers: Arc::new(engine),
        metrics: metrics.clone(),
        tasks: tasks.clone(),
        run_dir: dir.path().to_owned(),
        host_id: Uuid::new_v4(),
        places: 4,
        wait_max: Duration::from_secs(30),
        peers: Peers::Only(own_uid()),
    };
    let kept: Arc<Mutex<Vec<InvocationRecord>>> = Arc::default();
    let (to, attempts) = (kept.clone(), AtomicUsize::new(0));
    let write = move |batch: Arc<[InvocationRecord]>| {
        let fails = attempts.fetch_add(1, Ordering::SeqCst) < failures;
        if !fails {
            to.lock().unwrap().extend(batch.iter().cloned());
        }
        std::future::ready(if fails { Err(on_purpose()) } else { Ok(()) })
    };
    let invoker = Invoker::start(options, write, flush.clone());
    let function = function(5_000, 4);
    let call = async || {
        let (observed, verdict) = Observed::begin(metrics.clone());
        let request = request("{}");
        let place = invoker.place(&function, &function.version.limits).await.unwrap();
        let instance =
            invoker.instance(&function, &function.version.limits, &request, verdict).await.unwrap();
        instance.call(&request).await;
        drop(place);
        drop(observed);
    };
    futures_util::future::join_all((0..calls).map(|_| call())).await;
    // At this moment containers still go and records are on their way.
    flush.cancel();
    tasks.close();
    tokio::time::timeout(Duration::from_secs(20), tasks.wait()).await.expect("tasks end");
    let kept = kept.lock().unwrap().clone();
    (kept, metrics.records_dropped.get())
}

fn on_purpose() -> db::Error {
    db::Error::Query { doing: "writing records", source: "on purpose".into() }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_on_its_way_is_written_before_the_end() {
    let (records, dropped) = written(12, 0).await;
    assert_eq!((records.len(), dropped), (12, 0));
    let mut ids: Vec<_> = records.iter().map(|record| record.id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 12, "each is written once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_batch_is_tried_again() {
    let (records, dropped) = written(3, 2).await;
    assert_eq!((records.len(), dropped), (3, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_stays_away_costs_records_only() {
    let (records, dropped) = written(3, usize::MAX).await;
    assert_eq!((records.len(), dropped), (0, 3));
}
