//! From the caller's request to the provider's: the fast path where it can be taken, else the canonical one.

use bytes::Bytes;
use gateway_core::{Attempt, Encoded, Fault, FaultKind, Losses, Memo, OnLoss, Operation, Origin, Retry, Target};
use http::Request;

use crate::{
    adapter::{Adapter, Pass},
    headers::{Forwarded, forward_request},
};

/// How the answer goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// The caller's bytes were forwarded, so the provider's are too.
    Relay,
    /// Both are written anew.
    Transcode,
}

/// A request that needs nothing but a credential.
pub(super) struct Prepared {
    pub(super) request: Request<Bytes>,
    pub(super) way: Way,
    pub(super) memo: Memo,
    pub(super) losses: Losses,
}

/// Writes the request, before any upstream call. What is lost where losses are not wanted is refused here.
pub(super) fn prepare(adapter: &impl Adapter, attempt: &Attempt) -> Result<Prepared, Fault> {
    let (call, deployment) = (&*attempt.call, &*attempt.deployment);
    let egress = adapter.egress(deployment);
    let target = Target { deployment, stream: call.peek().stream, output_limit: attempt.output_limit };
    let same_protocol = call.protocol() == egress.protocol();
    let mut losses = Losses::new();

    let verbatim = same_protocol && adapter.pass(deployment) == Pass::Verbatim && !call.peek().foreign_seal;
    let forwarded = if verbatim { egress.forward(call, &target, &mut losses) } else { None };
    let (encoded, way) = match forwarded {
        Some(encoded) => (encoded, Way::Relay),
        None if call.operation() == Operation::Chat => {
            losses = Losses::new();
            let request = call.canonical().map_err(gateway_core::WireError::into_caller_fault)?;
            let encoded = egress.encode(request, &target, &mut losses).map_err(gateway_core::WireError::into_caller_fault)?;
            (encoded, Way::Transcode)
        }
        None => return Err(not_served(adapter, call.operation())),
    };
    if call.operation() != Operation::Chat && !adapter.serves(deployment, call.operation()) {
        return Err(not_served(adapter, call.operation()));
    }
    if !losses.is_empty() && (call.peek().controls.strict || deployment.on_loss == OnLoss::Reject) {
        return Err(lossy(losses, attempt));
    }
    let memo = encoded.memo.clone();
    let mut request = adapter.address(attempt, Encoded { memo: Memo::default(), ..encoded })?;
    let from = &call.head().headers;
    let named = adapter.forwarded_headers();
    forward_request(&Forwarded { from, same_protocol, mode: call.mode(), named }, request.headers_mut());
    Ok(Prepared { request, way, memo, losses })
}

fn lossy(losses: Losses, attempt: &Attempt) -> Fault {
    let message = format!(
        "{} cannot carry the request whole: {}. Remove these fields, allow losses, or ask another model",
        attempt.deployment.id,
        losses.to_header()
    );
    // Another deployment of the model may be able to.
    Fault::invalid(message).with_code("losses_refused").with_retry(Retry::NextDeployment).with_losses(losses)
}

fn not_served(adapter: &impl Adapter, operation: Operation) -> Fault {
    let what = match operation {
        Operation::Chat => "chat",
        Operation::CountTokens => "token counting",
    };
    let message = format!("the provider {} does not serve {what} for this request", adapter.id());
    Fault::new(FaultKind::NotFound, Origin::Gateway, message).with_retry(Retry::NextDeployment)
}
