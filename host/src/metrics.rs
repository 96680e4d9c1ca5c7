//! Every metric of the host, by the Prometheus naming conventions; one registry per [`Metrics`],
//! so that no test sees another's counts.

use prometheus::{
    Encoder, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts,
    Registry, TextEncoder,
};

/// Seconds; from a warm call to a long build.
const BUCKETS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

pub struct Metrics {
    registry: Registry,
    /// `route`, `method`, `status`.
    pub http_requests: IntCounterVec,
    /// `route`.
    pub http_request_seconds: HistogramVec,
    pub http_connections: IntGauge,
    /// `outcome`.
    pub deploys: IntCounterVec,
    pub deploy_seconds: Histogram,
    /// `outcome`.
    pub invocations: IntCounterVec,
    pub invocation_seconds: Histogram,
    pub invocation_wait_seconds: Histogram,
    pub active_executions: IntGauge,
    pub waiting_invocations: IntGauge,
    pub active_cleanup_timers: IntGauge,
    pub cleanups: IntCounterVec,
    /// `result`: ok or error.
    pub s3_uploads: IntCounterVec,
    pub s3_downloads: IntCounterVec,
    /// Of all uploads so far, 0 to 1; 1 before the first.
    pub upload_success_rate: Gauge,
    pub download_success_rate: Gauge,
    /// `plugin`, `point`, `outcome`.
    pub plugin_calls: IntCounterVec,
    /// `plugin`, `point`.
    pub plugin_call_seconds: HistogramVec,
    /// Invocation records that were dropped because the queue was full.
    pub records_dropped: IntCounter,
}

impl Metrics {
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let r = &registry;
        Ok(Self {
            http_requests: counters(
                r,
                "dunnage_http_requests_total",
                "Requests answered.",
                &["route", "method", "status"],
            )?,
            http_request_seconds: histograms(
                r,
                "dunnage_http_request_duration_seconds",
                "Time to the answer's head.",
                &["route"],
            )?,
            http_connections: gauge(r, "dunnage_http_connections", "Open connections.")?,
            deploys: counters(r, "dunnage_deploys_total", "Deploys by outcome.", &["outcome"])?,
            deploy_seconds: histogram(r, "dunnage_deploy_duration_seconds", "Time of a deploy.")?,
            invocations: counters(r, "dunnage_invocations_total", "Invocations by outcome.", &["outcome"])?,
            invocation_seconds: histogram(
                r,
                "dunnage_invocation_duration_seconds",
                "Time of an invocation, waiting included.",
            )?,
            invocation_wait_seconds: histogram(
                r,
                "dunnage_invocation_wait_seconds",
                "Time waited for a place.",
            )?,
            active_executions: gauge(r, "dunnage_active_executions", "Invocations that run now.")?,
            waiting_invocations: gauge(r, "dunnage_waiting_invocations", "Invocations that wait now.")?,
            active_cleanup_timers: gauge(r, "dunnage_active_cleanup_timers", "Containers about to go.")?,
            cleanups: counters(r, "dunnage_cleanups_total", "Containers removed.", &["result"])?,
            s3_uploads: counters(r, "dunnage_blob_uploads_total", "Objects written.", &["result"])?,
            s3_downloads: counters(r, "dunnage_blob_downloads_total", "Objects read.", &["result"])?,
            upload_success_rate: rate(
                r,
                "dunnage_blob_upload_success_ratio",
                "Share of uploads that succeeded.",
            )?,
            download_success_rate: rate(
                r,
                "dunnage_blob_download_success_ratio",
                "Share of downloads that succeeded.",
            )?,
            plugin_calls: counters(
                r,
                "dunnage_plugin_calls_total",
                "Plugin calls by outcome.",
                &["plugin", "point", "outcome"],
            )?,
            plugin_call_seconds: histograms(
                r,
                "dunnage_plugin_call_duration_seconds",
                "Time of a plugin call.",
                &["plugin", "point"],
            )?,
            records_dropped: counter(
                r,
                "dunnage_records_dropped_total",
                "Invocation records lost to a full queue.",
            )?,
            registry,
        })
    }

    /// Counts one upload and renews the success rate.
    pub fn count_upload(&self, ok: bool) {
        count_transfer(&self.s3_uploads, &self.upload_success_rate, ok);
    }

    /// Counts one download and renews the success rate.
    pub fn count_download(&self, ok: bool) {
        count_transfer(&self.s3_downloads, &self.download_success_rate, ok);
    }

    /// The Prometheus text format, version 0.0.4.
    pub fn encode(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

fn count_transfer(counter: &IntCounterVec, rate: &Gauge, ok: bool) {
    counter.with_label_values(&[if ok { "ok" } else { "error" }]).inc();
    let good = counter.with_label_values(&["ok"]).get() as f64;
    let bad = counter.with_label_values(&["error"]).get() as f64;
    rate.set(good / (good + bad));
}

fn counter(r: &Registry, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
    let c = IntCounter::new(name, help)?;
    r.register(Box::new(c.clone()))?;
    Ok(c)
}

fn counters(
    r: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec, prometheus::Error> {
    let c = IntCounterVec::new(Opts::new(name, help), labels)?;
    r.register(Box::new(c.clone()))?;
    Ok(c)
}

fn gauge(r: &Registry, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    let g = IntGauge::new(name, help)?;
    r.register(Box::new(g.clone()))?;
    Ok(g)
}

fn rate(r: &Registry, name: &str, help: &str) -> Result<Gauge, prometheus::Error> {
    let g = Gauge::new(name, help)?;
    g.set(1.0);
    r.register(Box::new(g.clone()))?;
    Ok(g)
}

fn histogram(r: &Registry, name: &str, help: &str) -> Result<Histogram, prometheus::Error> {
    let h = Histogram::with_opts(HistogramOpts::new(name, help).buckets(BUCKETS.to_vec()))?;
    r.register(Box::new(h.clone()))?;
    Ok(h)
}

fn histograms(
    r: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<HistogramVec, prometheus::Error> {
    let h = HistogramVec::new(HistogramOpts::new(name, help).buckets(BUCKETS.to_vec()), labels)?;
    r.register(Box::new(h.clone()))?;
    Ok(h)
}
