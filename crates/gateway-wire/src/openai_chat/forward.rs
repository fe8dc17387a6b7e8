//! The fast path of a request: the caller's own bytes with a few top-level edits.

use gateway_core::{Call, Encoded, LossReason, Losses, OutputLimitKey, Quirks, StreamUsage, Target};
use http::HeaderMap;
use memchr::memmem;

use super::{
    memo::ChatMemo,
    write_request::{limit_key, with_usage},
};
use crate::{controls, json::Json, splice::Splice};

const LIMIT_KEYS: [&str; 2] = ["max_completion_tokens", "max_tokens"];

pub(super) fn forward(call: &Call, target: &Target<'_>, losses: &mut Losses) -> Option<Encoded> {
    let (peek, quirks) = (call.peek(), &target.deployment.quirks);
    if peek.foreign_seal || needs_deep_edit(call.body(), quirks) {
        return None;
    }
    let mut splice = Splice::new(call.body(), &peek.spans);
    splice.set_str("model", &target.deployment.upstream_model);
    for key in controls::KEYS {
        splice.remove(key);
    }
    limits(&mut splice, peek.output_limit, target);
    if quirks.seed_is_random_seed {
        splice.rename("seed", "random_seed");
    }
    if quirks.no_sampling {
        for key in ["temperature", "top_p", "top_k"] {
            refuse(&mut splice, key, losses);
        }
    }
    let usage_is_ours = stream_options(&mut splice, peek.stream, peek.stream_usage, quirks);
    keep_accepted(&mut splice, quirks, losses);
    let memo = ChatMemo { usage_is_ours, ..ChatMemo::default() }.into_memo();
    Some(Encoded { body: splice.apply(), headers: HeaderMap::new(), memo })
}

/// Whether a quirk concerns something below the top level that this body has. A text that merely contains the word
/// costs the fast path and nothing else.
fn needs_deep_edit(body: &[u8], quirks: &Quirks) -> bool {
    let has = |needle: &str| memmem::find(body, needle.as_bytes()).is_some();
    (quirks.no_developer_role && has("\"developer\""))
        || (quirks.tool_ids_nine_alphanumeric && (has("\"tool_calls\"") || has("\"tool_call_id\"")))
        || (quirks.thinking_as_content_parts && has("\"reasoning"))
        || (quirks.no_json_schema && has("\"json_schema\""))
}

/// Writes the limit that is paid for and gives it the provider's name. Whichever of the two keys a provider reads, and
/// whichever of a repeated one, it finds no other number: what is held pays for this one.
pub(super) fn limits(splice: &mut Splice<'_>, asked: Option<u32>, target: &Target<'_>) {
    let quirk = target.deployment.quirks.output_limit_key;
    let limit = target.limit_to_write(asked, false);
    let wanted = match quirk {
        OutputLimitKey::AsSent => None,
        OutputLimitKey::MaxTokens | OutputLimitKey::MaxCompletionTokens => Some(limit_key(quirk)),
    };
    let is_limit = |value: &[u8]| Json::parse(value).and_then(Json::u32).ok() == limit;
    match (limit, wanted) {
        // A different number, or a key the provider does not know: one key is left, and says it.
        (Some(limit), Some(key)) if !LIMIT_KEYS.iter().all(|key| splice.values(key).all(is_limit)) || asked.is_none() => {
            LIMIT_KEYS.into_iter().filter(|other| *other != key).for_each(|other| splice.remove(other));
            splice.set(key, limit.to_string());
        }
        (_, Some(key)) => LIMIT_KEYS.into_iter().filter(|other| *other != key).for_each(|other| splice.rename(other, key)),
        (Some(limit), None) => {
            let standing = LIMIT_KEYS.map(|key| (key, splice.values(key).any(|value| value != b"null")));
            if standing.iter().all(|(_, stands)| !stands) {
                let present = LIMIT_KEYS.into_iter().find(|key| splice.has(key)).unwrap_or(limit_key(quirk));
                return splice.set(present, limit.to_string());
            }
            for (key, stands) in standing {
                if stands && !splice.values(key).all(is_limit) {
                    splice.set(key, limit.to_string());
                }
            }
        }
        (None, None) => {}
    }
}

/// Asks for usage where a stream gives it only when asked; true when the caller had not.
fn stream_options(splice: &mut Splice<'_>, stream: bool, asked: bool, quirks: &Quirks) -> bool {
    match quirks.stream_usage {
        StreamUsage::Option if stream && !asked => {
            let options = splice.value("stream_options").and_then(|value| std::str::from_utf8(value).ok());
            let options = with_usage(options);
            splice.set("stream_options", options);
            true
        }
        StreamUsage::Option => false,
        StreamUsage::Always | StreamUsage::Never => {
            splice.remove("stream_options");
            false
        }
    }
}

fn keep_accepted(splice: &mut Splice<'_>, quirks: &Quirks, losses: &mut Losses) {
    if quirks.accepted_keys.is_empty() {
        return;
    }
    // These are always understood, under the name the quirks give them.
    const ALWAYS: [&str; 7] = ["model", "messages", "stream", "stream_options", "max_completion_tokens", "max_tokens", "seed"];
    let known = |key: &str| {
        let named = if key == "seed" && quirks.seed_is_random_seed { "random_seed" } else { key };
        let listed = quirks.accepted_keys.iter().any(|accepted| **accepted == *named);
        listed || (ALWAYS.contains(&key) && key != "seed") || controls::KEYS.contains(&key)
    };
    let refused: Vec<String> = splice.keys().filter(|key| !known(key)).map(std::borrow::Cow::into_owned).collect();
    for key in refused {
        losses.push(key.clone(), LossReason::RefusedByModel);
        splice.remove(key);
    }
}

fn refuse(splice: &mut Splice<'_>, key: &'static str, losses: &mut Losses) {
    if splice.has(key) {
        losses.push(key, LossReason::RefusedByModel);
        splice.remove(key);
    }
}
