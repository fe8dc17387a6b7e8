//! Usage as counts of SKUs, in memory and as the ledger stores it.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, Visitor},
    ser::SerializeMap,
};

use crate::price::{Side, Sku};

/// How many of each SKU a request used, and the tier it was served in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leaves {
    pub(super) counts: Vec<(Sku, u64)>,
    pub(super) service_tier: Option<Box<str>>,
}

/// Tokens of kinds that reports tell apart; each is part of its side's total.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TokenKinds {
    pub(crate) cache_read: u64,
    pub(crate) cache_write: u64,
    pub(crate) reasoning: u64,
}

/// The stored text is not leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidLeaves(String);

impl fmt::Display for InvalidLeaves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stored usage cannot be read: {}", self.0)
    }
}

impl std::error::Error for InvalidLeaves {}

/// The key of the tier among the SKUs of the stored form; no SKU can be called so.
const TIER_KEY: &str = "service_tier";

impl Leaves {
    /// Nothing used.
    #[must_use]
    pub const fn new() -> Self {
        Self { counts: Vec::new(), service_tier: None }
    }

    /// With `quantity` more of `sku`; saturating.
    #[must_use]
    pub fn with(mut self, sku: Sku, quantity: u64) -> Self {
        self.add(sku, quantity);
        self
    }

    /// Served in this tier. A provider's word of more than 32 characters, or with odd ones, is no tier and is dropped.
    #[must_use]
    pub fn in_tier(mut self, tier: Option<&str>) -> Self {
        let plausible = |tier: &&str| tier.len() <= 32 && tier.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        self.service_tier = tier.filter(plausible).map(Into::into);
        self
    }

    /// Adds `quantity` of `sku`; saturating.
    pub fn add(&mut self, sku: Sku, quantity: u64) {
        match self.counts.binary_search_by(|(known, _)| known.cmp(&sku)) {
            Ok(position) => self.counts[position].1 = self.counts[position].1.saturating_add(quantity),
            Err(position) => self.counts.insert(position, (sku, quantity)),
        }
    }

    /// With so many of `from` counted as `to`, as far as there are as many.
    #[must_use]
    pub(crate) fn moved(&self, from: &Sku, to: &Sku, quantity: u64) -> Self {
        let quantity = quantity.min(self.count(from));
        let mut leaves = self.without(from, quantity);
        if quantity > 0 {
            leaves.add(to.clone(), quantity);
        }
        leaves
    }

    /// With so many of a SKU less, as far as there are as many.
    #[must_use]
    pub(crate) fn without(&self, sku: &Sku, quantity: u64) -> Self {
        let mut leaves = self.clone();
        if let Ok(position) = leaves.counts.binary_search_by(|(known, _)| known.cmp(sku)) {
            leaves.counts[position].1 = leaves.counts[position].1.saturating_sub(quantity);
        }
        leaves
    }

    /// How many of one SKU.
    #[must_use]
    pub fn count(&self, sku: &Sku) -> u64 {
        self.counts.binary_search_by(|(known, _)| known.cmp(sku)).map_or(0, |position| self.counts[position].1)
    }

    /// Every SKU reported, in the order of receipts; a zero is a report too.
    pub fn iter(&self) -> impl Iterator<Item = (&Sku, u64)> {
        self.counts.iter().map(|(sku, quantity)| (sku, *quantity))
    }

    /// The tier served, if the provider named one.
    #[must_use]
    pub fn service_tier(&self) -> Option<&str> {
        self.service_tier.as_deref()
    }

    /// All input tokens, cached ones too; saturating.
    #[must_use]
    pub fn input_tokens(&self) -> u64 {
        self.side(Side::Input)
    }

    /// All output tokens; saturating.
    #[must_use]
    pub fn output_tokens(&self) -> u64 {
        self.side(Side::Output)
    }

    /// Input and output; saturating.
    #[must_use]
    pub fn total_tokens(&self) -> u64 {
        self.input_tokens().saturating_add(self.output_tokens())
    }

    /// The kinds of tokens that reports tell apart.
    #[must_use]
    pub(crate) fn kinds(&self) -> TokenKinds {
        let mut kinds = TokenKinds::default();
        for (sku, quantity) in self.iter() {
            let name = sku.name();
            let sum = match sku.side() {
                Some(Side::Input) if name.ends_with(".cache_read") => &mut kinds.cache_read,
                Some(Side::Input) if name.contains(".cache_write") => &mut kinds.cache_write,
                Some(Side::Output) if name.ends_with(".reasoning") => &mut kinds.reasoning,
                _ => continue,
            };
            *sum = sum.saturating_add(quantity);
        }
        kinds
    }

    /// Whether nothing at all was used.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.counts.iter().all(|(_, quantity)| *quantity == 0)
    }

    /// The form kept in the ledger: `{"tok.in":120,"tok.out":40,"service_tier":"batch"}`.
    #[must_use]
    pub fn to_stored(&self) -> String {
        use std::fmt::Write;
        let mut text = String::with_capacity(24 * self.counts.len() + 2);
        for (sku, quantity) in self.iter() {
            let comma = if text.is_empty() { '{' } else { ',' };
            // Writing to a string cannot fail, and neither names nor tiers hold a character that JSON escapes.
            let _ = write!(text, "{comma}\"{sku}\":{quantity}");
        }
        if let Some(tier) = &self.service_tier {
            let comma = if text.is_empty() { '{' } else { ',' };
            let _ = write!(text, "{comma}\"{TIER_KEY}\":\"{tier}\"");
        }
        text.push_str(if text.is_empty() { "{}" } else { "}" });
        text
    }

    /// Reads [`Leaves::to_stored`] back.
    ///
    /// # Errors
    /// The text is not of that form.
    pub fn from_stored(text: &str) -> Result<Self, InvalidLeaves> {
        Self::from_stored_bytes(text.as_bytes())
    }

    /// [`Leaves::from_stored`] of the bytes that a row holds.
    ///
    /// # Errors
    /// The bytes are not of that form.
    pub fn from_stored_bytes(bytes: &[u8]) -> Result<Self, InvalidLeaves> {
        serde_json::from_slice::<Stored>(bytes).map(|stored| stored.0).map_err(|e| InvalidLeaves(e.to_string()))
    }

    pub(super) fn side(&self, side: Side) -> u64 {
        let of_side = self.counts.iter().filter(|(sku, _)| sku.side() == Some(side));
        of_side.fold(0, |sum, (_, quantity)| sum.saturating_add(*quantity))
    }

    /// Takes tokens off a side until it holds `total`, in this order of SKUs.
    pub(super) fn cut(&mut self, side: Side, total: u64, order: &[Sku]) {
        let mut excess = self.side(side).saturating_sub(total);
        for sku in order {
            if let Ok(position) = self.counts.binary_search_by(|(known, _)| known.cmp(sku)) {
                let count = &mut self.counts[position].1;
                let taken = excess.min(*count);
                *count -= taken;
                excess -= taken;
            }
        }
    }

    /// The SKUs of a side, dearest first as kinds usually go: media before fresh and written input, and those before what was
    /// read from the cache.
    pub(super) fn usual_order(side: Side) -> Vec<Sku> {
        match side {
            Side::Input => CUT_INPUT.to_vec(),
            Side::Output => CUT_OUTPUT.to_vec(),
        }
    }
}

const CUT_INPUT: [Sku; 9] = [
    Sku::IN_AUDIO,
    Sku::IN_VIDEO,
    Sku::IN_IMAGE,
    Sku::IN_CACHE_WRITE_1H,
    Sku::IN_CACHE_WRITE_5M,
    Sku::IN,
    Sku::IN_TOOL,
    Sku::IN_AUDIO_CACHE_READ,
    Sku::IN_CACHE_READ,
];
const CUT_OUTPUT: [Sku; 4] = [Sku::OUT_AUDIO, Sku::OUT_IMAGE, Sku::OUT, Sku::OUT_REASONING];

/// The stored form, read without anything in between: a scan reads millions.
struct Stored(Leaves);

impl<'de> Deserialize<'de> for Stored {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Counts;

        impl<'de> Visitor<'de> for Counts {
            type Value = Stored;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of SKUs and their counts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Stored, A::Error> {
                let mut leaves = Leaves { counts: Vec::with_capacity(4), service_tier: None };
                while let Some(key) = map.next_key()? {
                    match key {
                        Key::Tier => leaves = leaves.in_tier(Some(&map.next_value::<Box<str>>()?)),
                        Key::Sku(sku) => leaves.add(sku, map.next_value()?),
                    }
                }
                Ok(Stored(leaves))
            }
        }

        deserializer.deserialize_map(Counts)
    }
}

/// A key of the stored form.
enum Key {
    Tier,
    Sku(Sku),
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;

        impl Visitor<'_> for Name {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a SKU")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Key, E> {
                if name == TIER_KEY { Ok(Key::Tier) } else { name.parse().map(Key::Sku).map_err(E::custom) }
            }
        }

        deserializer.deserialize_str(Name)
    }
}

impl Serialize for Leaves {
    /// The counts only, as the API shows them.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.counts.len()))?;
        for (sku, quantity) in self.iter() {
            map.serialize_entry(sku, &quantity)?;
        }
        map.end()
    }
}
