//! The hash chain: each transaction's hash covers its predecessor's, its own fields, its postings and its settlements,
//! so that no row of the past can be changed without breaking every later hash.

use ring::digest::{Context, SHA256};

/// The predecessor of the first transaction.
pub(crate) const GENESIS: [u8; 32] = [0; 32];

/// A settlement's fields in the order the chain covers them.
pub(crate) struct CanonicalSettlement<'s> {
    pub(crate) hold: &'s [u8],
    pub(crate) leaves: &'s [u8],
    /// seq, wallet, attempt, served, price version, plan version, cost version (−1 for none), tokens in, tokens out,
    /// usage source, flags, charge, from hold, overrun, written off, cost, reported cost (−1 for none), at.
    pub(crate) numbers: [i64; 18],
}

/// Hashes one transaction: head, then postings in order of `seq`, then settlements in order of hold and `seq`.
pub(crate) struct TxnHasher(Context);

impl TxnHasher {
    /// The fields that stand in the transaction's own row.
    pub(crate) fn new(prev: &[u8], id: i64, at: i64, texts: [&str; 4], reverses: Option<i64>) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(prev);
        context.update(&id.to_be_bytes());
        context.update(&at.to_be_bytes());
        for text in texts {
            sized(&mut context, text.as_bytes());
        }
        context.update(&reverses.unwrap_or(0).to_be_bytes());
        Self(context)
    }

    /// One posting; `seq` is its place.
    pub(crate) fn posting(&mut self, account: i64, amount: i64) {
        let mut bytes = [b'p'; 17];
        bytes[1..9].copy_from_slice(&account.to_be_bytes());
        bytes[9..].copy_from_slice(&amount.to_be_bytes());
        self.0.update(&bytes);
    }

    /// One settlement.
    pub(crate) fn settlement(&mut self, row: &CanonicalSettlement<'_>) {
        self.0.update(b"s");
        sized(&mut self.0, row.hold);
        sized(&mut self.0, row.leaves);
        let mut bytes = [0; 18 * 8];
        for (place, number) in bytes.chunks_exact_mut(8).zip(row.numbers) {
            place.copy_from_slice(&number.to_be_bytes());
        }
        self.0.update(&bytes);
    }

    /// The hash.
    pub(crate) fn finish(self) -> [u8; 32] {
        let mut hash = [0; 32];
        hash.copy_from_slice(self.0.finish().as_ref());
        hash
    }
}

fn sized(context: &mut Context, bytes: &[u8]) {
    context.update(&(bytes.len() as u64).to_be_bytes());
    context.update(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_counts_and_neighbours_do_not_run_together() {
        let hash = |texts, amount| {
            let mut hasher = TxnHasher::new(&GENESIS, 1, 2, texts, None);
            hasher.posting(1, amount);
            hasher.finish()
        };
        let plain = hash(["usage", "k", "", ""], 5);
        assert_eq!(plain, hash(["usage", "k", "", ""], 5));
        assert_ne!(plain, hash(["usage", "k", "", ""], 6));
        assert_ne!(plain, hash(["usag", "ek", "", ""], 5));
    }
}
