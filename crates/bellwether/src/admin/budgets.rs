//! `/admin/v1/accounts/{account}/budgets`: making, changing, ending and reading budgets.

use bytes::Bytes;
use gateway_billing::{
    budget::{BudgetId, Period, Scope},
    ledger::{BudgetChange, Enforcement, NewBudget},
    money::Nano,
};
use gateway_core::Fault;
use gateway_server::MountRequest;
use http::{Method, Response, StatusCode};
use serde::{Deserialize, Serialize};

use super::{Admin, List, ModeName, json, only_mode, parse};

/// Periods shown unless asked otherwise.
const PERIODS: u32 = 50;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BudgetBody {
    name: String,
    #[serde(default)]
    mode: ModeName,
    #[serde(default = "org")]
    scope: String,
    #[serde(default)]
    subject: Option<String>,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    provider: Option<String>,
    limit_usd: String,
    #[serde(default)]
    enforcement: EnforcementName,
    period: Period,
    #[serde(default)]
    alerts: Option<Vec<u16>>,
}

fn org() -> String {
    "org".to_owned()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BudgetPatch {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    limit_usd: Option<String>,
    #[serde(default)]
    enforcement: Option<EnforcementName>,
    #[serde(default)]
    period: Option<Period>,
    #[serde(default)]
    alerts: Option<Vec<u16>>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum EnforcementName {
    #[default]
    Hard,
    Soft,
}

impl From<EnforcementName> for Enforcement {
    fn from(name: EnforcementName) -> Self {
        match name {
            EnforcementName::Hard => Self::Hard,
            EnforcementName::Soft => Self::Soft,
        }
    }
}

#[derive(Serialize)]
struct Ended {
    id: BudgetId,
    ended: bool,
}

impl Admin {
    pub(super) async fn budgets(&self, account: &str, request: &MountRequest) -> Result<Response<Bytes>, Fault> {
        if request.head.method == Method::GET {
            let mode = only_mode(request)?;
            let account = self.ledger.account(account).await?.id;
            return json(StatusCode::OK, &List { data: self.ledger.budgets(account, mode) });
        }
        let body: BudgetBody = parse(request)?;
        let scope = Scope::parse(&body.scope, body.subject.as_deref().unwrap_or("")).map_err(|problem| {
            Fault::invalid(format!("`subject` of a budget with scope `{}` {problem}", body.scope)).with_param("subject")
        })?;
        let new = NewBudget {
            account: account.to_owned(),
            name: body.name,
            mode: body.mode.into(),
            scope,
            model: body.model,
            provider: body.provider,
            cap: limit(&body.limit_usd)?,
            enforcement: body.enforcement.into(),
            period: body.period,
            alerts: body.alerts,
        };
        json(StatusCode::CREATED, &self.ledger.create_budget(new).await?)
    }

    pub(super) async fn budget(&self, account: &str, id: &str, request: &MountRequest) -> Result<Response<Bytes>, Fault> {
        let (account, id) = (self.ledger.account(account).await?.id, budget_id(id)?);
        if request.head.method == Method::GET {
            return json(StatusCode::OK, &self.ledger.budget(account, id)?);
        }
        if request.head.method == Method::DELETE {
            self.ledger.end_budget(account, id).await?;
            return json(StatusCode::OK, &Ended { id, ended: true });
        }
        let patch: BudgetPatch = parse(request)?;
        let change = BudgetChange {
            name: patch.name,
            cap: patch.limit_usd.as_deref().map(limit).transpose()?,
            enforcement: patch.enforcement.map(Into::into),
            period: patch.period,
            alerts: patch.alerts,
        };
        json(StatusCode::OK, &self.ledger.change_budget(account, id, change).await?)
    }

    pub(super) async fn budget_periods(&self, account: &str, id: &str) -> Result<Response<Bytes>, Fault> {
        let (account, id) = (self.ledger.account(account).await?.id, budget_id(id)?);
        json(StatusCode::OK, &List { data: self.ledger.budget_periods(account, id, PERIODS).await? })
    }
}

fn budget_id(text: &str) -> Result<BudgetId, Fault> {
    BudgetId::parse(text).ok_or_else(|| Fault::invalid(format!("`{text}` is not a budget's id, which looks like bud_12")))
}

fn limit(text: &str) -> Result<Nano, Fault> {
    text.parse().map_err(|error| {
        Fault::invalid(format!("`limit_usd` must be a decimal amount such as \"20\" or \"0.50\": {error}")).with_param("limit_usd")
    })
}
