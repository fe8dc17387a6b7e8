//! The closed list of things that can be counted and priced.

use std::{cmp::Ordering, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Every SKU name, in the order in which receipts list them.
#[rustfmt::skip]
const NAMES: &[&str] = &[
    "tok.in", "tok.in.cache_read", "tok.in.cache_write_5m", "tok.in.cache_write_1h", "tok.in.tool",
    "tok.in.text", "tok.in.text.cache_read", "tok.in.text.cache_write_5m", "tok.in.text.cache_write_1h", "tok.in.text.tool",
    "tok.in.audio", "tok.in.audio.cache_read", "tok.in.audio.cache_write_5m", "tok.in.audio.cache_write_1h", "tok.in.audio.tool",
    "tok.in.image", "tok.in.image.cache_read", "tok.in.image.cache_write_5m", "tok.in.image.cache_write_1h", "tok.in.image.tool",
    "tok.in.video", "tok.in.video.cache_read", "tok.in.video.cache_write_5m", "tok.in.video.cache_write_1h", "tok.in.video.tool",
    "tok.out", "tok.out.reasoning", "tok.out.tool", "tok.out.citation",
    "tok.out.text", "tok.out.text.reasoning", "tok.out.text.tool", "tok.out.text.citation",
    "tok.out.audio", "tok.out.audio.reasoning", "tok.out.audio.tool", "tok.out.audio.citation",
    "tok.out.image", "tok.out.image.reasoning", "tok.out.image.tool", "tok.out.image.citation",
    "tok.out.video", "tok.out.video.reasoning", "tok.out.video.tool", "tok.out.video.citation",
    "img.out", "img.in", "sec.in.audio", "sec.in.video", "sec.out.audio", "sec.out.video", "char.in", "char.out", "px.in", "px.out",
    "call.web_search", "call.maps", "call.file_search", "call.request", "call.minimum",
    "sess.code_interpreter", "sess.container", "page.ocr", "gbday.files", "gbday.vectors", "gbday.cache",
];

/// The attributes a name may carry; every other name carries none.
fn attributes_of(name: &str) -> &'static [&'static str] {
    match name {
        "img.out" => &["quality", "size"],
        "sec.out.audio" | "sec.out.video" => &["res"],
        "call.web_search" | "call.maps" | "call.file_search" => &["context"],
        _ => &[],
    }
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    let mut n = 0;
    while n < a.len() && n < b.len() && a[n] == b[n] {
        n += 1;
    }
    n == a.len() && n == b.len()
}

/// One kind of countable thing: `tok.in.cache_read`, or with attributes `img.out{quality=hd,size=1024x1024}`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Sku {
    /// Position in [`NAMES`].
    name: u8,
    /// `key=value` pairs in order of key, joined by commas.
    attributes: Option<Arc<str>>,
}

impl Sku {
    /// Text input at the full rate.
    pub const IN: Self = Self::known("tok.in");
    /// Input read from the cache.
    pub const IN_CACHE_READ: Self = Self::known("tok.in.cache_read");
    /// Input written to the cache for five minutes or the provider's default.
    pub const IN_CACHE_WRITE_5M: Self = Self::known("tok.in.cache_write_5m");
    /// Input written to the cache for an hour.
    pub const IN_CACHE_WRITE_1H: Self = Self::known("tok.in.cache_write_1h");
    /// Input added by the provider's own tools.
    pub const IN_TOOL: Self = Self::known("tok.in.tool");
    /// Audio input.
    pub const IN_AUDIO: Self = Self::known("tok.in.audio");
    /// Audio input read from the cache.
    pub const IN_AUDIO_CACHE_READ: Self = Self::known("tok.in.audio.cache_read");
    /// Image input counted apart.
    pub const IN_IMAGE: Self = Self::known("tok.in.image");
    /// Video input counted apart.
    pub const IN_VIDEO: Self = Self::known("tok.in.video");
    /// Visible output.
    pub const OUT: Self = Self::known("tok.out");
    /// Output spent on reasoning.
    pub const OUT_REASONING: Self = Self::known("tok.out.reasoning");
    /// Audio output.
    pub const OUT_AUDIO: Self = Self::known("tok.out.audio");
    /// Image output.
    pub const OUT_IMAGE: Self = Self::known("tok.out.image");
    /// A search on the web by the provider.
    pub const WEB_SEARCH: Self = Self::known("call.web_search");
    /// A flat price for each request.
    pub const REQUEST: Self = Self::known("call.request");
    /// What lifts a charge to the version's minimum; never counted, only shown.
    pub const MINIMUM: Self = Self::known("call.minimum");

    const FIRST_NOT_A_TOKEN: Self = Self::known("img.out");

    /// The token SKUs that a chat answer can produce. A published price covers every one of them.
    pub const CHAT_TOKENS: [Self; 13] = [
        Self::IN,
        Self::IN_CACHE_READ,
        Self::IN_CACHE_WRITE_5M,
        Self::IN_CACHE_WRITE_1H,
        Self::IN_TOOL,
        Self::IN_AUDIO,
        Self::IN_AUDIO_CACHE_READ,
        Self::IN_IMAGE,
        Self::IN_VIDEO,
        Self::OUT,
        Self::OUT_REASONING,
        Self::OUT_AUDIO,
        Self::OUT_IMAGE,
    ];

    /// Every name there is, in the order of receipts; some take attributes in braces.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().copied()
    }

    /// Only evaluated at compile time: a name that is not in the list does not build.
    const fn known(name: &str) -> Self {
        let mut position = 0u8;
        while !same(NAMES[position as usize].as_bytes(), name.as_bytes()) {
            position += 1;
        }
        Self { name: position, attributes: None }
    }

    /// The name without attributes.
    #[must_use]
    pub fn name(&self) -> &'static str {
        NAMES[usize::from(self.name)]
    }

    /// Which side of a request's tokens this counts, if it counts tokens.
    #[must_use]
    pub fn side(&self) -> Option<Side> {
        // The list holds the input tokens first, then the output tokens, then the rest.
        if self.name < Self::OUT.name {
            Some(Side::Input)
        } else if self.name < Self::FIRST_NOT_A_TOKEN.name {
            Some(Side::Output)
        } else {
            None
        }
    }

    /// Whether it counts tokens of audio, images or video.
    pub(crate) fn is_media(&self) -> bool {
        self.dimensions().is_some_and(|dimensions| dimensions.modality.is_some_and(|modality| modality != "text"))
    }

    /// How many attributes it carries.
    pub(crate) fn specificity(&self) -> usize {
        self.attributes().count()
    }

    /// Whether a rate for `self` prices a leaf of `leaf`: the same name, and every attribute of the rate is the leaf's.
    pub(crate) fn prices(&self, leaf: &Self) -> bool {
        self.name == leaf.name && self.attributes().all(|mine| leaf.attributes().any(|theirs| mine == theirs))
    }

    /// Whether some leaf could be priced by both rates with neither being more specific.
    pub(crate) fn ties_with(&self, other: &Self) -> bool {
        let conflict = |(key, value): (&str, &str)| other.attributes().any(|(k, v)| k == key && v != value);
        self.name == other.name
            && self.attributes != other.attributes
            && self.specificity() == other.specificity()
            && !self.attributes().any(conflict)
    }

    fn attributes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.attributes.as_deref().into_iter().flat_map(|text| text.split(',')).filter_map(|pair| pair.split_once('='))
    }

    pub(crate) fn dimensions(&self) -> Option<Dimensions> {
        let position = usize::from(self.name);
        let (side, position, kinds) = match self.side()? {
            Side::Input => (Side::Input, position, KINDS_IN.as_slice()),
            Side::Output => (Side::Output, position - usize::from(Self::OUT.name), KINDS_OUT.as_slice()),
        };
        Some(Dimensions { side, modality: MODALITIES[position / kinds.len()], kind: kinds[position % kinds.len()] })
    }

    /// The token SKU with these dimensions, if there is one.
    pub(crate) fn with(dimensions: Dimensions) -> Option<Self> {
        let (first, kinds) = match dimensions.side {
            Side::Input => (0, KINDS_IN.as_slice()),
            Side::Output => (Self::OUT.name, KINDS_OUT.as_slice()),
        };
        let modality = MODALITIES.iter().position(|modality| *modality == dimensions.modality)?;
        let kind = kinds.iter().position(|kind| *kind == dimensions.kind)?;
        Some(Self { name: first + u8::try_from(modality * kinds.len() + kind).ok()?, attributes: None })
    }
}

/// The dimensions of token SKUs, in the order in which [`NAMES`] combines them: for each modality every kind.
const MODALITIES: [Option<&str>; 5] = [None, Some("text"), Some("audio"), Some("image"), Some("video")];
const KINDS_IN: [Option<&str>; 5] = [None, Some("cache_read"), Some("cache_write_5m"), Some("cache_write_1h"), Some("tool")];
const KINDS_OUT: [Option<&str>; 4] = [None, Some("reasoning"), Some("tool"), Some("citation")];

/// A side of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// What the caller sent.
    Input,
    /// What the model wrote.
    Output,
}

/// What a token SKU's name is built from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dimensions {
    pub(crate) side: Side,
    pub(crate) modality: Option<&'static str>,
    pub(crate) kind: Option<&'static str>,
}

impl PartialOrd for Sku {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Sku {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.name, &self.attributes).cmp(&(other.name, &other.attributes))
    }
}

impl fmt::Display for Sku {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.attributes {
            Some(attributes) => write!(f, "{}{{{attributes}}}", self.name()),
            None => f.write_str(self.name()),
        }
    }
}

impl fmt::Debug for Sku {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text names no SKU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownSku(Box<str>);

impl fmt::Display for UnknownSku {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` names nothing that can be priced; token prices are `tok.in`, `tok.in.cache_read`, `tok.out` and so on", self.0)
    }
}

impl std::error::Error for UnknownSku {}

impl FromStr for Sku {
    type Err = UnknownSku;

    fn from_str(text: &str) -> Result<Self, UnknownSku> {
        parse(text).ok_or_else(|| UnknownSku(text.chars().take(80).collect()))
    }
}

fn parse(text: &str) -> Option<Sku> {
    let (name, attributes) = match text.split_once('{') {
        Some((name, rest)) => (name, Some(rest.strip_suffix('}')?)),
        None => (text, None),
    };
    let position = NAMES.iter().position(|known| *known == name)?;
    let attributes = match attributes {
        Some(list) => Some(canonical_attributes(name, list)?),
        None => None,
    };
    Some(Sku { name: u8::try_from(position).ok()?, attributes })
}

fn canonical_attributes(name: &str, list: &str) -> Option<Arc<str>> {
    let allowed = attributes_of(name);
    let word = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:/".contains(&b));
    let mut pairs = Vec::new();
    for pair in list.split(',') {
        let (key, value) = pair.split_once('=')?;
        if !allowed.contains(&key) || !word(value) || pairs.iter().any(|(k, _)| *k == key) {
            return None;
        }
        pairs.push((key, value));
    }
    pairs.sort_unstable();
    let pairs: Vec<String> = pairs.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    Some(pairs.join(",").into())
}

impl Serialize for Sku {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sku {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back_and_dimensions_spell_it() {
        for name in NAMES {
            let sku: Sku = name.parse().unwrap();
            assert_eq!(sku.to_string(), *name);
            assert_eq!(sku.side(), sku.dimensions().map(|dimensions| dimensions.side), "{name}");
            assert_eq!(name.starts_with("tok."), sku.dimensions().is_some(), "{name}");
            if let Some(dimensions) = sku.dimensions() {
                let side = if dimensions.side == Side::Input { "tok.in" } else { "tok.out" };
                let words = [Some(side), dimensions.modality, dimensions.kind];
                assert_eq!(words.into_iter().flatten().collect::<Vec<_>>().join("."), *name);
                assert_eq!(Sku::with(dimensions), Some(sku), "{name}");
            }
        }
    }

    #[test]
    fn what_is_not_in_the_list_is_refused() {
        for text in [
            "",
            "tok",
            "tok.in.reasoning",
            "tok.out.cache_read",
            "img.out{}",
            "img.out{colour=red}",
            "tok.in{size=1}",
            "img.out{size=1,size=2}",
            "img.out{size=a b}",
            "img.out{size=1",
            "tok.in ",
            "TOK.IN",
        ] {
            assert!(text.parse::<Sku>().is_err(), "{text}");
        }
    }

    #[test]
    fn attributes_match_exactly_and_order_does_not_matter() {
        let sku = |text: &str| text.parse::<Sku>().unwrap();
        let leaf = sku("img.out{size=1024x1024,quality=hd}");
        assert_eq!(leaf.to_string(), "img.out{quality=hd,size=1024x1024}");
        assert!(sku("img.out").prices(&leaf) && sku("img.out{quality=hd}").prices(&leaf));
        assert!(!sku("img.out{quality=sd}").prices(&leaf) && !leaf.prices(&sku("img.out")));
        assert!(sku("img.out{quality=hd}").ties_with(&sku("img.out{size=1024x1024}")));
        assert!(!sku("img.out{quality=hd}").ties_with(&sku("img.out{quality=sd}")));
    }
}
