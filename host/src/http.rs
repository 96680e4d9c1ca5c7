//! The HTTP API: the only module that knows status codes.

use std::sync::Arc;

use tokio::net::TcpListener;

use crate::app::App;

pub mod auth;

/// Serves until the app is told to stop, then finishes what is under way within
/// [`crate::limits::DRAIN_TIMEOUT`].
pub async fn serve(app: Arc<App>, listener: TcpListener) {
    let _ = (app, listener);
    todo!()
}
