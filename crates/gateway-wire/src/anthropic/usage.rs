//! The `usage` object. Its input counts exclude the cache and its output count includes thinking; ours never overlap.
//!
//! Stream reports are cumulative and restate one another field by field, and a later report may give a total without
//! the split an earlier one gave. So reports are merged in the wire's own terms, and split only when asked for.

use gateway_core::Usage;

use crate::{
    edits::reported_cost,
    json::{Fields, Json, Writer},
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
    /// What is no count was not said: an odd figure must not cost the caller the answer it stands in.
    fn take(fields: &mut Fields<'_>) -> Self {
        let mut split = fields.take_counts("cache_creation");
        let mut part = |key| split.as_mut().and_then(|split| split.take_count(key));
        Self {
            cache_write_5m: part("ephemeral_5m_input_tokens"),
            cache_write_1h: part("ephemeral_1h_input_tokens"),
            input: fields.take_count("input_tokens"),
            cache_read: fields.take_count("cache_read_input_tokens"),
            cache_write: fields.take_count("cache_creation_input_tokens"),
            output: fields.take_count("output_tokens"),
        }
    }

    fn restate(&mut self, later: Self) {
        // A new split replaces the old one as a whole, and its total with it.
        if later.cache_write_5m.or(later.cache_write_1h).is_some() {
            (self.cache_write_5m, self.cache_write_1h) = (later.cache_write_5m, later.cache_write_1h);
            self.cache_write = None;
        } else if later.cache_write.is_some() && later.cache_write != self.cache_write {
            // The split is of an earlier total; what has come since was written for the default time.
            self.cache_write_5m = None;
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
        let written = other.cache_write.or(five.or(hour).map(|_| added(&[five, hour])));
        for (mine, theirs) in [
            (&mut self.input, other.input),
            (&mut self.cache_read, other.cache_read),
            (&mut self.cache_write, written),
            (&mut self.cache_write_5m, five),
            (&mut self.cache_write_1h, hour),
            (&mut self.output, other.output),
        ] {
            if let Some(n) = theirs {
                *mine = Some(mine.unwrap_or(0).saturating_add(n));
            }
        }
    }

    /// Cache writes for five minutes and for an hour. What no split tells is the default time, five minutes.
    fn writes(&self) -> (Option<u64>, Option<u64>) {
        match (self.cache_write, self.cache_write_5m) {
            (Some(total), None) => (Some(total.saturating_sub(self.cache_write_1h.unwrap_or(0))), self.cache_write_1h),
            (Some(_) | None, five) => (five, self.cache_write_1h),
        }
    }

    /// All input, where the total of the cache writes and their split do not agree: the buckets then do not fit it, and
    /// whoever bills sees that the report does not add up.
    fn disputed_input(&self) -> Option<u64> {
        let (five, hour) = self.writes();
        let written = self.cache_write.filter(|total| *total != added(&[five, hour]))?;
        Some(added(&[self.input, self.cache_read, Some(written)]))
    }
}

impl WireUsage {
    pub(super) fn decode(value: Json<'_>) -> Self {
        let Ok(mut fields) = value.fields() else { return Self::default() };
        let counts = Counts::take(&mut fields);
        let thinking = fields.take_counts("output_tokens_details").and_then(|mut details| details.take_count("thinking_tokens"));
        let mut has_more = false;
        let web_searches = fields.take_counts("server_tool_use").and_then(|mut calls| {
            let searches = calls.take_count("web_search_requests");
            has_more |= calls.rest().any(|(_, n)| !n.is_null() && n.text() != "0");
            searches
        });
        let iterations = fields.take_value("iterations").and_then(|list| list.array().ok()).filter(|list| !list.is_empty());
        has_more |= iterations.is_some();
        let service_tier = fields.take_value("service_tier").and_then(|tier| tier.str().ok()).map(Box::from);
        let reported_cost = fields.take_value("cost").and_then(reported_cost);
        has_more |= fields.rest().any(|(_, value)| !value.is_null());
        Self { counts, thinking, web_searches, service_tier, iterated: iterations.map(|list| sum(&list)), reported_cost, has_more }
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
        Usage {
            input_uncached: counts.input,
            input_cache_read: counts.cache_read,
            input_cache_write_5m: five_minutes,
            input_cache_write_1h: hour,
            output_text: output.map(|all| all.saturating_sub(self.thinking.unwrap_or(0))),
            output_reasoning: self.thinking,
            web_searches: self.web_searches,
            reported_input: counts.disputed_input(),
            reported_output: output,
            reported_cost: self.reported_cost,
            service_tier: self.service_tier.clone(),
            ..Usage::default()
        }
    }
}

fn sum(list: &[Json<'_>]) -> Counts {
    let mut total = Counts::default();
    for mut iteration in list.iter().filter_map(|item| item.fields().ok()) {
        total.add(Counts::take(&mut iteration));
    }
    total
}

fn added(counts: &[Option<u64>]) -> u64 {
    counts.iter().flatten().fold(0, |sum, n| sum.saturating_add(*n))
}

/// Writes a usage object. Every input that is not the cache counts as input, and thinking counts as output. `price` is what
/// the caller pays.
pub(super) fn write(w: &mut Writer<'_>, usage: &Usage, price: Option<&str>) {
    w.begin_object();
    w.key("input_tokens").u64(added(&[usage.input_uncached, usage.input_audio, usage.input_image, usage.input_video, usage.input_tool]));
    let written = usage.input_cache_write_5m.or(usage.input_cache_write_1h);
    if written.is_some() {
        w.key("cache_creation_input_tokens").u64(added(&[usage.input_cache_write_5m, usage.input_cache_write_1h]));
    }
    if usage.input_cache_read.or(usage.input_audio_cache_read).is_some() {
        w.key("cache_read_input_tokens").u64(added(&[usage.input_cache_read, usage.input_audio_cache_read]));
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
