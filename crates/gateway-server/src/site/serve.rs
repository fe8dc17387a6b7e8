//! Goes where the path leads.

use std::sync::Arc;

use bytes::Bytes;
use gateway_core::{Fault, FaultKind, Origin, Principal};
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};
use tower::Layer;

use super::{Readiness, Site, Target};
use crate::{
    catalog,
    drain::Drain,
    edge_body::EdgeBody,
    metrics::Metrics,
    mount::MountRequest,
    stage::{Answer, Arrival, Asked, Failed, Known, Seen, Stage, Who},
};

/// Answers what the server answers itself, and hands on the calls.
#[derive(Clone)]
pub struct SiteLayer {
    site: Arc<Site>,
    metrics: Metrics,
    drain: Drain,
}

impl SiteLayer {
    /// `metrics` is what `/metrics` shows; `drain` makes `/readyz` say no during a shutdown.
    #[must_use]
    pub fn new(site: Arc<Site>, metrics: Metrics, drain: Drain) -> Self {
        Self { site, metrics, drain }
    }
}

impl<S> Layer<S> for SiteLayer {
    type Service = SiteService<S>;

    fn layer(&self, inner: S) -> SiteService<S> {
        SiteService { inner, site: Arc::clone(&self.site), metrics: self.metrics.clone(), drain: self.drain.clone() }
    }
}

/// See [`SiteLayer`].
#[derive(Clone)]
pub struct SiteService<S> {
    inner: S,
    site: Arc<Site>,
    metrics: Metrics,
    drain: Drain,
}

impl<S: Stage<Asked, Answer = Answer, Error = Failed>> Stage<Known> for SiteService<S> {
    type Answer = Answer;
    type Error = Failed;

    async fn serve(&self, known: Known) -> Result<Answer, Failed> {
        let Known { arrival, who } = known;
        // A call goes on only with the principal in hand: nothing else makes an `Asked`.
        if let Target::Call(ingress) = &arrival.matched.target {
            let ingress = Arc::clone(ingress);
            let principal = caller(who)?;
            return self.inner.serve(Asked { arrival, principal, ingress }).await;
        }
        // Boxed, so that calls do not carry its size about.
        let response = Box::pin(self.own(arrival, who)).await?;
        Ok(Answer { response: response.map(EdgeBody::whole), seen: Seen::default() })
    }
}

impl<S> SiteService<S> {
    async fn own(&self, arrival: Box<Arrival>, who: Who) -> Result<Response<Bytes>, Fault> {
        let head = &arrival.head;
        match arrival.matched.target {
            Target::Mount(n, _) => self.mounted(n, arrival, who).await,
            Target::Models => {
                let catalog = self.site.models.as_deref().ok_or_else(no_models)?;
                Ok(json_answer(StatusCode::OK, &catalog::list(catalog, &*caller(who)?, head)?))
            }
            Target::Model { id_at } => {
                let catalog = self.site.models.as_deref().ok_or_else(no_models)?;
                let id = head.uri.path().get(id_at..).unwrap_or_default();
                Ok(json_answer(StatusCode::OK, &catalog::one(catalog, &*caller(who)?, head, id)?))
            }
            Target::Metrics(_) => {
                let others_in_flight = self.drain.in_flight().saturating_sub(1);
                let mut response = Response::new(Bytes::from(self.metrics.render(others_in_flight)));
                response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"));
                Ok(response)
            }
            Target::Root => Ok(json_answer(StatusCode::OK, &json!({"object": "gateway", "status": "ok"}))),
            Target::Live => Ok(json_answer(StatusCode::OK, &json!({"status": "ok"}))),
            Target::Ready => Ok(self.readiness()),
            Target::WrongMethod { allow } => Err(Fault::new(
                FaultKind::MethodNotAllowed,
                Origin::Caller,
                format!("`{}` does not take {}; it takes {allow}", head.uri.path(), head.method),
            )),
            Target::Nothing => Err(self.site.no_such_path(&head.method, head.uri.path())),
            Target::Call(_) => Err(Fault::internal("a call reached the part of the server that answers no calls")),
        }
    }

    async fn mounted(&self, n: usize, arrival: Box<Arrival>, who: Who) -> Result<Response<Bytes>, Fault> {
        let mount = self.site.mounts.get(n).ok_or_else(|| self.site.no_such_path(&arrival.head.method, arrival.head.uri.path()))?;
        let (principal, admin) = match who {
            Who::Caller(principal) => (Some(principal), None),
            Who::Admin(name) => (None, Some(name)),
            Who::Anybody => (None, None),
        };
        let Arrival { id, head, body, .. } = *arrival;
        let body = body.read().await?;
        mount.serve(MountRequest { request_id: id, principal, admin, head, body }).await
    }

    fn readiness(&self) -> Response<Bytes> {
        let readiness = if self.drain.is_draining() { Readiness::NotReady("shutting down".into()) } else { (self.site.ready)() };
        match readiness {
            Readiness::Ready => json_answer(StatusCode::OK, &json!({"status": "ready"})),
            Readiness::NotReady(reason) => json_answer(StatusCode::SERVICE_UNAVAILABLE, &json!({"status": "not_ready", "reason": reason})),
        }
    }
}

fn caller(who: Who) -> Result<Arc<Principal>, Fault> {
    match who {
        Who::Caller(principal) => Ok(principal),
        Who::Anybody | Who::Admin(_) => Err(Fault::new(FaultKind::Authentication, Origin::Caller, "this path needs an API key")),
    }
}

fn no_models() -> Fault {
    Fault::new(FaultKind::NotFound, Origin::Caller, "this gateway lists no models")
}

fn json_answer(status: StatusCode, value: &Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(value.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
