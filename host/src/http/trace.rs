//! Trace: one id, one span, one line and one count per request. Never headers, bodies or queries.

use std::sync::Arc;
use std::time::Instant;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Response};
use tracing::Span;
use uuid::Uuid;

use super::body::ResponseBody;
use super::route;
use crate::limits;
use crate::metrics::Metrics;

pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Names one request in answers and logs; a client's own when it is well-formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(String);

impl RequestId {
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let sent = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
        match sent.filter(|text| is_well_formed(text)) {
            Some(text) => Self(text.to_owned()),
            None => Self(Uuid::now_v7().to_string()),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn header(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).expect("a request id has header characters only")
    }
}

/// A request under way. Dropped without an answer, it counts as cancelled.
pub(super) struct Observed {
    pub(super) span: Span,
    metrics: Arc<Metrics>,
    route: &'static str,
    method: &'static str,
    begun: Instant,
    answered: bool,
}

impl Observed {
    pub(super) fn begin(metrics: Arc<Metrics>, method: &Method, path: &str, id: &RequestId) -> Self {
        let route = route::route(method, path).map_or("unmatched", |route| route.endpoint.template());
        let method = method_label(method);
        let span = tracing::info_span!("request", method, route, request_id = id.as_str());
        Self { span, metrics, route, method, begun: Instant::now(), answered: false }
    }

    /// Counts and tells what the head of the answer says.
    pub(super) fn answered(mut self, response: &Response<ResponseBody>) {
        self.answered = true;
        self.end(response.status().as_str());
    }

    fn end(&self, status: &str) {
        let duration = self.begun.elapsed();
        self.metrics.http_requests.with_label_values(&[self.route, self.method, status]).inc();
        self.metrics.http_request_seconds.with_label_values(&[self.route]).observe(duration.as_secs_f64());
        let _in = self.span.enter();
        let duration_ms = duration.as_secs_f64() * 1000.0;
        if self.route.starts_with("/api") {
            tracing::info!(status, duration_ms, "Answered.");
        } else {
            tracing::debug!(status, duration_ms, "Answered.");
        }
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        if !self.answered {
            self.end("cancelled");
        }
    }
}

fn is_well_formed(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (1..=limits::REQUEST_ID_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed)
}

/// A client may invent methods; metrics must not grow with them.
fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_for(sent: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_str(sent).unwrap());
        RequestId::from_headers(&headers).0
    }

    #[test]
    fn a_well_formed_id_is_kept_and_any_other_is_replaced() {
        for good in ["a", "A.b_c-9", &"x".repeat(limits::REQUEST_ID_BYTES_MAX)] {
            assert_eq!(id_for(good), good);
        }
        for bad in ["", "a b", "a/b", "a\"b", "a=b", &"x".repeat(limits::REQUEST_ID_BYTES_MAX + 1)] {
            assert!(Uuid::parse_str(&id_for(bad)).is_ok(), "{bad:?}");
        }
        let none = RequestId::from_headers(&HeaderMap::new());
        assert!(Uuid::parse_str(none.as_str()).is_ok());
    }

    #[test]
    fn labels_do_not_grow_with_what_clients_invent() {
        assert_eq!(method_label(&"BREW".parse().unwrap()), "other");
        let metrics = Arc::new(Metrics::new().unwrap());
        for n in 0..100 {
            let method = format!("M{n}").parse().unwrap();
            let id = RequestId::from_headers(&HeaderMap::new());
            let observed = Observed::begin(metrics.clone(), &method, &format!("/{n}"), &id);
            observed.answered(&Response::new(ResponseBody::default()));
        }
        let text = String::from_utf8(metrics.encode().unwrap()).unwrap();
        let lines = text.lines().filter(|l| l.starts_with("dunnage_http_requests_total{")).count();
        assert_eq!(lines, 1, "{text}");
    }
}
