//! The start: lock, schema, secret, wallets, keys, writer, recovery; in this order.

use std::sync::Arc;

use gateway_core::OrgId;
use ring::{hmac, rand::SystemRandom};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{
    Ledger, LedgerOptions,
    campaigns::keep_sign_up,
    expiry::{Agenda, Sweeper},
    reading::Readings,
};
use crate::{
    book::{Book, Wallet, WalletReading},
    codes::Attempts,
    error::LedgerError,
    hint::HintDesk,
    hold::Allowances,
    journal::Journal,
    keys::{KeyRing, server_secret},
    money::{Currency, Nano},
    price::{PlanBook, PriceBook},
    recovery,
    statement::task::Clerk,
    store::{Store, set_durability},
};

pub(super) async fn open(options: LedgerOptions) -> Result<Ledger, LedgerError> {
    let LedgerOptions { store, journal, secret, clock, abandon_allowance, failpoints, .. } = options;
    if options.sign_up_grant < Nano::ZERO {
        return Err(LedgerError::invalid("sign_up_grant", "must not be negative"));
    }
    let durability = store.durability;
    let (store, writer) = Store::open(&store).await?;
    let secret = server_secret(secret.as_ref(), store.path(), &SystemRandom::new())?;
    check_secret(&writer, &secret.keys, store.path())?;
    let boot = begin_boot(&writer, clock.unix_us())?;
    let book = Arc::new(load_book(&writer)?);
    let budgets = Arc::new(super::budgets::load(&writer, clock.unix_us())?);
    let allowances = Arc::new(Allowances::load(&writer, abandon_allowance, clock.unix_us())?);
    let keys = Arc::new(KeyRing::load(&writer, secret.keys, Arc::clone(&clock))?);
    keep_sign_up(&writer, options.sign_up_grant, options.sign_up_days, clock.unix_us())?;
    let agenda = Arc::new(Agenda::load(&writer)?);
    let prices = Arc::new(PriceBook::new(super::prices::rows(&writer)?));
    let plans = Arc::new(PlanBook::new(super::plans::rows(&writer)?));
    let left = recovery::open_holds(&writer, &book, &budgets)?;
    set_durability(&writer, durability)?;
    let journal = Arc::new(Journal::start(writer, boot, journal, Arc::clone(&clock), Arc::clone(&failpoints))?);
    let recovered = recovery::run(left, &journal, clock.unix_us(), &*failpoints).await?;
    if recovered != recovery::Recovered::default() {
        tracing::info!(settled = recovered.settled, released = recovered.released, "resolved the holds of an earlier run");
    }
    let (weak, clock_of) = (Arc::downgrade(&journal), Arc::clone(&clock));
    let sweeper = Sweeper { journal: weak, book: Arc::clone(&book), agenda: Arc::clone(&agenda), clock: clock_of };
    let clerk = Clerk { journal: Arc::downgrade(&journal), path: store.path().to_owned(), clock: Arc::clone(&clock) };
    Ok(Ledger {
        store,
        journal,
        book,
        budgets,
        budget_changes: tokio::sync::Mutex::default(),
        keys,
        receipts: secret.receipts,
        facts: options.request_facts.then_some(secret.facts),
        prices,
        plans,
        sizes: Arc::default(),
        allowances,
        clock,
        agenda,
        readings: Readings::default(),
        scans: crate::scan::Scans::default(),
        hints: HintDesk::new(options.offers),
        sweeping: sweeper.start().await,
        issuing: clerk.start(),
        attempts: Attempts::default(),
        paid_credit_may_expire: options.paid_credit_may_expire,
        confirm_above: options.confirm_above,
        recovered,
        verdict: std::sync::atomic::AtomicU8::default(),
    })
}

/// A database remembers which secret its keys are hashed under: with another one every key would be unknown, and the
/// operator would look for the fault everywhere else.
fn check_secret(connection: &Connection, secret: &hmac::Key, path: &std::path::Path) -> Result<(), LedgerError> {
    let proof: String = hmac::sign(secret, b"bellwether ledger").as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let known: Option<String> =
        connection.query_row("SELECT value FROM meta WHERE key = 'secret_proof'", [], |row| row.get(0)).optional()?;
    match known {
        Some(known) if known == proof => Ok(()),
        Some(_) => Err(LedgerError::Open {
            path: path.to_owned(),
            problem: "the secret is not the one its API keys were made under; restore the old BELLWETHER_SECRET or the `.secret` file \
                      beside the database"
                .into(),
            source: None,
        }),
        None => {
            connection.execute("INSERT INTO meta(key, value) VALUES ('secret_proof', ?1)", [proof])?;
            Ok(())
        }
    }
}

fn begin_boot(connection: &Connection, now_us: i64) -> Result<i64, LedgerError> {
    let uuid = super::accounts::new_id(now_us)?;
    connection.execute("INSERT INTO boot(uuid, started_at) VALUES (?1, ?2)", params![&uuid[..], now_us])?;
    Ok(connection.last_insert_rowid())
}

fn load_book(connection: &Connection) -> Result<Book, LedgerError> {
    let book = Book::default();
    let mut statement =
        connection.prepare("SELECT w.id, w.org, w.currency, w.posted, w.held, w.floor, o.plan FROM wallet w JOIN org o ON o.id = w.org")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let currency: String = row.get(2)?;
        let currency = Currency::new(&currency)
            .ok_or_else(|| LedgerError::Refused { problem: format!("a wallet is in `{currency}`, which is no currency code").into() })?;
        let reading = WalletReading { posted: Nano::new(row.get(3)?), held: Nano::new(row.get(4)?), floor: Nano::new(row.get(5)?) };
        let wallet = Wallet::new(row.get(0)?, OrgId::from_bytes(row.get(1)?), currency, reading);
        wallet.put_on(&row.get::<_, String>(6)?.into());
        book.insert(Arc::new(wallet));
    }
    Ok(book)
}
