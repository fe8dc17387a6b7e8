//! The `usage` object. Its input counts exclude the cache and its output count includes thinking; ours never overlap.
//!
//! Stream reports are cumulative and restate one another field by field, and a later report may give a total without
//! the split an earlier one gave. So reports are merged in the wire's own terms, and split only when asked for.

use gateway_core::{Usage, WireError};

use crate::{
    edits::reported_cost,
    json::{Fields, Json, Within, Writer},
};

/// One report, or several merged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct WireUsage {
    counts: Counts,
    thinking: Option<u64>,
    web_searches: Option<u64>,
    service_tier: Option<Box<str>>,
    /// The sum of `iterations`, which is what is billed: the totals beside them leave out what tools' own models used.
    iterated: Option<Counts>,
    /// What the provider says it bills, in billionths.
    reported_cost: Option<u64>,
    /// It held fields that have no bucket.
    has_more: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    input: Option<u64>,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    cache_write_5m: Option<u64>,
    cache_write_1h: Option<u64>,
    output: Option<u64>,
}

impl Counts {
    fn take(fields: &mut Fields<'_>) -> Result<Self, WireError> {
        let mut split = fields.take_fields("cache_creation")?;
        let mut part = |key| split.as_mut().map_or(Ok(None), |split| split.take_u64(key)).within("cache_creation");
        Ok(Self {
            cache_write_5m: part("ephemeral_5m_input_tokens")?,
            cache_write_1h: part("ephemeral_1h_input_tokens")?,
            input: fields.take_u64("input_tokens")?,
            cache_read: fields.take_u64("cache_read_input_tokens")?,
            cache_write: fields.take_u64("cache_creation_input_tokens")?,
            output: fields.take_u64("output_tokens")?,
        })
    }

    fn restate(&mut self, later: Self) {
        // A new split replaces the old one as a whole, and its total with it.
        if later.cache_write_5m.or(later.cache_write_1h).is_some() {
            (self.cache_write_5m, self.cache_write_1h) = (later.cache_write_5m, later.cache_write_1h);
            self.cache_write = None;
        }
        for (mine, theirs) in [
            (&mut self.input, later.input),
            (&mut self.cache_read, later.cache_read),
            (&mut self.cache_write, later.cache_write),
            (&mut self.output, later.output),
        ] {
            *mine = theirs.or(*mine);
        }
    }

    fn add(&mut self, other: Self) {
        let (five, hour) = other.writes();
        for (mine, theirs) in [
            (&mut self.input, other.input),
            (&mut self.cache_read, other.cache_read),
            (&mut self.cache_write_5m, five),
            (&mut self.cache_write_1h, hour),
            (&mut self.output, other.output),
        ] {
            if let Some(n) = theirs {
                *mine = Some(mine.unwrap_or(0).saturating_add(n));
            }
        }
    }

    /// Cache writes for five minutes and for an hour. The total is the truth; what the split does not tell is the
    /// default time, five minutes.
    fn writes(&self) -> (Option<u64>, Option<u64>) {
        match self.cache_write {
            Some(total) => (Some(total.saturating_sub(self.cache_write_1h.unwrap_or(0))), self.cache_write_1h.map(|n| n.min(total))),
            None => (self.cache_write_5m, self.cache_write_1h),
        }
    }
}

impl WireUsage {
    pub(super) fn decode(value: Json<'_>) -> Result<Self, WireError> {
        let mut fields = value.fields()?;
        let counts = Counts::take(&mut fields)?;
        let thinking = match fields.take_fields("output_tokens_details")? {
            Some(mut details) => details.take_u64("thinking_tokens").within("output_tokens_details")?,
            None => None,
        };
        let mut has_more = false;
        let web_searches = match fields.take_fields("server_tool_use")? {
            Some(mut calls) => {
                let searches = calls.take_u64("web_search_requests").within("server_tool_use")?;
                has_more |= calls.rest().any(|(_, n)| !n.is_null() && n.text() != "0");
                searches
            }
            None => None,
        };
        let iterated = match fields.take_array("iterations")? {
            Some(list) if !list.is_empty() => {
                has_more = true;
                Some(sum(&list).within("iterations")?)
            }
            _ => None,
        };
        let service_tier = fields.take_str("service_tier")?.map(Box::from);
        let reported_cost = fields.take_value("cost").and_then(reported_cost);
        has_more |= fields.rest().any(|(_, value)| !value.is_null());
        Ok(Self { counts, thinking, web_searches, service_tier, iterated, reported_cost, has_more })
    }

    /// Overwrites what a later report states.
    pub(super) fn restate(&mut self, later: Self) {
        self.counts.restate(later.counts);
        self.thinking = later.thinking.or(self.thinking);
        self.web_searches = later.web_searches.or(self.web_searches);
        self.iterated = later.iterated.or(self.iterated);
        self.reported_cost = later.reported_cost.or(self.reported_cost);
        self.has_more |= later.has_more;
        if later.service_tier.is_some() {
            self.service_tier = later.service_tier;
        }
    }

    /// Whether the object held more than the buckets can.
    pub(super) fn has_more(&self) -> bool {
        self.has_more
    }

    pub(super) fn canonical(&self) -> Usage {
        let counts = self.iterated.as_ref().unwrap_or(&self.counts);
        let (five_minutes, hour) = counts.writes();
        let output = counts.output;
        let thinking = self.thinking.map(|n| output.map_or(n, |all| n.min(all)));
        Usage {
            input_uncached: counts.input,
            input_cache_read: counts.cache_read,
            input_cache_write_5m: five_minutes,
            input_cache_write_1h: hour,
            output_text: output.map(|all| all.saturating_sub(thinking.unwrap_or(0))),
            output_reasoning: thinking,
            web_searches: self.web_searches,
            reported_output: output,
            reported_cost: self.reported_cost,
            service_tier: self.service_tier.clone(),
            ..Usage::default()
        }
    }
}

fn sum(list: &[Json<'_>]) -> Result<Counts, WireError> {
    let mut total = Counts::default();
    for (n, item) in list.iter().enumerate() {
        total.add(item.fields().and_then(|mut fields| Counts::take(&mut fields)).within_index(n)?);
    }
    Ok(total)
}

/// Writes a usage object. Every input that is not the cache counts as input, and thinking counts as output. `price` is what
/// the caller pays.
pub(super) fn write(w: &mut Writer<'_>, usage: &Usage, price: Option<&str>) {
    w.begin_object();
    let sum = |counts: &[Option<u64>]| counts.iter().fold(0u64, |sum, n| sum.saturating_add(n.unwrap_or(0)));
    w.key("input_tokens").u64(sum(&[usage.input_uncached, usage.input_audio, usage.input_image, usage.input_video, usage.input_tool]));
    let written = usage.input_cache_write_5m.or(usage.input_cache_write_1h);
    if written.is_some() {
        w.key("cache_creation_input_tokens").u64(sum(&[usage.input_cache_write_5m, usage.input_cache_write_1h]));
    }
    if usage.input_cache_read.or(usage.input_audio_cache_read).is_some() {
        w.key("cache_read_input_tokens").u64(sum(&[usage.input_cache_read, usage.input_audio_cache_read]));
    }
    if usage.input_cache_write_1h.is_some() {
        w.key("cache_creation").begin_object();
        w.key("ephemeral_5m_input_tokens").u64(usage.input_cache_write_5m.unwrap_or(0));
        w.key("ephemeral_1h_input_tokens").u64(usage.input_cache_write_1h.unwrap_or(0));
        w.end_object();
    }
    w.key("output_tokens").u64(usage.output_tokens());
    if let Some(thinking) = usage.output_reasoning {
        w.key("output_tokens_details").begin_object();
        w.key("thinking_tokens").u64(thinking);
        w.end_object();
    }
    if let Some(searches) = usage.web_searches {
        w.key("server_tool_use").begin_object();
        w.key("web_search_requests").u64(searches);
        w.key("web_fetch_requests").u64(0);
        w.end_object();
    }
    // The official clients type the tier as a closed list.
    let tier = usage.service_tier.as_deref().map(|tier| if tier == "default" { "standard" } else { tier });
    w.opt_str("service_tier", tier.filter(|tier| matches!(*tier, "standard" | "priority" | "batch")));
    w.opt_str("cost", price);
    w.end_object();
}

#[cfg(test)]
mod tests;
