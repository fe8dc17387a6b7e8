//! `/admin/v1/accounts/{account}/statements`: an account's statements, and issuing those of months that are over.

use bytes::Bytes;
use gateway_billing::api::as_csv;
use gateway_core::{Fault, Mode};
use gateway_server::MountRequest;
use http::{Method, Response, StatusCode};
use serde::Deserialize;

use super::{Admin, ModeName, json, mode_of, parse, unknown_parameter};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MonthBody {
    month: String,
    #[serde(default)]
    mode: ModeName,
}

impl Admin {
    pub(super) async fn statements(&self, account: &str, request: &MountRequest) -> Result<Response<Bytes>, Fault> {
        if request.head.method == Method::POST {
            let body: MonthBody = parse(request)?;
            return json(StatusCode::OK, &self.ledger.issue_statement(account, body.mode.into(), &body.month).await?);
        }
        let (mode, after) = mode_and_after(request)?;
        json(StatusCode::OK, &self.ledger.statements(account, mode, after.as_deref()).await?)
    }

    /// `name` is a number with `.json`, `.csv` or nothing after it.
    pub(super) async fn statement(&self, account: &str, name: &str, request: &MountRequest) -> Result<Response<Bytes>, Fault> {
        let (mode, _) = mode_and_after(request)?;
        let (number, form) = name.rsplit_once('.').unwrap_or((name, "json"));
        let view = self.ledger.statement(account, mode, number).await?;
        match form {
            "json" => json(StatusCode::OK, &view),
            "csv" => Ok(as_csv(&view, number)?),
            _ => Err(Fault::invalid("a statement can be had as `.json` or `.csv`")),
        }
    }
}

fn mode_and_after(request: &MountRequest) -> Result<(Mode, Option<String>), Fault> {
    let (mut mode, mut after) = (Mode::Live, None);
    for (name, value) in request.query() {
        match (&*name, &*value) {
            ("mode", _) => mode = mode_of(&value)?,
            ("after", _) => after = Some(value.into_owned()),
            // Lists come in pages of a fixed size; what clients send with every list does no harm.
            ("limit", _) => {}
            (other, _) => return Err(unknown_parameter(other, "mode, after")),
        }
    }
    Ok((mode, after))
}
