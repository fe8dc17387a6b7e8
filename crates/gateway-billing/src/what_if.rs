//! What stored usage would have cost otherwise: under other models, another plan, other prices or another order of providers.
//!
//! Every request of a period is priced again by the very function that charged it ([`crate::price::charge_total`]), at the
//! moment of its arrival. Priced again under its own prices it comes to what the ledger says, to the billionth; the answer to
//! an empty question says whether it does. What cannot be priced otherwise keeps its charge in both sums and is counted apart:
//! nothing is ever taken as free because it has no price.

mod answer;
mod ask;
mod reprice;
mod resolve;
mod target;

use std::{fmt, sync::Arc, time::Duration};

use gateway_core::Deployment;

use self::answer::Tally;
pub use self::{answer::WhatIf, ask::WhatIfAsk};
use crate::{error::LedgerError, ledger::Ledger, money::Currency, report::Scope, scan::Scan};

/// For how long an account's question is worked on. Many accounts ask, and each keeps a core busy.
const ACCOUNT_WITHIN: Duration = Duration::from_secs(20);

/// For how long an operator's is. The command line waits a minute.
const OPERATOR_WITHIN: Duration = Duration::from_secs(45);

/// Where public models are served now; whoever routes calls knows.
pub trait Directory: Send + Sync + fmt::Debug {
    /// The deployments behind a name, in the order in which calls try them; none if there is no such model.
    fn deployments(&self, model: &str) -> Vec<Arc<Deployment>>;
}

/// A directory without models: what is priced under a model's own name is all there is.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoDirectory;

impl Directory for NoDirectory {
    fn deployments(&self, _: &str) -> Vec<Arc<Deployment>> {
        Vec::new()
    }
}

impl Ledger {
    /// Prices the requests of a period again.
    ///
    /// # Errors
    /// The question names what there is not, other long readings are under way ([`LedgerError::Occupied`]), or the database
    /// cannot be read.
    pub async fn what_if(&self, ask: WhatIfAsk, models: Arc<dyn Directory>) -> Result<WhatIf, LedgerError> {
        let ask = Arc::new(ask);
        let (prices, plans) = (Arc::clone(self.prices()), Arc::clone(self.plans()));
        let asked = Arc::clone(&ask);
        let (scope, alternative) = self.read(move |connection| resolve::resolve(connection, &asked, &*models, prices, plans)).await?;
        let within = match ask.scope {
            Scope::Account(_) => ACCOUNT_WITHIN,
            Scope::Operator(_) => OPERATOR_WITHIN,
        };
        let scan = Scan {
            model: ask.filter.model.clone(),
            key: scope.key,
            team: scope.team,
            tag: ask.filter.tag.clone(),
            by_operator: ask.is_operators(),
            within,
            ..Scan::of(Currency::of(ask.mode), scope.org, ask.span.from_us(), ask.span.to_us())
        };
        let tally = Tally::new(Currency::of(ask.mode), ask.cost);
        let gathered = self.scan(scan, tally, move |tally, settled| tally.add(settled, &alternative));
        let (tally, covered) = gathered.await?;
        tally.answer(&ask, covered)
    }
}
