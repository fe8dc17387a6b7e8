//! What `/metrics` shows. Labels come from configuration or from closed lists, never from a caller: a model name that is
//! not configured is counted as `other`.

mod snapshot;

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use gateway_core::{Deployment, DeploymentId};
use http::{HeaderValue, StatusCode};
use parking_lot::{Mutex, RwLock};
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry, TextEncoder};

pub use snapshot::{Family, FamilyKind, Sample, Snapshot, Value};

use crate::{reply_head, stage::Served};

/// Most deployments with handles of their own. Beyond, handles are looked up on every request: slower, never wrong.
const CACHED_MAX: usize = 4_096;
/// The label of what is not configured.
const OTHER: &str = "other";
/// The label of what was not served by anybody.
const NONE: &str = "none";

type KnownModel = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// The server's metrics. Clones share.
#[derive(Clone)]
pub struct Metrics(Arc<Shared>);

struct Shared {
    registry: Registry,
    known: KnownModel,
    snapshots: Box<[Arc<dyn Snapshot>]>,
    requests: IntCounterVec,
    duration: Histogram,
    overhead: Histogram,
    first_token: Histogram,
    tokens: IntCounterVec,
    losses: IntCounterVec,
    deployments: RwLock<HashMap<DeploymentId, Arc<DeploymentLabels>>>,
}

/// One request, as the metrics see it.
pub(crate) struct Observation<'a> {
    pub(crate) served: Option<&'a Served>,
    pub(crate) requested: Option<&'a str>,
    pub(crate) status: StatusCode,
    pub(crate) took: Duration,
    pub(crate) first_byte: Option<Duration>,
}

/// What is the same for all answers of one deployment, made once.
pub(crate) struct DeploymentLabels {
    pub(crate) model_header: HeaderValue,
    pub(crate) provider_header: HeaderValue,
    pub(crate) upstream_model_header: HeaderValue,
    model: Box<str>,
    provider: Box<str>,
    ok: OnceLock<IntCounter>,
    tokens: Mutex<Vec<(&'static str, IntCounter)>>,
}

impl Metrics {
    /// `known` says whether a name is a public model; only such names become labels. `snapshots` are asked at every
    /// scrape for what other crates count.
    ///
    /// # Panics
    /// Never: the names are constants and distinct.
    #[must_use]
    pub fn new(known: impl Fn(&str) -> bool + Send + Sync + 'static, snapshots: Vec<Arc<dyn Snapshot>>) -> Self {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let vec = IntCounterVec::new(Opts::new(name, help), labels).expect("constant names are valid");
            registry.register(Box::new(vec.clone())).expect("constant names are distinct");
            vec
        };
        let histogram = |name: &str, help: &str, buckets: &[f64]| {
            let histogram =
                Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec())).expect("constant buckets ascend");
            registry.register(Box::new(histogram.clone())).expect("constant names are distinct");
            histogram
        };
        let shared = Shared {
            known: Arc::new(known),
            snapshots: snapshots.into(),
            requests: counters("bellwether_requests_total", "Requests answered, by served model.", &["model", "provider", "status"]),
            duration: histogram("bellwether_request_duration_seconds", "From the request's head to the end of its answer.", &SECONDS),
            overhead: histogram("bellwether_overhead_seconds", "Time added by the gateway before the first byte.", &MICROS),
            first_token: histogram("bellwether_first_token_seconds", "From the request's head to the first byte of a stream.", &SECONDS),
            tokens: counters("bellwether_tokens_total", "Tokens reported by providers, in buckets that never overlap.", &["model", "leaf"]),
            losses: counters("bellwether_losses_total", "Things a target could not carry.", &["protocol", "reason"]),
            deployments: RwLock::default(),
            registry,
        };
        Self(Arc::new(shared))
    }

    /// The text that Prometheus reads.
    pub(crate) fn render(&self, in_flight: usize) -> String {
        let mut families = self.0.registry.gather();
        let mut contributed = vec![Family {
            name: "bellwether_in_flight".into(),
            help: "Requests whose answer has not ended.".into(),
            kind: FamilyKind::Gauge,
            samples: vec![Sample { labels: Vec::new(), value: Value::Number(in_flight as f64) }],
        }];
        for snapshot in &self.0.snapshots {
            snapshot.collect(&mut contributed);
        }
        families.extend(snapshot::merged(contributed));
        families.sort_by(|a, b| a.name().cmp(b.name()));
        TextEncoder::new().encode_to_string(&families).unwrap_or_else(|error| {
            tracing::error!(%error, "the metrics cannot be written");
            String::new()
        })
    }

    /// Headers and handles of a deployment.
    pub(crate) fn deployment(&self, deployment: &Deployment) -> Arc<DeploymentLabels> {
        if let Some(labels) = self.0.deployments.read().get(&deployment.id) {
            return Arc::clone(labels);
        }
        let labels = Arc::new(DeploymentLabels {
            model_header: reply_head::visible(&deployment.model),
            provider_header: reply_head::visible(deployment.provider.as_str()),
            upstream_model_header: reply_head::visible(&deployment.upstream_model),
            model: self.model_label(&deployment.model).into(),
            provider: deployment.provider.as_str().into(),
            ok: OnceLock::new(),
            tokens: Mutex::default(),
        });
        let mut cached = self.0.deployments.write();
        if cached.len() < CACHED_MAX {
            cached.insert(deployment.id.clone(), Arc::clone(&labels));
        }
        labels
    }

    pub(crate) fn observe(&self, seen: &Observation<'_>) {
        let shared = &*self.0;
        shared.duration.observe(seen.took.as_secs_f64());
        if let Some(wait) = seen.first_byte {
            shared.first_token.observe(wait.as_secs_f64());
        }
        let Some(served) = seen.served else {
            let model = seen.requested.map_or(NONE, |name| self.model_label(name));
            shared.requests.with_label_values(&[model, NONE, seen.status.as_str()]).inc();
            return;
        };
        shared.overhead.observe(served.overhead_us as f64 / 1e6);
        let Some(deployment) = served.deployment.as_deref() else {
            let model = seen.requested.map_or(NONE, |name| self.model_label(name));
            shared.requests.with_label_values(&[model, NONE, seen.status.as_str()]).inc();
            return;
        };
        let labels = self.deployment(deployment);
        self.count_request(&labels, seen.status);
        served.meter.read(|reading| {
            for (leaf, tokens) in reading.usage.buckets().filter(|(_, tokens)| *tokens > 0) {
                self.count_tokens(&labels, leaf, tokens);
            }
            for loss in served.losses.iter().chain(&reading.losses) {
                shared.losses.with_label_values(&[deployment.protocol.as_str(), loss.reason.as_str()]).inc();
            }
        });
    }

    fn count_request(&self, labels: &DeploymentLabels, status: StatusCode) {
        let counter = || self.0.requests.with_label_values(&[&*labels.model, &*labels.provider, status.as_str()]);
        if status == StatusCode::OK { labels.ok.get_or_init(counter).inc() } else { counter().inc() }
    }

    fn count_tokens(&self, labels: &DeploymentLabels, leaf: &'static str, tokens: u64) {
        let mut counters = labels.tokens.lock();
        if let Some((_, counter)) = counters.iter().find(|(name, _)| *name == leaf) {
            counter.inc_by(tokens);
            return;
        }
        let counter = self.0.tokens.with_label_values(&[&*labels.model, leaf]);
        counter.inc_by(tokens);
        counters.push((leaf, counter));
    }

    fn model_label<'n>(&self, name: &'n str) -> &'n str {
        if (self.0.known)(name) { name } else { OTHER }
    }
}

const SECONDS: [f64; 16] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 600.0];
const MICROS: [f64; 12] = [0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.1, 1.0];
