//! The admin API: accounts, keys, credit, campaigns, codes, prices, plans, usage, hints, health, verification.
//!
//! Thin on purpose: it reads a request, calls the ledger, and writes what it answers. Unknown fields are refused, so that a
//! misspelt one is never quietly ignored.

mod budgets;
mod credit;
mod health;
mod hints;
mod people;
mod plans;
mod prices;
mod reports;
mod statements;
mod what_if;

use std::{sync::Arc, time::SystemTime};

use bytes::Bytes;
use gateway_billing::ledger::{Credit, Grant, Ledger, NewAccount, NewKey, PageRequest};
use gateway_core::{Fault, FaultKind, KeyId, Mode, Origin};
use gateway_server::MountRequest;
use http::{Method, Response, StatusCode, header};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

pub use health::HealthSources;
pub use prices::PriceDesk;
pub use what_if::PublicModels;

/// Everything the admin API reaches.
#[derive(Clone)]
pub struct Admin {
    ledger: Arc<Ledger>,
    health: Arc<HealthSources>,
    desk: PriceDesk,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountBody {
    name: String,
    #[serde(default = "yes")]
    grant: bool,
    #[serde(default)]
    subject: Option<String>,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreditBody {
    amount_usd: String,
    #[serde(default)]
    mode: ModeName,
    reason: String,
    #[serde(default)]
    expires_at: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyBody {
    account: String,
    #[serde(default)]
    mode: ModeName,
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    team: Option<String>,
    #[serde(default)]
    name: String,
    #[serde(default)]
    models: Option<Vec<String>>,
    #[serde(default)]
    expires_at: Option<String>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ModeName {
    #[default]
    Live,
    Test,
}

impl From<ModeName> for Mode {
    fn from(name: ModeName) -> Self {
        match name {
            ModeName::Live => Self::Live,
            ModeName::Test => Self::Test,
        }
    }
}

#[derive(Serialize)]
struct List<T> {
    data: Vec<T>,
}

impl Admin {
    /// An admin API over these parts.
    #[must_use]
    pub fn new(ledger: Arc<Ledger>, health: HealthSources, desk: PriceDesk) -> Self {
        Self { ledger, health: Arc::new(health), desk }
    }

    /// Answers one request below `/admin`.
    ///
    /// # Errors
    /// The path is none, the input is wrong, or the ledger cannot answer.
    pub async fn handle(self, request: MountRequest) -> Result<Response<Bytes>, Fault> {
        let path = request.head.uri.path();
        let segments = request.segments_below("/admin/v1/").ok_or_else(|| not_found(path))?;
        let segments: Vec<_> = segments.iter().map(|segment| &**segment).collect();
        let method = &request.head.method;
        match segments.as_slice() {
            ["accounts"] if method == Method::GET => self.accounts(&request).await,
            ["accounts"] if method == Method::POST => self.create_account(&request).await,
            ["accounts", account] if method == Method::GET => json(StatusCode::OK, &self.ledger.account(account).await?),
            ["accounts", account] if method == Method::PATCH => self.change_account(account, &request).await,
            ["accounts", account, "teams"] if matches!(*method, Method::GET | Method::POST) => self.teams(account, &request).await,
            ["accounts", account, "users"] if matches!(*method, Method::GET | Method::POST) => self.users(account, &request).await,
            ["accounts", account, "budgets"] if matches!(*method, Method::GET | Method::POST) => self.budgets(account, &request).await,
            ["accounts", account, "budgets", id] if matches!(*method, Method::GET | Method::PATCH | Method::DELETE) => {
                self.budget(account, id, &request).await
            }
            ["accounts", account, "budgets", id, "periods"] if method == Method::GET => self.budget_periods(account, id).await,
            ["accounts", account, "credit"] if method == Method::POST => self.credit(account, &request).await,
            ["accounts", account, "balance"] if method == Method::GET => self.balance(account, &request).await,
            ["accounts", account, "statements"] if matches!(*method, Method::GET | Method::POST) => {
                self.statements(account, &request).await
            }
            ["accounts", account, "statements", name] if method == Method::GET => self.statement(account, name, &request).await,
            ["keys"] if method == Method::GET => self.keys(&request).await,
            ["keys"] if method == Method::POST => self.create_key(&request).await,
            ["keys", id, "revoke"] if method == Method::POST => self.revoke(id).await,
            ["prices"] if method == Method::GET => self.prices(&request),
            ["prices", "diff"] if method == Method::POST => self.compare_prices(&request).await,
            ["prices", "publish"] if method == Method::POST => self.publish_prices(&request).await,
            ["plans"] if method == Method::GET => self.plans(&request),
            ["plans"] if method == Method::POST => self.publish_plan(&request).await,
            ["usage"] if method == Method::GET => self.usage(&request).await,
            ["what-if"] if method == Method::POST => self.what_if(&request).await,
            ["hints"] if method == Method::GET => self.hints(&request).await,
            ["health"] if method == Method::GET => json(StatusCode::OK, &self.health.read()),
            ["ledger", "verify"] if method == Method::POST => json(StatusCode::OK, &self.ledger.verify().await?),
            ["campaigns" | "codes" | "credits", ..] => self.giving(&segments, &request).await,
            ["accounts" | "keys" | "prices" | "plans" | "usage" | "what-if" | "hints" | "health"]
            | ["prices", "diff" | "publish"]
            | ["accounts", _]
            | ["accounts", _, "credit" | "balance" | "teams" | "users" | "budgets" | "statements"]
            | ["accounts", _, "statements", _]
            | ["accounts", _, "budgets", _]
            | ["accounts", _, "budgets", _, "periods"]
            | ["keys", _, "revoke"]
            | ["ledger", "verify"] => Err(wrong_address(&request, true)),
            _ => Err(wrong_address(&request, false)),
        }
    }

    async fn accounts(&self, request: &MountRequest) -> Result<Response<Bytes>, Fault> {
        let mut page = PageRequest::default();
        for (name, value) in request.query() {
            match &*name {
                "limit" => page.limit = value.parse().map_err(|_| Fault::invalid("`limit` must be a whole number").with_param("limit"))?,
                "after" => page.after = Some(value.into_owned()),
                other => return Err(unknown_parameter(other, "limit, after")),
            }
        }
        json(StatusCode::OK, &self.ledger.accounts(page).await?)
    }

    async fn create_account(&self, request: &MountRequest) -> Result<Response<Bytes>, Fault> {
        let body: AccountBody = parse(request)?;
        let grant = if body.grant { Grant::SignUp } else { Grant::None };
        let new = NewAccount { name: body.name, grant };
        let account = match &body.subject {
            None => self.ledger.create_account(new).await?,
            Some(subject) => self.ledger.create_account_for(new, subject).await?,
        };
        json(StatusCode::CREATED, &account)
    }

    async fn credit(&self, account: &str, request: &MountRequest) -> Result<Response<Bytes>, Fault> {
        let body: CreditBody = parse(request)?;
        let idempotency_key = idempotency_key(request, "so that a repeat cannot credit twice")?;
        let credit = Credit {
            account: account.to_owned(),
            mode: body.mode.into(),
            amount: credit::amount(&body.amount_usd)?,
            reason: body.reason,
            actor: actor(request)?.to_owned(),
            idempotency_key: Some(idempotency_key),
            expires_at: body.expires_at.as_deref().map(|text| instant("expires_at", text)).transpose()?,
        };
        credit::asked(StatusCode::OK, &self.ledger.ask_credit(credit).await?)
    }

    async fn balance(&self, account: &str, request: &MountRequest) -> Result<Response<Bytes>, Fault> {
        json(StatusCode::OK, &self.ledger.balance(account, only_mode(request)?).await?)
    }

    async fn keys(&self, request: &MountRequest) -> Result<Response<Bytes>, Fault> {
        let mut account = None;
        for (name, value) in request.query() {
            match &*name {
                "account" => account = Some(value),
                other => return Err(unknown_parameter(other, "account")),
            }
        }
        json(StatusCode::OK, &List { data: self.ledger.keys(account.as_deref()).await? })
    }

    async fn create_key(&self, request: &MountRequest) -> Result<Response<Bytes>, Fault> {
        let body: KeyBody = parse(request)?;
        let expires_at = body.expires_at.as_deref().map(|text| instant("expires_at", text)).transpose()?;
        let key = NewKey {
            account: body.account,
            mode: body.mode.into(),
            user: body.user,
            team: body.team,
            name: body.name,
            models: body.models,
            expires_at,
        };
        json(StatusCode::CREATED, &self.ledger.create_key(key).await?)
    }

    async fn revoke(&self, id: &str) -> Result<Response<Bytes>, Fault> {
        let id: KeyId = id.parse().map_err(|error| Fault::invalid(format!("`{id}` is not a key's id: {error}")))?;
        json(StatusCode::OK, &self.ledger.revoke_key(id).await?)
    }
}

/// Who asks; the server has checked it.
fn actor(request: &MountRequest) -> Result<&str, Fault> {
    request.admin.as_deref().ok_or_else(|| Fault::internal("an administrator's path without an administrator"))
}

fn instant(param: &'static str, text: &str) -> Result<SystemTime, Fault> {
    timestamp(param, text).map(SystemTime::from)
}

/// A time in microseconds since 1970.
fn instant_us(param: &'static str, text: &str) -> Result<i64, Fault> {
    timestamp(param, text).map(jiff::Timestamp::as_microsecond)
}

fn timestamp(param: &'static str, text: &str) -> Result<jiff::Timestamp, Fault> {
    text.parse().map_err(|_| {
        let shown: String = text.chars().take(64).collect();
        Fault::invalid(format!("`{param}` must be a time such as 2027-01-31T00:00:00Z, not `{shown}`")).with_param(param)
    })
}

/// The key under which a repeat is known; `why` ends the sentence that asks for it.
fn idempotency_key(request: &MountRequest, why: &str) -> Result<String, Fault> {
    match request.head.headers.get("idempotency-key") {
        None => Err(Fault::invalid(format!("the header `Idempotency-Key` is required, {why}"))),
        Some(key) => {
            let key = key.to_str().map_err(|_| Fault::invalid("the header `Idempotency-Key` must be plain text"))?;
            Ok(key.to_owned())
        }
    }
}

fn parse<T: DeserializeOwned>(request: &MountRequest) -> Result<T, Fault> {
    serde_json::from_slice(&request.body).map_err(|error| Fault::invalid(format!("the body is not what this path takes: {error}")))
}

fn json(status: StatusCode, body: &impl Serialize) -> Result<Response<Bytes>, Fault> {
    let body = serde_json::to_vec(body).map_err(|error| Fault::internal("the answer could not be written").with_source(error))?;
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CACHE_CONTROL, "no-store")
        .body(body.into())
        .map_err(|error| Fault::internal("the answer could not be written").with_source(error))
}

/// Which money a parameter `mode` names.
fn mode_of(value: &str) -> Result<Mode, Fault> {
    match value {
        "live" => Ok(Mode::Live),
        "test" => Ok(Mode::Test),
        _ => Err(Fault::invalid("`mode` must be `live` or `test`").with_param("mode")),
    }
}

/// The same where it is all that may be asked.
fn only_mode(request: &MountRequest) -> Result<Mode, Fault> {
    let mut mode = Mode::Live;
    for (name, value) in request.query() {
        match &*name {
            "mode" => mode = mode_of(&value)?,
            other => return Err(unknown_parameter(other, "mode")),
        }
    }
    Ok(mode)
}

fn unknown_parameter(name: &str, known: &str) -> Fault {
    Fault::invalid(format!("there is no parameter `{name}`; this path takes {known}"))
}

/// A path that there is, with another method, or one that there is not.
fn wrong_address(request: &MountRequest, known: bool) -> Fault {
    let (method, path) = (&request.head.method, request.head.uri.path());
    if known {
        return Fault::new(FaultKind::MethodNotAllowed, Origin::Caller, format!("{method} is not possible on {path}"));
    }
    not_found(path)
}

fn not_found(path: &str) -> Fault {
    Fault::new(FaultKind::NotFound, Origin::Caller, format!("there is nothing at {path}"))
}
