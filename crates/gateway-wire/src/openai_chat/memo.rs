//! What the request's encoder tells the answer's decoder.

use std::borrow::Cow;

use gateway_core::Memo;

/// Remembered between request and answer.
#[derive(Debug, Default)]
pub(super) struct ChatMemo {
    /// We asked for usage in the stream and the caller did not: its frame is ours to take out.
    pub(super) usage_is_ours: bool,
    /// Tool-call ids that were rewritten: what the provider saw, what the caller knows.
    pub(super) ids: Vec<(String, String)>,
    /// Tool names that were.
    pub(super) names: Vec<(String, String)>,
}

impl ChatMemo {
    pub(super) fn into_memo(self) -> Memo {
        if self.usage_is_ours || !self.ids.is_empty() || !self.names.is_empty() { Memo::new(self) } else { Memo::default() }
    }
}

/// Whether the usage frame of the stream is there only because we asked.
pub(super) fn usage_is_ours(memo: &Memo) -> bool {
    memo.get::<ChatMemo>().is_some_and(|memo| memo.usage_is_ours)
}

/// The caller's id for a tool call the provider names.
pub(super) fn callers_id(memo: &Memo, id: String) -> String {
    let known = memo.get::<ChatMemo>().and_then(|memo| memo.ids.iter().find(|(seen, _)| *seen == id));
    known.map_or(id, |(_, original)| original.clone())
}

/// The caller's name for a tool the provider calls.
pub(super) fn callers_name(memo: &Memo, name: String) -> String {
    let known = memo.get::<ChatMemo>().and_then(|memo| memo.names.iter().find(|(seen, _)| *seen == name));
    known.map_or(name, |(_, original)| original.clone())
}

/// Rewrites what the provider would refuse; one text always becomes the same other.
#[derive(Debug)]
pub(super) struct Rewriter {
    rule: Rule,
    rewritten: Vec<(String, String)>,
}

/// What the provider takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// Ids of at most forty characters: OpenAI's own limit on chat.
    Id,
    /// Ids of exactly nine letters and digits.
    NineAlphanumeric,
    /// Names of tools: letters, digits, `_` and `-`, at most 64.
    Name,
    /// The caller speaks this protocol: names are the caller's and the provider's to settle.
    Anything,
}

const ID_BYTES_MAX: usize = 40;
const NAME_BYTES_MAX: usize = 64;
/// What is kept of a rewritten name, so that the model can still tell what the tool is.
const NAME_STEM_MAX: usize = 54;

impl Rule {
    fn takes(self, text: &str) -> bool {
        match self {
            Self::Id => text.len() <= ID_BYTES_MAX,
            Self::NineAlphanumeric => text.len() == 9 && text.bytes().all(|b| b.is_ascii_alphanumeric()),
            Self::Name => (1..=NAME_BYTES_MAX).contains(&text.len()) && text.chars().all(fits_a_name),
            Self::Anything => true,
        }
    }

    fn rewrite(self, text: &str, salt: u64) -> String {
        match self {
            Self::Id | Self::NineAlphanumeric | Self::Anything => nine_of(text, salt),
            Self::Name => {
                let stem: String = text.chars().take(NAME_STEM_MAX).map(|c| if fits_a_name(c) { c } else { '_' }).collect();
                format!("{stem}_{}", nine_of(text, salt))
            }
        }
    }
}

fn fits_a_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}

impl Rewriter {
    pub(super) fn new(rule: Rule) -> Self {
        Self { rule, rewritten: Vec::new() }
    }

    pub(super) fn written<'t>(&mut self, text: &'t str) -> Cow<'t, str> {
        if self.rule.takes(text) {
            return Cow::Borrowed(text);
        }
        if let Some((written, _)) = self.rewritten.iter().find(|(_, original)| original == text) {
            return Cow::Owned(written.clone());
        }
        let mut salt = 0;
        let written = loop {
            let candidate = self.rule.rewrite(text, salt);
            if !self.rewritten.iter().any(|(taken, _)| *taken == candidate) {
                break candidate;
            }
            salt += 1;
        };
        self.rewritten.push((written.clone(), text.to_owned()));
        Cow::Owned(written)
    }

    pub(super) fn into_rewritten(self) -> Vec<(String, String)> {
        self.rewritten
    }
}

/// Nine letters and digits that depend on the id alone, so that the same history always reads the same upstream and the
/// provider's prompt cache keeps working (FNV-1a, 64 bit).
fn nine_of(id: &str, salt: u64) -> String {
    const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut hash = id.bytes().fold(0xcbf2_9ce4_8422_2325u64 ^ salt, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let mut text = String::with_capacity(9);
    for _ in 0..9 {
        text.push(char::from(ALPHABET[(hash % 62) as usize]));
        hash /= 62;
    }
    text
}
