//! Services beside the calls: billing, administration, whatever else an embedder puts under a prefix.

use std::{borrow::Cow, fmt, sync::Arc};

use bytes::Bytes;
use gateway_core::{Fault, Principal, RequestId};
use http::{Response, request::Parts};
use tower::{Service, ServiceExt, util::BoxCloneSyncService};

use crate::address;

/// Who may use a mounted service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// Everybody.
    Anybody,
    /// Whoever holds a valid key.
    Caller,
    /// Whoever holds an admin token.
    Admin,
}

/// A request to a mounted service.
#[derive(Debug)]
pub struct MountRequest {
    /// The request's id.
    pub request_id: RequestId,
    /// Who is calling; always there under [`Access::Caller`], never otherwise.
    pub principal: Option<Arc<Principal>>,
    /// Which administrator is calling; always there under [`Access::Admin`], never otherwise.
    pub admin: Option<Arc<str>>,
    /// Method, whole path and headers.
    pub head: Parts,
    /// The body.
    pub body: Bytes,
}

impl MountRequest {
    /// The segments of the path below `prefix`, their escapes undone; `None` if the path is elsewhere or a segment does
    /// not spell text.
    #[must_use]
    pub fn segments_below(&self, prefix: &str) -> Option<Vec<Cow<'_, str>>> {
        self.head.uri.path().strip_prefix(prefix)?.split('/').map(address::segment).collect()
    }

    /// The parameters of the query, in order, their escapes undone.
    pub fn query(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        address::query(&self.head.uri)
    }
}

/// A service under a path prefix. A [`Fault`] it returns is rendered as every other error is.
#[derive(Clone)]
pub struct Mount {
    pub(crate) prefix: Box<str>,
    pub(crate) access: Access,
    pub(crate) service: BoxCloneSyncService<MountRequest, Response<Bytes>, Fault>,
}

impl Mount {
    /// Serves `prefix` itself and every path below it. The prefix starts with `/` and does not end with one.
    #[must_use]
    pub fn new<S>(prefix: impl Into<Box<str>>, access: Access, service: S) -> Self
    where
        S: Service<MountRequest, Response = Response<Bytes>, Error = Fault> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        Self { prefix: prefix.into(), access, service: BoxCloneSyncService::new(service) }
    }

    pub(crate) async fn serve(&self, request: MountRequest) -> Result<Response<Bytes>, Fault> {
        self.service.clone().oneshot(request).await
    }
}

impl fmt::Debug for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mount").field("prefix", &self.prefix).field("access", &self.access).finish_non_exhaustive()
    }
}
