//! What an answer used, in buckets that never overlap.

use serde::{Deserialize, Serialize};

macro_rules! usage {
    ($($(#[$doc:meta])* $field:ident $side:ident),* $(,)?) => {
        /// Tokens and calls of one answer. Every token is in exactly one bucket. `None` means the provider did not
        /// say; zero means it said zero. A codec whose wire totals overlap splits them on decode and adds them up on
        /// encode.
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct Usage {
            $($(#[$doc])* #[serde(skip_serializing_if = "Option::is_none")] pub $field: Option<u64>,)*
            /// The provider's own total of the input side, where it states one; the buckets should add up to it.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub reported_input: Option<u64>,
            /// The provider's own total of the output side, where it states one.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub reported_output: Option<u64>,
            /// What the provider says it bills for the answer, in billionths of a dollar, rounded up.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub reported_cost: Option<u64>,
            /// The tier the provider says it served, which may differ from the one asked for.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub service_tier: Option<Box<str>>,
        }

        impl Usage {
            /// Every bucket that was reported, by name.
            pub fn buckets(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($field), self.$field)),*].into_iter().filter_map(|(name, n)| n.map(|n| (name, n)))
            }

            /// Overwrites what `later` states and keeps the rest: cumulative stream reports restate, they never add.
            pub fn restate(&mut self, later: &Self) {
                $(if later.$field.is_some() { self.$field = later.$field; })*
                if later.reported_input.is_some() { self.reported_input = later.reported_input; }
                if later.reported_output.is_some() { self.reported_output = later.reported_output; }
                if later.reported_cost.is_some() { self.reported_cost = later.reported_cost; }
                if later.service_tier.is_some() { self.service_tier.clone_from(&later.service_tier); }
            }

            /// All input tokens, cached or not; saturating.
            #[must_use]
            pub fn input_tokens(&self) -> u64 {
                let mut sum = 0u64;
                $(usage!(@add $side input sum self.$field);)*
                sum
            }

            /// All output tokens, reasoning included; saturating.
            #[must_use]
            pub fn output_tokens(&self) -> u64 {
                let mut sum = 0u64;
                $(usage!(@add $side output sum self.$field);)*
                sum
            }
        }
    };
    (@add input input $sum:ident $value:expr) => { $sum = $sum.saturating_add($value.unwrap_or(0)); };
    (@add output output $sum:ident $value:expr) => { $sum = $sum.saturating_add($value.unwrap_or(0)); };
    (@add $side:ident $want:ident $sum:ident $value:expr) => {};
}

usage! {
    /// Text input billed at the full rate.
    input_uncached input,
    /// Input read from the provider's prompt cache.
    input_cache_read input,
    /// Input written to the cache for five minutes, or for the provider's default time.
    input_cache_write_5m input,
    /// Input written to the cache for an hour.
    input_cache_write_1h input,
    /// Audio input, uncached.
    input_audio input,
    /// Audio input read from the cache.
    input_audio_cache_read input,
    /// Image input, where the provider counts it apart.
    input_image input,
    /// Video input, where the provider counts it apart.
    input_video input,
    /// Input that the provider's own tools added to the prompt.
    input_tool input,
    /// Visible output.
    output_text output,
    /// Output spent on reasoning.
    output_reasoning output,
    /// Audio output.
    output_audio output,
    /// Image output.
    output_image output,
    /// Searches the provider ran on the web.
    web_searches call,
}

impl Usage {
    /// Whether nothing at all was reported.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Input and output together; saturating.
    #[must_use]
    pub fn total_tokens(&self) -> u64 {
        self.input_tokens().saturating_add(self.output_tokens())
    }
}

#[cfg(test)]
mod tests {
    use super::Usage;

    #[test]
    fn sides_add_up_and_calls_are_on_neither() {
        let usage = Usage {
            input_uncached: Some(10),
            input_cache_read: Some(20),
            output_text: Some(3),
            output_reasoning: Some(u64::MAX),
            web_searches: Some(7),
            ..Usage::default()
        };
        assert_eq!(usage.input_tokens(), 30);
        assert_eq!(usage.output_tokens(), u64::MAX);
        assert_eq!(usage.total_tokens(), u64::MAX);
        assert_eq!(usage.buckets().count(), 5);
    }

    #[test]
    fn a_later_report_overwrites_only_what_it_states() {
        let mut usage = Usage { input_uncached: Some(10), output_text: Some(1), ..Usage::default() };
        usage.restate(&Usage { output_text: Some(5), ..Usage::default() });
        assert_eq!(usage, Usage { input_uncached: Some(10), output_text: Some(5), ..Usage::default() });
    }
}
