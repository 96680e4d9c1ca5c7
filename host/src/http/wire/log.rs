//! Log: what a function and its deploys said, and how its calls ended, as one list.

use std::collections::HashMap;

use serde::Serialize;
use uuid::Uuid;

use super::{parse_time, time};
use crate::db::{InvocationRecord, LogKind, LogQuery, LogRecord, Millis};
use crate::http::problem::{Code, Problem};
use crate::limits;

/// Either a line that was written, or how a call ended: then `status` tells it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct LogEntry {
    level: String,
    message: String,
    status: Option<String>,
    error: Option<String>,
    /// The lines that are kept with a call itself.
    logs: Option<Vec<String>>,
    timestamp: String,
    invocation_id: Option<String>,
    version: Option<u64>,
    kind: &'static str,
    #[serde(skip)]
    pub at: Millis,
}

#[derive(Debug, Serialize)]
pub struct Logs {
    pub logs: Vec<LogEntry>,
}

/// Reads the query of a request for logs. `follow` is told apart from the rest.
pub fn parse_query(query: &str) -> Result<(LogQuery, bool), Problem> {
    let mut wanted = LogQuery { limit: limits::PAGE_ROWS_DEFAULT, ..LogQuery::default() };
    let mut follow = false;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let refuse = |rule: &str| Problem::new(Code::InvalidRequest, format!("{name} is {rule}"));
        let instant = || parse_time(&value).ok_or_else(|| refuse("a time as RFC 3339 writes it"));
        match &*name {
            "since" => wanted.since = Some(instant()?),
            "until" => wanted.until = Some(instant()?),
            "limit" => wanted.limit = parse_limit(&value)?,
            "level" if matches!(&*value, "debug" | "info" | "warn" | "error") => {
                wanted.level = Some(value.into_owned());
            }
            "level" => return Err(refuse("debug, info, warn or error")),
            "invocation" => {
                wanted.invocation = Some(Uuid::try_parse(&value).map_err(|_| refuse("a UUID"))?);
            }
            "version" => wanted.version = Some(value.parse().map_err(|_| refuse("a version's number"))?),
            "kind" if value == "invocation" => wanted.kind = Some(LogKind::Invocation),
            "kind" if value == "deploy" => wanted.kind = Some(LogKind::Deploy),
            "kind" => return Err(refuse("invocation or deploy")),
            "follow" => follow = matches!(&*value, "1" | "true"),
            _ => {}
        }
    }
    Ok((wanted, follow))
}

pub fn parse_limit(text: &str) -> Result<u64, Problem> {
    let within = |n: &u64| (1..=limits::PAGE_ROWS_MAX).contains(n);
    text.parse().ok().filter(within).ok_or_else(|| {
        Problem::new(Code::InvalidRequest, format!("limit is a number from 1 to {}", limits::PAGE_ROWS_MAX))
    })
}

/// Lines and the ends of calls that fit the query, newest first, no more than it asks for.
pub fn entries(query: &LogQuery, lines: &[LogRecord], calls: &[InvocationRecord]) -> Vec<LogEntry> {
    let mut all: Vec<LogEntry> = lines.iter().map(LogEntry::line).collect();
    all.extend(calls.iter().map(LogEntry::call).filter(|entry| entry.fits(query)));
    // Stable, so that lines of one instant keep the database's order.
    all.sort_by_key(|entry| std::cmp::Reverse(entry.at));
    all.truncate(usize::try_from(query.limit).unwrap_or(usize::MAX));
    all
}

impl LogEntry {
    fn line(record: &LogRecord) -> Self {
        Self {
            level: record.level.clone(),
            message: record.message.clone(),
            status: None,
            error: None,
            logs: None,
            timestamp: time(record.at),
            invocation_id: record.invocation_id.map(|id| id.to_string()),
            version: record.version,
            kind: match record.kind {
                LogKind::Invocation => "invocation",
                LogKind::Deploy => "deploy",
            },
            at: record.at,
        }
    }

    fn call(record: &InvocationRecord) -> Self {
        let ms = (record.wait_us + record.run_us) as f64 / 1000.0;
        let logs: Vec<String> = record.logs.iter().map(|line| line.message.clone()).collect();
        Self {
            level: if record.outcome == "ok" { "info" } else { "error" }.to_owned(),
            message: format!("the call ended after {ms:.1} ms: {}", record.outcome),
            status: Some(record.outcome.clone()),
            error: record.error.clone(),
            logs: (!logs.is_empty()).then_some(logs),
            timestamp: time(record.started_at),
            invocation_id: Some(record.id.to_string()),
            version: Some(record.version),
            kind: "invocation",
            at: record.started_at,
        }
    }

    fn fits(&self, query: &LogQuery) -> bool {
        let invocation = query.invocation.map(|id| id.to_string());
        query.kind != Some(LogKind::Deploy)
            && query.since.is_none_or(|since| self.at >= since)
            && query.until.is_none_or(|until| self.at <= until)
            && query.level.as_ref().is_none_or(|level| *level == self.level)
            && query.version.is_none_or(|version| self.version == Some(version))
            && (invocation.is_none() || self.invocation_id == invocation)
    }
}

const OVERLAP_MS: Millis = limits::FOLLOW_OVERLAP.as_millis() as Millis;

/// Tells what is new from poll to poll. Rows have no number of their own, and some come late, so
/// each poll looks back by [`limits::FOLLOW_OVERLAP`] and what was given already is left out.
pub struct Follower {
    newest: Millis,
    given: HashMap<LogEntry, usize>,
}

impl Follower {
    pub fn from(since: Millis) -> Self {
        Self { newest: since.saturating_add(OVERLAP_MS), given: HashMap::new() }
    }

    /// What the next poll has to ask for.
    pub fn since(&self) -> Millis {
        self.newest.saturating_sub(OVERLAP_MS)
    }

    /// Takes what a poll found, newest first; gives what was not given yet, oldest first.
    pub fn fresh(&mut self, mut found: Vec<LogEntry>) -> Vec<LogEntry> {
        found.reverse();
        let mut counted: HashMap<LogEntry, usize> = HashMap::new();
        let mut fresh = Vec::new();
        for entry in found {
            self.newest = self.newest.max(entry.at);
            let count = counted.entry(entry.clone()).or_default();
            *count += 1;
            if *count > self.given.get(&entry).copied().unwrap_or(0) {
                fresh.push(entry);
            }
        }
        self.given = counted;
        let since = self.since();
        self.given.retain(|entry, _| entry.at >= since);
        fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(at: Millis, message: &str) -> LogRecord {
        LogRecord {
            function_id: Uuid::nil(),
            version: Some(1),
            kind: LogKind::Invocation,
            invocation_id: None,
            level: "info".to_owned(),
            message: message.to_owned(),
            at,
        }
    }

    fn call(at: Millis, outcome: &str) -> InvocationRecord {
        InvocationRecord {
            id: Uuid::from_u128(7),
            function_id: Uuid::nil(),
            version: 2,
            request_id: "r".to_owned(),
            started_at: at,
            wait_us: 500,
            run_us: 1_000,
            outcome: outcome.to_owned(),
            status: 200,
            error: None,
            memory_peak_bytes: None,
            logs: Vec::new(),
        }
    }

    fn query(limit: u64) -> LogQuery {
        LogQuery { limit, ..LogQuery::default() }
    }

    #[test]
    fn lines_and_calls_are_one_list_newest_first() {
        let all = entries(&query(2), &[line(30, "b"), line(10, "a")], &[call(20, "timeout")]);
        let told: Vec<_> = all.iter().map(|e| (e.at, e.status.as_deref())).collect();
        assert_eq!(told, [(30, None), (20, Some("timeout"))]);
        assert_eq!(all[1].level, "error");
        assert_eq!(all[1].message, "the call ended after 1.5 ms: timeout");
    }

    #[test]
    fn calls_are_held_to_the_query_too() {
        let told = |query: &LogQuery| entries(query, &[], &[call(20, "ok")]).len();
        assert_eq!(told(&query(9)), 1);
        for unfit in [
            LogQuery { kind: Some(LogKind::Deploy), ..query(9) },
            LogQuery { since: Some(21), ..query(9) },
            LogQuery { until: Some(19), ..query(9) },
            LogQuery { level: Some("error".to_owned()), ..query(9) },
            LogQuery { version: Some(1), ..query(9) },
            LogQuery { invocation: Some(Uuid::nil()), ..query(9) },
        ] {
            assert_eq!(told(&unfit), 0, "{unfit:?}");
        }
        assert_eq!(told(&LogQuery { invocation: Some(Uuid::from_u128(7)), ..query(9) }), 1);
    }

    #[test]
    fn a_query_is_read_or_refused_by_the_parameters_name() {
        let (read, follow) =
            parse_query("since=2023-11-14T22:13:20Z&limit=5&level=warn&version=3&kind=deploy&follow=1&x=y")
                .unwrap();
        let expected = LogQuery {
            since: Some(1_700_000_000_000),
            level: Some("warn".to_owned()),
            version: Some(3),
            kind: Some(LogKind::Deploy),
            ..query(5)
        };
        assert_eq!((read, follow), (expected, true));
        assert_eq!(parse_query("").unwrap(), (query(limits::PAGE_ROWS_DEFAULT), false));
        for bad in [
            "since=now",
            "limit=0",
            "limit=1001",
            "limit=-1",
            "level=loud",
            "version=x",
            "kind=x",
            "invocation=1",
        ] {
            let problem = parse_query(bad).unwrap_err();
            assert_eq!(problem.code(), Code::InvalidRequest, "{bad}");
            let name = bad.split('=').next().unwrap();
            assert!(format!("{problem:?}").contains(name), "{problem:?}");
        }
    }

    #[test]
    fn a_follower_gives_each_row_once_and_late_ones_too() {
        let messages = |entries: Vec<LogEntry>| entries.into_iter().map(|e| e.message).collect::<Vec<_>>();
        let poll = |rows: &[LogRecord]| entries(&query(1_000), rows, &[]);
        let mut follower = Follower::from(100);
        assert_eq!(messages(follower.fresh(poll(&[line(120, "b"), line(110, "a")]))), ["a", "b"]);
        assert_eq!(messages(follower.fresh(poll(&[line(120, "b"), line(110, "a")]))), [""; 0]);
        let late = [line(130, "c"), line(120, "b"), line(115, "late"), line(110, "a")];
        assert_eq!(messages(follower.fresh(poll(&late))), ["late", "c"]);
        // The same line again at the same instant is another line.
        let twice = [line(130, "c"), line(130, "c"), line(120, "b"), line(115, "late"), line(110, "a")];
        assert_eq!(messages(follower.fresh(poll(&twice))), ["c"]);
        // What is older than the overlap is forgotten, and not asked for again.
        let far = 130 + 2 * OVERLAP_MS;
        assert_eq!(messages(follower.fresh(poll(&[line(far, "d")]))), ["d"]);
        assert_eq!(follower.given.len(), 1);
        assert!(follower.since() > 130);
    }
}
