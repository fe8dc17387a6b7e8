//! Statements: one per wallet and month of the account's zone, numbered without gaps, chained by their hashes, and never changed.
//!
//! A statement is derived from transactions by the moment of their posting, and from the kept sums by the same moment; it is
//! issued only if the two agree. Each begins where the last one of its wallet ended, whatever has become of the zone
//! meanwhile, and opens with what the last one closed with; the first one opens with nothing.

pub(crate) mod derive;
mod due;
mod export;
mod issue;
mod month;
mod show;
pub(crate) mod task;
#[cfg(test)]
mod tests;

pub use self::show::{StatementHead, StatementPage, StatementView};

/// The hash before the first statement.
pub(crate) const GENESIS: [u8; 32] = [0; 32];

/// How a statement is called: `ST-000001`.
pub(crate) fn number(no: i64) -> String {
    format!("ST-{no:06}")
}

/// The reverse of [`number`].
fn no_of(number: &str) -> Option<i64> {
    let digits = number.strip_prefix("ST-")?;
    let no = digits.parse().ok().filter(|no| *no > 0)?;
    // `ST-1` and `ST-0000001` would be other names of the same statement.
    (self::number(no) == number).then_some(no)
}

/// Of the predecessor's hash and the body.
pub(crate) fn hash(prev: &[u8], body: &str) -> [u8; 32] {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    context.update(prev);
    context.update(body.as_bytes());
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
