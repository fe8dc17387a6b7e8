//! Giving credit: campaigns, codes, and what waits for a second administrator.

use bytes::Bytes;
use gateway_billing::{
    ledger::{Asked, Class, NewCampaign, NewCodes, NewGrant},
    money::Nano,
};
use gateway_core::Fault;
use gateway_server::MountRequest;
use http::{Method, Response, StatusCode};
use serde::{Deserialize, Serialize};

use super::{Admin, List, actor, instant, json, parse, wrong_address};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CampaignBody {
    name: String,
    amount_usd: String,
    #[serde(default)]
    valid_days: Option<u32>,
    #[serde(default)]
    grants_max: Option<u32>,
    #[serde(default)]
    starts_at: Option<String>,
    #[serde(default)]
    ends_at: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GrantBody {
    account: String,
    #[serde(default)]
    subject: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CodesBody {
    batch: String,
    count: u32,
    amount_usd: String,
    #[serde(default)]
    class: ClassName,
    #[serde(default = "once")]
    uses: u32,
    #[serde(default)]
    expires_at: Option<String>,
    #[serde(default)]
    valid_days: Option<u32>,
}

fn once() -> u32 {
    1
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ClassName {
    #[default]
    Promo,
    Paid,
}

impl Admin {
    /// Answers below `campaigns`, `codes` and `credits`.
    pub(super) async fn giving(&self, segments: &[&str], request: &MountRequest) -> Result<Response<Bytes>, Fault> {
        let method = &request.head.method;
        let ledger = &self.ledger;
        match segments {
            ["campaigns"] if method == Method::GET => json(StatusCode::OK, &List { data: ledger.campaigns().await? }),
            ["campaigns"] if method == Method::POST => self.create_campaign(request).await,
            ["campaigns", campaign, "grants"] if method == Method::POST => self.grant(campaign, request).await,
            ["codes"] if method == Method::GET => json(StatusCode::OK, &List { data: ledger.code_batches().await? }),
            ["codes"] if method == Method::POST => self.create_codes(request).await,
            ["codes", batch, "revoke"] if method == Method::POST => json(StatusCode::OK, &ledger.revoke_codes(batch).await?),
            ["credits", "pending"] if method == Method::GET => json(StatusCode::OK, &List { data: ledger.pending_credits().await? }),
            ["credits", id, "confirm"] if method == Method::POST => {
                json(StatusCode::OK, &ledger.confirm_pending(id, actor(request)?).await?)
            }
            ["credits", id, "refuse"] if method == Method::POST => json(StatusCode::OK, &ledger.refuse_pending(id, actor(request)?).await?),
            ["campaigns" | "codes"]
            | ["campaigns", _, "grants"]
            | ["codes", _, "revoke"]
            | ["credits", "pending"]
            | ["credits", _, "confirm" | "refuse"] => Err(wrong_address(request, true)),
            _ => Err(wrong_address(request, false)),
        }
    }

    async fn create_campaign(&self, request: &MountRequest) -> Result<Response<Bytes>, Fault> {
        let body: CampaignBody = parse(request)?;
        let new = NewCampaign {
            name: body.name,
            amount: amount(&body.amount_usd)?,
            valid_days: body.valid_days,
            grants_max: body.grants_max,
            starts_at: body.starts_at.as_deref().map(|text| instant("starts_at", text)).transpose()?,
            ends_at: body.ends_at.as_deref().map(|text| instant("ends_at", text)).transpose()?,
        };
        asked(StatusCode::CREATED, &self.ledger.ask_campaign(new, actor(request)?).await?)
    }

    async fn grant(&self, campaign: &str, request: &MountRequest) -> Result<Response<Bytes>, Fault> {
        let body: GrantBody = parse(request)?;
        let new =
            NewGrant { campaign: campaign.to_owned(), account: body.account, subject: body.subject, actor: actor(request)?.to_owned() };
        let grant = self.ledger.grant(new).await?;
        json(if grant.repeated { StatusCode::OK } else { StatusCode::CREATED }, &grant)
    }

    async fn create_codes(&self, request: &MountRequest) -> Result<Response<Bytes>, Fault> {
        let body: CodesBody = parse(request)?;
        let new = NewCodes {
            batch: body.batch,
            count: body.count,
            amount: amount(&body.amount_usd)?,
            class: match body.class {
                ClassName::Promo => Class::Promo,
                ClassName::Paid => Class::Paid,
            },
            uses: body.uses,
            expires_at: body.expires_at.as_deref().map(|text| instant("expires_at", text)).transpose()?,
            valid_days: body.valid_days,
            actor: actor(request)?.to_owned(),
        };
        asked(StatusCode::CREATED, &self.ledger.ask_codes(new).await?)
    }
}

/// Dollars as text, exactly.
pub(super) fn amount(text: &str) -> Result<Nano, Fault> {
    text.parse().map_err(|error| {
        Fault::invalid(format!("`amount_usd` must be a decimal amount such as \"20\" or \"0.50\": {error}")).with_param("amount_usd")
    })
}

/// Done, or 202: it waits for a second administrator.
pub(super) fn asked<T: Serialize>(done: StatusCode, asked: &Asked<T>) -> Result<Response<Bytes>, Fault> {
    match asked {
        Asked::Done(answer) => json(done, answer),
        Asked::Pending(pending) => json(StatusCode::ACCEPTED, pending),
    }
}
