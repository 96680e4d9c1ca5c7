//! One call of one plugin: a place in the pool, a fresh instance under limits, and a word for
//! whatever went wrong.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Semaphore;
use tokio::time::timeout;
use wasmtime::component::{Instance, InstancePre};
use wasmtime::{Engine, PoolConcurrencyLimitError, Store, Trap, UpdateDeadline};

use super::Failure;
use super::guest_log::LogFlood;
use super::guest_state::GuestState;
use super::manifest::Bounds;
use super::sanitise::{cut, one_line};
use crate::limits;
use crate::metrics::Metrics;

/// Where calls run. Shared by all plugins of a host.
pub(super) struct Runtime {
    pub(super) engine: Engine,
    places: Semaphore,
    metrics: Arc<Metrics>,
}

/// What a call needs to know of its plugin.
pub(super) struct Callee<'a> {
    pub(super) name: &'a Arc<str>,
    pub(super) pre: &'a InstancePre<GuestState>,
    pub(super) bounds: Bounds,
}

/// A guest that is ready to be asked. It is asked once; a store is never used again.
pub(super) struct Guest {
    pub(super) store: Store<GuestState>,
    pub(super) instance: Instance,
}

/// Why a call gave no answer that can be used.
pub(super) struct Broken {
    pub(super) class: &'static str,
    pub(super) reason: String,
}

/// The guest ran for as long as it may.
#[derive(Debug, thiserror::Error)]
#[error("it ran for more than its CPU time")]
struct CpuSpent;

impl Broken {
    pub(super) fn bad_output(reason: impl Into<String>) -> Self {
        Self { class: "bad-output", reason: reason.into() }
    }

    /// The guest itself says that it failed.
    pub(super) fn own_error(text: &str) -> Self {
        Self { class: "error", reason: readable(text) }
    }

    pub(super) fn at(self, plugin: &str, point: &'static str) -> Failure {
        Failure { plugin: plugin.to_owned(), point, class: self.class, reason: self.reason }
    }
}

impl Runtime {
    pub(super) fn new(engine: Engine, metrics: Arc<Metrics>) -> Self {
        Self { engine, places: Semaphore::new(limits::PLUGIN_INSTANCES_MAX as usize), metrics }
    }

    /// Has `ask` put one question to a fresh instance, `read` judge the answer, and counts how it went.
    /// `read` gives what the answer is called in metrics besides.
    pub(super) async fn call<A, R, Asked>(
        &self,
        callee: Callee<'_>,
        point: &'static str,
        ask: impl FnOnce(Guest) -> Asked,
        read: impl FnOnce(A) -> Result<(&'static str, R), Broken>,
    ) -> Result<R, Failure>
    where
        Asked: Future<Output = (Guest, wasmtime::Result<A>)>,
    {
        let began = Instant::now();
        let name = callee.name.clone();
        let result = self.answer(callee, point, ask).await.and_then(read);
        let outcome = match &result {
            Ok((outcome, _)) => outcome,
            Err(broken) => broken.class,
        };
        self.metrics.plugin_calls.with_label_values(&[&*name, point, outcome]).inc();
        let seconds = self.metrics.plugin_call_seconds.with_label_values(&[&*name, point]);
        seconds.observe(began.elapsed().as_secs_f64());
        result.map(|(_, answer)| answer).map_err(|broken| broken.at(&name, point))
    }

    async fn answer<A, Asked>(
        &self,
        callee: Callee<'_>,
        point: &'static str,
        ask: impl FnOnce(Guest) -> Asked,
    ) -> Result<A, Broken>
    where
        Asked: Future<Output = (Guest, wasmtime::Result<A>)>,
    {
        let Ok(Ok(_place)) = timeout(limits::PLUGIN_WAIT_MAX, self.places.acquire()).await else {
            let reason = format!("{} calls of plugins are under way", limits::PLUGIN_INSTANCES_MAX);
            return Err(Broken { class: "busy", reason });
        };
        let wall = callee.bounds.wall;
        let asking = async {
            let mut store = self.store(&callee, point);
            match callee.pre.instantiate_async(&mut store).await {
                Err(error) => Err(explain(&error, store.data(), callee.bounds)),
                Ok(instance) => {
                    let (guest, answer) = ask(Guest { store, instance }).await;
                    answer.map_err(|error| explain(&error, guest.store.data(), callee.bounds))
                }
            }
        };
        timeout(wall, asking).await.unwrap_or_else(|_| {
            let reason = format!("it took more than {} ms", wall.as_millis());
            Err(Broken { class: "timeout", reason })
        })
    }

    fn store(&self, callee: &Callee<'_>, point: &'static str) -> Store<GuestState> {
        let state = GuestState::new(callee.name.clone(), point, callee.bounds.memory_bytes);
        let mut store = Store::new(&self.engine, state);
        store.limiter(|state| &mut state.memory);
        store.set_hostcall_fuel(limits::PLUGIN_HOSTCALL_FUEL);
        store.set_max_component_handles(limits::PLUGIN_HANDLES_MAX);
        // Each tick that the guest ran through is counted, and others get their turn after it.
        let mut ticks_left = callee.bounds.cpu.as_nanos().div_ceil(limits::PLUGIN_TICK.as_nanos());
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(move |_| {
            ticks_left = ticks_left.checked_sub(1).ok_or(CpuSpent)?;
            Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
        });
        store
    }
}

/// A guest's error in words, by its cause and not by what it did then.
fn explain(error: &wasmtime::Error, state: &GuestState, bounds: Bounds) -> Broken {
    let broken = |class, reason: String| Broken { class, reason };
    if error.is::<PoolConcurrencyLimitError>() {
        return broken("busy", "the pool of plugin instances is full".to_owned());
    }
    if error.is::<CpuSpent>() {
        return broken("timeout", format!("it ran for more than {} ms", bounds.cpu.as_millis()));
    }
    if state.memory.refused {
        let mib = bounds.memory_bytes / limits::MIB;
        return broken("memory", format!("it asked for more than its {mib} MiB of memory"));
    }
    match error.downcast_ref::<Trap>() {
        Some(trap @ (Trap::StringOutOfBounds | Trap::ListOutOfBounds | Trap::InvalidChar)) => {
            return Broken::bad_output(readable(&trap.to_string()));
        }
        Some(trap) => return broken("trap", trap_text(*trap)),
        None => {}
    }
    let cause = error.root_cause().to_string();
    if error.is::<LogFlood>() || error.is::<wasmtime_wasi::I32Exit>() {
        return broken("trap", readable(&cause));
    }
    if cause.contains("fuel allocated for hostcalls") {
        let kib = limits::PLUGIN_HOSTCALL_FUEL / limits::KIB;
        return Broken::bad_output(format!("it passed more than {kib} KiB to the host at once"));
    }
    Broken::bad_output(readable(&cause))
}

fn trap_text(trap: Trap) -> String {
    match trap {
        Trap::MemoryOutOfBounds => {
            "out of bounds memory access, which may be an overflow of its stack".to_owned()
        }
        Trap::StackOverflow => "its stack is exhausted".to_owned(),
        other => readable(&other.to_string()),
    }
}

fn readable(text: &str) -> String {
    one_line(cut(text, limits::PLUGIN_REASON_BYTES_MAX)).into_owned()
}
