//! The HTTP API: the only module that knows status codes.
//!
//! A request goes through `server` (limits, id, span), `route` (which endpoint), `auth` (who) and
//! one of the `handlers`, which translate: what is decided is decided in `deploy` and `invoke`.

use std::sync::Arc;

use hyper::Request;
use tokio::net::TcpListener;

use crate::app::App;

pub mod server;
pub mod trace;

pub mod route;

pub mod auth;

pub mod body;

mod handlers;

pub mod wire;

pub mod problem;

pub mod openapi;

mod write_timeout;

/// Serves until the app is told to stop, then finishes what is under way within
/// [`crate::limits::DRAIN_TIMEOUT`].
pub async fn serve(app: Arc<App>, listener: TcpListener) {
    let (shutdown, metrics) = (app.shutdown.clone(), app.metrics.clone());
    let api = Arc::new(handlers::Api::new(app));
    let handler = move |request: Request<body::RequestBody>| handlers::answer(api.clone(), request);
    server::serve(listener, shutdown, metrics, handler).await;
}
