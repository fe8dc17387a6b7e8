//! The fast path of a whole answer.

use bytes::{Bytes, BytesMut};
use gateway_core::{Fault, RelayCtx, Signal, Used, WireError, ir::FinishReason};

use super::glance::{Glance, Seen};
use crate::{
    edits::{Edits, priced_usage},
    json::{check_utf8, top_level, write_str},
    openai_chat::{answer, fault},
    splice::Splice,
};

/// One look at the whole answer: malformed JSON or an error inside a 200 must be found before anything goes out.
pub(in crate::openai_chat) fn whole(ctx: &RelayCtx, body: &Bytes, emit: &mut dyn FnMut(Signal)) -> Result<Bytes, Fault> {
    if let Some(fault) = fault::in_body(body) {
        return Err(fault);
    }
    let mut seen = Seen::default();
    let glance = look(ctx, body, &mut seen).map_err(WireError::into_upstream_fault)?;
    report(&glance, &seen, emit);
    let price = glance.usage.as_ref().filter(|_| glance.usage_at.is_some()).and_then(|usage| {
        ctx.render.price.price(&Used { usage: usage.clone(), is_final: true, content_bytes: glance.content_bytes as u64 })
    });
    edit(ctx, body, &glance, price.as_deref()).map_err(WireError::into_upstream_fault)
}

fn look(ctx: &RelayCtx, body: &[u8], seen: &mut Seen) -> Result<Glance, WireError> {
    check_utf8(body)?;
    let glance = Glance::at(body, seen)?;
    if !seen.is_answer() {
        // What it is instead, and what is wrong with it, a full reading tells.
        answer::decode(body, &ctx.memo)?;
    }
    Ok(glance)
}

fn report(glance: &Glance, seen: &Seen, emit: &mut dyn FnMut(Signal)) {
    emit(Signal::Content { bytes: glance.content_bytes });
    emit(Signal::Commit);
    if seen.is_answer() {
        emit(Signal::Finish(glance.finishes.first().copied().unwrap_or(FinishReason::Other)));
    }
    if let Some(usage) = &glance.usage {
        emit(Signal::Usage { usage: usage.clone(), is_final: true });
    }
}

/// The answer under the public name of its model, with what it costs.
fn edit(ctx: &RelayCtx, body: &Bytes, glance: &Glance, price: Option<&str>) -> Result<Bytes, WireError> {
    let usage_at = glance.usage_at.clone().filter(|_| price.is_some());
    // Repeated, or no string.
    let odd_model = glance.models != usize::from(glance.model.is_some());
    let odd_usage = usage_at.is_some() && glance.usages != 1;
    if odd_model || odd_usage {
        let spans = top_level(body)?;
        let mut splice = Splice::new(body, &spans);
        splice.set_str("model", &ctx.render.model);
        if let Some(at) = usage_at {
            splice.set("usage", priced_usage(&String::from_utf8_lossy(&body[at]), price));
        }
        return Ok(splice.apply());
    }
    let mut model = BytesMut::new();
    write_str(&mut model, &ctx.render.model);
    let edits = Edits { model: glance.model.clone().map(|at| (at, &model[..])), usage: usage_at.map(|at| (at, price)) };
    if edits.is_empty() {
        return Ok(body.clone());
    }
    let mut out = BytesMut::with_capacity(body.len() + edits.growth());
    edits.apply(body, &mut out);
    Ok(out.freeze())
}
