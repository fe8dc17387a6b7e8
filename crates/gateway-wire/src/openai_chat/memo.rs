//! What the request's encoder tells the answer's decoder.

use gateway_core::Memo;

/// Remembered between request and answer.
#[derive(Debug, Default)]
pub(super) struct ChatMemo {
    /// We asked for usage in the stream and the caller did not: its frame is ours to take out.
    pub(super) usage_is_ours: bool,
    /// Tool-call ids that were rewritten: what the provider saw, what the caller knows.
    pub(super) ids: Vec<(String, String)>,
}

impl ChatMemo {
    pub(super) fn into_memo(self) -> Memo {
        if self.usage_is_ours || !self.ids.is_empty() { Memo::new(self) } else { Memo::default() }
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

/// Rewrites tool-call ids that the provider would refuse; one id always becomes the same other.
#[derive(Debug)]
pub(super) struct ToolIds {
    nine: bool,
    rewritten: Vec<(String, String)>,
}

/// OpenAI's own limit on chat.
const ID_BYTES_MAX: usize = 40;

impl ToolIds {
    pub(super) fn new(nine: bool) -> Self {
        Self { nine, rewritten: Vec::new() }
    }

    pub(super) fn written(&mut self, id: &str) -> String {
        let fits = if self.nine { id.len() == 9 && id.bytes().all(|b| b.is_ascii_alphanumeric()) } else { id.len() <= ID_BYTES_MAX };
        if fits {
            return id.to_owned();
        }
        if let Some((written, _)) = self.rewritten.iter().find(|(_, original)| original == id) {
            return written.clone();
        }
        let mut salt = 0;
        let written = loop {
            let candidate = nine_of(id, salt);
            if !self.rewritten.iter().any(|(taken, _)| *taken == candidate) {
                break candidate;
            }
            salt += 1;
        };
        self.rewritten.push((written.clone(), id.to_owned()));
        written
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
