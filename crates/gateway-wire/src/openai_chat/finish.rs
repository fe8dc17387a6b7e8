//! Why an answer ended: the wire's words and ours.

use gateway_core::ir::{Finish, FinishReason};

use crate::json::Writer;

/// Reads a word. `called`: the answer holds tool calls, which some providers end with `stop`; so does OpenAI itself when
/// the tool was named by the caller.
pub(super) fn decode(native: &str, called: bool) -> Finish {
    let reason = match native {
        // Imitators say `eos` and `COMPLETE` for a natural end.
        "stop" | "eos" | "COMPLETE" if called => FinishReason::ToolCalls,
        "stop" | "eos" | "COMPLETE" => FinishReason::Stop,
        "STOP_SEQUENCE" => FinishReason::StopSequence,
        "length" => FinishReason::Length,
        "model_length" => FinishReason::ContextFull,
        "tool_calls" | "function_call" => FinishReason::ToolCalls,
        "content_filter" | "sensitive" => FinishReason::ContentFilter,
        "error" | "network_error" => FinishReason::Error,
        _ => FinishReason::Other,
    };
    Finish { reason, native: Some(native.into()), stop_sequence: None }
}

pub(super) fn word(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop | FinishReason::StopSequence | FinishReason::Paused => "stop",
        FinishReason::Length | FinishReason::ContextFull => "length",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::ContentFilter | FinishReason::Refusal => "content_filter",
        // An unknown reason with content is shown as an end; the native word beside it tells.
        FinishReason::MalformedToolCall | FinishReason::Error | FinishReason::Other => "stop",
    }
}

/// Writes `finish_reason`, and the provider's own word where it is another.
pub(super) fn write(w: &mut Writer<'_>, finish: &Finish) {
    let word = word(finish.reason);
    w.key("finish_reason").str(word);
    if let Some(native) = finish.native.as_deref().filter(|native| *native != word) {
        w.key("native_finish_reason").str(native);
    }
}
