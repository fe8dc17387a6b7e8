//! The fast path of a whole answer.

use bytes::{Bytes, BytesMut};
use gateway_core::{Fault, RelayCtx, Signal, WireError, ir::FinishReason};

use super::glance::{Glance, Seen};
use crate::{
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
    rename(ctx, body, &glance).map_err(WireError::into_upstream_fault)
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

/// The answer under the public name of its model.
fn rename(ctx: &RelayCtx, body: &Bytes, glance: &Glance) -> Result<Bytes, WireError> {
    match &glance.model {
        Some(model) if glance.models == 1 => {
            let mut out = BytesMut::with_capacity(body.len() + ctx.render.model.len() + 2);
            out.extend_from_slice(&body[..model.start]);
            write_str(&mut out, &ctx.render.model);
            out.extend_from_slice(&body[model.end..]);
            Ok(out.freeze())
        }
        None if glance.models == 0 => Ok(body.clone()),
        // Repeated, or no string.
        Some(_) | None => {
            let spans = top_level(body)?;
            let mut splice = Splice::new(body, &spans);
            splice.set_str("model", &ctx.render.model);
            Ok(splice.apply())
        }
    }
}
