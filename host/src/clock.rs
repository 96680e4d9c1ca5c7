//! The host's clock, in the units that rows and plugins use.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970, UTC; 0 on a machine whose clock is before that.
pub fn now_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
