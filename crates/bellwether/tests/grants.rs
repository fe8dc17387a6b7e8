//! Codes, and credits that wait for a second administrator, over HTTP against the real binary.

#[path = "support/process.rs"]
mod process;

use std::{
    path::Path,
    process::{Command, Output},
};

use http::{HeaderMap, Method};
use process::{Admin, Process, client, free_port, write_config};
use serde_json::{Value, json};
use tempfile::TempDir;

const ADMIN_TOKEN: &str = "grants-admin-token";
const ANN_TOKEN: &str = "grants-token-of-ann";
const VARIABLES: [(&str, &str); 2] = [("BELLWETHER_ADMIN_TOKEN", ADMIN_TOKEN), ("ANN_TOKEN", ANN_TOKEN)];

struct Setting {
    folder: TempDir,
    gateway: Process,
    admin: Admin,
}

impl Setting {
    fn start(more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port = free_port();
        let config = config(folder.path(), port, more);
        let gateway = Process::start(&["serve", "--config", &config], port, &VARIABLES);
        let admin = Admin::new(&gateway.url, ADMIN_TOKEN);
        Self { folder, gateway, admin }
    }

    /// An account and a key of it.
    async fn account(&self, name: &str, mode: &str) -> String {
        self.admin.post("/admin/v1/accounts", json!({ "name": name, "grant": false })).await;
        self.admin.key(name, mode).await
    }

    async fn call(&self, method: Method, path: &str, token: &str, body: Option<&Value>) -> (u16, HeaderMap, Value) {
        let mut request = client().request(method, format!("{}{path}", self.gateway.url)).bearer_auth(token);
        if let Some(body) = body {
            request = request.header("idempotency-key", format!("{:032x}", fastrand::u128(..))).json(body);
        }
        let response = request.send().await.expect("an answer");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        (status, headers, response.json().await.expect("JSON"))
    }

    async fn redeem(&self, key: &str, code: &str) -> (u16, HeaderMap, Value) {
        self.call(Method::POST, "/v1/billing/codes/redeem", key, Some(&json!({ "code": code }))).await
    }

    /// The command line as somebody with this token runs it.
    fn run(&self, token: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bellwether"));
        command.args(arguments).env_clear().env("BELLWETHER_URL", &self.gateway.url).env("BELLWETHER_ADMIN_TOKEN", token);
        command.output().expect("the binary was built for this test")
    }
}

fn config(folder: &Path, port: u16, more: &str) -> String {
    let database = folder.join("grants.db");
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:{port}\"\n[storage]\nurl = \"sqlite://{}\"\n[log]\nlevel = \"error\"\n{more}\n",
        database.display()
    );
    write_config(folder, &text)
}

fn text(output: &[u8]) -> String {
    String::from_utf8_lossy(output).trim().to_owned()
}

#[tokio::test]
async fn a_code_is_redeemed_over_http_and_guessing_is_stopped() {
    let setting = Setting::start("");
    let key = setting.account("acme", "live").await;
    let made = json!({ "batch": "launch", "count": 12, "amount_usd": "2.50", "valid_days": 30 });
    let (status, _, made) = setting.call(Method::POST, "/admin/v1/codes", ADMIN_TOKEN, Some(&made)).await;
    assert_eq!(status, 201, "{made}");
    let codes: Vec<_> = made["codes"].as_array().expect("codes").iter().map(|code| code.as_str().expect("text").to_owned()).collect();
    assert_eq!((codes.len(), &made["created_by"], &made["class"]), (12, &json!("admin"), &json!("promo")));

    let (status, headers, answer) = setting.redeem(&key, &codes[0]).await;
    assert_eq!((status, &answer["object"], &answer["already_redeemed"]), (200, &json!("redemption"), &json!(false)), "{answer}");
    assert_eq!(headers["cache-control"], "no-store");
    assert_eq!((&answer["amount"]["usd"], &answer["class"]), (&json!("2.500000000"), &json!("promo")));
    assert_eq!(answer["balance"]["available"]["usd"], "2.500000000");
    assert_eq!(answer["balance"]["expiring"][0]["expires_at"], answer["expires_at"]);
    let (status, _, again) = setting.redeem(&key, &codes[0].replace('-', "").to_lowercase()).await;
    assert_eq!((status, &again["already_redeemed"], &again["expires_at"]), (200, &json!(true), &answer["expires_at"]));
    assert_eq!(again["balance"]["available"]["usd"], "2.500000000");

    let last = codes[1].chars().last().expect("a character");
    let mistyped = format!("{}{}", &codes[1][..codes[1].len() - 1], if last == '0' { '1' } else { '0' });
    let (status, _, answer) = setting.redeem(&key, &mistyped).await;
    assert_eq!((status, &answer["error"]["code"], &answer["error"]["param"]), (400, &json!("code_mistyped"), &json!("code")));
    let (status, headers, _) = setting.call(Method::GET, "/v1/billing/codes/redeem", &key, None).await;
    assert_eq!((status, headers["allow"].to_str().ok()), (405, Some("POST")));
    for body in [json!({}), json!({ "code": 7 }), json!({ "code": codes[1], "extra": 1 }), json!([])] {
        let (status, _, answer) = setting.call(Method::POST, "/v1/billing/codes/redeem", &key, Some(&body)).await;
        assert_eq!((status, &answer["error"]["code"]), (400, &json!("invalid_body")), "{answer}");
        assert!(!answer.to_string().contains(&codes[1]), "a code is never repeated");
    }
    let test_key = setting.admin.key("acme", "test").await;
    let (status, _, answer) = setting.redeem(&test_key, &codes[1]).await;
    assert_eq!((status, &answer["error"]["code"]), (403, &json!("test_key")));

    let revoked = setting.admin.post("/admin/v1/codes/launch/revoke", json!({})).await;
    assert_eq!((&revoked["state"], &revoked["redeemed"], &revoked["redeemable"]), (&json!("revoked"), &json!(1), &json!(0)));
    for code in &codes[1..11] {
        let (status, _, answer) = setting.redeem(&key, code).await;
        assert_eq!((status, &answer["error"]["code"]), (404, &json!("code_not_redeemable")));
    }
    let (status, headers, answer) = setting.redeem(&key, &codes[11]).await;
    assert_eq!((status, &answer["error"]["type"]), (429, &json!("rate_limit_error")));
    let wait: u64 = headers["retry-after"].to_str().ok().and_then(|wait| wait.parse().ok()).expect("whole seconds");
    assert!((3_000..=3_600).contains(&wait), "{wait}");
    let other = setting.admin.funded("other", "1").await;
    assert_eq!(setting.redeem(&other, &codes[0]).await.0, 404, "others may still try, and learn nothing");
    assert_eq!(setting.admin.post("/admin/v1/ledger/verify", json!({})).await["ok"], true);
}

#[tokio::test]
async fn a_large_credit_needs_the_other_administrator() {
    let named = "[billing]\nconfirm_credits_above_usd = \"100\"\n[[admins]]\nname = \"ann\"\ntoken = \"env:ANN_TOKEN\"\n";
    let setting = Setting::start(named);
    setting.account("acme", "live").await;
    let credit = "/admin/v1/accounts/acme/credit";
    let body = |usd: &str| json!({ "amount_usd": usd, "reason": "invoice 7" });
    let (status, _, _) = setting.call(Method::POST, credit, ADMIN_TOKEN, Some(&body("100"))).await;
    assert_eq!(status, 200);
    let (status, _, pending) = setting.call(Method::POST, credit, ADMIN_TOKEN, Some(&body("100.000000001"))).await;
    assert_eq!((status, &pending["object"], &pending["asked_by"]), (202, &json!("pending_credit"), &json!("admin")), "{pending}");
    let id = pending["id"].as_str().expect("an id");
    let (status, _, list) = setting.call(Method::GET, "/admin/v1/credits/pending", ANN_TOKEN, None).await;
    assert_eq!((status, &list["data"][0]), (200, &pending));
    let confirm = format!("/admin/v1/credits/{id}/confirm");
    for (token, expected) in [(ADMIN_TOKEN, 409), ("grants-token-of-nobody", 401), (ANN_TOKEN, 200), (ANN_TOKEN, 409)] {
        let (status, _, answer) = setting.call(Method::POST, &confirm, token, Some(&json!({}))).await;
        assert_eq!(status, expected, "{answer}");
    }
    let balance = setting.admin.get("/admin/v1/accounts/acme/balance").await;
    assert_eq!(balance["available"]["usd"], "200.000000001");

    // The same by the command line, the other way round, with a batch of codes and a campaign.
    let asked = setting.run(ANN_TOKEN, &["code", "create", "gift", "60", "--count", "2", "--json"]);
    assert!(asked.status.success(), "{}", text(&asked.stderr));
    let asked: Value = serde_json::from_slice(&asked.stdout).expect("JSON");
    let id = asked["id"].as_str().expect("an id");
    let own = setting.run(ANN_TOKEN, &["account", "confirm", id]);
    assert!(!own.status.success() && text(&own.stderr).contains("another administrator"), "{}", text(&own.stderr));
    let list = setting.run(ADMIN_TOKEN, &["account", "pending"]);
    assert!(text(&list.stdout).contains(id), "{}", text(&list.stdout));
    let codes = setting.run(ADMIN_TOKEN, &["account", "confirm", id]);
    assert_eq!(text(&codes.stdout).lines().count(), 2, "{}", text(&codes.stderr));
    let asked = setting.run(ANN_TOKEN, &["campaign", "create", "spring", "5"]);
    let waits = text(&asked.stdout);
    let id = waits.split_whitespace().next().expect("an id");
    assert!(setting.run(ADMIN_TOKEN, &["account", "refuse", id]).status.success());
    let grant = setting.run(ADMIN_TOKEN, &["campaign", "grant", "spring", "acme"]);
    assert!(text(&grant.stderr).contains("no campaign `spring`"), "{}", text(&grant.stderr));
    let small = setting.run(ANN_TOKEN, &["campaign", "create", "small", "5", "--grants-max", "3", "--valid-days", "10"]);
    assert_eq!(text(&small.stdout), "small  running");
    let grant = setting.run(ADMIN_TOKEN, &["campaign", "grant", "small", "acme", "--subject", "Ann"]);
    assert_eq!(text(&grant.stdout), "5.000000000 USD granted");
    assert!(text(&setting.run(ADMIN_TOKEN, &["campaign", "list"]).stdout).contains("signup"));
    assert!(text(&setting.run(ADMIN_TOKEN, &["code", "revoke", "gift"]).stdout).starts_with("gift revoked"));
    assert!(text(&setting.run(ADMIN_TOKEN, &["code", "list"]).stdout).contains("revoked"));
    assert_eq!(setting.admin.post("/admin/v1/ledger/verify", json!({})).await["ok"], true);
    let actors = rusqlite::Connection::open(setting.folder.path().join("grants.db")).expect("the database");
    let count = "SELECT COUNT(*) FROM txn WHERE kind = 'credit' AND actor = 'admin, confirmed by ann'";
    assert_eq!(actors.query_row(count, [], |row| row.get::<_, i64>(0)), Ok(1));
}

#[test]
fn a_configuration_that_nobody_could_work_with_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let check = |more: &str, expected: &str| {
        let config = config(folder.path(), 1, more);
        let mut command = Command::new(env!("CARGO_BIN_EXE_bellwether"));
        let output = command.args(["check", "--config", &config]).env_clear().env("ANN_TOKEN", "short").output().expect("it was built");
        assert!(!output.status.success(), "{more}");
        assert!(text(&output.stderr).contains(expected), "{}", text(&output.stderr));
    };
    check("[billing]\nconfirm_credits_above_usd = \"100\"", "name one under [[admins]]");
    check("[billing]\nconfirm_credits_above_usd = 100", "dollars in quotes");
    check("[billing]\nsignup_grant_days = 99999", "`billing.signup_grant_days`");
    check("[[admins]]\nname = \"admin\"\ntoken = \"env:ANN_TOKEN\"", "choose another name");
    check("[[admins]]\nname = \"ann\"\ntoken = \"env:ANN_TOKEN\"", "at least 16 characters");
    check("[[admins]]\nname = \"ann\"\ntoken = \"env:BOB_TOKEN\"", "the variable BOB_TOKEN is not set");
}
