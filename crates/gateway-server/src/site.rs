//! What each path leads to, and the layer that goes there.

mod matching;
mod serve;

use std::{borrow::Cow, collections::HashMap, fmt, sync::Arc};

use gateway_core::Ingress;
use gateway_wire::{anthropic::AnthropicIngress, openai_chat::OpenAiChatIngress};
use http::Method;

use crate::{
    catalog::ModelCatalog,
    error::EdgeError,
    mount::{Access, Mount},
};

pub(crate) use matching::{Matched, Target};
pub use serve::{SiteLayer, SiteService};

/// Whether new work should be sent here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// Yes.
    Ready,
    /// No, because of this.
    NotReady(Cow<'static, str>),
}

type ReadyCheck = Arc<dyn Fn() -> Readiness + Send + Sync>;

/// Everything the server answers, by path. Built once, shared by the layers.
pub struct Site {
    calls: HashMap<Box<str>, Arc<dyn Ingress>>,
    fallback: Arc<dyn Ingress>,
    by_header: Option<(&'static str, Arc<dyn Ingress>)>,
    mounts: Vec<Mount>,
    models: Option<Arc<dyn ModelCatalog>>,
    metrics: Option<Access>,
    ready: ReadyCheck,
}

impl Site {
    /// The shipped protocols: `POST /v1/chat/completions` speaks OpenAI's, `POST /v1/messages` and
    /// `/v1/messages/count_tokens` Anthropic's. Errors on other paths take OpenAI's shape, or Anthropic's when the
    /// request carries `anthropic-version`.
    #[must_use]
    pub fn shipped() -> SiteBuilder {
        let openai: Arc<dyn Ingress> = Arc::new(OpenAiChatIngress::new());
        let anthropic: Arc<dyn Ingress> = Arc::new(AnthropicIngress::new());
        Self::builder(Arc::clone(&openai))
            .call("/v1/chat/completions", openai)
            .call("/v1/messages", Arc::clone(&anthropic))
            .call("/v1/messages/count_tokens", Arc::clone(&anthropic))
            .errors_by_header("anthropic-version", anthropic)
    }

    /// A site without calls; `errors` writes the errors of every path that has no protocol of its own.
    #[must_use]
    pub fn builder(errors: Arc<dyn Ingress>) -> SiteBuilder {
        SiteBuilder {
            calls: Vec::new(),
            site: Self {
                calls: HashMap::new(),
                fallback: errors,
                by_header: None,
                mounts: Vec::new(),
                models: None,
                metrics: None,
                ready: Arc::new(|| Readiness::Ready),
            },
        }
    }

    /// Every path by its pattern, with the method and who may use it. For tests and documentation.
    #[must_use]
    pub fn paths(&self) -> Vec<(Method, String, Access)> {
        let mut paths: Vec<_> = self.calls.keys().map(|path| (Method::POST, path.to_string(), Access::Caller)).collect();
        if self.models.is_some() {
            paths.push((Method::GET, "/v1/models".into(), Access::Caller));
            paths.push((Method::GET, "/v1/models/{id}".into(), Access::Caller));
        }
        paths.extend(self.metrics.map(|access| (Method::GET, "/metrics".into(), access)));
        paths.extend(matching::OPEN_PATHS.iter().map(|path| (Method::GET, (*path).to_owned(), Access::Anybody)));
        paths.sort_by(|a, b| a.1.cmp(&b.1));
        paths
    }
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site").field("calls", &self.calls.keys()).field("mounts", &self.mounts).finish_non_exhaustive()
    }
}

/// Collects what a [`Site`] answers.
pub struct SiteBuilder {
    calls: Vec<(Box<str>, Arc<dyn Ingress>)>,
    site: Site,
}

impl SiteBuilder {
    /// `POST path` is a call in the codec's protocol.
    #[must_use]
    pub fn call(mut self, path: impl Into<Box<str>>, ingress: Arc<dyn Ingress>) -> Self {
        self.calls.push((path.into(), ingress));
        self
    }

    /// Where the path does not tell the protocol, a request with this header gets its errors from this codec.
    #[must_use]
    pub fn errors_by_header(mut self, header: &'static str, ingress: Arc<dyn Ingress>) -> Self {
        self.site.by_header = Some((header, ingress));
        self
    }

    /// Adds a service under a prefix.
    #[must_use]
    pub fn mount(mut self, mount: Mount) -> Self {
        self.site.mounts.push(mount);
        self
    }

    /// Answers `GET /v1/models` and `GET /v1/models/{id}`.
    #[must_use]
    pub fn models(mut self, catalog: Arc<dyn ModelCatalog>) -> Self {
        self.site.models = Some(catalog);
        self
    }

    /// Answers `GET /metrics` to whoever has this access.
    #[must_use]
    pub fn metrics(mut self, access: Access) -> Self {
        self.site.metrics = Some(access);
        self
    }

    /// What `/readyz` asks, besides whether the server is draining.
    #[must_use]
    pub fn ready(mut self, check: impl Fn() -> Readiness + Send + Sync + 'static) -> Self {
        self.site.ready = Arc::new(check);
        self
    }

    /// The site.
    ///
    /// # Errors
    /// A path that is none, or one that is taken twice.
    pub fn build(mut self) -> Result<Arc<Site>, EdgeError> {
        for (path, ingress) in self.calls {
            if !path.starts_with('/') {
                return Err(EdgeError::BadPath { path });
            }
            if self.site.calls.insert(path.clone(), ingress).is_some() || matching::is_own(&path) {
                return Err(EdgeError::PathTaken { path });
            }
        }
        let mounts = &mut self.site.mounts;
        // The longest prefix first, so that a mount below another one is reached.
        mounts.sort_by_key(|mount| std::cmp::Reverse(mount.prefix.len()));
        for (n, mount) in mounts.iter().enumerate() {
            if !mount.prefix.starts_with('/') || mount.prefix.ends_with('/') {
                return Err(EdgeError::BadPath { path: mount.prefix.clone() });
            }
            let covers = |path: &str| matching::below(path, &mount.prefix).is_some();
            if mounts[..n].iter().any(|other| other.prefix == mount.prefix)
                || matching::is_own(&mount.prefix)
                || self.site.calls.keys().any(|path| covers(path))
            {
                return Err(EdgeError::PathTaken { path: mount.prefix.clone() });
            }
        }
        Ok(Arc::new(self.site))
    }
}
