//! What is measured.

use std::time::Duration;

use serde::Deserialize;

/// The models the mock provider knows; each behaves in one way.
const MODELS: [&str; 5] = ["bench-plain", "bench-20ms", "bench-500ms", "bench-paced", "bench-bunched"];

/// What a scenario is judged by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Target {
    /// CPU per answer, at most so many times nginx's.
    CpuTimesNginx(f64),
    /// Added to the median of no proxy at all, at most so many milliseconds.
    AddedMedianMs(f64),
    /// Resident memory at most so many MiB.
    RssMib(f64),
    /// Shown only.
    None,
}

/// One way of sending load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    model: &'static str,
    stream: bool,
    connections: u32,
    rate: Option<u32>,
    seconds: u32,
    requests: Option<u32>,
    pub(crate) target: Target,
}

const PLAIN: Scenario = Scenario {
    name: "",
    what: "",
    model: "bench-plain",
    stream: false,
    connections: 1,
    rate: None,
    seconds: 8,
    requests: None,
    target: Target::None,
};

/// In order of the table.
pub(crate) const SCENARIOS: [Scenario; 8] = [
    Scenario {
        name: "closed-64",
        what: "64 connections, closed loop, whole answers",
        connections: 64,
        target: Target::CpuTimesNginx(2.0),
        ..PLAIN
    },
    Scenario {
        name: "open-200",
        what: "200 requests a second, first byte of the upstream after 20 ms",
        model: "bench-20ms",
        rate: Some(200),
        target: Target::AddedMedianMs(0.25),
        ..PLAIN
    },
    Scenario { name: "open-200-zero", what: "200 requests a second, no upstream latency", rate: Some(200), ..PLAIN },
    Scenario {
        name: "streams-20",
        what: "20 streams a second of 64 events, 5 ms apart",
        model: "bench-paced",
        stream: true,
        rate: Some(20),
        target: Target::CpuTimesNginx(2.0),
        ..PLAIN
    },
    Scenario {
        name: "bunched-16",
        what: "16 connections, streams of 64 events without gaps",
        model: "bench-bunched",
        stream: true,
        connections: 16,
        ..PLAIN
    },
    Scenario {
        name: "held-1000",
        what: "1,000 connections, each with a request in flight for 500 ms",
        model: "bench-500ms",
        connections: 1_000,
        requests: Some(4_000),
        seconds: 30,
        target: Target::RssMib(80.0),
        ..PLAIN
    },
    Scenario { name: "guide-sequential", what: "10,000 requests, one after another", requests: Some(10_000), seconds: 300, ..PLAIN },
    Scenario { name: "guide-concurrent", what: "1,000 requests at once", connections: 1_000, requests: Some(1_000), seconds: 300, ..PLAIN },
];

impl Scenario {
    /// The load generator's arguments.
    pub(crate) fn sized(&self, quick: bool) -> Vec<String> {
        let seconds = if quick && self.requests.is_none() { 1 } else { self.seconds };
        let requests = if quick { self.requests.map(|requests| requests.min(1_000)) } else { self.requests };
        self.arguments(seconds, requests)
    }

    /// The same load, shorter.
    pub(crate) fn warm_up(&self, quick: bool) -> Vec<String> {
        let requests = self.requests.map(|requests| if quick { requests.min(100) } else { requests.min(2_000) });
        self.arguments(if requests.is_some() { self.seconds } else { 1 }, requests)
    }

    fn arguments(&self, seconds: u32, requests: Option<u32>) -> Vec<String> {
        let mut arguments = vec!["--model".to_owned(), self.model.to_owned()];
        let mut add = |name: &str, value: u32| arguments.extend([name.to_owned(), value.to_string()]);
        add("--connections", self.connections);
        add("--seconds", seconds);
        if let Some(rate) = self.rate {
            add("--rate", rate);
        }
        if let Some(requests) = requests {
            add("--requests", requests);
        }
        if self.stream {
            arguments.push("--stream".to_owned());
        }
        arguments
    }
}

/// The gateway's configuration: the mock as one provider, every model with a price.
pub(crate) fn config(upstream: &str) -> String {
    let mut text =
        format!("[providers.house]\nprotocol = \"openai-chat\"\nbase_url = \"http://{upstream}/v1\"\napi_key = \"env:HOUSE_KEY\"\n");
    for model in MODELS {
        text.push_str(&format!(
            "\n[[models]]\nname = \"{model}\"\ndeployments = [{{ provider = \"house\", model = \"{model}\" }}]\nprice = {{ input = \"2\", output = \"8\", input_cache_read = \"0.5\" }}\n"
        ));
    }
    text
}

/// What the load generator reports.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct LoadReport {
    pub(crate) requests: u64,
    pub(crate) seconds: f64,
    pub(crate) p50_us: u64,
    pub(crate) p95_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) first_byte_p50_us: u64,
}

/// One round.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) report: LoadReport,
    pub(crate) cpu: Option<Duration>,
    pub(crate) rss_kib_max: Option<u64>,
}

impl Outcome {
    /// Microseconds of CPU per answer.
    pub(crate) fn cpu_us(&self) -> Option<f64> {
        self.cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / self.report.requests as f64)
    }
}

/// The round in the middle, by CPU where there is one, else by latency.
pub(crate) fn median(mut outcomes: Vec<Outcome>) -> Outcome {
    outcomes.sort_by(|a, b| {
        let key = |outcome: &Outcome| outcome.cpu_us().unwrap_or(outcome.report.p50_us as f64);
        key(a).total_cmp(&key(b))
    });
    outcomes.swap_remove(outcomes.len() / 2)
}
