//! Place: how many calls are under way at once, on the host and per function; the rest waits its turn.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use uuid::Uuid;

use super::Error;
use super::place_state::{Entered, State, Ticket};
use crate::limits;
use crate::metrics::Metrics;

#[derive(Clone)]
pub(super) struct Places {
    shared: Arc<Shared>,
    wait_max: Duration,
}

struct Shared {
    queue: Mutex<Queue>,
    metrics: Arc<Metrics>,
}

struct Queue {
    state: State,
    /// How each one that waits is told.
    bells: HashMap<Ticket, oneshot::Sender<()>>,
}

/// The right to run. Dropping it frees the place, or leaves the queue.
pub struct Place {
    shared: Arc<Shared>,
    ticket: Ticket,
    since: Option<Instant>,
}

impl Places {
    pub(super) fn new(places: usize, wait_max: Duration, metrics: Arc<Metrics>) -> Self {
        let state = State::new(places, limits::INVOKE_WAITING_MAX);
        let queue = Mutex::new(Queue { state, bells: HashMap::new() });
        Self { shared: Arc::new(Shared { queue, metrics }), wait_max }
    }

    /// Waits for a place, for a bounded time. `limit` is the function's own number of places.
    pub(super) async fn enter(&self, function: Uuid, limit: u32) -> Result<Place, Error> {
        let begun = Instant::now();
        let Some((mut place, bell)) = self.line_up(function, limit) else {
            return Err(self.full(function, limit));
        };
        if let Some(bell) = bell
            && self.within_wait(bell).await.is_none()
        {
            drop(place);
            return Err(self.full(function, limit));
        }
        place.since = Some(Instant::now());
        self.shared.metrics.invocation_wait_seconds.observe(begun.elapsed().as_secs_f64());
        Ok(place)
    }

    /// What a call is told that cannot be served now.
    pub(super) fn full(&self, function: Uuid, limit: u32) -> Error {
        let limit = limit as usize;
        let queue = self.shared.lock();
        Error::Full { retry_after_seconds: queue.state.retry_after_seconds(function, limit) }
    }

    /// Waits for something else as long as for a place.
    pub(super) async fn within_wait<T>(&self, waiting: impl Future<Output = T>) -> Option<T> {
        tokio::time::timeout(self.wait_max, waiting).await.ok()
    }

    /// None when the queue is full; with a bell when the place is not free yet.
    fn line_up(&self, function: Uuid, limit: u32) -> Option<(Place, Option<oneshot::Receiver<()>>)> {
        let mut queue = self.shared.lock();
        let (ticket, bell) = match queue.state.enter(function, limit as usize) {
            Entered::Full => return None,
            Entered::HasPlace(ticket) => (ticket, None),
            Entered::Waits(ticket) => {
                let (ring, bell) = oneshot::channel();
                queue.bells.insert(ticket, ring);
                (ticket, Some(bell))
            }
        };
        self.shared.show(&queue);
        Some((Place { shared: self.shared.clone(), ticket, since: None }, bell))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut queue = self.shared.lock();
        if let Some(since) = self.since {
            queue.state.served(since.elapsed());
        }
        queue.bells.remove(&self.ticket);
        for ticket in queue.state.end(self.ticket) {
            if let Some(bell) = queue.bells.remove(&ticket) {
                // One that is being dropped at this moment gives its place back by itself.
                let _ = bell.send(());
            }
        }
        self.shared.show(&queue);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("no panic holds this lock")
    }

    fn show(&self, queue: &Queue) {
        self.metrics.active_executions.set(count(queue.state.taken()));
        self.metrics.waiting_invocations.set(count(queue.state.waiting()));
    }
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;

    const WAIT_MAX: Duration = Duration::from_millis(50);
    const A: Uuid = Uuid::from_u128(1);

    fn places(n: usize) -> (Places, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::new().unwrap());
        (Places::new(n, WAIT_MAX, metrics.clone()), metrics)
    }

    fn shown(metrics: &Metrics) -> (i64, i64) {
        (metrics.active_executions.get(), metrics.waiting_invocations.get())
    }

    fn is_pending(call: &mut (impl Future + Unpin)) -> bool {
        matches!(std::pin::Pin::new(call).poll(&mut Context::from_waker(Waker::noop())), Poll::Pending)
    }

    #[tokio::test]
    async fn a_freed_place_goes_to_the_next_in_line() {
        let (places, metrics) = places(1);
        let first = places.enter(A, 5).await.unwrap();
        let waits = tokio::spawn({
            let places = places.clone();
            async move { places.enter(A, 5).await.map(drop) }
        });
        while shown(&metrics) != (1, 1) {
            tokio::task::yield_now().await;
        }
        drop(first);
        waits.await.unwrap().unwrap();
        assert_eq!(shown(&metrics), (0, 0));
    }

    #[tokio::test]
    async fn one_that_is_dropped_loses_no_place() {
        let (places, metrics) = places(1);
        let first = places.enter(A, 5).await.unwrap();
        let mut gives_up = Box::pin(places.enter(A, 5));
        assert!(is_pending(&mut gives_up));
        let mut granted_then_dropped = Box::pin(places.enter(A, 5));
        assert!(is_pending(&mut granted_then_dropped));
        drop(gives_up);
        assert_eq!(shown(&metrics), (1, 1));
        drop(first);
        assert_eq!(shown(&metrics), (1, 0));
        drop(granted_then_dropped);
        assert_eq!(shown(&metrics), (0, 0));
        places.enter(A, 5).await.unwrap();
    }

    #[tokio::test]
    async fn waiting_is_bounded() {
        let (places, metrics) = places(1);
        let _first = places.enter(A, 5).await.unwrap();
        let before = Instant::now();
        let refused = places.enter(A, 5).await.map(drop).unwrap_err();
        assert!(matches!(refused, Error::Full { retry_after_seconds: 1..=120 }), "{refused}");
        assert!(before.elapsed() >= WAIT_MAX);
        assert_eq!(shown(&metrics), (1, 0));
    }
}
