//! The codec as its neighbours use it: canonical forms in, bytes out, and back.

mod answers;
mod fast_path;
mod faults;
mod properties;
mod requests;

use std::sync::Arc;

use bytes::BytesMut;
use gateway_core::{
    Deployment, DeploymentId, Losses, ModelLimits, OnLoss, Pricer, ProviderId, Quirks, RequestId, Timeouts, Used,
    ir::{Event, Message, Part, PartBody, Raw, Role, Seal},
};
use serde_json::Value;

use super::*;
use crate::GEMINI;

fn deployment(quirks: Quirks) -> Deployment {
    Deployment {
        id: DeploymentId::new("d"),
        provider: ProviderId::new("p"),
        model: Arc::from("public"),
        upstream_model: Arc::from("upstream"),
        protocol: ANTHROPIC_MESSAGES,
        weight: 1,
        limits: ModelLimits { output_tokens_max: Some(64_000), context_window: None },
        timeouts: Timeouts::default(),
        on_loss: OnLoss::Report,
        quirks,
        notice: None,
    }
}

fn ctx() -> RenderCtx {
    RenderCtx {
        request_id: RequestId::from_bytes([7; 16]),
        model: Arc::from("public"),
        created: 0,
        stream_usage: true,
        price: Pricer::default(),
    }
}

fn message(role: Role, parts: Vec<Part>) -> Message {
    Message { role, name: None, parts, extras: None }
}

fn user(text: &str) -> Message {
    message(Role::User, vec![Part::text(text)])
}

fn foreign_seal() -> Seal {
    Seal { issuer: GEMINI, bytes: "CiQ=".into() }
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(bytes)))
}

fn lost(losses: &Losses) -> Vec<String> {
    losses.iter().map(|loss| format!("{};{}", loss.path, loss.reason.as_str())).collect()
}

/// What the encoder writes for the events, and the losses.
fn streamed(events: &[Event<'_>]) -> (String, Vec<String>) {
    let mut encoder = AnthropicIngress::new().event_encoder(&ctx());
    let (mut out, mut losses) = (BytesMut::new(), Losses::new());
    for event in events {
        encoder.encode(event, &mut out, &mut losses);
    }
    encoder.finish(&Used::default(), &mut out);
    (String::from_utf8(out.to_vec()).unwrap(), lost(&losses))
}

fn raw(json: &str) -> Raw {
    Raw::of(&serde_json::from_str::<Box<serde_json::value::RawValue>>(json).unwrap()).unwrap()
}

fn reasoning(text: &str, seal: Option<Seal>) -> Part {
    Part::new(PartBody::Reasoning(text.to_owned())).sealed(seal)
}
