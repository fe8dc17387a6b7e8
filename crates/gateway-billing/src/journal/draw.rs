//! Which credit a charge is taken from.

use std::sync::Arc;

use rusqlite::Connection;

use super::{
    apply::{Delta, Sums, add},
    row::Held,
    scope::{Lot, State},
};
use crate::{error::LedgerError, money::Nano};

/// Takes `amount` from the wallet's lots in the order of use: promo first, then the earliest to expire, then the oldest.
pub(super) fn draw<'b>(
    connection: &Connection,
    state: &mut State,
    held: &'b Arc<Held>,
    amount: Nano,
    sums: &mut Sums<'b>,
) -> Result<Vec<([u8; 16], i64)>, LedgerError> {
    let mut draws = Vec::new();
    let mut missing = amount.get();
    if missing == 0 {
        return Ok(draws);
    }
    let wallet = held.wallet.id();
    let lots = match state.lots.entry(wallet) {
        std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
        std::collections::hash_map::Entry::Vacant(entry) => entry.insert(Lot::of_wallet(connection, wallet)?),
    };
    let Sums { wallets, lots: touched, .. } = sums;
    let (_, delta) = wallets.entry(wallet).or_insert((held, Delta::default()));
    for lot in Lot::in_order_of_use(lots, held.created_at) {
        let taken = lot.remaining.min(missing);
        lot.remaining -= taken;
        missing -= taken;
        let side = if lot.promo { &mut delta.promo } else { &mut delta.paid };
        *side = add(*side, taken)?;
        draws.push((lot.id, taken));
        touched.insert(lot.id, lot.remaining);
        if missing == 0 {
            break;
        }
    }
    lots.retain(|lot| lot.remaining > 0);
    if missing != 0 {
        return Err(LedgerError::Refused { problem: format!("the lots of wallet {wallet} cover {missing} less than its balance").into() });
    }
    Ok(draws)
}
