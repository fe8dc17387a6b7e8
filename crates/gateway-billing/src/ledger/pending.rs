//! Credit that is large enough to need a second person: asked for by one administrator, confirmed or refused by another.
//!
//! Nothing is credited before the confirmation, which then does exactly what was asked. Whoever asked cannot confirm, but may
//! take it back. Credits stand in `pending_credit`; what belongs to no account (a campaign, a batch of codes) only in the notes,
//! which hold for each of them what a confirmation has to do.

mod note;

use std::sync::Arc;

use gateway_core::{Mode, OrgId};
use rusqlite::params;
use serde::Serialize;
use serde_json::json;

use self::note::{What, ask, damaged, end, open, read};
use super::{
    Campaign, CreatedCodes, Credit, Credited, Ledger, NewCampaign, NewCodes,
    batches::{check_new, insert_codes},
    campaigns,
    credit::{give, once_of},
    expiry::Agenda,
    lots::Class,
    tokens::to_us,
};
use crate::{
    book::Book,
    error::LedgerError,
    journal::Scope,
    keys::{KeyRing, from_us},
    money::{Currency, Money, Nano},
};

/// What became of something that may need a second person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked<T> {
    /// It is done.
    Done(T),
    /// It waits.
    Pending(Box<PendingCredit>),
}

impl<T> Asked<T> {
    fn waiting(view: PendingCredit) -> Self {
        Self::Pending(Box::new(view))
    }
}

/// Something that waits for a second person, as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PendingCredit {
    /// `pending_credit`.
    pub object: &'static str,
    /// `pend_…`.
    pub id: String,
    /// `credit`, `campaign` or `codes`.
    pub what: &'static str,
    /// To which account; only a credit goes to one.
    pub account: Option<OrgId>,
    /// The campaign's or the batch's name.
    pub name: Option<String>,
    /// How much in all; `null` for a campaign without a limit.
    pub amount: Option<Money>,
    /// Why; only a credit has a reason.
    pub reason: Option<String>,
    /// `pending`, `confirmed` or `refused`.
    pub state: &'static str,
    /// Who asked.
    pub asked_by: String,
    /// When, RFC 3339.
    pub asked_at: String,
    /// Who confirmed or refused.
    pub ended_by: Option<String>,
    /// When, RFC 3339.
    pub ended_at: Option<String>,
}

/// What a confirmation did: the answer that whoever asked would have got at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Confirmed {
    /// Credited.
    Credit(Credited),
    /// The campaign is made.
    Campaign(Campaign),
    /// The codes, shown only here.
    Codes(CreatedCodes),
}

impl Ledger {
    /// Credits an account by hand as [`Ledger::credit`] does, or waits for a second person if it is a large sum of live money.
    ///
    /// # Errors
    /// As [`Ledger::credit`]; also when it was asked for under the same key and refused.
    pub async fn ask_credit(&self, new: Credit) -> Result<Asked<Credited>, LedgerError> {
        if new.mode == Mode::Test || !self.is_large(Some(new.amount)) {
            return self.credit(new).await.map(Asked::Done);
        }
        self.check_credit(&new)?;
        let org = self.account(&new.account).await?.id;
        self.journal
            .exec(move |scope| {
                let once = once_of(&new, org, scope.now_us())?;
                if let Some(answer) = once.earlier(scope)? {
                    return match answer["id"].as_str().filter(|_| answer["object"] == "pending_credit") {
                        Some(id) => read(scope.connection(), id)?.asked_again(id).map(Asked::waiting),
                        None => Ok(Asked::Done(Credited(answer))),
                    };
                }
                let what = What::Credit {
                    account: org.to_string(),
                    test: false,
                    amount: new.amount.get(),
                    reason: new.reason.trim().to_owned(),
                    expires_at: new.expires_at.map(to_us),
                    idempotency_key: once.name().to_owned(),
                };
                let (id, view) = ask(scope, what, &new.actor)?;
                scope.connection().execute(
                    "INSERT INTO pending_credit(id, org, currency, amount, reason, asked_by, asked_at) VALUES (?1, ?2, 'USD', ?3, ?4, ?5, ?6)",
                    params![&id[..], &org.as_bytes()[..], new.amount.get(), new.reason.trim(), new.actor, scope.now_us()],
                )?;
                once.keep(scope, &json!({ "object": "pending_credit", "id": view.id }))?;
                Ok(Asked::waiting(view))
            })
            .await
    }

    /// Makes a campaign, or waits for a second person if all of its grants come to a large sum.
    ///
    /// # Errors
    /// The campaign cannot be as asked, its name is taken or waits already, or nothing can be written.
    pub async fn ask_campaign(&self, new: NewCampaign, actor: &str) -> Result<Asked<Campaign>, LedgerError> {
        campaigns::check(&new)?;
        let total = new.grants_max.and_then(|max| new.amount.get().checked_mul(i64::from(max))).map(Nano::new);
        let (large, actor) = (self.is_large(total), actor.to_owned());
        self.journal
            .exec(move |scope| {
                // Written even if it has to wait, and taken back then: so whatever is wrong with it shows now.
                let made = campaigns::insert(scope, &new)?;
                if !large {
                    return Ok(Asked::Done(made));
                }
                scope.connection().execute("DELETE FROM campaign WHERE name = ?1", [&new.name])?;
                ask(scope, What::of_campaign(&new), &actor).map(|(_, view)| Asked::waiting(view))
            })
            .await
    }

    /// Makes a batch of codes, or waits for a second person if all of their uses come to a large sum.
    ///
    /// # Errors
    /// The batch cannot be as asked, its name is taken or waits already, or nothing can be written.
    pub async fn ask_codes(&self, new: NewCodes) -> Result<Asked<CreatedCodes>, LedgerError> {
        new.check()?;
        if new.class == Class::Paid && new.valid_days.is_some() {
            self.check_paid_expiry("valid_days")?;
        }
        let (large, keys) = (self.is_large(new.total()), Arc::clone(&self.keys));
        self.journal
            .exec(move |scope| {
                if !large {
                    return insert_codes(scope, &keys, &new).map(Asked::Done);
                }
                check_new(scope, &new)?;
                ask(scope, What::of_codes(&new), &new.actor).map(|(_, view)| Asked::waiting(view))
            })
            .await
    }

    /// What waits for a second person, oldest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn pending_credits(&self) -> Result<Vec<PendingCredit>, LedgerError> {
        self.journal.exec(|scope| open(scope.connection())).await
    }

    /// Does what was asked for. `actor` must be another than whoever asked.
    ///
    /// # Errors
    /// There is nothing of this id, it has ended, `actor` asked for it, or it cannot be done any more; then it still waits.
    pub async fn confirm_pending(&self, id: &str, actor: &str) -> Result<Confirmed, LedgerError> {
        let (id, actor) = (id.to_owned(), actor.to_owned());
        let hands = Hands {
            keys: Arc::clone(&self.keys),
            book: Arc::clone(&self.book),
            agenda: Arc::clone(&self.agenda),
            paid_may_expire: self.paid_credit_may_expire,
        };
        self.journal
            .exec(move |scope| {
                let note = read(scope.connection(), &id)?;
                note.check_open(&id)?;
                if note.asked_by == actor {
                    return Err(LedgerError::conflict(format!("`{actor}` asked for {id}; another administrator must confirm it")));
                }
                let both = format!("{}, confirmed by {actor}", note.asked_by);
                let (done, txn) = hands.act(scope, &note.what, both)?;
                end(scope, &id, note, &actor, Some(txn))?;
                Ok(done)
            })
            .await
    }

    /// Refuses what was asked for; whoever asked takes it back by this.
    ///
    /// # Errors
    /// There is nothing of this id, it has ended, or nothing can be written.
    pub async fn refuse_pending(&self, id: &str, actor: &str) -> Result<PendingCredit, LedgerError> {
        let (id, actor) = (id.to_owned(), actor.to_owned());
        self.journal
            .exec(move |scope| {
                let note = read(scope.connection(), &id)?;
                note.check_open(&id)?;
                end(scope, &id, note, &actor, None)
            })
            .await
    }

    /// Whether a sum needs a second person; `None` is a sum without a limit.
    fn is_large(&self, total: Option<Nano>) -> bool {
        self.confirm_above.is_some_and(|above| total.is_none_or(|total| total > above))
    }
}

/// What a confirmation works with.
struct Hands {
    keys: Arc<KeyRing>,
    book: Arc<Book>,
    agenda: Arc<Agenda>,
    paid_may_expire: bool,
}

impl Hands {
    fn act(&self, scope: &mut Scope<'_>, what: &What, actor: String) -> Result<(Confirmed, Option<i64>), LedgerError> {
        let ends_bought = match what {
            What::Credit { expires_at, .. } => expires_at.is_some(),
            What::Codes { paid, valid_days, .. } => *paid && valid_days.is_some(),
            What::Campaign { .. } => false,
        };
        if ends_bought && !self.paid_may_expire {
            return Err(LedgerError::conflict(
                "bought credit can no longer end, since `[billing] paid_credit_may_expire` is off; refuse it, and have it asked for again",
            ));
        }
        match what {
            What::Credit { account, test, amount, reason, expires_at, idempotency_key } => {
                let new = Credit {
                    account: account.clone(),
                    mode: if *test { Mode::Test } else { Mode::Live },
                    amount: Nano::new(*amount),
                    reason: reason.clone(),
                    actor,
                    idempotency_key: Some(idempotency_key.clone()),
                    expires_at: expires_at.map(from_us),
                };
                if expires_at.is_some_and(|at| at <= scope.now_us()) {
                    return Err(LedgerError::conflict(
                        "the credit would have expired by now; refuse it, and have it asked for again with a later end",
                    ));
                }
                let org = account.parse::<OrgId>().map_err(|_| damaged())?;
                once_of(&new, org, scope.now_us())?.forget(scope)?;
                let currency = Currency::of(new.mode);
                let wallet = self.book.wallet(org, currency).ok_or_else(|| LedgerError::not_found("wallet", currency.as_str()))?;
                let credited = give(scope, &new, &wallet, &self.agenda)?;
                let txn = credited.0["transaction"]["id"].as_i64();
                Ok((Confirmed::Credit(credited), txn))
            }
            What::Campaign { name, amount, valid_days, grants_max, starts_at, ends_at } => {
                let new = NewCampaign {
                    name: name.clone(),
                    amount: Nano::new(*amount),
                    valid_days: *valid_days,
                    grants_max: *grants_max,
                    starts_at: starts_at.map(from_us),
                    ends_at: ends_at.map(from_us),
                };
                campaigns::insert(scope, &new).map(|made| (Confirmed::Campaign(made), None))
            }
            What::Codes { batch, count, amount, paid, uses, expires_at, valid_days } => {
                let new = NewCodes {
                    batch: batch.clone(),
                    count: *count,
                    amount: Nano::new(*amount),
                    class: if *paid { Class::Paid } else { Class::Promo },
                    uses: *uses,
                    expires_at: expires_at.map(from_us),
                    valid_days: *valid_days,
                    actor,
                };
                insert_codes(scope, &self.keys, &new).map(|made| (Confirmed::Codes(made), None))
            }
        }
    }
}
