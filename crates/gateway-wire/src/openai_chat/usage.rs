//! Usage. On the wire totals hold their details; in [`Usage`] no token is counted twice.

use gateway_core::{Usage, WireError};

use crate::{
    edits::reported_cost,
    json::{Fields, Json, Writer},
};

pub(super) fn decode(usage: Json<'_>) -> Result<Usage, WireError> {
    let mut fields = usage.fields()?;
    let prompt = fields.take_u64("prompt_tokens")?;
    let completion = fields.take_u64("completion_tokens")?;
    let input = fields.take_fields("prompt_tokens_details")?;
    let output = fields.take_fields("completion_tokens_details")?;
    let detail = |fields: &Option<Fields<'_>>, key: &str| fields.as_ref().and_then(|fields| fields.peek(key)).and_then(|n| n.u64().ok());

    // The same counts have other names at some imitators: DeepSeek's hits, Databricks' and LiteLLM's Anthropic names.
    let read =
        detail(&input, "cached_tokens").or(fields.take_u64("prompt_cache_hit_tokens")?).or(fields.take_u64("cache_read_input_tokens")?);
    let write = detail(&input, "cache_write_tokens").or(fields.take_u64("cache_creation_input_tokens")?);
    let (audio_in, image_in) = (detail(&input, "audio_tokens"), detail(&input, "image_tokens"));
    let reasoning = detail(&output, "reasoning_tokens");
    let (audio_out, image_out) = (detail(&output, "audio_tokens"), detail(&output, "image_tokens"));

    // The floor matters: Azure's Grok reports more cached tokens than prompt tokens.
    let less = |total: Option<u64>, parts: &[Option<u64>]| {
        total.map(|total| parts.iter().flatten().fold(total, |n, part| n.saturating_sub(*part)))
    };
    // Cached tokens may be sound or pictures: the uncached ones of these are at most what the cache leaves of the prompt.
    let left = less(prompt, &[read, write]);
    let audio_in = audio_in.map(|n| left.map_or(n, |left| n.min(left)));
    let left = less(left, &[audio_in]);
    let image_in = image_in.map(|n| left.map_or(n, |left| n.min(left)));
    Ok(Usage {
        input_uncached: less(left, &[image_in]),
        input_cache_read: read,
        input_cache_write_5m: write,
        input_audio: audio_in.filter(|n| *n > 0),
        input_image: image_in.filter(|n| *n > 0),
        output_text: less(completion, &[reasoning, audio_out, image_out]),
        output_reasoning: reasoning,
        output_audio: audio_out.filter(|n| *n > 0),
        output_image: image_out.filter(|n| *n > 0),
        reported_input: prompt,
        reported_output: completion,
        reported_cost: fields.take_value("cost").and_then(reported_cost),
        ..Usage::default()
    })
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
