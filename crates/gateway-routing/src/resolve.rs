//! From a call to its candidates. Nothing is paid for and nothing waits here: refusals are cheap and come first.

use std::{
    collections::BTreeSet,
    future::{Ready, ready},
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::Either;
use gateway_core::{Call, Candidate, Fault, FaultKind, Mode, ModelAllowList, Operation, Origin, Readiness, Routed, Tried};
use tower::{Layer, Service};

use crate::{
    providers::Providers,
    table::{RouteTable, Routes, Target, push},
};

/// The code of a fault that says no deployment can serve the call.
pub const NO_DEPLOYMENT: &str = "no_deployment";

/// The code of a fault that says the model is served, but nowhere in the caller's own protocol, which this operation
/// needs. Whoever composes the stack may answer it by other means.
pub const OPERATION_UNSUPPORTED: &str = "operation_unsupported";

/// Most models a caller may list.
const LISTED_MAX: usize = 16;

/// Puts [`Resolve`] in front of a service of [`Routed`].
#[derive(Debug, Clone)]
pub struct ResolveLayer {
    routes: Routes,
    providers: Providers,
}

impl ResolveLayer {
    /// Resolves by these routes and asks these providers whether they can serve at all.
    #[must_use]
    pub fn new(routes: Routes, providers: Providers) -> Self {
        Self { routes, providers }
    }
}

impl<S> Layer<S> for ResolveLayer {
    type Service = Resolve<S>;

    fn layer(&self, inner: S) -> Resolve<S> {
        Resolve { routes: self.routes.clone(), providers: self.providers.clone(), inner }
    }
}

/// Turns an `Arc<Call>` into [`Routed`].
#[derive(Debug, Clone)]
pub struct Resolve<S> {
    routes: Routes,
    providers: Providers,
    inner: S,
}

impl<S> Service<Arc<Call>> for Resolve<S>
where
    S: Service<Routed, Error = Fault>,
{
    type Response = S::Response;
    type Error = Fault;
    type Future = Either<S::Future, Ready<Result<S::Response, Fault>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: Arc<Call>) -> Self::Future {
        match self.routes.look(|table| resolve(&call, table, &self.providers)) {
            Ok(candidates) => Either::Left(self.inner.call(Routed { call, candidates })),
            Err(fault) => Either::Right(ready(Err(fault.with_tried(Tried::default())))),
        }
    }
}

/// The deployments that may serve the call, best rank first; never empty.
///
/// # Errors
/// The model, or one the caller listed, does not exist (404) or is not the key's to use (403); the list is wrong (400);
/// nothing can serve it (503, which names what to change).
pub fn resolve(call: &Call, table: &RouteTable, providers: &Providers) -> Result<Arc<[Candidate]>, Fault> {
    let controls = &call.peek().controls;
    let allowed = &call.ctx().principal.models;
    let plain = controls.models.is_none()
        && controls.fallbacks.is_none()
        && !controls.disable_fallbacks
        && *allowed == ModelAllowList::All
        && call.operation() == Operation::Chat;
    if plain
        && let Some(chain) = table.find(&call.peek().model).as_ref().and_then(Target::ready_chain)
        && !chain.is_empty()
        && chain.iter().all(|candidate| can_serve(call.mode(), candidate, providers).is_ok())
    {
        return Ok(Arc::clone(chain));
    }
    let targets = targets(call, table)?;
    usable(call, &targets, providers)
}

/// The models to try, in order, each allowed to the key.
fn targets<'t>(call: &'t Call, table: &'t RouteTable) -> Result<Vec<Target<'t>>, Fault> {
    let peek = call.peek();
    let allowed = &call.ctx().principal.models;
    let mut targets = Vec::new();
    let listed = match (&peek.controls.models, &peek.controls.fallbacks) {
        (Some(models), _) => {
            if models.is_empty() {
                return Err(Fault::invalid("`models` is empty; name at least one model or leave it out").with_param("models"));
            }
            Some(("models", models))
        }
        (None, fallbacks) => {
            targets.push(find(&peek.model, "model".to_owned(), allowed, table)?);
            fallbacks.as_ref().map(|fallbacks| ("fallbacks", fallbacks))
        }
    };
    match listed {
        Some((key, names)) => {
            if names.len() > LISTED_MAX {
                return Err(Fault::invalid(format!("`{key}` lists {} models; at most {LISTED_MAX} are tried", names.len())).with_param(key));
            }
            for (n, name) in names.iter().enumerate() {
                targets.push(find(name, format!("{key}[{n}]"), allowed, table)?);
            }
        }
        // The caller did not write the route's list, so what the key may not use is left out without a word.
        None => {
            let own = targets.first().map_or(&[][..], Target::fallbacks);
            targets.extend(own.iter().filter_map(|name| table.find(name)).filter(|target| target.is_allowed(allowed)));
        }
    }
    // Another model's count is no answer, so counting has no fallback either.
    if peek.controls.disable_fallbacks || peek.operation != Operation::Chat {
        targets.truncate(1);
    }
    Ok(targets)
}

fn find<'t>(name: &'t str, param: String, allowed: &ModelAllowList, table: &'t RouteTable) -> Result<Target<'t>, Fault> {
    let shown: String = name.chars().take(100).flat_map(char::escape_debug).collect();
    let fault = match table.find(name) {
        Some(target) if target.is_allowed(allowed) => return Ok(target),
        Some(_) => Fault::new(
            FaultKind::PermissionDenied,
            Origin::Caller,
            format!("this key may not use the model `{shown}`; use one that `GET /v1/models` lists, or ask for a key that may"),
        ),
        None => {
            let close = table.suggest(name, allowed);
            let hint = match close.as_slice() {
                [] => "; `GET /v1/models` lists what there is".to_owned(),
                names => format!("; did you mean {}?", names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or ")),
            };
            Fault::new(FaultKind::NotFound, Origin::Caller, format!("the model `{shown}` does not exist{hint}"))
        }
    };
    Err(fault.with_code("model_not_found").with_param(param))
}

/// The targets' deployments that can serve the call at all.
fn usable(call: &Call, targets: &[Target<'_>], providers: &Providers) -> Result<Arc<[Candidate]>, Fault> {
    let mut candidates = Vec::new();
    for (rank, target) in (0..).zip(targets) {
        push(&mut candidates, rank, &target.deployments());
    }
    let mut reasons = BTreeSet::new();
    let served_at_all = !candidates.is_empty();
    if call.operation() != Operation::Chat {
        candidates.retain(|candidate| candidate.deployment.protocol == call.protocol());
        if served_at_all && candidates.is_empty() {
            let message =
                format!("`{}` is served nowhere by the protocol `{}`, which this request needs", call.peek().model, call.protocol());
            return Err(Fault::new(FaultKind::NotFound, Origin::Caller, message).with_code(OPERATION_UNSUPPORTED).with_param("model"));
        }
    }
    candidates.retain(|candidate| match can_serve(call.mode(), candidate, providers) {
        Ok(()) => true,
        Err(reason) => {
            reasons.insert(reason);
            false
        }
    });
    if candidates.is_empty() {
        reasons.extend(targets.iter().filter_map(Target::notice).map(str::to_owned));
        return Err(no_deployment(targets, &reasons));
    }
    // Ranks stay those of the caller's list, even if a whole model fell out.
    Ok(candidates.into())
}

/// Whether the deployment's provider can serve the mode, or a sentence about what stands in the way. Resting providers
/// can: planning waits for them.
fn can_serve(mode: Mode, candidate: &Candidate, providers: &Providers) -> Result<(), String> {
    let deployment = &candidate.deployment;
    match providers.peek(&deployment.provider, |provider| match mode {
        // Test calls reach only the simulator, which needs no credential.
        Mode::Test => Readiness::Ready,
        Mode::Live => provider.readiness(Mode::Live),
    }) {
        Some(Readiness::Ready | Readiness::Resting { .. }) => Ok(()),
        Some(Readiness::Unusable(why)) => Err(match &deployment.notice {
            Some(notice) => format!("{}: {notice}", deployment.provider),
            None => format!("{}: {why}", deployment.provider),
        }),
        None => Err(format!("{}: this provider is not configured", deployment.provider)),
    }
}

fn no_deployment(targets: &[Target<'_>], reasons: &BTreeSet<String>) -> Fault {
    let names: Vec<_> = targets.iter().map(|target| format!("`{}`", target.public_name())).collect();
    let reasons: Vec<_> = reasons.iter().map(String::as_str).collect();
    Fault::new(FaultKind::NoDeployment, Origin::Gateway, format!("nothing can serve {} now. {}", names.join(" or "), reasons.join("; ")))
        .with_code(NO_DEPLOYMENT)
}

#[cfg(test)]
mod tests;
