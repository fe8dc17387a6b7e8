//! What the journal writes, in memory: a hold, what resolves it, and the tickets its owner waits on.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll},
};

use futures_util::task::AtomicWaker;
use gateway_core::{KeyId, RequestId};
use parking_lot::Mutex;

use crate::{
    book::{Earmark, Taken, Wallet},
    budget::claim::{Counted, Reserved},
    error::LedgerError,
    money::{Currency, Nano},
    usage::{Leaves, TokenKinds, UsageSource},
};

/// Resolves once, when the writer has committed or refused a row. One task may wait.
#[derive(Default)]
pub(crate) struct Ticket {
    state: AtomicU8,
    error: Mutex<Option<LedgerError>>,
    waker: AtomicWaker,
}

const PENDING: u8 = 0;
const COMMITTED: u8 = 1;
const REFUSED: u8 = 2;

impl Ticket {
    pub(crate) fn resolve(&self, result: Result<(), LedgerError>) {
        let state = match result {
            Ok(()) => COMMITTED,
            Err(error) => {
                *self.error.lock() = Some(error);
                REFUSED
            }
        };
        self.state.store(state, Ordering::Release);
        self.waker.wake();
    }

    pub(crate) fn peek(&self) -> Option<Result<(), LedgerError>> {
        match self.state.load(Ordering::Acquire) {
            PENDING => None,
            COMMITTED => Some(Ok(())),
            _ => Some(Err(self.error.lock().clone().unwrap_or(LedgerError::Stopped))),
        }
    }

    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<(), LedgerError>> {
        if let Some(result) = self.peek() {
            return Poll::Ready(result);
        }
        self.waker.register(cx.waker());
        // It may have been resolved between the look and the registration.
        self.peek().map_or(Poll::Pending, Poll::Ready)
    }

    pub(crate) async fn wait(&self) -> Result<(), LedgerError> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ticket({:?})", self.peek())
    }
}

/// Money held for one request: the row, and what its owner and the writer share.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) id: RequestId,
    pub(crate) wallet: Arc<Wallet>,
    pub(crate) key: KeyId,
    pub(crate) amount: Nano,
    /// Per candidate: price version and plan version, see [`encode_pins`].
    pub(crate) pins: Box<[u8]>,
    /// What it holds in budgets, in the order of locking.
    pub(crate) budgets: Box<[Reserved]>,
    pub(crate) requested_model: Box<str>,
    /// The person behind the request, as the caller names them.
    pub(crate) tag: Option<Box<str>>,
    pub(crate) stream: bool,
    /// What is kept for hints, encoded.
    pub(crate) facts: Option<Box<[u8]>>,
    /// Arrival of the request, in microseconds since 1970.
    pub(crate) created_at: i64,
    pub(crate) committed: Ticket,
    pub(crate) ended: Ticket,
    /// The newest checkpoint that the writer has not taken. While there is one, a command in the queue will come for it.
    pub(crate) progress: Mutex<Option<Box<Draft>>>,
}

impl Held {
    /// What it has of the wallet.
    pub(crate) fn earmark(&self) -> Earmark {
        Earmark { amount: self.amount, since: self.created_at }
    }
}

/// Where an answer was served.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Served {
    pub(crate) provider: Arc<str>,
    pub(crate) upstream_model: Arc<str>,
    pub(crate) model: Arc<str>,
}

/// A usage with its price, ready to be posted. Its charge is fixed; where the money comes from is decided when it is queued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Draft {
    pub(crate) attempt: u32,
    pub(crate) served: Served,
    pub(crate) price_version: i64,
    pub(crate) plan_version: i64,
    pub(crate) cost_version: Option<i64>,
    pub(crate) leaves: Box<[u8]>,
    pub(crate) tokens_in: u64,
    pub(crate) tokens_out: u64,
    pub(crate) kinds: TokenKinds,
    pub(crate) source: UsageSource,
    pub(crate) flags: u32,
    pub(crate) charge: Nano,
    pub(crate) cost: Nano,
    /// What the cost is in: the wallet's currency, or that of the provider's price list.
    pub(crate) cost_currency: Currency,
    pub(crate) cost_reported: Option<Nano>,
}

/// One attempt, as its row shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AttemptRow {
    pub(crate) n: u32,
    pub(crate) provider: Arc<str>,
    pub(crate) upstream_model: Arc<str>,
    pub(crate) started_at: i64,
    pub(crate) ended_at: Option<i64>,
    pub(crate) outcome: Option<&'static str>,
    pub(crate) status: Option<u16>,
    /// What the provider bills for it; for a served attempt the settlement has it.
    pub(crate) cost: Nano,
    pub(crate) cost_currency: Currency,
}

/// How a hold ends.
#[derive(Debug)]
pub(crate) enum End {
    /// Charged. `estimated` marks one that was recovered from a checkpoint.
    Settled { draft: Box<Draft>, taken: Taken, counted: Box<[Counted]>, estimated: bool },
    /// Freed. With what a provider may bill for it where its caller left before anything was delivered.
    Released { abandoned: Nano },
}

impl End {
    pub(crate) fn taken(&self) -> Taken {
        match self {
            Self::Settled { taken, .. } => *taken,
            Self::Released { .. } => Taken::default(),
        }
    }

    pub(crate) fn counted(&self) -> &[Counted] {
        match self {
            Self::Settled { counted, .. } => counted,
            Self::Released { .. } => &[],
        }
    }

    pub(crate) fn state(&self) -> i64 {
        match self {
            Self::Settled { estimated: false, .. } => 1,
            Self::Released { .. } => 2,
            Self::Settled { estimated: true, .. } => 3,
        }
    }
}

/// Packs what each candidate is priced by.
pub(crate) fn encode_pins(pins: impl IntoIterator<Item = (i64, i64)>) -> Box<[u8]> {
    let mut out = Vec::with_capacity(8);
    for (price, plan) in pins {
        put_varint(&mut out, price.unsigned_abs());
        put_varint(&mut out, plan.unsigned_abs());
    }
    out.into()
}

/// Packs what a hold has in budgets, so that recovery can free it: budget, start of its period, amount, subject.
pub(crate) fn encode_budgets(budgets: &[Reserved]) -> Vec<u8> {
    let mut out = Vec::with_capacity(20 * budgets.len());
    for reserved in budgets {
        put_varint(&mut out, reserved.gauge.spec.id.0.unsigned_abs());
        put_varint(&mut out, reserved.bounds.start.unsigned_abs());
        put_varint(&mut out, reserved.amount.get().unsigned_abs());
        put_bytes(&mut out, reserved.gauge.subject.as_bytes());
    }
    out
}

/// What [`encode_budgets`] packed, once more without the budget itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StoredReservation<'b> {
    pub(crate) budget: i64,
    pub(crate) start: i64,
    pub(crate) amount: Nano,
    pub(crate) subject: &'b str,
}

/// Reads [`encode_budgets`] back; `None` when it is damaged.
pub(crate) fn decode_budgets(mut bytes: &[u8]) -> Option<Vec<StoredReservation<'_>>> {
    let mut stored = Vec::new();
    while !bytes.is_empty() {
        stored.push(StoredReservation {
            budget: i64::try_from(take_varint(&mut bytes)?).ok()?,
            start: i64::try_from(take_varint(&mut bytes)?).ok()?,
            amount: Nano::new(i64::try_from(take_varint(&mut bytes)?).ok()?),
            subject: std::str::from_utf8(take_bytes(&mut bytes)?).ok()?,
        });
    }
    Some(stored)
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn take_bytes<'b>(bytes: &mut &'b [u8]) -> Option<&'b [u8]> {
    let length = usize::try_from(take_varint(bytes)?).ok()?;
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

/// The format that is written. Format 1 had no currency of the cost: it was the wallet's.
const CHECKPOINT_FORMAT: u8 = 2;

impl Draft {
    /// As a hold's `progress` column stores it, so that recovery needs no prices.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(96);
        out.push(CHECKPOINT_FORMAT);
        put_varint(&mut out, u64::from(self.attempt));
        for text in [&self.served.provider, &self.served.upstream_model, &self.served.model] {
            put_bytes(&mut out, text.as_bytes());
        }
        put_varint(&mut out, self.price_version.unsigned_abs());
        put_varint(&mut out, self.plan_version.unsigned_abs());
        put_varint(&mut out, self.cost_version.map_or(0, |version| version.unsigned_abs() + 1));
        put_bytes(&mut out, &self.leaves);
        put_varint(&mut out, self.tokens_in);
        put_varint(&mut out, self.tokens_out);
        put_varint(&mut out, self.source.code().unsigned_abs());
        put_varint(&mut out, u64::from(self.flags));
        put_varint(&mut out, self.charge.get().unsigned_abs());
        put_varint(&mut out, self.cost.get().unsigned_abs());
        put_varint(&mut out, self.cost_reported.map_or(0, |cost| cost.get().unsigned_abs() + 1));
        put_bytes(&mut out, self.cost_currency.as_str().as_bytes());
        out
    }

    /// Reads a checkpoint of a hold in a wallet of this currency; `None` when it is damaged or of an unknown format.
    pub(crate) fn decode(bytes: &[u8], wallet: Currency) -> Option<Self> {
        let (&format, mut rest) = bytes.split_first()?;
        if !(1..=CHECKPOINT_FORMAT).contains(&format) {
            return None;
        }
        let rest = &mut rest;
        let number = |rest: &mut &[u8]| i64::try_from(take_varint(rest)?).ok();
        let text = |rest: &mut &[u8]| std::str::from_utf8(take_bytes(rest)?).ok().map(Arc::<str>::from);
        let optional = |value: u64| value.checked_sub(1).map(i64::try_from).transpose().ok();
        let mut draft = Self {
            attempt: u32::try_from(take_varint(rest)?).ok()?,
            served: Served { provider: text(rest)?, upstream_model: text(rest)?, model: text(rest)? },
            price_version: number(rest)?,
            plan_version: number(rest)?,
            cost_version: optional(take_varint(rest)?)?,
            leaves: take_bytes(rest)?.into(),
            tokens_in: take_varint(rest)?,
            tokens_out: take_varint(rest)?,
            kinds: TokenKinds::default(),
            source: UsageSource::from_code(number(rest)?)?,
            flags: u32::try_from(take_varint(rest)?).ok()?,
            charge: Nano::new(number(rest)?),
            cost: Nano::new(number(rest)?),
            cost_currency: wallet,
            cost_reported: optional(take_varint(rest)?)?.map(Nano::new),
        };
        if format > 1 {
            draft.cost_currency = Currency::new(&text(rest)?)?;
        }
        draft.kinds = std::str::from_utf8(&draft.leaves).ok().and_then(|text| Leaves::from_stored(text).ok())?.kinds();
        rest.is_empty().then_some(draft)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn draft() -> Draft {
        Draft {
            attempt: 2,
            served: Served { provider: "house".into(), upstream_model: "gpt-4.1-2025".into(), model: "gpt-4.1".into() },
            price_version: 7,
            plan_version: 1,
            cost_version: None,
            leaves: br#"{"tok.in":100,"tok.in.cache_read":20,"tok.out":4000000000}"#.to_vec().into(),
            tokens_in: 120,
            tokens_out: 4_000_000_000,
            kinds: TokenKinds { cache_read: 20, ..TokenKinds::default() },
            source: UsageSource::EarlyAndCounted,
            flags: 5,
            charge: Nano::new(17_312_000),
            cost: Nano::new(i64::MAX),
            cost_currency: Currency::new("CNY").unwrap(),
            cost_reported: Some(Nano::ZERO),
        }
    }

    #[test]
    fn a_checkpoint_comes_back_and_a_damaged_one_does_not() {
        let bytes = draft().encode();
        let read = |bytes: &[u8]| Draft::decode(bytes, Currency::USD);
        assert_eq!(read(&bytes), Some(draft()));
        for end in 0..bytes.len() {
            assert_eq!(read(&bytes[..end]), None, "cut at {end}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert_eq!(read(&longer), None);
        longer[0] = 9;
        assert_eq!(read(&longer), None);
        // As an earlier build wrote it.
        let mut earlier = bytes[..bytes.len() - 4].to_vec();
        earlier[0] = 1;
        assert_eq!(read(&earlier), Some(Draft { cost_currency: Currency::USD, ..draft() }));
    }
}
