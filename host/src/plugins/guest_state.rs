//! What the host keeps for one call of one plugin: its memory account, its log lines, its empty WASI.

use std::sync::Arc;

use wasmtime::component::ResourceTable;
use wasmtime::{ResourceLimiter, Result};
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use super::bindings::dunnage;
use super::bindings::dunnage::plugin::log::Level;
use super::guest_log::GuestLog;
use crate::limits;

pub(super) struct GuestState {
    pub(super) memory: MemoryAccount,
    log: GuestLog,
    table: ResourceTable,
    /// Made when first asked for: most guests know nothing of WASI.
    wasi: Option<QuietWasi>,
}

impl GuestState {
    pub(super) fn new(plugin: Arc<str>, point: &'static str, memory_bytes: usize) -> Self {
        Self {
            memory: MemoryAccount { most: memory_bytes, used: 0, elements: 0, refused: false },
            log: GuestLog::new(plugin, point),
            table: ResourceTable::new(),
            wasi: None,
        }
    }
}

/// Counts the bytes of all memories of one store together, which no setting of wasmtime does.
pub(super) struct MemoryAccount {
    most: usize,
    used: usize,
    /// Of all tables.
    elements: usize,
    /// The guest asked for more than it may have. What it does then, often a bare trap, does not say so.
    pub(super) refused: bool,
}

impl ResourceLimiter for MemoryAccount {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        Ok(grow(&mut self.used, current, desired, self.most, &mut self.refused))
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        let most = limits::PLUGIN_TABLE_ELEMENTS_MAX;
        Ok(grow(&mut self.elements, current, desired, most, &mut self.refused))
    }

    fn instances(&self) -> usize {
        limits::PLUGIN_CORE_INSTANCES_MAX
    }

    fn tables(&self) -> usize {
        limits::PLUGIN_TABLES_MAX
    }

    fn memories(&self) -> usize {
        limits::PLUGIN_MEMORIES_MAX
    }
}

fn grow(used: &mut usize, current: usize, desired: usize, most: usize, refused: &mut bool) -> bool {
    match used.checked_add(desired.saturating_sub(current)) {
        Some(total) if total <= most => {
            *used = total;
            true
        }
        _ => {
            *refused = true;
            false
        }
    }
}

impl dunnage::plugin::log::Host for GuestState {
    fn log(&mut self, level: Level, message: String) -> Result<()> {
        self.log.line(level, &message)
    }
}

// Interfaces of types alone ask for nothing.
impl dunnage::plugin::types::Host for GuestState {}
impl dunnage::admission::types::Host for GuestState {}

/// No files, no environment, no arguments, no network; what is printed is caught.
struct QuietWasi {
    ctx: WasiCtx,
    printed: MemoryOutputPipe,
}

impl QuietWasi {
    fn new() -> Self {
        let printed = MemoryOutputPipe::new(limits::PLUGIN_STDIO_BYTES_MAX);
        let ctx = WasiCtxBuilder::new()
            .stdout(printed.clone())
            .stderr(printed.clone())
            .allow_tcp(false)
            .allow_udp(false)
            .max_random_size(limits::PLUGIN_RANDOM_BYTES_MAX)
            .build();
        Self { ctx, printed }
    }
}

impl WasiView for GuestState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let wasi = self.wasi.get_or_insert_with(QuietWasi::new);
        WasiCtxView { ctx: &mut wasi.ctx, table: &mut self.table }
    }
}

/// However the call ends, also when its caller went away.
impl Drop for GuestState {
    fn drop(&mut self) {
        if let Some(wasi) = &self.wasi {
            self.log.printed(&wasi.printed.contents());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_are_counted_together() {
        let mut account = MemoryAccount { most: 100, used: 0, elements: 0, refused: false };
        assert!(account.memory_growing(0, 60, None).unwrap());
        assert!(account.memory_growing(60, 70, None).unwrap());
        assert!(!account.memory_growing(0, 31, None).unwrap());
        assert!(account.refused);
        assert!(account.memory_growing(0, 30, None).unwrap());
        assert!(!account.memory_growing(0, usize::MAX, None).unwrap());
    }
}
