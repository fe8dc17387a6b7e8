//! Usage. On the wire totals hold their details; in [`Usage`] no token is counted twice.

use gateway_core::Usage;

use crate::{
    edits::{TICKS, reported_cost, reported_ticks},
    json::{Fields, Json, Writer},
    tally::{Tally, reconciled},
};

/// Reads a usage object. What is no count was not said.
pub(super) fn decode(usage: Json<'_>) -> Usage {
    let Ok(mut fields) = usage.fields() else { return Usage::default() };
    let (prompt, completion) = (fields.take_count("prompt_tokens"), fields.take_count("completion_tokens"));
    let both = fields.take_count("total_tokens");
    let mut input = fields.take_counts("prompt_tokens_details");
    let mut output = fields.take_counts("completion_tokens_details");
    let part = |fields: &mut Option<Fields<'_>>, key| fields.as_mut().and_then(|fields| fields.take_count(key));

    // The same counts have other names at some imitators: DeepSeek's hits, Databricks' and LiteLLM's Anthropic names.
    let read = Named::of([
        part(&mut input, "cached_tokens"),
        fields.take_count("prompt_cache_hit_tokens"),
        fields.take_count("cache_read_input_tokens"),
    ]);
    let write = Named::of([part(&mut input, "cache_write_tokens"), fields.take_count("cache_creation_input_tokens"), None]);
    let (audio_in, image_in) = (part(&mut input, "audio_tokens"), part(&mut input, "image_tokens"));
    let reasoning = part(&mut output, "reasoning_tokens");
    let (audio_out, image_out) = (part(&mut output, "audio_tokens"), part(&mut output, "image_tokens"));

    // xAI counts reasoning beside the completion, and its total says so.
    let beside = reasoning.filter(|n| *n > 0 && both.is_some() && both == prompt.zip(completion).map(|(p, c)| added(&[p, c, *n])));
    let completion = completion.map(|completion| completion.saturating_add(beside.unwrap_or(0)));
    let kinds = added(&[reasoning.unwrap_or(0), audio_out.unwrap_or(0), image_out.unwrap_or(0)]);
    let (reported_input, reported_output) = reconciled(prompt, completion, both, kinds);

    let less = |total: u64, part: Option<u64>| total.saturating_sub(part.unwrap_or(0));
    // The floor matters: Azure's Grok reports more cached tokens than prompt tokens. DeepSeek states what is left as well,
    // and that need not be what is left.
    // Where neither hits nor misses are counted, a prompt was not free of tokens for that.
    let missed = fields.take_count("prompt_cache_miss_tokens").filter(|missed| *missed > 0 || read.most.is_some_and(|read| read > 0));
    let missed = missed.or(prompt.map(|prompt| less(prompt, read.most)));
    let fresh = missed.map(|missed| less(missed, write.most));
    // Cached tokens may be sound or pictures.
    let untold = read.most.unwrap_or(0).saturating_add(write.most.unwrap_or(0));
    let mut tally = fresh.map(|fresh| Tally::new(fresh, untold));
    let mut kind = |n: Option<u64>| n.map(|n| tally.as_mut().map_or(n, |tally| tally.take(n))).filter(|n| *n > 0);
    let (input_audio, input_image) = (kind(audio_in), kind(image_in));
    Usage {
        input_uncached: tally.map(|tally| tally.rest()),
        input_cache_read: read.least,
        input_cache_write_5m: write.least,
        input_audio,
        input_image,
        output_text: completion.map(|completion| completion.saturating_sub(kinds)),
        output_reasoning: reasoning,
        output_audio: audio_out.filter(|n| *n > 0),
        output_image: image_out.filter(|n| *n > 0),
        reported_input,
        reported_output,
        reported_cost: billed(&mut fields),
        ..Usage::default()
    }
}

/// What the provider says that it bills. Where a router used the account's own key at another provider, it states its fee only.
fn billed(fields: &mut Fields<'_>) -> Option<u64> {
    let (cost, ticks) = (fields.take_value("cost"), fields.take_value(TICKS));
    let fee_only = fields.take_value("is_byok").is_some_and(|byok| byok.text() == "true");
    if fee_only { None } else { cost.and_then(reported_cost).or(ticks.and_then(reported_ticks)) }
}

fn added(counts: &[u64]) -> u64 {
    counts.iter().fold(0, |sum, n| sum.saturating_add(*n))
}

/// One count under several names. Where they disagree, the least of them is billed and the most is taken off the prompt, so
/// that the buckets fall short of it and whoever bills sees that the report does not add up.
struct Named {
    least: Option<u64>,
    most: Option<u64>,
}

impl Named {
    fn of(names: [Option<u64>; 3]) -> Self {
        Self { least: names.into_iter().flatten().min(), most: names.into_iter().flatten().max() }
    }
}

/// Writes the usage object; totals include cache reads and writes, as this protocol counts. `price` is what the caller pays.
pub(super) fn write(w: &mut Writer<'_>, usage: &Usage, price: Option<&str>) {
    let sum = |parts: &[Option<u64>]| parts.iter().flatten().copied().reduce(u64::saturating_add);
    w.begin_object();
    w.key("prompt_tokens").u64(usage.input_tokens());
    w.key("completion_tokens").u64(usage.output_tokens());
    w.key("total_tokens").u64(usage.total_tokens());
    let read = sum(&[usage.input_cache_read, usage.input_audio_cache_read]);
    let written = sum(&[usage.input_cache_write_5m, usage.input_cache_write_1h]);
    let audio = sum(&[usage.input_audio, usage.input_audio_cache_read]);
    if read.or(written).or(audio).or(usage.input_image).is_some() {
        w.key("prompt_tokens_details").begin_object();
        w.opt_u64("cached_tokens", read);
        w.opt_u64("cache_write_tokens", written);
        w.opt_u64("audio_tokens", audio);
        w.opt_u64("image_tokens", usage.input_image);
        w.end_object();
    }
    if usage.output_reasoning.or(usage.output_audio).or(usage.output_image).is_some() {
        w.key("completion_tokens_details").begin_object();
        w.opt_u64("reasoning_tokens", usage.output_reasoning);
        w.opt_u64("audio_tokens", usage.output_audio);
        w.opt_u64("image_tokens", usage.output_image);
        w.end_object();
    }
    w.opt_str("cost", price);
    w.end_object();
}
