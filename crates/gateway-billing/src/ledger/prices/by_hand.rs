//! Prices published while the gateway runs: first compared, then written, all of them or none.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

use super::{PublishFailure, rows, write};
use crate::{
    error::LedgerError,
    journal::Scope,
    ledger::{Ledger, accounts::rfc3339, once::Once},
    price::{Diff, PriceBook, Publication, PublishError, Sealed, by_hand},
};

/// Prices to be published together.
#[derive(Debug, Clone)]
pub struct HandPublication {
    /// The prices, closed and checked.
    pub prices: Vec<Sealed>,
    /// From when on, in microseconds since 1970; `None` is now.
    pub effective_from: Option<i64>,
    /// Repeating the same publication with the same key changes nothing and answers the same.
    pub idempotency_key: String,
}

/// What a publication by hand answers: how many prices began and ended. A repeat returns what the first one did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct PublishedPrices(pub Value);

impl Ledger {
    /// Publishes prices by hand, from now or a later moment on: all of them or none. What is published so is not touched
    /// by the publication of a start, unless the configuration comes to state the price of its place.
    ///
    /// # Errors
    /// The moment has passed, a later version is scheduled at a place, the configuration states the price of a place, the
    /// idempotency key was used for another publication, or nothing can be written.
    pub async fn publish_prices_by_hand(&self, publication: HandPublication) -> Result<PublishedPrices, PublishFailure> {
        let once = Once::new("prices", &publication.idempotency_key, &told(&publication))?;
        let book = Arc::clone(&self.prices);
        self.journal
            .exec(move |scope| publish(scope, &publication, &once, &book))
            .await?
            .map(PublishedPrices)
            .map_err(PublishFailure::Prices)
    }

    /// What [`Ledger::publish_prices_by_hand`] would do.
    #[must_use]
    pub fn compare_prices(&self, prices: &[Sealed], effective_from: Option<i64>) -> Diff {
        Diff::of(prices, &self.prices, effective_from, self.clock.unix_us())
    }
}

/// Everything that makes a publication what it is.
fn told(publication: &HandPublication) -> String {
    use std::fmt::Write;
    let mut text = format!("{:?}", publication.effective_from);
    for price in &publication.prices {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n{}\t{}\t{}\t{:?}\t{}", price.book, price.model, price.route, price.sha256, price.published_by);
    }
    text
}

fn publish(
    scope: &mut Scope<'_>,
    publication: &HandPublication,
    once: &Once,
    book: &Arc<PriceBook>,
) -> Result<Result<Value, Vec<PublishError>>, LedgerError> {
    if let Some(answer) = once.earlier(scope)? {
        return Ok(Ok(answer));
    }
    let now_us = scope.now_us();
    let changes: Publication = match by_hand(&publication.prices, &rows(scope.connection())?, publication.effective_from, now_us) {
        Ok(changes) => changes,
        Err(errors) => return Ok(Err(errors)),
    };
    write(scope, &changes, book)?;
    let answer = json!({
        "object": "price_publication",
        "effective_from": rfc3339(publication.effective_from.unwrap_or(now_us)),
        "new": changes.new.len(),
        "ended": changes.ended.len(),
        "unchanged": publication.prices.len() - changes.new.len(),
    });
    once.keep(scope, &answer)?;
    Ok(Ok(answer))
}
