//! What other crates count, in terms that need no metrics library.

use std::{borrow::Cow, collections::BTreeMap};

use prometheus::proto;

/// Something that counts. Asked at every scrape; must not block.
pub trait Snapshot: Send + Sync {
    /// Appends what it counts. Two snapshots may add samples to a family of one name.
    fn collect(&self, out: &mut Vec<Family>);
}

impl<F: Fn(&mut Vec<Family>) + Send + Sync> Snapshot for F {
    fn collect(&self, out: &mut Vec<Family>) {
        self(out);
    }
}

/// What the numbers of a family mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FamilyKind {
    /// Only ever grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Observations in buckets.
    Histogram,
}

/// All samples of one name.
#[derive(Debug, Clone)]
pub struct Family {
    /// `bellwether_…`, with its unit last.
    pub name: Cow<'static, str>,
    /// One sentence.
    pub help: Cow<'static, str>,
    /// What the numbers mean.
    pub kind: FamilyKind,
    /// The numbers.
    pub samples: Vec<Sample>,
}

/// One number, or one histogram.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Names and values, from configuration or closed lists.
    pub labels: Vec<(&'static str, Box<str>)>,
    /// The reading.
    pub value: Value,
}

/// A reading.
#[derive(Debug, Clone)]
pub enum Value {
    /// Of a counter or a gauge.
    Number(f64),
    /// Of a histogram.
    Histogram {
        /// Upper bound and the count of observations at or below it, ascending.
        buckets: Vec<(f64, u64)>,
        /// Of all observations.
        sum: f64,
        /// How many.
        count: u64,
    },
}

/// One family a name.
pub(super) fn merged(families: Vec<Family>) -> Vec<proto::MetricFamily> {
    let mut by_name: BTreeMap<Cow<'static, str>, Family> = BTreeMap::new();
    for family in families {
        match by_name.get_mut(&family.name) {
            Some(first) => first.samples.extend(family.samples),
            None => {
                by_name.insert(family.name.clone(), family);
            }
        }
    }
    // A family without samples has no text form.
    by_name.into_values().filter(|family| !family.samples.is_empty()).map(written).collect()
}

fn written(family: Family) -> proto::MetricFamily {
    let mut out = proto::MetricFamily::default();
    out.set_name(family.name.into_owned());
    out.set_help(family.help.into_owned());
    out.set_field_type(match family.kind {
        FamilyKind::Counter => proto::MetricType::COUNTER,
        FamilyKind::Gauge => proto::MetricType::GAUGE,
        FamilyKind::Histogram => proto::MetricType::HISTOGRAM,
    });
    out.set_metric(family.samples.into_iter().map(|sample| metric(family.kind, sample)).collect());
    out
}

fn metric(kind: FamilyKind, sample: Sample) -> proto::Metric {
    let labels = sample.labels.into_iter().map(|(name, value)| {
        let mut pair = proto::LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value.into_string());
        pair
    });
    let mut out = proto::Metric::from_label(labels.collect());
    match (kind, sample.value) {
        (FamilyKind::Counter, Value::Number(number)) => {
            let mut counter = proto::Counter::default();
            counter.set_value(number);
            out.set_counter(counter);
        }
        (FamilyKind::Gauge, Value::Number(number)) => {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(number);
            out.set_gauge(gauge);
        }
        (FamilyKind::Histogram, value) => out.set_histogram(histogram(value)),
        // A count of observations is the nearest thing to a number.
        (FamilyKind::Counter | FamilyKind::Gauge, Value::Histogram { count, .. }) => {
            return metric(kind, Sample { labels: Vec::new(), value: Value::Number(count as f64) });
        }
    }
    out
}

fn histogram(value: Value) -> proto::Histogram {
    let (buckets, sum, count) = match value {
        Value::Histogram { buckets, sum, count } => (buckets, sum, count),
        Value::Number(number) => (Vec::new(), number, 1),
    };
    let mut out = proto::Histogram::default();
    out.set_sample_sum(sum);
    out.set_sample_count(count);
    let bucket = |(bound, below): (f64, u64)| {
        let mut bucket = proto::Bucket::default();
        bucket.set_upper_bound(bound);
        bucket.set_cumulative_count(below);
        bucket
    };
    out.set_bucket(buckets.into_iter().map(bucket).collect());
    out
}
