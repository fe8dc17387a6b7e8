//! From method and path to what answers.

use std::sync::Arc;

use gateway_core::{Fault, FaultKind, Ingress, Origin};
use http::{HeaderMap, Method};

use super::Site;
use crate::mount::Access;

/// Open to everybody: they tell nothing but that the server is there.
pub(crate) const OPEN_PATHS: [&str; 6] = ["/", "/healthz", "/readyz", "/health/liveliness", "/health/liveness", "/health/readiness"];
const MODELS: &str = "/v1/models";
const METRICS: &str = "/metrics";

/// What a request's path leads to.
pub(crate) enum Target {
    Call(Arc<dyn Ingress>),
    Models,
    /// The id, still escaped, is the rest of the path after this many bytes.
    Model {
        id_at: usize,
    },
    /// Index into the site's mounts, and what that mount demands.
    Mount(usize, Access),
    Metrics(Access),
    Root,
    Live,
    Ready,
    WrongMethod {
        allow: &'static str,
    },
    Nothing,
}

impl Target {
    /// What must be shown to go on.
    pub(crate) fn access(&self) -> Access {
        match self {
            Self::Call(_) | Self::Models | Self::Model { .. } => Access::Caller,
            Self::Mount(_, access) | Self::Metrics(access) => *access,
            Self::Root | Self::Live | Self::Ready | Self::WrongMethod { .. } | Self::Nothing => Access::Anybody,
        }
    }
}

/// Where a request goes, and the codec that writes its errors.
pub(crate) struct Matched {
    pub(crate) target: Target,
    pub(crate) errors: Arc<dyn Ingress>,
}

impl Site {
    pub(crate) fn find(&self, method: &Method, path: &str, headers: &HeaderMap) -> Matched {
        if let Some(ingress) = self.calls.get(path) {
            let target = if method == Method::POST { Target::Call(Arc::clone(ingress)) } else { Target::WrongMethod { allow: "POST" } };
            return Matched { target, errors: Arc::clone(ingress) };
        }
        let errors = match &self.by_header {
            Some((header, ingress)) if headers.contains_key(*header) => ingress,
            Some(_) | None => &self.fallback,
        };
        Matched { target: self.other(method, path), errors: Arc::clone(errors) }
    }

    fn other(&self, method: &Method, path: &str) -> Target {
        if let Some(n) = self.mounts.iter().position(|mount| below(path, &mount.prefix).is_some()) {
            return Target::Mount(n, self.mounts[n].access);
        }
        let target = match path {
            "/" => Target::Root,
            "/healthz" | "/health/liveliness" | "/health/liveness" => Target::Live,
            "/readyz" | "/health/readiness" => Target::Ready,
            METRICS => self.metrics.map_or(Target::Nothing, Target::Metrics),
            MODELS if self.models.is_some() => Target::Models,
            _ => match below(path, MODELS) {
                Some(id) if self.models.is_some() && id.len() > 1 => Target::Model { id_at: MODELS.len() + 1 },
                Some(_) | None => Target::Nothing,
            },
        };
        let readable = method == Method::GET || method == Method::HEAD;
        if readable || matches!(target, Target::Nothing) { target } else { Target::WrongMethod { allow: "GET, HEAD" } }
    }

    /// Tells the caller what is there instead.
    pub(crate) fn no_such_path(&self, method: &Method, path: &str) -> Fault {
        let hint = self.hint(path);
        let shown: String = path.chars().take(100).collect();
        Fault::new(FaultKind::NotFound, Origin::Caller, format!("this gateway has nothing at `{method} {shown}`{hint}"))
            .with_code("unknown_path")
    }

    /// The mistakes people make with base URLs.
    fn hint(&self, path: &str) -> String {
        let known = |path: &str| self.calls.contains_key(path) || path == MODELS;
        let bare = path.trim_end_matches('/');
        if known(&format!("/v1{bare}")) {
            return format!("; did you mean `/v1{bare}`? The base URL must then end with `/v1`");
        }
        if let Some(single) = bare.strip_prefix("/v1").filter(|rest| known(rest)) {
            return format!("; did you mean `{single}`? The base URL has `/v1` twice");
        }
        if known(bare) {
            return format!("; did you mean `{bare}`?");
        }
        let mut paths: Vec<&str> = self.calls.keys().map(|path| &**path).collect();
        paths.sort_unstable();
        if paths.is_empty() { String::new() } else { format!("; models answer at POST {}", paths.join(", ")) }
    }
}

/// What follows the prefix in a path at or below it: nothing, or `/…`.
pub(crate) fn below<'p>(path: &'p str, prefix: &str) -> Option<&'p str> {
    path.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether the server itself answers the path.
pub(crate) fn is_own(path: &str) -> bool {
    OPEN_PATHS.contains(&path) || path == METRICS || below(path, MODELS).is_some()
}
