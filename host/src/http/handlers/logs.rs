//! Logs: a list, or a stream that goes on until the client or the host ends.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::stream;
use hyper::StatusCode;
use tokio::sync::OwnedSemaphorePermit;
use uuid::Uuid;

use super::{Answer, Api, Call};
use crate::app::App;
use crate::db::{self, LogKind, LogQuery};
use crate::http::body;
use crate::http::problem::overloaded;
use crate::http::wire::log::{Follower, LogEntry, Logs, entries, parse_query};
use crate::{clock, limits};

pub(super) async fn logs(api: &Arc<Api>, call: &Call) -> Answer {
    let (query, follow) = parse_query(call.query())?;
    let function = call.function(&api.app).await?;
    if follow {
        return self::follow(api, function.id, query);
    }
    let logs = read(&api.app, function.id, &query).await?;
    Ok(body::json(StatusCode::OK, &Logs { logs }))
}

async fn read(app: &App, function: Uuid, query: &LogQuery) -> Result<Vec<LogEntry>, db::Error> {
    let lines = app.db.logs(function, query).await?;
    let calls = match query.kind {
        Some(LogKind::Deploy) => Vec::new(),
        _ => app.db.invocations(function, limits::PAGE_ROWS_MAX).await?,
    };
    Ok(entries(query, &lines, &calls))
}

struct Following {
    app: Arc<App>,
    function: Uuid,
    query: LogQuery,
    follower: Follower,
    waiting: VecDeque<LogEntry>,
    ticks: tokio::time::Interval,
    _place: OwnedSemaphorePermit,
}

/// Each follower has the database asked again and again, so that there is a bound on them. The
/// stream is dropped, with its place, when the client goes.
fn follow(api: &Arc<Api>, function: Uuid, query: LogQuery) -> Answer {
    let place = api.followers.clone().try_acquire_owned();
    let place =
        place.map_err(|_| overloaded("too many clients follow logs", limits::FOLLOW_INTERVAL.as_secs()))?;
    let mut ticks = tokio::time::interval(limits::FOLLOW_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let since = query.since.unwrap_or_else(clock::now_millis);
    let following = Following {
        app: api.app.clone(),
        function,
        query: LogQuery { limit: limits::PAGE_ROWS_MAX, ..query },
        follower: Follower::from(since),
        waiting: VecDeque::new(),
        ticks,
        _place: place,
    };
    Ok(body::lines(stream::unfold(following, |mut following| async move {
        let entry = following.next().await?;
        Some((entry, following))
    })))
}

impl Following {
    /// None when the host stops or the database fails: the client sees the stream end and asks again.
    async fn next(&mut self) -> Option<LogEntry> {
        let shutdown = self.app.shutdown.clone();
        while self.waiting.is_empty() {
            shutdown.run_until_cancelled(self.ticks.tick()).await?;
            self.query.since = Some(self.follower.since());
            match read(&self.app, self.function, &self.query).await {
                Ok(found) => self.waiting.extend(self.follower.fresh(found)),
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "Logs can no longer be followed."
                    );
                    return None;
                }
            }
        }
        self.waiting.pop_front()
    }
}
