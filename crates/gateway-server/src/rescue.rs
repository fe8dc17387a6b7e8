//! Outermost: gives the request its id, finds what its path leads to, and turns whatever goes wrong below, a panic
//! included, into an error in the caller's protocol.

use std::{convert::Infallible, panic::AssertUnwindSafe, sync::Arc};

use futures_util::FutureExt;
use gateway_core::{Clock, Fault, Ingress, RequestId};
use http::{HeaderValue, Method, Request, Response, header};
use hyper::body::Incoming;
use tower::Layer;

use crate::{
    body::CallerBody,
    edge_body::EdgeBody,
    reply_head,
    request_id::RequestIds,
    site::{Site, Target},
    stage::{Arrival, Stage},
    supervise::panic_text,
    trace::Refused,
};

/// Errors become bodies here and nowhere else.
#[derive(Clone)]
pub struct RescueLayer {
    site: Arc<Site>,
    ids: Arc<RequestIds>,
    clock: Arc<dyn Clock>,
}

impl RescueLayer {
    /// Paths are looked up in `site`.
    #[must_use]
    pub fn new(site: Arc<Site>, clock: Arc<dyn Clock>) -> Self {
        Self { site, ids: Arc::new(RequestIds::new(Arc::clone(&clock))), clock }
    }
}

impl<S> Layer<S> for RescueLayer {
    type Service = Rescue<S>;

    fn layer(&self, inner: S) -> Rescue<S> {
        Rescue { inner, site: Arc::clone(&self.site), ids: Arc::clone(&self.ids), clock: Arc::clone(&self.clock) }
    }
}

/// See [`RescueLayer`].
#[derive(Clone)]
pub struct Rescue<S> {
    inner: S,
    site: Arc<Site>,
    ids: Arc<RequestIds>,
    clock: Arc<dyn Clock>,
}

impl<S: Stage<Box<Arrival>, Answer = Response<EdgeBody>, Error = Refused>> Stage<Request<Incoming>> for Rescue<S> {
    type Answer = Response<EdgeBody>;
    type Error = Infallible;

    async fn serve(&self, request: Request<Incoming>) -> Result<Response<EdgeBody>, Infallible> {
        let (head, incoming) = request.into_parts();
        let (id, received_at) = self.ids.make();
        let matched = self.site.find(&head.method, head.uri.path(), &head.headers);
        let errors = Arc::clone(&matched.errors);
        let allow = match &matched.target {
            Target::WrongMethod { allow } => Some(*allow),
            _ => None,
        };
        let bodiless = head.method == Method::HEAD;
        let body = CallerBody::new(incoming, &head.headers);
        let arrival = Box::new(Arrival { id, received_at, arrived: self.clock.monotonic(), matched, head, body });
        let mut response = match AssertUnwindSafe(self.inner.serve(arrival)).catch_unwind().await {
            Ok(Ok(response)) => response,
            Ok(Err(Refused { fault, mut record })) => {
                let mut response = rendered(&*errors, &fault, id, allow);
                record.rendered_as(response.status());
                if let Some(model) = record.requested() {
                    response.headers_mut().insert(reply_head::REQUESTED_MODEL, reply_head::visible(model));
                }
                if let Some(unserved) = record.unserved() {
                    reply_head::tell_unserved(response.headers_mut(), unserved);
                }
                response.body_mut().watch(record);
                response
            }
            Err(panic) => {
                tracing::error!(request_id = %id, panic = panic_text(&*panic), "a request panicked");
                rendered(
                    &*errors,
                    &Fault::internal("the gateway failed on this request; its log has the details under the request id"),
                    id,
                    None,
                )
            }
        };
        response.headers_mut().insert(reply_head::REQUEST_ID, reply_head::id_header(id));
        if bodiless {
            withhold(&mut response);
        }
        Ok(response)
    }
}

fn rendered(errors: &dyn Ingress, fault: &Fault, id: RequestId, allow: Option<&'static str>) -> Response<EdgeBody> {
    let (status, body) = errors.encode_fault(fault, id);
    let mut response = Response::new(EdgeBody::whole(body));
    *response.status_mut() = status;
    *response.headers_mut() = reply_head::fault_headers(fault, allow);
    response
}

/// The answer to HEAD tells the length of the body that GET would have.
fn withhold(response: &mut Response<EdgeBody>) {
    if let Some(length) = response.body_mut().withhold() {
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
}
