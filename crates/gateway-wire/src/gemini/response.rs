//! Reads a whole answer: a stream of one frame, folded. So streamed and whole answers cannot disagree.

use gateway_core::{
    Fault, Memo, WireError,
    ir::{ChatResponse, Choice},
    stream::Fold,
};

use super::{
    finish,
    schema::PromptFeedback,
    stream::{self, Decoder},
};

/// Decodes an answer. A refused prompt becomes a choice that a filter ended; whoever wants a fault instead asks
/// [`super::fault::in_body`] first.
///
/// # Errors
/// The bytes are no answer, or one that never ended.
pub(super) fn decode(body: &[u8], memo: &Memo) -> Result<ChatResponse, WireError> {
    let answer = stream::parse(body)?;
    let mut decoder = Decoder::new(memo);
    let mut fold = Fold::new();
    let mut failed: Option<Fault> = None;
    let mut collect = |event: gateway_core::ir::Event<'_>| {
        if let Err(fault) = fold.push(&event) {
            failed.get_or_insert(fault);
        }
    };
    let refused = decoder.refused(&answer).map(refused);
    decoder.answer(&answer, &mut collect)?;
    if refused.is_none() {
        decoder.close(&mut collect)?;
    }
    if let Some(fault) = failed {
        return Err(WireError::new(fault.message().to_owned()));
    }
    let mut response = fold.finish();
    response.choices.extend(refused);
    Ok(response)
}

fn refused(feedback: &PromptFeedback<'_>) -> Choice {
    let reason = feedback.block_reason.as_ref().map_or("", |text| &text.0);
    Choice { index: 0, parts: Vec::new(), finish: finish::blocked(reason), logprobs: None, extras: None }
}
