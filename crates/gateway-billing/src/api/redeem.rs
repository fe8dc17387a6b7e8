//! `POST /v1/billing/codes/redeem`.

use serde::Deserialize;

use super::{ApiError, Viewer};
use crate::ledger::{Ledger, RedeemRefusal, Redemption};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    code: String,
}

pub(super) async fn redeem(ledger: &Ledger, viewer: &Viewer, body: &[u8]) -> Result<Redemption, ApiError> {
    let Some(key) = viewer.key else {
        return Err(ApiError::refused(403, "key_required", None, "a code is redeemed with a key of the account that it is for"));
    };
    // What the parser says of a wrong body may repeat a part of it, and a code is as good as money.
    let body: Body = serde_json::from_slice(body)
        .map_err(|_| ApiError::refused(400, "invalid_body", None, "the body must be {\"code\": \"XXXX-XXXX-…\"} and nothing else"))?;
    ledger.redeem(viewer.org, viewer.mode, key, &body.code).await.map_err(|refusal| match refusal {
        RedeemRefusal::Mistyped => ApiError::refused(
            400,
            "code_mistyped",
            Some("code"),
            "this code is mistyped or cut off: its check character does not fit; look at it again",
        ),
        RedeemRefusal::Unusable => ApiError::refused(
            404,
            "code_not_redeemable",
            Some("code"),
            "this code cannot be redeemed: it does not exist, is used up, has expired or was withdrawn",
        ),
        RedeemRefusal::TestKey => ApiError::refused(
            403,
            "test_key",
            None,
            "a test key spends test money, which is free, and redeems nothing; use a live key (`hs_live_…`)",
        ),
        RedeemRefusal::TooMany { retry_after } => {
            ApiError::TooMany { retry_after, message: "too many codes were tried that could not be redeemed; wait before the next" }
        }
        RedeemRefusal::Ledger(error) => error.into(),
    })
}
