//! Who has a place, who waits for one, and whose turn it is: the deciding part, without IO.
//!
//! A call enters; it has a place at once, waits, or is turned away. Whenever a place is freed, the
//! first in the queue whose function has room gets it. A function at its limit holds up nobody else.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use uuid::Uuid;

use crate::limits;

/// One call among those that wait or have a place.
pub(super) type Ticket = u64;

#[derive(Debug)]
pub(super) struct State {
    places: usize,
    waiting_max: usize,
    next: Ticket,
    holding: HashMap<Ticket, Uuid>,
    by_function: HashMap<Uuid, usize>,
    queue: VecDeque<Waiting>,
    service: MeanService,
}

#[derive(Debug)]
struct Waiting {
    ticket: Ticket,
    function: Uuid,
    /// Places that the function may have at once.
    limit: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entered {
    HasPlace(Ticket),
    Waits(Ticket),
    /// Too many wait already.
    Full,
}

impl State {
    pub(super) fn new(places: usize, waiting_max: usize) -> Self {
        Self {
            places: places.max(1),
            waiting_max,
            next: 0,
            holding: HashMap::new(),
            by_function: HashMap::new(),
            queue: VecDeque::new(),
            service: MeanService::default(),
        }
    }

    pub(super) fn enter(&mut self, function: Uuid, limit: usize) -> Entered {
        let waiting = Waiting { ticket: self.next, function, limit: limit.max(1) };
        // Whoever waits could not have a place, but a later call of the same function must not pass it.
        let first = !self.queue.iter().any(|w| w.function == function);
        if first && self.has_room(&waiting) {
            self.next += 1;
            self.take(&waiting);
            return Entered::HasPlace(waiting.ticket);
        }
        if self.queue.len() >= self.waiting_max {
            return Entered::Full;
        }
        self.next += 1;
        let ticket = waiting.ticket;
        self.queue.push_back(waiting);
        Entered::Waits(ticket)
    }

    /// Ends a ticket, whether it waits or has a place; an unknown one is ignored. Returns the
    /// tickets that have a place from now on.
    pub(super) fn end(&mut self, ticket: Ticket) -> Vec<Ticket> {
        match self.holding.remove(&ticket) {
            Some(function) => self.free(function),
            None => self.queue.retain(|w| w.ticket != ticket),
        }
        self.admit()
    }

    pub(super) fn taken(&self) -> usize {
        self.holding.len()
    }

    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Tells how long a call held its place.
    pub(super) fn served(&mut self, held: Duration) {
        self.service.add(held);
    }

    /// When a call of the function that is turned away now may try again.
    pub(super) fn retry_after_seconds(&self, function: Uuid, limit: usize) -> u64 {
        let of_function = self.queue.iter().filter(|w| w.function == function).count();
        let all = retry_after_seconds(self.queue.len(), self.places, self.service.mean());
        all.max(retry_after_seconds(of_function, limit.max(1), self.service.mean()))
    }

    fn has_room(&self, call: &Waiting) -> bool {
        let of_function = self.by_function.get(&call.function).copied().unwrap_or(0);
        self.holding.len() < self.places && of_function < call.limit
    }

    fn take(&mut self, call: &Waiting) {
        self.holding.insert(call.ticket, call.function);
        *self.by_function.entry(call.function).or_default() += 1;
    }

    fn free(&mut self, function: Uuid) {
        if let Some(count) = self.by_function.get_mut(&function) {
            *count -= 1;
            if *count == 0 {
                self.by_function.remove(&function);
            }
        }
    }

    fn admit(&mut self) -> Vec<Ticket> {
        let mut admitted = Vec::new();
        let mut held_up = HashSet::new();
        let mut at = 0;
        while at < self.queue.len() && self.holding.len() < self.places {
            let call = &self.queue[at];
            if held_up.contains(&call.function) || !self.has_room(call) {
                held_up.insert(call.function);
                at += 1;
            } else if let Some(call) = self.queue.remove(at) {
                self.take(&call);
                admitted.push(call.ticket);
            }
        }
        admitted
    }
}

/// The queue's length over the rate at which places are freed, in whole seconds.
fn retry_after_seconds(waiting: usize, places: usize, mean_service: Duration) -> u64 {
    let turns = (waiting as f64 + 1.0) / places as f64;
    let seconds = (turns * mean_service.as_secs_f64()).ceil();
    // A float too large for the integer becomes the largest integer.
    (seconds as u64).clamp(limits::RETRY_AFTER_SECONDS_MIN, limits::RETRY_AFTER_SECONDS_MAX)
}

/// A moving mean of the time that a place is held; recent calls weigh more.
#[derive(Debug, Default)]
struct MeanService {
    seconds: Option<f64>,
}

impl MeanService {
    /// The newest call's share of the mean.
    const WEIGHT: f64 = 0.1;

    fn add(&mut self, held: Duration) {
        let held = held.as_secs_f64();
        let mean = self.seconds.map_or(held, |mean| mean + Self::WEIGHT * (held - mean));
        self.seconds = Some(mean);
    }

    /// One second before anything was measured.
    fn mean(&self) -> Duration {
        Duration::from_secs_f64(self.seconds.unwrap_or(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Uuid = Uuid::from_u128(1);
    const B: Uuid = Uuid::from_u128(2);

    fn waits(state: &mut State, function: Uuid, limit: usize) -> Ticket {
        match state.enter(function, limit) {
            Entered::Waits(ticket) => ticket,
            other => panic!("{other:?}"),
        }
    }

    fn has_place(state: &mut State, function: Uuid, limit: usize) -> Ticket {
        match state.enter(function, limit) {
            Entered::HasPlace(ticket) => ticket,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn places_go_in_the_order_of_arrival() {
        let mut state = State::new(1, 10);
        let first = has_place(&mut state, A, 5);
        let second = waits(&mut state, A, 5);
        let third = waits(&mut state, B, 5);
        assert_eq!(state.end(first), [second]);
        assert_eq!(state.end(second), [third]);
        assert_eq!(state.end(third), [0; 0]);
        assert_eq!((state.taken(), state.waiting()), (0, 0));
        assert!(state.by_function.is_empty());
    }

    #[test]
    fn a_function_at_its_limit_holds_up_nobody_else() {
        let mut state = State::new(3, 10);
        let a = has_place(&mut state, A, 1);
        let a2 = waits(&mut state, A, 1);
        let b = has_place(&mut state, B, 5);
        assert_eq!(state.end(b), [0; 0]);
        // A later call with a laxer limit does not pass the one that waits.
        let a3 = waits(&mut state, A, 9);
        assert_eq!(state.end(a), [a2, a3]);
    }

    #[test]
    fn whoever_gives_up_leaves_the_queue() {
        let mut state = State::new(1, 2);
        let a = has_place(&mut state, A, 1);
        let gone = waits(&mut state, A, 1);
        let next = waits(&mut state, B, 1);
        assert_eq!(state.enter(B, 1), Entered::Full);
        assert_eq!(state.end(gone), [0; 0]);
        assert_eq!(state.end(gone), [0; 0]);
        assert_eq!(state.waiting(), 1);
        assert_eq!(state.end(a), [next]);
        assert!(state.holding.contains_key(&next) && !state.holding.contains_key(&gone));
    }

    #[test]
    fn giving_up_lets_those_behind_in() {
        let mut state = State::new(2, 10);
        has_place(&mut state, A, 2);
        let strict = waits(&mut state, A, 1);
        let lax = waits(&mut state, A, 2);
        assert_eq!(state.end(strict), [lax]);
    }

    #[test]
    fn retry_after_follows_queue_and_service_time() {
        let seconds = Duration::from_secs;
        assert_eq!(retry_after_seconds(0, 10, Duration::from_millis(5)), 1);
        assert_eq!(retry_after_seconds(0, 1, seconds(6)), 6);
        assert_eq!(retry_after_seconds(19, 10, seconds(5)), 10);
        assert_eq!(retry_after_seconds(1000, 1, seconds(900)), 120);
        let mut state = State::new(10, 100);
        assert_eq!(state.retry_after_seconds(A, 1), 1);
        state.served(seconds(4));
        has_place(&mut state, A, 1);
        waits(&mut state, A, 1);
        assert_eq!(state.retry_after_seconds(A, 1), 8, "the function's own limit counts");
        assert_eq!(state.retry_after_seconds(B, 10), 1);
    }

    /// Whatever comes and goes, no bound is broken and nobody who could run waits.
    #[test]
    fn the_bounds_hold_whatever_happens() {
        let mut state = State::new(4, 8);
        let mut live = Vec::new();
        let mut seed = 7_u64;
        for _ in 0..20_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let dice = (seed >> 33) as usize;
            if dice.is_multiple_of(2) || live.is_empty() {
                let function = Uuid::from_u128((dice / 2 % 3) as u128);
                match state.enter(function, 2) {
                    Entered::HasPlace(ticket) | Entered::Waits(ticket) => live.push(ticket),
                    Entered::Full => assert_eq!(state.waiting(), 8),
                }
            } else {
                let ticket = live.swap_remove(dice / 2 % live.len());
                for admitted in state.end(ticket) {
                    assert!(live.contains(&admitted));
                }
            }
            assert_eq!(state.taken() + state.waiting(), live.len());
            assert!(state.taken() <= 4 && state.by_function.values().all(|n| *n <= 2));
            assert!(!state.queue.iter().any(|w| state.has_room(w)), "{state:?}");
        }
    }
}
