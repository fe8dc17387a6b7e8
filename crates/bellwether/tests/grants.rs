//! Codes, credits that wait for a second administrator, and webhooks, over HTTP against the real binary.

#[path = "support/process.rs"]
mod process;

use std::{
    convert::Infallible,
    net::SocketAddr,
    path::Path,
    process::{Command, Output},
    sync::Arc,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use process::{Admin, Process, client, free_port, write_config};
use ring::hmac;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

const ADMIN_TOKEN: &str = "grants-admin-token";
const ANN_TOKEN: &str = "grants-token-of-ann";
const VARIABLES: [(&str, &str); 2] = [("BELLWETHER_ADMIN_TOKEN", ADMIN_TOKEN), ("ANN_TOKEN", ANN_TOKEN)];

struct Setting {
    folder: TempDir,
    gateway: Process,
    config: String,
    port: u16,
    admin: Admin,
}

impl Setting {
    fn start(more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port = free_port();
        let config = config(folder.path(), port, more);
        let gateway = Process::start(&["serve", "--config", &config], port, &VARIABLES);
        let admin = Admin::new(&gateway.url, ADMIN_TOKEN);
        Self { folder, gateway, config, port, admin }
    }

    fn restart(&mut self) {
        self.gateway.child.kill().expect("a child of ours");
        self.gateway.child.wait().expect("a child of ours");
        self.gateway = Process::start(&["serve", "--config", &self.config], self.port, &VARIABLES);
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
    check("[[webhooks]]\nurl = \"ftp://x\"\nsecret = \"env:S\"", "`webhooks[0].url`");
    check("[[webhooks]]\nurl = \"https://u:p@x\"\nsecret = \"env:S\"", "no user and no password");
    check("[[webhooks]]\nurl = \"https://x\"\nsecret = \"env:S\"\nevents = [\"budget.alarm\"]", "there is no event `budget.alarm`");
    check("[[webhooks]]\nurl = \"https://x\"\nsecret = \"env:S\"", "the variable S is not set");
    check("[[webhooks]]\nurl = \"https://x\"\nsecret = \"plain\"", "whsec_");
}

/// What a webhook was sent.
#[derive(Clone)]
struct Seen {
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

/// A receiver that answers with the statuses it is given, then with 200.
struct Hook {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Hook {
    async fn start(statuses: &[u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let (seen, statuses) = (Arc::<Mutex<Vec<Seen>>>::default(), statuses.to_vec());
        let shared = Arc::clone(&seen);
        spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (shared, statuses) = (Arc::clone(&shared), statuses.clone());
                let service = service_fn(move |request| take(request, Arc::clone(&shared), statuses.clone(), address));
                spawn(async move {
                    let connection = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    drop(connection.serve_connection(TokioIo::new(stream), service).await);
                });
            }
        });
        Self { address, seen }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }

    async fn wait_for(&self, count: usize) -> Vec<Seen> {
        for _ in 0..1_500 {
            if self.seen.lock().len() >= count {
                return self.seen();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("only {} of {count} came", self.seen.lock().len());
    }
}

async fn take(
    request: Request<Incoming>,
    seen: Arc<Mutex<Vec<Seen>>>,
    statuses: Vec<u16>,
    address: SocketAddr,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let mut all = seen.lock();
    let status = statuses.get(all.len()).copied().unwrap_or(200);
    all.push(Seen { path: head.uri.path().to_owned(), headers: head.headers, body });
    let mut response = Response::new(Empty::new());
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    if status == 307 {
        let elsewhere = format!("http://{address}/elsewhere").parse().expect("a header value");
        response.headers_mut().insert("location", elsewhere);
    }
    Ok(response)
}

#[expect(clippy::disallowed_methods, reason = "a test's tasks end with its runtime")]
fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// As a receiver does it, by the specification and not by our own code.
fn is_signed(seen: &Seen) -> bool {
    let header = |name: &str| seen.headers[name].to_str().expect("text").to_owned();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode(&SECRET[6..]).expect("base64"));
    let mut signed = format!("{}.{}.", header("webhook-id"), header("webhook-timestamp")).into_bytes();
    signed.extend_from_slice(&seen.body);
    let signature = header("webhook-signature");
    let tag = signature.strip_prefix("v1,").and_then(|tag| STANDARD.decode(tag).ok()).expect("a signature");
    hmac::verify(&key, &signed, &tag).is_ok()
}

#[tokio::test]
async fn an_event_reaches_every_webhook_once() {
    // The first is down at first, with a redirect that must not be followed; the second takes everything; the third wants
    // other events.
    let (slow, quick, other) = (Hook::start(&[307]).await, Hook::start(&[]).await, Hook::start(&[]).await);
    let webhook = |hook: &Hook, events: &str| {
        format!("[[webhooks]]\nurl = \"http://{}/in/secret-path\"\nsecret = \"{SECRET}\"\nevents = [{events}]\n", hook.address)
    };
    let mut setting = Setting::start(&format!(
        "[billing]\nconfirm_credits_above_usd = \"1\"\n[[admins]]\nname = \"ann\"\ntoken = \"env:ANN_TOKEN\"\n{}{}{}",
        webhook(&slow, "\"credit.pending\", \"budget.alert\""),
        webhook(&quick, ""),
        webhook(&other, "\"credit.expired\""),
    ));
    setting.account("acme", "live").await;
    let body = json!({ "amount_usd": "2", "reason": "invoice 8" });
    let (status, _, pending) = setting.call(Method::POST, "/admin/v1/accounts/acme/credit", ADMIN_TOKEN, Some(&body)).await;
    assert_eq!(status, 202, "{pending}");
    let told = quick.wait_for(1).await.remove(0);
    assert!(is_signed(&told));
    assert_eq!((told.path.as_str(), told.headers["content-type"].to_str().ok()), ("/in/secret-path", Some("application/json")));
    let event: Value = serde_json::from_slice(&told.body).expect("JSON");
    assert_eq!((&event["type"], &event["data"]["id"], &event["account"]), (&json!("credit.pending"), &pending["id"], &pending["account"]));
    assert_eq!(told.headers["webhook-id"], event["id"].as_str().expect("an id"));
    // The one that was down gets it again, five seconds later, under the same id and with a signature of its own time.
    let tries = slow.wait_for(2).await;
    assert!(tries.iter().all(|one| is_signed(one) && one.path == "/in/secret-path"), "a redirect is not followed");
    assert_eq!((&tries[0].headers["webhook-id"], &tries[0].body), (&tries[1].headers["webhook-id"], &tries[1].body));
    assert_ne!(tries[0].headers["webhook-timestamp"], tries[1].headers["webhook-timestamp"]);
    // What was taken is not sent again, not even after a kill.
    tokio::time::sleep(Duration::from_secs(1)).await;
    setting.restart();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!((slow.seen().len(), quick.seen().len(), other.seen().len()), (2, 1, 0));
}
