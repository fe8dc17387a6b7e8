use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use bytes::Bytes;
use gateway_core::{OrgId, RequestId};
use http::{Method, Response};
use jiff::Timestamp;
use rusqlite::{Connection, params};
use serde_json::{Value, json};

use super::{ApiRequest, BillingApi, Sight, Viewer, period::Period, report::percentage};
use crate::{
    ledger::{Grant, Ledger, LedgerOptions, NewAccount},
    price::{Calendars, Coverage, Draft, PriceInput, SELL_BOOK, Source},
    verify::{rollups, verify_file},
};
use gateway_core::{Mode, testing::TestClock};

const NOW_MS: u64 = 1_795_435_200_000; // 2026-11-23T12:00:00Z

struct Scene {
    folder: tempfile::TempDir,
    ledger: Arc<Ledger>,
    viewer: Viewer,
}

/// An account with a dollar price list and nothing used yet.
async fn scene() -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let clock = TestClock::at(UNIX_EPOCH + Duration::from_millis(NOW_MS));
    let options = LedgerOptions { clock: Arc::new(clock), ..LedgerOptions::at(folder.path().join("ledger.db")) };
    let ledger = Ledger::open(options).await.unwrap();
    let account = ledger.create_account(NewAccount { name: "acme".into(), grant: Grant::SignUp }).await.unwrap();
    let input: PriceInput = serde_json::from_value(json!({ "input": "2", "output": "8", "input_cache_read": "0.5" })).unwrap();
    let draft = Draft {
        book: SELL_BOOK.into(),
        model: "gpt-4.1".into(),
        route: "openai/gpt-4.1".into(),
        terms: input.terms().unwrap().0,
        source: Source { kind: "config".into(), reference: "models[0].price".into() },
    };
    ledger.publish_prices(vec![draft], Coverage::Whole, Calendars::shipped()).await.unwrap();
    Scene { folder, ledger, viewer: Viewer { org: account.id, key: None, mode: Mode::Live, sight: Sight::Account } }
}

impl Scene {
    fn database(&self) -> Connection {
        Connection::open(self.folder.path().join("ledger.db")).unwrap()
    }

    fn hold(&self, id: RequestId, state: i64) {
        self.database()
            .execute(
                "INSERT INTO hold(id, wallet, api_key, amount, pins, state, boot, requested_model, stream, created_at) \
                 VALUES (?1, (SELECT id FROM wallet WHERE org = ?2 AND currency = 'USD'), ?3, 50000000, x'', ?4, \
                 (SELECT MAX(id) FROM boot), 'gpt-4.1', 1, ?5)",
                params![id.as_bytes(), self.viewer.org.as_bytes(), [7u8; 16], state, NOW_MS as i64 * 1_000],
            )
            .unwrap();
    }

    fn settle(&self, id: RequestId, leaves: &str, tokens: (i64, i64), charge: i64) {
        self.hold(id, 1);
        let database = self.database();
        database
            .execute("INSERT OR IGNORE INTO served(provider, upstream_model, model) VALUES ('openai', 'gpt-4.1', 'gpt-4.1')", [])
            .unwrap();
        database
            .execute(
                "INSERT INTO settlement SELECT ?1, 0, wallet, (SELECT MAX(id) FROM txn), 2, (SELECT id FROM served), \
                 (SELECT id FROM price_version), 1, NULL, ?2, ?3, ?4, 0, 1, ?5, ?5, 0, 0, 16500000, NULL, ?6 FROM hold WHERE id = ?1",
                params![id.as_bytes(), leaves.as_bytes(), tokens.0, tokens.1, charge, NOW_MS as i64 * 1_000 + 2_000_000],
            )
            .unwrap();
        // What the writer does in the commit that posts.
        database.execute_batch(&format!("DELETE FROM rollup; INSERT INTO rollup {}", rollups::BY_PLACE)).unwrap();
    }

    fn attempt(&self, id: RequestId, n: i64, outcome: &str, status: Option<i64>) {
        self.database()
            .execute(
                "INSERT INTO attempt VALUES (?1, ?2, 'openai', 'gpt-4.1', ?3, ?3 + 1000, ?4, ?5, 0, NULL)",
                params![id.as_bytes(), n, NOW_MS as i64 * 1_000, outcome, status],
            )
            .unwrap();
    }

    async fn ask(&self, viewer: &Viewer, method: Method, path: &str) -> Response<Bytes> {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        BillingApi::new(Arc::clone(&self.ledger)).handle(viewer, ApiRequest { method: &method, path, query, body: b"" }).await
    }

    async fn read(&self, path: &str) -> Value {
        let response = self.ask(&self.viewer, Method::GET, path).await;
        assert_eq!(response.status(), 200, "{:?}", response.body());
        serde_json::from_slice(response.body()).unwrap()
    }

    #[track_caller]
    fn check_error(response: &Response<Bytes>, status: u16, message: &str) {
        let body: Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(response.status(), status, "{body}");
        assert!(body["error"]["message"].as_str().unwrap().contains(message), "{body}");
        assert!(body["error"]["type"].is_string() && body["error"]["code"].is_string(), "{body}");
    }
}

fn id(n: u8) -> RequestId {
    RequestId::v7(NOW_MS, [n; 10])
}

const USAGE: &str = r#"{"tok.in":3808,"tok.in.cache_read":8192,"tok.out":700}"#;

#[tokio::test]
async fn a_receipt_explains_the_charge() {
    let scene = scene().await;
    scene.settle(id(1), USAGE, (12_000, 700), 17_312_000);
    scene.attempt(id(1), 1, "rate_limited", Some(429));
    scene.attempt(id(1), 2, "served", Some(200));
    let receipt = scene.read(&format!("/v1/billing/requests/{}", id(1))).await;
    let usd = |text: &str, nano: &str| json!({ "usd": text, "nano": nano });
    assert_eq!(receipt["state"], "settled");
    assert_eq!(receipt["created_at"], "2026-11-23T12:00:00Z");
    assert_eq!(receipt["settled_at"], "2026-11-23T12:00:02Z");
    assert_eq!((&receipt["model"], &receipt["requested_model"], &receipt["stream"]), (&json!("gpt-4.1"), &json!("gpt-4.1"), &json!(true)));
    assert_eq!(receipt["charge"], usd("0.017312000", "17312000"));
    assert_eq!(receipt["hold"], usd("0.050000000", "50000000"));
    assert_eq!(receipt["written_off"], usd("0.000000000", "0"));
    assert_eq!(receipt["usage"], json!({ "tok.in": 3808, "tok.in.cache_read": 8192, "tok.out": 700 }));
    assert_eq!((&receipt["usage_source"], &receipt["flags"]), (&json!("reported"), &json!(["usage_inconsistent"])));
    assert_eq!(
        receipt["lines"],
        json!([
            { "sku": "tok.in", "quantity": "3808", "price_pico": "2000000", "amount": usd("0.007616000", "7616000") },
            { "sku": "tok.in.cache_read", "quantity": "8192", "price_pico": "500000", "amount": usd("0.004096000", "4096000") },
            { "sku": "tok.out", "quantity": "700", "price_pico": "8000000", "amount": usd("0.005600000", "5600000") },
        ])
    );
    assert_eq!((&receipt["price"]["book"], &receipt["price"]["multiplier_ppm"]), (&json!("sell:default"), &json!(1_000_000)));
    assert_eq!(receipt["price"]["sha256"].as_str().unwrap().len(), 64);
    assert_eq!((&receipt["attempts"][0]["status"], &receipt["attempts"][0]["charged"]), (&json!(429), &json!(false)));
    assert_eq!((&receipt["attempts"][1]["outcome"], &receipt["attempts"][1]["charged"]), (&json!("served"), &json!(true)));
    assert!(receipt.get("cost").is_none() && receipt["attempts"][0].get("cost").is_none(), "a caller does not see our cost");

    let operator = Viewer { sight: Sight::Operator, ..scene.viewer };
    let response = scene.ask(&operator, Method::GET, &format!("/requests/{}", id(1))).await;
    let receipt: Value = serde_json::from_slice(response.body()).unwrap();
    assert_eq!(receipt["cost"], usd("0.016500000", "16500000"));
}

#[tokio::test]
async fn an_open_request_has_no_charge_yet_and_a_single_attempt_is_told_from_the_settlement() {
    let scene = scene().await;
    scene.hold(id(1), 0);
    let receipt = scene.read(&format!("/v1/billing/requests/{}", id(1))).await;
    assert_eq!((&receipt["state"], &receipt["charge"], &receipt["settled_at"]), (&json!("open"), &Value::Null, &Value::Null));
    assert_eq!((&receipt["lines"], &receipt["attempts"]), (&json!([]), &json!([])));
    scene.settle(id(2), r#"{"tok.in":1,"tok.out":0}"#, (1, 0), 2_000);
    let receipt = scene.read(&format!("/v1/billing/requests/{}", id(2))).await;
    assert_eq!(receipt["attempts"][0]["upstream_model"], "gpt-4.1");
    assert_eq!(receipt["attempts"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_anothers_does_not_exist() {
    let scene = scene().await;
    scene.settle(id(1), USAGE, (12_000, 700), 17_312_000);
    let path = format!("/v1/billing/requests/{}", id(1));
    let stranger = Viewer { org: OrgId::from_bytes([9; 16]), ..scene.viewer };
    let test_mode = Viewer { mode: Mode::Test, ..scene.viewer };
    for viewer in [&stranger, &test_mode] {
        let theirs = scene.ask(viewer, Method::GET, &path).await;
        Scene::check_error(&theirs, 404, "no request `req_");
        let nobodys = scene.ask(viewer, Method::GET, &path.replace("req_01", "req_02")).await;
        assert_eq!(theirs.status(), nobodys.status());
    }
    let report = scene.ask(&stranger, Method::GET, "/v1/billing/cost-report?period=all").await;
    assert_eq!(serde_json::from_slice::<Value>(report.body()).unwrap()["total_requests"], 0);
}

#[tokio::test]
async fn the_report_adds_up_and_agrees_with_the_books() {
    let scene = scene().await;
    for n in 1..=3 {
        scene.settle(id(n), USAGE, (12_000, 700), 17_312_000);
    }
    let report = scene.read("/v1/billing/cost-report?period=2026-11").await;
    assert_eq!(report["period"], "2026-11");
    assert_eq!((&report["from"], &report["to"]), (&json!("2026-11-01T00:00:00Z"), &json!("2026-12-01T00:00:00Z")));
    assert_eq!((&report["total_requests"], &report["total_tokens"]), (&json!(3), &json!(38_100)));
    assert_eq!(report["total_cost_usd"], "0.051936000");
    assert_eq!(
        report["model_breakdown"]["gpt-4.1"],
        json!({ "requests": 3, "tokens": 38_100, "percentage": "100.0%", "cost_usd": "0.051936000",
                "cost": { "usd": "0.051936000", "nano": "51936000" } })
    );
    let before = scene.read("/v1/billing/cost-report?period=2026-10").await;
    assert_eq!((&before["total_requests"], &before["model_breakdown"]), (&json!(0), &json!({})));
    let checks = verify_file(&scene.folder.path().join("ledger.db")).unwrap().checks;
    for check in checks.iter().filter(|check| ["INV-8", "INV-9", "INV-10"].contains(&check.id)) {
        assert!(check.violations.is_empty() && check.rows > 0, "{check:?}");
    }
    scene.settle(id(9), USAGE, (12_000, 701), 17_312_001);
    let checks = verify_file(&scene.folder.path().join("ledger.db")).unwrap().checks;
    let violated = |id: &str| checks.iter().find(|check| check.id == id).unwrap().violations.len();
    assert_eq!((violated("INV-9"), violated("INV-10")), (1, 1));
}

#[tokio::test]
async fn the_balance_is_that_of_the_key() {
    let scene = scene().await;
    let balance = scene.read("/v1/billing/balance").await;
    assert_eq!(balance["available"], json!({ "usd": "5.000000000", "nano": "5000000000" }));
    assert_eq!((&balance["object"], &balance["mode"], &balance["currency"]), (&json!("balance"), &json!("live"), &json!("USD")));
}

#[tokio::test]
async fn what_is_not_understood_is_refused_by_name() {
    let scene = scene().await;
    let viewer = scene.viewer;
    for (method, path, status, message) in [
        (Method::GET, "/v1/billing", 404, "known are"),
        (Method::GET, "/v1/billing/balances", 404, "there is no `/v1/billing/balances`"),
        (Method::GET, "/v1/billing/requests/", 404, "known are"),
        (Method::GET, "/v1/billing/requests/req_x", 404, "no request `req_x`"),
        (Method::POST, "/v1/billing/balance", 405, "use GET"),
        (Method::GET, "/v1/billing/balance?x=1", 400, "unknown query parameter `x`"),
        (Method::GET, "/v1/billing/cost-report?perriod=today", 400, "unknown query parameter `perriod`"),
        (Method::GET, "/v1/billing/cost-report?period=2026-13", 400, "a month such as"),
        (Method::GET, "/v1/billing/cost-report?period=", 400, "a month such as"),
        (Method::GET, "/v1/billing/cost-report?period=2026-1", 400, "a month such as"),
        (Method::GET, "/v1/billing/cost-report?period=all&period=today", 400, "given twice"),
    ] {
        Scene::check_error(&scene.ask(&viewer, method, path).await, status, message);
    }
    assert_eq!(scene.ask(&viewer, Method::HEAD, "/v1/billing/balance").await.status(), 200);
}

#[test]
fn periods_are_half_open_and_in_utc() {
    let now: Timestamp = "2026-12-31T23:59:59.9999995Z".parse().unwrap();
    let check = |query: &str, name: &str, from: &str, to: &str| {
        let period = Period::of_query(Some(query), now).unwrap();
        assert_eq!((period.name.as_str(), period.from.unwrap().to_string().as_str(), period.to.to_string().as_str()), (name, from, to));
    };
    check("period=today", "2026-12-31", "2026-12-31T00:00:00Z", "2027-01-01T00:00:00Z");
    check("", "2026-12", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z");
    check("period=2028-02", "2028-02", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z");
    assert_eq!(Period::of_query(Some("period=all"), now).unwrap().from, None);
}

#[test]
fn percentages_are_rounded_to_a_tenth() {
    assert_eq!([percentage(243, 1000), percentage(1, 3), percentage(2, 3), percentage(0, 0)], ["24.3%", "33.3%", "66.7%", "0.0%"]);
    assert_eq!(percentage(u64::MAX, u64::MAX), "100.0%");
}

#[tokio::test]
async fn a_signed_receipt_states_the_same_and_belongs_to_its_account() {
    let scene = scene().await;
    let tier = r#"{"tok.in":3808,"tok.in.cache_read":8192,"tok.out":700,"service_tier":"flex"}"#;
    scene.settle(id(1), tier, (12_000, 700), 17_312_000);
    scene.attempt(id(1), 1, "rate_limited", Some(429));
    scene.attempt(id(1), 2, "served", Some(200));
    let path = format!("/v1/billing/requests/{}/receipt", id(1));
    let signed = scene.read(&path).await;
    assert_eq!(signed, scene.read(&path).await, "the same facts, the same receipt");
    let keys = crate::receipt::ReceiptKeys::parse(&scene.ledger.receipt_key().public_keys()).unwrap();
    let claims = keys.verify(signed["receipt"].as_str().unwrap()).unwrap();
    let plain = scene.read(&format!("/v1/billing/requests/{}", id(1))).await;
    for (stated, booked) in [
        ("id", "id"),
        ("account", "account"),
        ("state", "state"),
        ("created_at", "created_at"),
        ("served_at", "settled_at"),
        ("model", "model"),
        ("leaves", "usage"),
        ("usage_source", "usage_source"),
        ("price", "price"),
        ("charge", "charge"),
        ("written_off", "written_off"),
    ] {
        assert_eq!(claims[stated], plain[booked], "{stated}");
    }
    assert_eq!((&claims["provider"], &claims["service_tier"], &claims["currency"]), (&json!("openai"), &json!("flex"), &json!("USD")));
    assert_eq!(claims["attempts"][0]["outcome"], "rate_limited");
    assert!(claims.get("cost").is_none() && claims["attempts"][1].get("cost").is_none(), "what providers bill is nobody else's: {claims}");
    // What an operator sees more than the account is not in the receipt either.
    let operator = Viewer { sight: Sight::Operator, ..scene.viewer };
    let body = scene.ask(&operator, Method::GET, &path).await.into_body();
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), signed);

    let stranger = Viewer { org: OrgId::from_bytes([9; 16]), ..scene.viewer };
    Scene::check_error(&scene.ask(&stranger, Method::GET, &path).await, 404, "no request");
    Scene::check_error(&scene.ask(&Viewer { mode: Mode::Test, ..scene.viewer }, Method::GET, &path).await, 404, "no request");
    scene.hold(id(2), 0);
    let open = format!("/v1/billing/requests/{}/receipt", id(2));
    Scene::check_error(&scene.ask(&scene.viewer, Method::GET, &open).await, 409, "still running");
    Scene::check_error(&scene.ask(&scene.viewer, Method::GET, "/v1/billing/requests//receipt").await, 404, "there is no");
    Scene::check_error(&scene.ask(&scene.viewer, Method::POST, &path).await, 405, "use GET");
}
