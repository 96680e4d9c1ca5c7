//! The WebAssembly engine: what guests may use at all, the pool they live in, and the ticks by which
//! their time is measured.

use std::thread;

use wasmtime::component::{HasSelf, Linker};
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails,
};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::cli::{WasiCli, WasiCliView};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::{cli, filesystem, random};
use wasmtime_wasi::random::WasiRandom;

use super::bindings::EveryPoint;
use super::guest_state::GuestState;
use crate::limits;

/// An engine with its ticks running, for as long as someone holds it.
pub(super) fn start() -> wasmtime::Result<Engine> {
    let mut config = config();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool()));
    let engine = Engine::new(&config).or_else(|error| {
        // The address space may be short, by ulimit or on a small machine.
        tracing::warn!(%error, "No pool could be reserved for plugins; each call maps its own memory.");
        config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
        Engine::new(&config)
    })?;
    tick(&engine)?;
    Ok(engine)
}

/// What guests can import: the log, and a WASI in which there is nothing to find. Sockets and HTTP
/// are not linked at all.
pub(super) fn linker(engine: &Engine) -> wasmtime::Result<Linker<GuestState>> {
    let mut linker = Linker::new(engine);
    let l = &mut linker;
    EveryPoint::add_to_linker::<GuestState, HasSelf<GuestState>>(l, |state| state)?;
    wasmtime_wasi::p2::add_to_linker_proxy_interfaces_async(l)?;
    random::insecure::add_to_linker::<GuestState, WasiRandom>(l, |state| state.ctx().ctx.random())?;
    random::insecure_seed::add_to_linker::<GuestState, WasiRandom>(l, |state| state.ctx().ctx.random())?;
    cli::environment::add_to_linker::<GuestState, WasiCli>(l, GuestState::cli)?;
    cli::exit::add_to_linker::<GuestState, WasiCli>(l, GuestState::cli)?;
    cli::terminal_input::add_to_linker::<GuestState, WasiCli>(l, GuestState::cli)?;
    cli::terminal_output::add_to_linker::<GuestState, WasiCli>(l, GuestState::cli)?;
    cli::terminal_stdin::add_to_linker::<GuestState, WasiCli>(l, GuestState::cli)?;
    cli::terminal_stdout::add_to_linker::<GuestState, WasiCli>(l, GuestState::cli)?;
    cli::terminal_stderr::add_to_linker::<GuestState, WasiCli>(l, GuestState::cli)?;
    filesystem::types::add_to_linker::<GuestState, WasiFilesystem>(l, GuestState::filesystem)?;
    filesystem::preopens::add_to_linker::<GuestState, WasiFilesystem>(l, GuestState::filesystem)?;
    Ok(linker)
}

fn config() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .max_wasm_stack(limits::PLUGIN_STACK_BYTES)
        .async_stack_size(limits::PLUGIN_ASYNC_STACK_BYTES)
        .memory_reservation(limits::PLUGIN_MEMORY_BYTES_MAX as u64)
        .wasm_memory64(false)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        // One call runs one guest function to its end; without it the store is cheaper to make.
        .concurrency_support(false);
    config
}

fn pool() -> PoolingAllocationConfig {
    let calls = limits::PLUGIN_INSTANCES_MAX;
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(calls)
        .total_stacks(calls)
        // Most components have one memory; a place for each of the rare ones that have more.
        .total_memories(calls * 2)
        .total_tables(calls * 4)
        .total_core_instances(calls * count(limits::PLUGIN_CORE_INSTANCES_MAX))
        .max_memory_size(limits::PLUGIN_MEMORY_BYTES_MAX)
        .table_elements(limits::PLUGIN_TABLE_ELEMENTS_MAX)
        .max_tables_per_module(4)
        .max_core_instance_size(limits::PLUGIN_INSTANCE_DATA_BYTES_MAX)
        .max_component_instance_size(limits::PLUGIN_INSTANCE_DATA_BYTES_MAX)
        .max_core_instances_per_component(count(limits::PLUGIN_CORE_INSTANCES_MAX))
        .max_memories_per_component(count(limits::PLUGIN_MEMORIES_MAX))
        .max_tables_per_component(count(limits::PLUGIN_TABLES_MAX))
        .linear_memory_keep_resident(limits::PLUGIN_MEMORY_KEPT_BYTES)
        .table_keep_resident(limits::PLUGIN_TABLE_KEPT_BYTES)
        .max_unused_warm_slots(limits::PLUGIN_WARM_PLACES_MAX)
        .pagemap_scan(Enabled::Auto);
    pool
}

/// A thread and not a task: a guest that holds every executor thread must still be counted.
fn tick(engine: &Engine) -> wasmtime::Result<()> {
    let engine = engine.weak();
    let ticking = move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            thread::sleep(limits::PLUGIN_TICK);
        }
    };
    thread::Builder::new().name("plugin-ticks".to_owned()).spawn(ticking)?;
    Ok(())
}
