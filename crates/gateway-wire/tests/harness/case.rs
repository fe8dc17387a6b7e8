//! One fixture directory and what its `source.toml` says.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use gateway_core::{
    Call, CallContext, Clock, Deployment, DeploymentId, Ingress, KeyId, Mode, ModelLimits, OnLoss, OrgId, OutputLimitKey, Pricer,
    Principal, Protocol, ProviderId, Quirks, RenderCtx, RequestId, StreamUsage, SystemClock, Timeouts,
};
use serde::Deserialize;

use crate::golden::{Golden, wanted};

/// `source.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Source {
    pub(crate) source: String,
    pub(crate) quirks: Vec<String>,
    pub(crate) accepted_keys: Vec<String>,
    pub(crate) output_tokens_max: Option<u32>,
    pub(crate) output_limit: Option<u32>,
    pub(crate) path: Option<String>,
    pub(crate) stream_usage: Option<bool>,
    pub(crate) folds: Option<bool>,
    pub(crate) why: Option<String>,
    pub(crate) departs: Option<String>,
    pub(crate) schema: Option<String>,
    pub(crate) cut: bool,
    pub(crate) status: Option<u16>,
    pub(crate) headers: BTreeMap<String, String>,
}

pub(crate) struct Case {
    pub(crate) protocol: String,
    pub(crate) name: String,
    pub(crate) source: Source,
    dir: PathBuf,
}

/// The public name of the model in every fixture, and the provider's.
pub(crate) const MODEL: &str = "public-model";
pub(crate) const UPSTREAM_MODEL: &str = "upstream-model-2026-01-01";

impl Case {
    /// Every case of a protocol, by name.
    pub(crate) fn all(protocol: &str) -> Vec<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(protocol);
        let entries = fs::read_dir(&root).into_iter().flatten().map(|entry| entry.expect("a directory entry").path());
        let mut dirs: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
        dirs.sort();
        let wanted = wanted();
        dirs.retain(|dir| wanted.as_deref().is_none_or(|wanted| dir.to_string_lossy().contains(wanted)));
        dirs.into_iter().map(|dir| Self::open(protocol, dir)).collect()
    }

    pub(crate) fn open(protocol: &str, dir: PathBuf) -> Self {
        let path = dir.join("source.toml");
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let source: Source = toml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert!(!source.source.is_empty(), "{} does not name its source", path.display());
        assert!(source.folds != Some(false) || source.why.is_some(), "{} does not say why the stream differs", path.display());
        let name = dir.file_name().expect("a directory has a name").to_string_lossy().into_owned();
        Self { protocol: protocol.to_owned(), name, source, dir }
    }

    pub(crate) fn read(&self, file: &str) -> Option<Bytes> {
        fs::read(self.dir.join(file)).ok().map(Bytes::from)
    }

    pub(crate) fn golden(&self, file: &str) -> Golden {
        Golden(self.dir.join("expect").join(file))
    }

    /// An expected file beside the given ones.
    pub(crate) fn beside(&self, file: &str) -> Golden {
        Golden(self.dir.join(file))
    }

    /// How answers are shown: fixed id, model and time.
    pub(crate) fn render(&self) -> RenderCtx {
        RenderCtx {
            request_id: RequestId::from_bytes([7; 16]),
            model: Arc::from(MODEL),
            created: 1_700_000_000,
            stream_usage: self.source.stream_usage.unwrap_or(true),
            price: Pricer::default(),
        }
    }

    pub(crate) fn deployment(&self, protocol: Protocol) -> Deployment {
        Deployment {
            id: DeploymentId::new("d"),
            provider: ProviderId::new("p"),
            model: Arc::from(MODEL),
            upstream_model: Arc::from(UPSTREAM_MODEL),
            protocol,
            weight: 1,
            limits: ModelLimits { output_tokens_max: self.source.output_tokens_max, context_window: None },
            timeouts: Timeouts::default(),
            on_loss: OnLoss::Report,
            quirks: self.quirks(),
            notice: None,
        }
    }

    /// Quirks by field name, or `field=value` for those that are choices.
    fn quirks(&self) -> Quirks {
        let mut quirks = Quirks::default();
        for name in &self.source.quirks {
            match name.as_str() {
                "stream_usage=always" => quirks.stream_usage = StreamUsage::Always,
                "stream_usage=never" => quirks.stream_usage = StreamUsage::Never,
                "output_limit_key=max_tokens" => quirks.output_limit_key = OutputLimitKey::MaxTokens,
                "output_limit_key=max_completion_tokens" => quirks.output_limit_key = OutputLimitKey::MaxCompletionTokens,
                "tool_ids_nine_alphanumeric" => quirks.tool_ids_nine_alphanumeric = true,
                "seed_is_random_seed" => quirks.seed_is_random_seed = true,
                "thinking_as_content_parts" => quirks.thinking_as_content_parts = true,
                "no_developer_role" => quirks.no_developer_role = true,
                "no_json_schema" => quirks.no_json_schema = true,
                "no_sampling" => quirks.no_sampling = true,
                "thinking_by_effort" => quirks.thinking_by_effort = true,
                "schema_by_forced_tool" => quirks.schema_by_forced_tool = true,
                other => panic!("{}: unknown quirk {other}", self.name),
            }
        }
        quirks.accepted_keys = self.source.accepted_keys.iter().map(|key| Box::from(key.as_str())).collect();
        quirks
    }

    pub(crate) fn request_head(&self) -> http::request::Parts {
        let mut request = http::Request::post(self.source.path.as_deref().unwrap_or("/"));
        for (name, value) in &self.source.headers {
            request = request.header(name, value);
        }
        request.body(()).expect("a request head").into_parts().0
    }

    pub(crate) fn response_head(&self) -> http::response::Parts {
        let mut response = http::Response::builder().status(self.source.status.expect("source.toml names the status of error.json"));
        for (name, value) in &self.source.headers {
            response = response.header(name, value);
        }
        response.body(()).expect("a response head").into_parts().0
    }

    pub(crate) fn call(&self, ingress: Arc<dyn Ingress>, body: Bytes) -> Call {
        let head = self.request_head();
        let peek = ingress.peek(&head, &body).unwrap_or_else(|e| panic!("{}: peek: {e}", self.name));
        let now = SystemClock.monotonic();
        let principal = Principal::new(OrgId::from_bytes([1; 16]), KeyId::from_bytes([2; 16]), Mode::Live);
        let ctx = CallContext {
            request_id: RequestId::from_bytes([7; 16]),
            principal: Arc::new(principal),
            received_at: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
            read_at: now,
            deadline: now + Duration::from_secs(600),
        };
        Call::new(ctx, ingress, head, body, peek)
    }
}
