//! Who is asking: finds the key in the request's headers and turns it into a principal, or into a 401 that helps.

use std::{borrow::Cow, sync::Arc, time::Duration};

use gateway_core::{Fault, FaultKind, KeyRefusal, KeyStore, Origin, Secret};
use http::{HeaderMap, HeaderValue};
use tower::Layer;

use crate::{
    mount::Access,
    stage::{Answer, Arrival, Failed, Known, Stage, Who},
};

/// Says whose admin token was presented, if it is one. Compare in constant time.
pub type AdminCheck = Arc<dyn Fn(&Secret) -> Option<Arc<str>> + Send + Sync>;

/// Lets through what carries the key that its path demands.
#[derive(Clone)]
pub struct AuthLayer {
    keys: Arc<dyn KeyStore>,
    admin: AdminCheck,
}

impl AuthLayer {
    /// Callers' keys are judged by `keys`, administrators' tokens by `admin`.
    #[must_use]
    pub fn new(keys: Arc<dyn KeyStore>, admin: AdminCheck) -> Self {
        Self { keys, admin }
    }
}

impl<S> Layer<S> for AuthLayer {
    type Service = Auth<S>;

    fn layer(&self, inner: S) -> Auth<S> {
        Auth { inner, keys: Arc::clone(&self.keys), admin: Arc::clone(&self.admin) }
    }
}

/// See [`AuthLayer`].
#[derive(Clone)]
pub struct Auth<S> {
    inner: S,
    keys: Arc<dyn KeyStore>,
    admin: AdminCheck,
}

impl<S: Stage<Known, Answer = Answer, Error = Failed>> Stage<Box<Arrival>> for Auth<S> {
    type Answer = Answer;
    type Error = Failed;

    async fn serve(&self, arrival: Box<Arrival>) -> Result<Answer, Failed> {
        let who = match arrival.matched.target.access() {
            Access::Anybody => Who::Anybody,
            Access::Admin => {
                let key = presented(&arrival.head.headers)?;
                let name = (self.admin)(&key.secret);
                Who::Admin(name.ok_or_else(|| unauthorized("invalid_api_key", "this is not an admin token of this gateway"))?)
            }
            Access::Caller => {
                let key = presented(&arrival.head.headers)?;
                Who::Caller(self.keys.authenticate(&key.secret).await.map_err(|refusal| refused(refusal, key.header))?)
            }
        };
        let principal = match &who {
            Who::Caller(principal) => Some(Arc::clone(principal)),
            Who::Anybody | Who::Admin(_) => None,
        };
        match self.inner.serve(Known { arrival, who }).await {
            Ok(mut answer) => {
                answer.seen.principal = principal;
                Ok(answer)
            }
            Err(mut failed) => {
                failed.seen.principal = principal;
                Err(failed)
            }
        }
    }
}

struct Presented {
    header: &'static str,
    secret: Secret,
}

/// The key a request carries. Of several headers the first of this list counts: `x-api-key` wins over a bearer token,
/// as it does at the vendor whose clients send both.
fn presented(headers: &HeaderMap) -> Result<Presented, Fault> {
    const HEADERS: [&str; 4] = ["x-api-key", "api-key", "x-goog-api-key", "authorization"];
    for header in HEADERS {
        let mut values = headers.get_all(header).iter();
        let Some(first) = values.next() else { continue };
        if values.any(|other| other != first) {
            return Err(unauthorized("invalid_api_key", format!("the request carries several `{header}` headers that differ; send one")));
        }
        let text = trimmed(first).ok_or_else(|| refused(KeyRefusal::Malformed, header))?;
        let key = if header == "authorization" { bearer(text)? } else { text };
        if !key.is_empty() {
            return Ok(Presented { header, secret: Secret::new(key) });
        }
    }
    Err(unauthorized(
        "missing_api_key",
        "no API key: send one as `Authorization: Bearer hs_live_…` or as `x-api-key: hs_live_…` (`hs_test_…` for test mode)",
    ))
}

fn trimmed(value: &HeaderValue) -> Option<&str> {
    std::str::from_utf8(value.as_bytes()).ok().map(str::trim)
}

fn bearer(text: &str) -> Result<&str, Fault> {
    let (scheme, key) = text.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or((text, ""));
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(key.trim());
    }
    // Some clients leave the scheme out.
    if key.is_empty() && scheme.contains('_') {
        return Ok(scheme);
    }
    if text.is_empty() { Ok("") } else { Err(unauthorized("invalid_api_key", "the `Authorization` header must read `Bearer <key>`")) }
}

fn refused(refusal: KeyRefusal, header: &'static str) -> Fault {
    let (code, message): (_, Cow<'static, str>) = match refusal {
        KeyRefusal::Unknown => ("invalid_api_key", format!("the API key in `{header}` is not valid").into()),
        KeyRefusal::Mistyped => (
            "invalid_api_key",
            format!("the API key in `{header}` is mistyped or cut off: its check characters do not fit; copy it again, whole").into(),
        ),
        KeyRefusal::Foreign => (
            "invalid_api_key",
            format!(
                "the API key in `{header}` belongs to another service (it starts like `sk-…`); this gateway takes its own keys, \
                 which start with `hs_live_` or `hs_test_`, and keeps the providers' keys to itself"
            )
            .into(),
        ),
        KeyRefusal::Malformed => (
            "invalid_api_key",
            format!("what `{header}` carries is not an API key of this gateway; its keys start with `hs_live_` or `hs_test_`").into(),
        ),
        KeyRefusal::Revoked => ("key_revoked", format!("the API key in `{header}` has been revoked; ask for a new one").into()),
        KeyRefusal::Expired => ("key_expired", format!("the API key in `{header}` has expired; ask for a new one").into()),
        KeyRefusal::Unavailable => {
            return Fault::new(FaultKind::Unavailable, Origin::Gateway, "keys cannot be checked at the moment; try again shortly")
                .with_retry_after(Some(Duration::from_secs(1)));
        }
    };
    unauthorized(code, message)
}

fn unauthorized(code: &'static str, message: impl Into<Cow<'static, str>>) -> Fault {
    Fault::new(FaultKind::Authentication, Origin::Caller, message).with_code(code)
}

#[cfg(test)]
mod tests;
