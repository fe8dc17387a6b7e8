//! What happens to the holds of an earlier run, before anything new is admitted.
//!
//! A hold with a checkpoint is settled at it, never above what was held; a hold without one is released: the run ended
//! within one group commit of its first byte, or before it. After this no hold of an earlier run is open.

use std::sync::Arc;

use gateway_core::{KeyId, RequestId};
use rusqlite::Connection;

use crate::{
    book::{Book, Overrun},
    budget::{
        BudgetBook, BudgetId,
        claim::{self, Reserved},
    },
    error::LedgerError,
    journal::{
        Command, Failpoint, Failpoints, Journal,
        row::{Draft, End, Held, Ticket, decode_budgets},
    },
    money::Nano,
};

/// What recovery did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recovered {
    /// Holds settled at their last checkpoint.
    pub settled: usize,
    /// Holds released.
    pub released: usize,
    /// Checkpoints that could not be read; their holds were released, in the caller's favour.
    pub unreadable: usize,
}

/// Holds resolved between two looks at the writer, so that a huge backlog is not all in memory twice.
const CHUNK: usize = 4_096;

/// An open hold of an earlier run, with its checkpoint.
pub(crate) type Orphan = (Arc<Held>, Option<Vec<u8>>);

struct OpenHold {
    id: RequestId,
    wallet: i64,
    key: KeyId,
    amount: Nano,
    progress: Option<Vec<u8>>,
    budgets: Vec<u8>,
    tag: Option<Box<str>>,
}

/// Resolves every open hold of an earlier run.
pub(crate) async fn run(open: Vec<Orphan>, journal: &Journal, now_us: i64, failpoints: &dyn Failpoints) -> Result<Recovered, LedgerError> {
    let mut recovered = Recovered::default();
    for (n, chunk) in open.chunks(CHUNK).enumerate() {
        for (held, progress) in chunk {
            resolve(held, progress.as_deref(), journal, now_us, &mut recovered);
        }
        journal.hurry();
        for (held, _) in chunk {
            held.ended.wait().await?;
        }
        if n == 0 {
            // Only a test stands here, and it kills.
            let _ = failpoints.reached(Failpoint::Recovering);
        }
    }
    Ok(recovered)
}

fn resolve(held: &Arc<Held>, progress: Option<&[u8]>, journal: &Journal, now_us: i64, recovered: &mut Recovered) {
    let draft = progress.and_then(|bytes| {
        let draft = Draft::decode(bytes, held.wallet.currency());
        recovered.unreadable += usize::from(draft.is_none());
        draft
    });
    let push = |end| {
        let command = Command::End { held: Arc::clone(held), end, attempts: Vec::new(), ended_at: now_us, _slot: None };
        if !journal.push(command) {
            held.ended.resolve(Err(LedgerError::Stopped));
        }
    };
    match draft {
        Some(mut draft) => {
            draft.source = crate::usage::UsageSource::Recovered;
            recovered.settled += 1;
            let charge = draft.charge;
            let served = draft.served.clone();
            let money = (held.earmark(), charge, Overrun::WriteOff);
            claim::settle(&held.budgets, &held.wallet, money, (&served.provider, &served.model), |taken, counted| {
                push(End::Settled { draft: Box::new(draft), taken, counted, estimated: true });
            });
        }
        None => {
            recovered.released += 1;
            claim::release(&held.budgets, &held.wallet, held.earmark(), || push(End::Released { abandoned: Nano::ZERO }));
        }
    }
}

/// Reads the holds that are open at start. All of them belong to earlier runs.
pub(crate) fn open_holds(connection: &Connection, book: &Book, budgets: &BudgetBook) -> Result<Vec<Orphan>, LedgerError> {
    let wallets: std::collections::HashMap<_, _> = book.all().into_iter().map(|wallet| (wallet.id(), wallet)).collect();
    let mut statement =
        connection.prepare("SELECT id, wallet, api_key, amount, progress, budgets, tag FROM hold INDEXED BY hold_open WHERE state = 0")?;
    let rows = statement.query_map([], |row| {
        Ok(OpenHold {
            id: RequestId::from_bytes(row.get(0)?),
            wallet: row.get(1)?,
            key: KeyId::from_bytes(row.get(2)?),
            amount: Nano::new(row.get(3)?),
            progress: row.get(4)?,
            budgets: row.get(5)?,
            tag: row.get::<_, Option<String>>(6)?.map(Into::into),
        })
    })?;
    let mut open = Vec::new();
    for row in rows {
        let row = row?;
        let Some(wallet) = wallets.get(&row.wallet) else {
            return Err(LedgerError::Refused {
                problem: format!("hold {} names wallet {}, which does not exist", row.id, row.wallet).into(),
            });
        };
        let held = Held {
            id: row.id,
            wallet: Arc::clone(wallet),
            key: row.key,
            amount: row.amount,
            // What follows stands in the row already and is not written again.
            pins: Box::default(),
            budgets: reservations(&row, budgets),
            tag: row.tag.clone(),
            requested_model: Box::default(),
            stream: false,
            facts: None,
            created_at: 0,
            committed: Ticket::default(),
            ended: Ticket::default(),
            progress: parking_lot::Mutex::default(),
        };
        held.committed.resolve(Ok(()));
        open.push((Arc::new(held), row.progress));
    }
    Ok(open)
}

/// What a hold has in budgets. One whose budget or period is gone frees nothing there; the books are verified for it.
fn reservations(row: &OpenHold, budgets: &BudgetBook) -> Box<[Reserved]> {
    let Some(stored) = decode_budgets(&row.budgets) else {
        tracing::error!(id = %row.id, "what this hold has in budgets cannot be read; it stays held there");
        return Box::default();
    };
    let found = stored.into_iter().filter_map(|stored| {
        let gauge = budgets.get(BudgetId(stored.budget))?.gauge(stored.subject);
        let count = gauge.begun(stored.start)?;
        Some(Reserved { gauge, bounds: count.bounds, amount: stored.amount })
    });
    found.collect()
}
