//! Writing statements.

use rusqlite::{OptionalExtension as _, params};

use super::{
    GENESIS,
    derive::Derived,
    due::{Due, Whose, due},
    hash,
};
use crate::{
    error::LedgerError,
    journal::{Journal, Scope},
    ledger::read_only,
};

/// Most statements in one commit.
const BATCH: usize = 32;

/// What a round of issuing has done.
pub(crate) struct Issued {
    /// How many statements.
    pub(crate) count: usize,
    /// When the next month of a wallet ends.
    pub(crate) next_end: Option<i64>,
}

/// Issues whatever is due `grace_us` after its end, oldest first, until nothing is.
pub(crate) async fn issue(journal: &Journal, path: &std::path::Path, whose: Whose, grace_us: i64) -> Result<Issued, LedgerError> {
    let mut count = 0;
    loop {
        // What the writer has committed by then is all there will be before this moment.
        let now_us = journal.exec(|scope| Ok(scope.now_us())).await?;
        let Due { statements, next_end } = read_only(path, move |connection| due(connection, whose, now_us - grace_us)).await?;
        if statements.is_empty() {
            return Ok(Issued { count, next_end });
        }
        let mut written = 0;
        for batch in statements.chunks(BATCH) {
            let batch = batch.to_vec();
            let inserted = move |scope: &mut Scope<'_>| {
                let mut inserted = 0;
                for derived in &batch {
                    inserted += usize::from(insert(scope, derived)?);
                }
                Ok(inserted)
            };
            written += journal.exec(inserted).await?;
        }
        count += written;
        if written == 0 {
            // Another hand is issuing the same; what it has done is seen in the next look.
            tokio::task::yield_now().await;
        }
    }
}

/// `false`: it has been issued before.
fn insert(scope: &mut Scope<'_>, derived: &Derived) -> Result<bool, LedgerError> {
    let place = &derived.place;
    if scope.now_us() < place.end {
        return Err(LedgerError::conflict("the clock was set back to before the end of the month; try again when it is over"));
    }
    let connection = scope.connection();
    let before: Option<(i64, i64)> = connection
        .prepare_cached("SELECT end_at, closing FROM statement WHERE wallet = ?1 ORDER BY start_at DESC LIMIT 1")?
        .query_row([place.wallet], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    match before {
        Some((end, _)) if end > place.start => return Ok(false),
        Some((end, closing)) if (end, closing) != (place.start, derived.opening) => {
            return Err(LedgerError::conflict("the statement before it was issued meanwhile; try again"));
        }
        Some(_) | None => {}
    }
    let last: Option<(i64, [u8; 32])> = connection
        .prepare_cached("SELECT no, sha256 FROM statement ORDER BY no DESC LIMIT 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (no, prev) = last.map_or((1, GENESIS), |(no, hash)| (no + 1, hash));
    let body = derived.body(no)?;
    let sha = hash(&prev, &body);
    connection
        .prepare_cached(
            "INSERT INTO statement(no, wallet, start_at, end_at, opening, closing, body, prev_sha256, sha256, issued_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?
        .execute(params![
            no,
            place.wallet,
            place.start,
            place.end,
            derived.opening,
            derived.closing,
            body,
            &prev[..],
            &sha[..],
            scope.now_us()
        ])?;
    scope.stated(place.end);
    Ok(true)
}
