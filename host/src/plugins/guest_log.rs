//! A guest's lines on their way into the host's log: bounded, and harmless to whoever reads it.

use std::sync::Arc;

use super::bindings::dunnage::plugin::log::Level;
use super::sanitise::{cut, one_line};
use crate::limits;

/// The lines of one call. Those over its share are counted; their number is logged at its end.
pub(super) struct GuestLog {
    plugin: Arc<str>,
    point: &'static str,
    calls: usize,
    kept: usize,
    bytes_left: usize,
    dropped: usize,
}

/// The guest logged so much that counting it was too much.
#[derive(Debug, thiserror::Error)]
#[error("it logged more than {} lines in one call", limits::PLUGIN_LOG_CALLS_MAX)]
pub(super) struct LogFlood;

impl GuestLog {
    pub(super) fn new(plugin: Arc<str>, point: &'static str) -> Self {
        Self { plugin, point, calls: 0, kept: 0, bytes_left: limits::PLUGIN_LOG_BYTES_MAX, dropped: 0 }
    }

    pub(super) fn line(&mut self, level: Level, message: &str) -> wasmtime::Result<()> {
        self.calls += 1;
        if self.calls > limits::PLUGIN_LOG_CALLS_MAX {
            return Err(LogFlood.into());
        }
        if self.kept == limits::PLUGIN_LOG_LINES_MAX || self.bytes_left == 0 {
            self.dropped += 1;
            return Ok(());
        }
        let text = cut(message, self.bytes_left);
        self.kept += 1;
        // A line that was cut took all that was left.
        self.bytes_left = if text.len() < message.len() { 0 } else { self.bytes_left - text.len() };
        write(level, &self.plugin, self.point, &one_line(text));
        Ok(())
    }

    /// What a guest wrote to its standard output and error, which often holds the reason of a trap.
    pub(super) fn printed(&self, bytes: &[u8]) {
        for line in String::from_utf8_lossy(bytes).lines().take(limits::PLUGIN_LOG_LINES_MAX) {
            write(Level::Debug, &self.plugin, self.point, &one_line(line));
        }
    }
}

impl Drop for GuestLog {
    fn drop(&mut self) {
        if self.dropped > 0 {
            let (plugin, point) = (&*self.plugin, self.point);
            tracing::warn!(plugin, point, dropped = self.dropped, "The plugin logged more than its share.");
        }
    }
}

fn write(level: Level, plugin: &str, point: &str, line: &str) {
    match level {
        Level::Debug => tracing::debug!(plugin, point, "{line}"),
        Level::Info => tracing::info!(plugin, point, "{line}"),
        Level::Warn => tracing::warn!(plugin, point, "{line}"),
        Level::Error => tracing::error!(plugin, point, "{line}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_then_ended() {
        let mut log = GuestLog::new("p".into(), "on-invoke");
        for _ in 0..limits::PLUGIN_LOG_CALLS_MAX {
            log.line(Level::Debug, "x").unwrap();
        }
        assert_eq!(log.kept, limits::PLUGIN_LOG_LINES_MAX);
        assert_eq!(log.dropped, limits::PLUGIN_LOG_CALLS_MAX - limits::PLUGIN_LOG_LINES_MAX);
        assert!(log.line(Level::Debug, "x").unwrap_err().is::<LogFlood>());
    }

    #[test]
    fn one_long_line_takes_the_whole_share() {
        let mut log = GuestLog::new("p".into(), "on-invoke");
        log.line(Level::Debug, &"ä".repeat(limits::PLUGIN_LOG_BYTES_MAX)).unwrap();
        log.line(Level::Debug, "x").unwrap();
        assert_eq!((log.kept, log.dropped), (1, 1));
    }
}
