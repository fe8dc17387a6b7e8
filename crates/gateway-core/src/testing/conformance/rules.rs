//! The rules about identity, whole answers, faults, and leaving.

use std::{future::Future, pin::pin, sync::Arc, task::Context, time::Duration};

use serde_json::Value;
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{Broken, Subject, broken, require};
use crate::{
    call::Call,
    fault::{Fault, FaultKind, Origin, Retry},
    meter::MeterSnapshot,
    provider::Readiness,
    reply::{Reply, ReplyBody},
    testing::attempt,
};

/// How soon a dropped attempt must be gone from the upstream.
const GONE_WITHIN: Duration = Duration::from_millis(100);

pub(super) fn identity(subject: &Subject) -> Result<(), Broken> {
    let (id, named) = (subject.provider.id(), &subject.deployment.provider);
    require("id", id == named, || format!("the provider calls itself `{id}` but its deployment names `{named}`"))?;
    require("id", !id.as_str().is_empty() && id == subject.provider.id(), || "the id must be a name and stay the same".to_owned())
}

pub(super) fn readiness(subject: &Subject) -> Result<(), Broken> {
    let ready = subject.provider.readiness(subject.mode);
    require("readiness", ready == Readiness::Ready, || {
        format!("`readiness({})` is {ready:?} although the provider is about to be tested; make it ready first", subject.mode.as_str())
    })
}

pub(super) async fn send(subject: &Subject, rule: &'static str, call: &Arc<Call>, ordinal: u32) -> Result<Result<Reply, Fault>, Broken> {
    let sent = subject.provider.attempt(attempt(call, &subject.deployment, ordinal));
    timeout(subject.patience, sent).await.map_err(|_elapsed| broken(rule, format!("no answer within {:?}", subject.patience)))
}

pub(super) fn check_head(reply: &Reply, subject: &Subject, ordinal: u32) -> Result<(), Broken> {
    require("head", reply.head.status.is_success(), || format!("an answer has status {}; a failure must be a `Fault`", reply.head.status))?;
    let served_by = reply.head.deployment.as_ref().map(|deployment| deployment.id.clone());
    require("head", served_by.as_ref() == Some(&subject.deployment.id), || {
        format!("`head.deployment` is {served_by:?}; it must be the attempt's, {}", subject.deployment.id)
    })?;
    require("head", reply.head.attempts == ordinal, || {
        format!("`head.attempts` is {}; use `ReplyHead::of`, which makes it the attempt's ordinal, {ordinal}", reply.head.attempts)
    })?;
    let forwarded = ["set-cookie", "connection", "transfer-encoding"].into_iter().find(|name| reply.head.headers.contains_key(*name));
    require("head", forwarded.is_none(), || format!("the upstream's `{}` header was forwarded", forwarded.unwrap_or_default()))
}

pub(super) fn check_meter(rule: &'static str, reading: &MeterSnapshot, subject: &Subject, text_bytes: usize) -> Result<(), Broken> {
    require(rule, reading.content_bytes == text_bytes as u64, || {
        format!("the meter counted {} bytes of content, the caller got {text_bytes}", reading.content_bytes)
    })?;
    require(rule, reading.finish.is_some(), || "the meter was not told how the answer finished".to_owned())?;
    if subject.reports_usage {
        require("usage", reading.usage_final, || {
            "no final usage was recorded; if the upstream never reports it, say `without_usage`".to_owned()
        })?;
        let counted = reading.usage.input_tokens() > 0 && reading.usage.output_tokens() > 0;
        require("usage", counted, || format!("usage must have input and output tokens: {:?}", reading.usage))?;
    }
    Ok(())
}

pub(super) async fn whole(subject: &Subject) -> Result<(), Broken> {
    const RULE: &str = "whole";
    let call = subject.call(&subject.prompt).build();
    let mut reply = send(subject, RULE, &call, 2).await?.map_err(|fault| broken(RULE, format!("a plain request failed: {fault:?}")))?;
    check_head(&reply, subject, 2)?;
    reply.commit().await.map_err(|fault| broken(RULE, format!("a whole answer is past its commit point, but: {fault:?}")))?;
    let ReplyBody::Whole(body) = &reply.body else { return Err(broken(RULE, "a call that asked for no stream got one")) };
    let answer: Value = serde_json::from_slice(body)
        .map_err(|error| broken(RULE, format!("the answer is not in the caller's protocol ({error}); write it with `Reply::whole`")))?;
    let text = answer["text"].as_str().unwrap_or_default();
    require(RULE, !text.is_empty(), || format!("the answer has no text: {answer}"))?;
    require(RULE, answer["model"].as_str() == Some(&*subject.deployment.model), || {
        format!("the answer names the model {}; it must be the public one, `{}`", answer["model"], subject.deployment.model)
    })?;
    check_meter(RULE, &reply.meter.snapshot(), subject, text.len())
}

/// A request that its protocol cannot read is the caller's mistake, told at once and never retried.
pub(super) async fn undecodable(subject: &Subject) -> Result<(), Broken> {
    const RULE: &str = "undecodable";
    for call in [subject.call(""), subject.call("").streamed()] {
        match send(subject, RULE, &call.build(), 1).await? {
            Ok(_reply) => {
                return Err(broken(
                    RULE,
                    "a request that `Call::canonical` refuses was answered; hand its error on with `into_caller_fault`",
                ));
            }
            Err(fault) => {
                let right = fault.kind() == FaultKind::InvalidRequest && fault.retry() == Retry::Never && fault.origin() == Origin::Caller;
                require(RULE, right, || format!("it must be an invalid request of the caller's, never retried; it is {fault:?}"))?;
            }
        }
    }
    Ok(())
}

pub(super) async fn faults(subject: &Subject) -> Result<(), Broken> {
    const RULE: &str = "faults";
    for (prompt, kind) in &subject.faults {
        for call in [subject.call(prompt), subject.call(prompt).streamed()] {
            let fault = match send(subject, RULE, &call.build(), 1).await? {
                Err(fault) => fault,
                Ok(mut reply) => match timeout(subject.patience, reply.commit()).await {
                    Ok(Err(fault)) => fault,
                    Ok(Ok(())) => {
                        return Err(broken(RULE, format!("the prompt {prompt:?} was answered; it must fail with {}", kind.as_str())));
                    }
                    Err(_elapsed) => return Err(broken(RULE, format!("the prompt {prompt:?} neither failed nor committed"))),
                },
            };
            require(RULE, fault.kind() == *kind, || format!("the prompt {prompt:?} must fail with {}; it is {fault:?}", kind.as_str()))?;
            require(RULE, !fault.message().is_empty(), || format!("the fault of {prompt:?} says nothing"))?;
            let passing = matches!(
                kind,
                FaultKind::RateLimited
                    | FaultKind::Overloaded
                    | FaultKind::Timeout
                    | FaultKind::Unavailable
                    | FaultKind::BadUpstream
                    | FaultKind::UpstreamError
            );
            require(RULE, !passing || fault.retry() != Retry::Never, || {
                format!("{} may pass elsewhere, so its `retry` must not be `Never`", kind.as_str())
            })?;
        }
    }
    Ok(())
}

/// Dropping the future stops the upstream call and harms nothing that follows.
pub(super) async fn dropped_future(subject: &Subject) -> Result<(), Broken> {
    const RULE: &str = "cancel-safety";
    for call in [subject.call(&subject.prompt), subject.call(&subject.prompt).streamed()] {
        {
            let call = call.build();
            let mut sent = pin!(subject.provider.attempt(attempt(&call, &subject.deployment, 1)));
            let _first_poll = sent.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop()));
        }
        gone(subject, RULE).await?;
    }
    still_serves(subject, RULE).await
}

/// Nothing of a dropped attempt is left upstream, where the author can tell.
pub(super) async fn gone(subject: &Subject, rule: &'static str) -> Result<(), Broken> {
    let Some(gauge) = &subject.in_flight else { return Ok(()) };
    for _ in 0..20 {
        if gauge() == 0 {
            return Ok(());
        }
        sleep(GONE_WITHIN / 20).await;
    }
    require(rule, gauge() == 0, || format!("{GONE_WITHIN:?} after it was dropped, {} upstream requests are still open", gauge()))
}

pub(super) async fn still_serves(subject: &Subject, rule: &'static str) -> Result<(), Broken> {
    let call = subject.call(&subject.prompt).build();
    send(subject, rule, &call, 1)
        .await?
        .map(drop)
        .map_err(|fault| broken(rule, format!("after a dropped attempt the next one fails: {fault:?}")))
}

/// Attempts do not wait for each other.
pub(super) async fn side_by_side(subject: &Subject) -> Result<(), Broken> {
    const RULE: &str = "side-by-side";
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let provider = Arc::clone(&subject.provider);
        let sent = attempt(&subject.call(&subject.prompt).build(), &subject.deployment, 1);
        tasks.spawn(async move { provider.attempt(sent).await.map(drop) });
    }
    while let Some(joined) = timeout(subject.patience, tasks.join_next())
        .await
        .map_err(|_elapsed| broken(RULE, format!("eight attempts at once were not over within {:?}", subject.patience)))?
    {
        match joined {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => return Err(broken(RULE, format!("one of eight attempts at once failed: {fault:?}"))),
            Err(error) => return Err(broken(RULE, format!("one of eight attempts at once panicked: {error}"))),
        }
    }
    Ok(())
}
