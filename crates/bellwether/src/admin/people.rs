//! `/admin/v1/accounts/{account}` and below: its teams and users, the plan it is on, the zone its months are in.

use bytes::Bytes;
use gateway_core::Fault;
use gateway_server::MountRequest;
use http::{Method, Response, StatusCode};
use serde::Deserialize;

use super::{Admin, List, json, parse};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountPatch {
    #[serde(default)]
    plan: Option<String>,
    #[serde(default)]
    tz: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TeamBody {
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UserBody {
    name: String,
    #[serde(default)]
    team: Option<String>,
}

impl Admin {
    pub(super) async fn change_account(&self, account: &str, request: &MountRequest) -> Result<Response<Bytes>, Fault> {
        let patch: AccountPatch = parse(request)?;
        if let Some(tz) = &patch.tz {
            self.ledger.put_in_zone(account, tz).await?;
        }
        if let Some(plan) = &patch.plan {
            self.ledger.put_on_plan(account, plan).await?;
        }
        json(StatusCode::OK, &self.ledger.account(account).await?)
    }

    pub(super) async fn teams(&self, account: &str, request: &MountRequest) -> Result<Response<Bytes>, Fault> {
        if request.head.method == Method::GET {
            return json(StatusCode::OK, &List { data: self.ledger.teams(account).await? });
        }
        let body: TeamBody = parse(request)?;
        json(StatusCode::CREATED, &self.ledger.create_team(account, &body.name).await?)
    }

    pub(super) async fn users(&self, account: &str, request: &MountRequest) -> Result<Response<Bytes>, Fault> {
        if request.head.method == Method::GET {
            return json(StatusCode::OK, &List { data: self.ledger.users(account).await? });
        }
        let body: UserBody = parse(request)?;
        json(StatusCode::CREATED, &self.ledger.create_user(account, &body.name, body.team.as_deref()).await?)
    }
}
