//! Logs: one line per event on standard error, as text or JSON.

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// Libraries that would log statements or headers are held at warnings.
const DEFAULT_FILTER: &str = "info,sqlx=warn,sea_orm=warn,sea_orm_migration=warn,aws=warn,hyper=warn";

/// Begins logging; `DUNNAGE_LOG` sets what is logged, in the syntax of `EnvFilter`.
pub fn start(format: LogFormat) {
    let filter = EnvFilter::try_from_env("DUNNAGE_LOG").unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Json => builder.json().flatten_event(true).init(),
        LogFormat::Text => {
            use std::io::IsTerminal;
            builder.with_ansi(std::io::stderr().is_terminal()).init();
        }
    }
}
