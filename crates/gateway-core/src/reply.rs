//! A provider's answer, already in the caller's protocol.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::{
    attempt::Attempt,
    codec::{RenderCtx, Signal},
    deployment::Deployment,
    fault::Fault,
    ir::{ChatResponse, Choice, PartBody},
    losses::Losses,
    meter::{Meter, Used},
    stream::{Pump, StreamBody, StreamLimits},
};

/// What is known of an answer before its body, and what the layers add on the way back.
#[derive(Debug, Clone)]
pub struct ReplyHead {
    /// The status the caller gets.
    pub status: StatusCode,
    /// Headers for the caller: the allow-listed ones of the provider, then what the layers add.
    pub headers: HeaderMap,
    /// Where it was served; `None` when no deployment was asked.
    pub deployment: Option<Arc<Deployment>>,
    /// Attempts made for the call, this one included.
    pub attempts: u32,
    /// What could not be carried, there and back.
    pub losses: Losses,
    /// Time spent waiting for providers, over all attempts; the rest of the latency is ours.
    pub upstream_wait: Duration,
}

impl ReplyHead {
    /// A 200 from the attempt's deployment.
    #[must_use]
    pub fn of(attempt: &Attempt) -> Self {
        Self {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            deployment: Some(Arc::clone(&attempt.deployment)),
            attempts: attempt.ordinal,
            losses: Losses::new(),
            upstream_wait: Duration::ZERO,
        }
    }
}

/// The bytes of an answer.
pub enum ReplyBody {
    /// All there.
    Whole(Bytes),
    /// To come.
    Stream(Box<StreamBody>),
}

/// An answer on its way to the caller.
pub struct Reply {
    /// Status, headers, where it was served.
    pub head: ReplyHead,
    /// The bytes.
    pub body: ReplyBody,
    /// What it uses.
    pub meter: Meter,
}

impl Reply {
    /// A whole answer, written in the protocol of the attempt's caller. A provider that depends on core alone can answer
    /// in any caller's protocol this way.
    #[must_use]
    pub fn whole(attempt: &Attempt, response: &ChatResponse) -> Self {
        let mut head = ReplyHead::of(attempt);
        let meter = Meter::new();
        record_whole(response, &meter);
        let ctx = RenderCtx::of(attempt);
        let body = attempt.call.ingress().encode(response, &ctx, &mut head.losses);
        Self { head, body: ReplyBody::Whole(body), meter }
    }

    /// A streamed answer from a pump, within the attempt's time limits. Must be called within a tokio runtime.
    #[must_use]
    pub fn stream(attempt: &Attempt, pump: Box<dyn Pump>, first_chunk: crate::clock::Instant) -> Self {
        let timeouts = &attempt.deployment.timeouts;
        let limits =
            StreamLimits { first_chunk, between_chunks: timeouts.between_chunks, deadline: attempt.deadline, keep_alive: KEEP_ALIVE };
        let meter = Meter::new();
        let body = StreamBody::new(pump, meter.clone(), limits);
        Self { head: ReplyHead::of(attempt), body: ReplyBody::Stream(Box::new(body)), meter }
    }

    /// Waits for the commit point. A whole answer is past it.
    ///
    /// # Errors
    /// The stream failed before its first content; nothing has reached the caller.
    pub async fn commit(&mut self) -> Result<(), Fault> {
        match &mut self.body {
            ReplyBody::Whole(_) => Ok(()),
            ReplyBody::Stream(body) => body.commit().await,
        }
    }
}

/// Proxies commonly cut a connection after 30 to 60 s of silence.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Tells the meter what a whole answer used.
pub fn record_whole(response: &ChatResponse, meter: &Meter) {
    if let Some(usage) = &response.usage {
        meter.record(Signal::Usage { usage: usage.clone(), is_final: true });
    }
    for choice in &response.choices {
        meter.record(Signal::Content { bytes: content_of(choice) });
        meter.record(Signal::Finish(choice.finish.reason));
    }
}

impl From<&ChatResponse> for Used {
    /// What a whole answer has used, as [`record_whole`] tells the meter.
    fn from(response: &ChatResponse) -> Self {
        Self {
            usage: response.usage.clone().unwrap_or_default(),
            is_final: response.usage.is_some(),
            content_bytes: response.choices.iter().map(|choice| content_of(choice) as u64).sum(),
        }
    }
}

fn content_of(choice: &Choice) -> usize {
    choice.parts.iter().map(|part| content_bytes(&part.body)).sum()
}

fn content_bytes(body: &PartBody) -> usize {
    match body {
        PartBody::Text { text, .. } | PartBody::Reasoning(text) | PartBody::Refusal(text) => text.len(),
        PartBody::ToolCall(call) => call.arguments.len(),
        PartBody::Media(_) | PartBody::ToolResult(_) | PartBody::Opaque { .. } => 0,
    }
}
