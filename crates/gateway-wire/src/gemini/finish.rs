//! Gemini's words for how an answer ended.

use gateway_core::ir::{Finish, FinishReason};

/// Maps a `finishReason`. Gemini says `STOP` even when it calls a function.
pub(super) fn decode(native: &str, calls: bool) -> Finish {
    let reason = match native {
        "STOP" if calls => FinishReason::ToolCalls,
        "STOP" => FinishReason::Stop,
        "MAX_TOKENS" => FinishReason::Length,
        "SAFETY"
        | "RECITATION"
        | "LANGUAGE"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "MODEL_ARMOR"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION" => FinishReason::ContentFilter,
        "CONTINUATION" => FinishReason::Paused,
        "MALFORMED_FUNCTION_CALL" | "UNEXPECTED_TOOL_CALL" | "TOO_MANY_TOOL_CALLS" | "MISSING_THOUGHT_SIGNATURE" | "MALFORMED_RESPONSE" => {
            FinishReason::MalformedToolCall
        }
        "OTHER" => FinishReason::Error,
        _ => FinishReason::Other,
    };
    Finish { reason, native: Some(native.into()), stop_sequence: None }
}

/// How a prompt that was refused outright ends, for whoever asks for an answer all the same.
pub(super) fn blocked(block_reason: &str) -> Finish {
    Finish { reason: FinishReason::ContentFilter, native: Some(block_reason.into()), stop_sequence: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_of_the_protocol_is_mapped() {
        let table = [
            ("STOP", FinishReason::Stop),
            ("MAX_TOKENS", FinishReason::Length),
            ("SAFETY", FinishReason::ContentFilter),
            ("RECITATION", FinishReason::ContentFilter),
            ("LANGUAGE", FinishReason::ContentFilter),
            ("OTHER", FinishReason::Error),
            ("BLOCKLIST", FinishReason::ContentFilter),
            ("PROHIBITED_CONTENT", FinishReason::ContentFilter),
            ("SPII", FinishReason::ContentFilter),
            ("MALFORMED_FUNCTION_CALL", FinishReason::MalformedToolCall),
            ("IMAGE_SAFETY", FinishReason::ContentFilter),
            ("IMAGE_PROHIBITED_CONTENT", FinishReason::ContentFilter),
            ("IMAGE_RECITATION", FinishReason::ContentFilter),
            ("IMAGE_OTHER", FinishReason::Other),
            ("NO_IMAGE", FinishReason::Other),
            ("UNEXPECTED_TOOL_CALL", FinishReason::MalformedToolCall),
            ("TOO_MANY_TOOL_CALLS", FinishReason::MalformedToolCall),
            ("MISSING_THOUGHT_SIGNATURE", FinishReason::MalformedToolCall),
            ("MALFORMED_RESPONSE", FinishReason::MalformedToolCall),
            ("MODEL_ARMOR", FinishReason::ContentFilter),
            ("CONTINUATION", FinishReason::Paused),
            ("ESCALATION", FinishReason::Other),
            ("A_WORD_OF_TOMORROW", FinishReason::Other),
        ];
        for (native, reason) in table {
            assert_eq!(decode(native, false), Finish { reason, native: Some(native.into()), stop_sequence: None });
        }
    }

    #[test]
    fn a_stop_after_calls_is_a_tool_call_and_other_reasons_are_not() {
        assert_eq!(decode("STOP", true).reason, FinishReason::ToolCalls);
        assert_eq!(decode("MAX_TOKENS", true).reason, FinishReason::Length);
        assert_eq!(decode("SAFETY", true).reason, FinishReason::ContentFilter);
    }
}
