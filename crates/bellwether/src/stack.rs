//! The order of the layers, and nothing else.

mod snapshots;

use std::{convert::Infallible, fs, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use bytes::Bytes;
use gateway_billing::{
    api::{ApiRequest, Viewer},
    hold::{HoldLayer, HoldOptions},
};
use gateway_core::{Fault, FaultKind, Origin};
use gateway_routing::ResolveLayer;
use gateway_server::{
    Access, AdminCheck, AuthLayer, BodyLimitLayer, BodyLimits, CallLayer, CallLimits, Drain, EdgeBody, Metrics, Mount, Readiness,
    RescueLayer, Server, ServerLimits, Site, SiteLayer, Stage, TraceLayer, tls,
};
use http::{HeaderValue, Method, Request, Response, header};
use hyper::body::Incoming;
use tower::{ServiceBuilder, service_fn};

use crate::{
    assembly::Parts,
    config::Config,
    estimate::{ESTIMATE, Estimates},
};

/// A server of the whole gateway, ready to be bound.
///
/// # Errors
/// A path is taken twice, or the certificate cannot be used.
pub fn server(
    config: &Config,
    parts: Parts,
    admins: AdminCheck,
) -> Result<Server<impl Stage<Request<Incoming>, Answer = Response<EdgeBody>, Error = Infallible> + use<>>> {
    let drain = Drain::new();
    let clock = Arc::clone(&parts.clock);
    let metrics = metrics(&parts);
    let limits =
        BodyLimits { bytes: config.server.body_bytes_max, read: Duration::from_secs(config.server.body_read_s), ..BodyLimits::default() };
    let total = CallLimits { total: parts.total_max };
    let keys = Arc::clone(&parts.ledger);
    let options = HoldOptions {
        admission_wait: Duration::from_millis(config.billing.admission_wait_ms),
        strict_settle: config.billing.strict_settle,
    };
    let resolve = ResolveLayer::new(parts.routes.clone(), parts.providers.clone());
    let hold = HoldLayer::new(Arc::clone(&parts.ledger) as _, Arc::clone(&clock), options);
    let router = parts.router.clone();
    let site = site(parts)?;

    let stack = ServiceBuilder::new()
        // Outermost: whatever fails below becomes a body in the caller's protocol here and nowhere else.
        .layer(RescueLayer::new(Arc::clone(&site), Arc::clone(&clock)))
        // Before anything can be refused, so that every refusal has an id, a log line and a count.
        .layer(TraceLayer::new(Arc::clone(&clock), metrics.clone(), drain.clone()))
        // A body that announces itself too large is refused before anybody looks at its key.
        .layer(BodyLimitLayer::new(limits))
        // No stranger's body is read, and none gets further.
        .layer(AuthLayer::new(keys, admins))
        // Billing, administration, models, health and metrics branch off; only calls go on.
        .layer(SiteLayer::new(site, metrics.clone(), drain.clone()))
        // From bytes to an `Arc<Call>`; below this line errors are faults and answers are replies.
        .layer(CallLayer::new(total, Arc::clone(&clock), metrics))
        // The candidates come first, because a hold is the dearest candidate's.
        .layer(resolve)
        // Admission and the response cache will stand here: outside the hold, so that a refusal or a hit touches no money.
        // Money is held for whatever goes on, and settled for whatever comes back.
        .layer(hold)
        // Plans, attempts, retries, fallbacks.
        .service(router);

    let server = Server::new(stack, clock, drain).limits(ServerLimits {
        connections: config.server.connections_max,
        header_bytes: config.server.header_bytes_max,
        header_read: Duration::from_secs(config.server.header_read_s),
        write_stall: Duration::from_secs(config.server.stalled_reader_s),
        request_life: total.total + Duration::from_secs(config.server.body_read_s + config.server.stalled_reader_s),
        ..ServerLimits::default()
    });
    match &config.server.tls {
        None => Ok(server.listen(config.server.listen)),
        Some(files) => {
            let read = |path: &std::path::Path| fs::read(path).with_context(|| format!("[server.tls]: cannot read {}", path.display()));
            let settings = tls::from_pem(&read(&files.cert_file)?, &read(&files.key_file)?).context("[server.tls]")?;
            Ok(server.listen_tls(config.server.listen, settings))
        }
    }
}

/// What each path leads to.
fn site(parts: Parts) -> Result<Arc<Site>> {
    let estimates = Estimates::new(&parts);
    let estimate = service_fn(move |request| std::future::ready(estimates.answer(request)));
    let (billing, admin, ledger) = (parts.billing_api, parts.admin, parts.ledger);
    let billing = service_fn(move |request: gateway_server::MountRequest| {
        let billing = billing.clone();
        async move {
            let principal = request.principal.ok_or_else(|| gateway_core::Fault::internal("a caller's path without a caller"))?;
            let (method, uri) = (&request.head.method, &request.head.uri);
            let asked = ApiRequest { method, path: uri.path(), query: uri.query(), body: &request.body };
            Ok(billing.handle(&Viewer::of(&principal), asked).await)
        }
    });
    let admin = service_fn(move |request| admin.clone().handle(request));
    let keys = Bytes::from(ledger.receipt_key().public_keys());
    let keys = service_fn(move |request: gateway_server::MountRequest| std::future::ready(receipt_keys(&request.head, keys.clone())));
    let site = Site::shipped()
        .models(parts.listing)
        .mount(Mount::new("/v1/billing", Access::Caller, billing))
        // Beside billing's own paths, because it needs the routes, of which billing knows nothing.
        .mount(Mount::new(ESTIMATE, Access::Caller, estimate))
        .mount(Mount::new("/admin", Access::Admin, admin))
        .mount(Mount::new(RECEIPT_KEYS, Access::Anybody, keys))
        .metrics(Access::Anybody)
        .ready(move || match ledger.journal_reading() {
            reading if reading.down => Readiness::NotReady("the ledger cannot be written".into()),
            _ => Readiness::Ready,
        })
        .build()?;
    Ok(site)
}

/// Where anybody finds the keys that receipts are checked with.
pub const RECEIPT_KEYS: &str = "/.well-known/bellwether-receipts.json";

fn receipt_keys(head: &http::request::Parts, keys: Bytes) -> Result<Response<Bytes>, Fault> {
    if head.uri.path() != RECEIPT_KEYS {
        return Err(Fault::new(FaultKind::NotFound, Origin::Caller, format!("there is nothing below {RECEIPT_KEYS}")));
    }
    if head.method != Method::GET && head.method != Method::HEAD {
        return Err(Fault::new(FaultKind::MethodNotAllowed, Origin::Caller, "the keys of receipts are for reading: use GET"));
    }
    let mut response = Response::new(keys);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

fn metrics(parts: &Parts) -> Metrics {
    let routes = parts.routes.clone();
    let known = move |name: &str| routes.load().model(name).is_some();
    Metrics::new(known, vec![snapshots::attempts(parts.providers.clone()), snapshots::ledger(Arc::clone(&parts.ledger))])
}
