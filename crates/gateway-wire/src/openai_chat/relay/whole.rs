//! The fast path of a whole answer.

use bytes::Bytes;
use gateway_core::{
    Fault, RelayCtx, Signal, WireError,
    ir::{ChatResponse, PartBody},
};

use crate::{
    json::top_level,
    openai_chat::{answer, fault},
    splice::Splice,
};

/// The answer is read in full: malformed JSON or an error inside a 200 must be found before anything goes out.
pub(in crate::openai_chat) fn whole(ctx: &RelayCtx, body: &Bytes, emit: &mut dyn FnMut(Signal)) -> Result<Bytes, Fault> {
    if let Some(fault) = fault::in_body(body) {
        return Err(fault);
    }
    let answer = answer::decode(body, &ctx.memo).map_err(WireError::into_upstream_fault)?;
    let spans = top_level(body).map_err(WireError::into_upstream_fault)?;
    report(&answer, emit);
    let mut splice = Splice::new(body, &spans);
    if !splice.has("model") {
        return Ok(body.clone());
    }
    splice.set_str("model", &ctx.render.model);
    Ok(splice.apply())
}

fn report(answer: &ChatResponse, emit: &mut dyn FnMut(Signal)) {
    let bytes = answer.choices.iter().flat_map(|choice| &choice.parts).map(|part| match &part.body {
        PartBody::Text { text, .. } | PartBody::Reasoning(text) | PartBody::Refusal(text) => text.len(),
        PartBody::ToolCall(call) => call.arguments.len(),
        PartBody::Media(_) | PartBody::ToolResult(_) | PartBody::Opaque { .. } => 0,
    });
    emit(Signal::Content { bytes: bytes.sum() });
    emit(Signal::Commit);
    if let Some(choice) = answer.choices.first() {
        emit(Signal::Finish(choice.finish.reason));
    }
    if let Some(usage) = &answer.usage {
        emit(Signal::Usage { usage: usage.clone(), is_final: true });
    }
}
