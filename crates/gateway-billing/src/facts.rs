//! What is kept of a request beside its usage, so that hints can tell repeats: hashes and the limit it asked for.
//!
//! Nothing of what was asked is kept. The hashes are 64 bits long, keyed with the server's secret and the account's id: equal
//! ones say that an account sent the same bytes twice, and whoever has the database alone can neither compare accounts nor
//! try texts. The hash is a fast one and not made for cryptography, so whoever also has the secret can test a guess
//! (docs/adr/0010-requests-leave-keyed-hashes.md).
#![deny(clippy::float_arithmetic, clippy::cast_possible_truncation, clippy::cast_sign_loss)]

use std::ops::Range;

use gateway_core::{Call, OrgId};
use rapidhash::v3::{RapidSecrets, rapidhash_v3_inline};
use ring::hmac;

use crate::journal::row::{put_varint, take_varint};

/// The beginnings of a prompt that are hashed, in bytes. Providers cache from about a thousand tokens on, which is the first;
/// each further one is twice as long.
pub const PREFIX_BYTES: [u64; 7] = [4_096, 8_192, 16_384, 32_768, 65_536, 131_072, 262_144];

/// The form that is written; a later one is not read by this build, which then knows nothing of the request.
const FORMAT: u8 = 1;

/// What is kept of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestFacts {
    /// Of the body, every byte of it as it was sent; headers do not count.
    pub body: u64,
    /// How long the prompt is in the body, in bytes; 0 where it is not known, or holds media, whose bytes are no measure.
    pub prompt_bytes: u64,
    /// Of the beginnings of the prompt in [`PREFIX_BYTES`], as far as it is long enough.
    pub prefixes: Vec<u64>,
    /// The caller's own output limit, in tokens per choice.
    pub output_limit: Option<u32>,
    /// How many choices were asked for.
    pub choices: u32,
}

/// What the hashes of an installation are keyed with. `Debug` does not show it.
pub(crate) struct FactsKey {
    secrets: RapidSecrets,
}

impl FactsKey {
    /// The key that belongs to the secret that API keys are hashed under. Those begin otherwise, so neither passes for the other.
    pub(crate) fn derive(secret: &hmac::Key) -> Self {
        let tag = hmac::sign(secret, b"bellwether request facts 1");
        let mut seed = [0; 8];
        seed.copy_from_slice(&tag.as_ref()[..8]);
        Self { secrets: RapidSecrets::seed(u64::from_le_bytes(seed)) }
    }

    /// The facts of an account's call. One pass over the body and one over the first quarter of a mebibyte of the prompt.
    pub(crate) fn facts(&self, org: OrgId, call: &Call) -> RequestFacts {
        let (peek, body) = (call.peek(), call.body());
        let seed = self.hash(org.as_bytes());
        let measured = peek.input.media == 0;
        let prompt = if measured { peek.prompt.as_slice() } else { &[] };
        RequestFacts {
            body: self.link(seed, self.hash(body)),
            prompt_bytes: prompt.iter().map(|range| range.len() as u64).sum(),
            prefixes: self.prefixes(seed, body, prompt),
            output_limit: peek.output_limit,
            choices: peek.choices.max(1),
        }
    }

    /// Each hash goes on from the one before it, so every byte is read once.
    fn prefixes(&self, seed: u64, body: &[u8], prompt: &[Range<usize>]) -> Vec<u64> {
        let (mut hashes, mut state, mut done) = (Vec::new(), seed, 0u64);
        for range in prompt {
            let mut rest = body.get(range.clone()).unwrap_or_default();
            while let Some(end) = PREFIX_BYTES.get(hashes.len()).filter(|_| !rest.is_empty()) {
                let wanted = usize::try_from(end - done).unwrap_or(usize::MAX).min(rest.len());
                let (piece, after) = rest.split_at(wanted);
                state = self.link(state, self.hash(piece));
                (rest, done) = (after, done + piece.len() as u64);
                if done == *end {
                    hashes.push(state);
                }
            }
        }
        hashes
    }

    fn hash(&self, bytes: &[u8]) -> u64 {
        rapidhash_v3_inline::<true, false, true>(bytes, &self.secrets)
    }

    fn link(&self, state: u64, next: u64) -> u64 {
        let mut both = [0; 16];
        both[..8].copy_from_slice(&state.to_le_bytes());
        both[8..].copy_from_slice(&next.to_le_bytes());
        self.hash(&both)
    }
}

impl std::fmt::Debug for FactsKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FactsKey(redacted)")
    }
}

impl RequestFacts {
    /// As a hold's `facts` column stores them: some twenty bytes, and eight more for each hash of a beginning.
    #[must_use]
    pub fn encode(&self) -> Box<[u8]> {
        let mut out = Vec::with_capacity(24 + 8 * self.prefixes.len());
        out.push(FORMAT);
        out.extend_from_slice(&self.body.to_le_bytes());
        put_varint(&mut out, self.prompt_bytes);
        put_varint(&mut out, self.output_limit.map_or(0, |limit| u64::from(limit) + 1));
        put_varint(&mut out, u64::from(self.choices));
        for hash in &self.prefixes {
            out.extend_from_slice(&hash.to_le_bytes());
        }
        out.into()
    }

    /// Reads [`RequestFacts::encode`] back; `None` when it is damaged or of an unknown form.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (&format, rest) = bytes.split_first()?;
        if format != FORMAT {
            return None;
        }
        let (body, mut rest) = rest.split_first_chunk()?;
        let prompt_bytes = take_varint(&mut rest)?;
        let limit = take_varint(&mut rest)?;
        let choices = u32::try_from(take_varint(&mut rest)?).ok()?;
        let (hashes, odd) = rest.as_chunks::<8>();
        if !odd.is_empty() || hashes.len() > PREFIX_BYTES.len() {
            return None;
        }
        Some(Self {
            body: u64::from_le_bytes(*body),
            prompt_bytes,
            prefixes: hashes.iter().map(|hash| u64::from_le_bytes(*hash)).collect(),
            output_limit: limit.checked_sub(1).map(u32::try_from).transpose().ok()?,
            choices,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use gateway_core::testing::TestCall;

    use super::*;

    fn key(secret: &[u8]) -> FactsKey {
        FactsKey::derive(&hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    fn org(n: u8) -> OrgId {
        OrgId::from_bytes([n; 16])
    }

    fn facts(call: &Arc<Call>) -> RequestFacts {
        key(b"one").facts(org(1), call)
    }

    #[test]
    fn the_same_bytes_have_the_same_hash_for_one_account_and_one_secret_only() {
        let call = TestCall::to("m").input("hello").build();
        let same = TestCall::to("m").input("hello").build();
        assert_eq!(facts(&call), facts(&same));
        assert_ne!(facts(&call).body, facts(&TestCall::to("m").input("hello ").build()).body);
        assert_ne!(facts(&call).body, key(b"one").facts(org(2), &call).body);
        assert_ne!(facts(&call).body, key(b"two").facts(org(1), &call).body);
    }

    #[track_caller]
    fn check(shared: usize, long: usize, expected: usize) {
        let text = |tail: char| format!("{}{}", "s".repeat(shared), tail.to_string().repeat(long - shared));
        let call = |tail| facts(&TestCall::to("m").input(&text(tail)).build());
        let (a, b) = (call('a'), call('b'));
        let same = a.prefixes.iter().zip(&b.prefixes).take_while(|(a, b)| a == b).count();
        assert_eq!(same, expected, "{shared} of {long} bytes are shared");
        assert_eq!(a.prompt_bytes, long as u64 + 2);
        assert_eq!(a.prefixes.len(), PREFIX_BYTES.iter().filter(|bytes| **bytes <= a.prompt_bytes).count());
    }

    #[test]
    fn prompts_share_the_hashes_of_what_they_begin_with() {
        check(4_000, 20_000, 0);
        // The opening quote counts too.
        check(4_094, 20_000, 0);
        check(4_095, 20_000, 1);
        check(16_384, 300_000, 3);
        check(299_000, 300_000, 7);
        check(1_000, 1_001, 0);
    }

    #[test]
    fn a_beginning_may_reach_over_several_parts_of_the_body() {
        let body = [b'x'; 10_000];
        let hashes = |prompt: &[Range<usize>]| key(b"one").prefixes(7, &body, prompt);
        assert_eq!(hashes(&[0..3_000, 5_000..6_096]).len(), 1);
        assert_eq!(hashes(&[0..3_000, 5_000..6_095]).len(), 0);
        assert_eq!(hashes(&[0..3_000, 5_000..6_096]), hashes(&[1_000..4_000, 7_000..9_500])[..1]);
        assert_ne!(hashes(&[0..3_000, 5_000..6_096]), hashes(&[0..3_001, 5_000..6_095]));
    }

    #[test]
    fn what_is_written_reads_back_and_what_is_damaged_does_not() {
        let facts =
            RequestFacts { body: 7, prompt_bytes: 70_000, prefixes: vec![1, u64::MAX, 3], output_limit: Some(u32::MAX), choices: 3 };
        for facts in [facts.clone(), RequestFacts::default(), RequestFacts { output_limit: Some(0), ..RequestFacts::default() }] {
            let bytes = facts.encode();
            assert_eq!(RequestFacts::decode(&bytes).as_ref(), Some(&facts));
            assert_eq!(RequestFacts::decode(&bytes[..bytes.len() - 1]), None);
            assert_eq!(RequestFacts::decode(&[&[9], &bytes[1..]].concat()), None);
        }
        assert_eq!(facts.encode().len(), 1 + 8 + 3 + 5 + 1 + 24);
    }
}
