//! Prices as an operator handles them, with the real binary: quoted, imported, compared, published, and there after a restart.

#[path = "support/process.rs"]
#[expect(dead_code, reason = "other tests need more of it")]
mod process;

use std::{path::Path, process::Command};

use process::{Admin, Process, client, free_port, write_config};
use serde_json::{Value, json};
use tempfile::TempDir;

const ADMIN_TOKEN: &str = "prices-admin-token";

struct Shop {
    folder: TempDir,
    config: String,
    port: u16,
    gateway: Option<Process>,
}

impl Shop {
    /// `ours` is sold at the catalog's price, `stated` at the configuration's.
    fn open() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port = free_port();
        let config = write_config(
            folder.path(),
            &format!(
                r#"
                [server]
                listen = "127.0.0.1:{port}"
                [storage]
                url = "sqlite://{database}"
                [log]
                level = "error"
                [[models]]
                name = "ours"
                deployments = [{{ provider = "openai", model = "gpt-4.1" }}]
                [[models]]
                name = "stated"
                deployments = [{{ provider = "openai", model = "gpt-4.1-mini" }}]
                price = {{ input = "1", output = "2" }}
                "#,
                database = folder.path().join("shop.db").display(),
            ),
        );
        let mut shop = Self { folder, config, port, gateway: None };
        shop.start();
        shop
    }

    fn start(&mut self) {
        let config = self.config.clone();
        self.gateway = Some(Process::start(&["serve", "--config", &config], self.port, &[("BELLWETHER_ADMIN_TOKEN", ADMIN_TOKEN)]));
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Runs `bellwether ARGS` as the operator; its status, and what it said.
    fn run(&self, args: &[&str]) -> (bool, String, String) {
        let url = self.url();
        bellwether(self.folder.path(), args, &[("BELLWETHER_URL", &url), ("BELLWETHER_ADMIN_TOKEN", ADMIN_TOKEN)])
    }

    #[track_caller]
    fn says(&self, args: &[&str], expected: &str) {
        let (done, out, error) = self.run(args);
        assert!(done && out.contains(expected), "{args:?}: {out}{error}");
    }

    #[track_caller]
    fn refuses(&self, args: &[&str], expected: &str) {
        let (done, out, error) = self.run(args);
        assert!(!done && error.contains(expected), "{args:?}: {out}{error}");
    }

    #[track_caller]
    fn json(&self, args: &[&str]) -> Value {
        let (done, out, error) = self.run(args);
        assert!(done, "{args:?}: {error}");
        serde_json::from_str(&out).expect("JSON")
    }

    /// Origin and input figure of what `ours` is sold at.
    #[track_caller]
    fn sold(&self) -> (String, String) {
        let shown = self.json(&["prices", "show", "ours", "--json"]);
        let text = |at: &str| shown.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned();
        (text("/data/0/origin"), text("/data/0/price/input"))
    }
}

fn bellwether(folder: &Path, args: &[&str], variables: &[(&str, &str)]) -> (bool, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bellwether"));
    let output =
        command.current_dir(folder).args(args).env_clear().envs(variables.iter().copied()).output().expect("it was built for this test");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

/// A catalog with two offers, one of which needs rounding.
fn catalog() -> Value {
    json!({ "schema": 1, "models": [
        { "provider": "openai", "id": "gpt-4.1", "mode": "chat",
          "prices": { "currency": "USD", "per_million_tokens": { "input": "2", "output": "8.0000005", "cache_read": "0.5" } } },
        { "provider": "acme", "id": "one", "mode": "chat",
          "prices": { "currency": "USD", "per_million_tokens": { "input": "1", "output": "2" } } },
        { "provider": "acme", "id": "yuan", "mode": "chat",
          "prices": { "currency": "CNY", "per_million_tokens": { "input": "7.13", "output": "71.3" } } },
        { "provider": "acme", "id": "draws", "mode": "image",
          "prices": { "currency": "USD", "per_million_tokens": { "input": "1", "output": "2" } } },
    ] })
}

#[tokio::test]
async fn a_price_is_imported_compared_published_and_charged_and_a_restart_keeps_it() {
    let mut shop = Shop::open();
    assert_eq!(shop.sold(), ("catalog".to_owned(), "2".to_owned()));
    std::fs::write(shop.path("catalog.json"), catalog().to_string()).expect("a writable folder");

    let import = ["prices", "import", "catalog.json", "--only", "openai/", "--markup", "10%", "--out", "draft.json"];
    let (done, out, error) = shop.run(&import);
    assert!(done, "{error}");
    for expected in
        ["1 prices for `sell:default` written to draft.json", "1 (does not answer in text)", "8.0000005", "8.8", "0 new, 1 changed"]
    {
        assert!(out.contains(expected), "{expected}: {out}");
    }
    assert_eq!(shop.sold().0, "catalog", "nothing is published yet");
    shop.says(&["prices", "publish", "draft.json", "--dry-run"], "0 new, 1 changed");
    shop.says(&["prices", "publish", "draft.json", "--idempotency-key", "k"], "1 prices hold from ");
    let first = shop.json(&["prices", "publish", "draft.json", "--idempotency-key", "k", "--json"]);
    assert_eq!((first["new"].as_u64(), first["ended"].as_u64()), (Some(1), Some(1)), "a repeat answers the same");
    assert_eq!(shop.sold(), ("hand".to_owned(), "2.2".to_owned()));
    let charged = charge(&shop).await;
    assert_eq!((charged["price"]["model"].as_str(), &charged["lines"][0]["price_pico"]), (Some("*"), &json!("2200000")), "{charged}");

    drop(shop.gateway.take());
    let offline: Vec<&str> = import.into_iter().chain(["--database", "shop.db"]).collect();
    shop.says(&offline, "0 new, 0 changed, 0 pinned as they are, 0 back to the catalog, 1 unchanged");
    shop.start();
    assert_eq!(shop.sold(), ("hand".to_owned(), "2.2".to_owned()));
    let list = shop.json(&["prices", "list", "--json"]);
    let hand: Vec<_> = list["data"].as_array().expect("a list").iter().filter(|price| price["origin"] == "hand").collect();
    assert_eq!(hand.len(), 1);
    assert!(hand[0]["published_by"].as_str().is_some_and(|by| by.starts_with("import:catalog.json@")), "{}", hand[0]);
}

#[test]
fn what_a_provider_bills_in_its_own_currency_is_a_book_of_cost_and_becomes_dollars_by_a_rate() {
    let shop = Shop::open();
    std::fs::write(shop.path("catalog.json"), catalog().to_string()).expect("a writable folder");
    let import = ["prices", "import", "catalog.json", "--only", "acme/", "--out", "draft.json"];
    let with = |more: &[&'static str]| import.into_iter().chain(more.iter().copied()).collect::<Vec<_>>();
    shop.says(&with(&[]), "left out: acme/yuan: a selling price must be in USD");
    shop.says(&with(&["--rate", "CNY=7.13", "--markup", "1.5"]), "2 prices for `sell:default` written");
    shop.says(&["prices", "publish", "draft.json"], "2 prices hold from ");
    shop.says(&["prices", "show", "acme/yuan"], "input                    1.5 USD a million");
    shop.says(&with(&["--book", "cost:acme"]), "2 prices for `cost:acme` written");
    shop.says(&["prices", "publish", "draft.json"], "2 prices hold from ");
    shop.says(&["prices", "show", "acme/yuan", "--book", "cost:acme"], "input                    7.13 CNY a million");
    shop.says(&["prices", "show", "acme/yuan"], "1.5 USD");
    shop.refuses(&with(&["--book", "cost:nobody"]), "has no offer to import into `cost:nobody`");
    shop.refuses(&with(&["--rate", "CNY"]), "such as `CNY=7.13`");
}

#[tokio::test]
async fn what_was_used_is_priced_again_under_other_models_and_lists() {
    let shop = Shop::open();
    let receipt = charge(&shop).await;
    let tokens = |sku: &str| receipt["usage"][sku].as_i64().expect("counted");
    let (input, output) = (tokens("tok.in"), tokens("tok.out"));
    let nano = |money: &Value| money["nano"].as_str().expect("an amount").parse::<i64>().expect("a number");
    let sums = |answer: &Value| (nano(&answer["current"]["charge"]), nano(&answer["alternative"]["charge"]));
    let ask = |more: &[&'static str]| {
        let arguments: Vec<&str> =
            ["what-if", "--account", "default", "--test", "--json"].into_iter().chain(more.iter().copied()).collect();
        shop.json(&arguments)
    };
    // The catalog sells `ours` at $2 and $8, the configuration `stated` at $1 and $2.
    let charged = input * 2_000 + output * 8_000;
    let same = ask(&[]);
    assert_eq!((sums(&same), &same["exact"]), ((charged, charged), &json!(true)));
    let other = ask(&["--model", "ours=stated"]);
    assert_eq!((sums(&other), &other["repriced"]), ((charged, input * 1_000 + output * 2_000), &json!(1)));
    let pinned = ask(&["--model", "ours=openai/stated", "--order", "ours=openai"]);
    assert_eq!(sums(&pinned), sums(&other), "`provider/model` leads to the same price");

    let list = json!({ "book": "sell:default", "source": { "kind": "manual", "ref": "offer" },
        "prices": [{ "route": "openai/gpt-4.1", "price": { "input": "3", "output": "9" } }] });
    std::fs::write(shop.path("offer.json"), list.to_string()).expect("a writable folder");
    assert_eq!(sums(&ask(&["--prices", "offer.json"])), (charged, input * 3_000 + output * 9_000));
    assert_eq!(shop.sold().1, "2", "nothing is published");

    let table = ["what-if", "--test", "--model", "ours=stated", "--cost"];
    for expected in
        ["1 requests by arrival, 1 of them priced otherwise", "ours at openai  stated at openai  1", "providers bill 0.", "tokenizer"]
    {
        shop.says(&table, expected);
    }
    shop.says(&["what-if", "--test"], "they come to exactly what was charged");
    shop.refuses(&["what-if", "--model", "ours=no-such-model"], "`models` names `no-such-model`, which is not served here");
    shop.refuses(&["what-if", "--account", "nobody"], "no account `nobody`");
    shop.refuses(&["what-if", "--plan", "nonsense"], "no plan `nonsense`");
    shop.refuses(&["what-if", "--from", "2026-11-02", "--to", "2026-11-01"], "`to` must be later than `from`");
}

/// The receipt of one call with a test key.
async fn charge(shop: &Shop) -> Value {
    let key = Admin::new(&shop.url(), ADMIN_TOKEN).key("default", "test").await;
    let body = json!({ "model": "ours", "max_tokens": 16, "messages": [{ "role": "user", "content": "what is it worth?" }] });
    let response =
        client().post(format!("{}/v1/chat/completions", shop.url())).bearer_auth(&key).json(&body).send().await.expect("an answer");
    assert!(response.status().is_success());
    let id = response.headers()["x-bellwether-request-id"].to_str().expect("text").to_owned();
    for _ in 0..200 {
        let url = format!("{}/v1/billing/requests/{id}", shop.url());
        let receipt: Value = client().get(url).bearer_auth(&key).send().await.expect("a receipt").json().await.expect("JSON");
        if receipt["state"] == "settled" {
            return receipt;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("{id} was not settled within two seconds")
}

#[test]
fn what_cannot_be_published_says_why() {
    let shop = Shop::open();
    let list = |price: Value| json!({ "book": "sell:default", "source": { "kind": "manual", "ref": "test" }, "prices": [price] });
    let write = |name: &str, list: &Value| std::fs::write(shop.path(name), list.to_string()).expect("a writable folder");
    let rates = json!({ "input": "3", "output": "9" });
    write("stated.json", &list(json!({ "model": "stated", "route": "openai/gpt-4.1-mini", "price": rates })));
    shop.refuses(&["prices", "publish", "stated.json"], "the configuration states it; change it there");
    shop.says(&["prices", "publish", "stated.json", "--dry-run"], "1 refused");
    write("fine.json", &list(json!({ "route": "openai/gpt-4.1", "price": rates })));
    shop.refuses(&["prices", "publish", "fine.json", "--at", "2020-01-01T00:00:00Z"], "a moment that has passed");
    shop.refuses(&["prices", "publish", "fine.json", "--at", "tomorrow"], "`effective_from` must be a time");
    write("yuan.json", &list(json!({ "route": "openai/gpt-4.1", "price": { "currency": "CNY", "input": "3", "output": "9" } })));
    shop.refuses(&["prices", "publish", "yuan.json"], "a selling price must be in USD");
    write("typo.json", &json!({ "book": "sell:default", "prizes": [] }));
    shop.refuses(&["prices", "publish", "typo.json"], "unknown field `prizes`");
    write("empty.json", &json!({ "book": "sell:default", "source": { "kind": "manual", "ref": "x" }, "prices": [] }));
    shop.refuses(&["prices", "publish", "empty.json"], "must hold 1 to 20000 prices, not 0");
    shop.refuses(&["prices", "import", "no-such-file", "--out", "x.json"], "cannot read no-such-file");
    shop.refuses(&["prices", "show", "no-such-model"], "nothing called `no-such-model` has a price in `sell:default`");
    // What is published for later is shown as such, and does not hold yet.
    shop.says(&["prices", "publish", "fine.json", "--at", "2099-01-01T00:00:00Z"], "1 prices hold from 2099-01-01T00:00:00Z");
    assert_eq!(shop.sold(), ("catalog".to_owned(), "2".to_owned()));
    shop.says(&["prices", "show", "ours"], "scheduled");
    shop.says(&["prices", "show", "ours", "--at", "2099-01-01T00:00:00Z"], "input                    3 USD a million");
    shop.refuses(&["prices", "publish", "fine.json"], "a further one can begin at 2099-01-01T00:00:00.000001Z or later");
}

#[test]
fn plans_are_set_and_listed() {
    let shop = Shop::open();
    shop.says(&["prices", "plan", "set", "partners", "0.95"], "plan partners: multiplier 0.95 from ");
    shop.says(&["prices", "plan", "set", "partners", "1.05", "--at", "2099-01-01T00:00:00Z"], "multiplier 1.05 from 2099-01-01T00:00:00Z");
    let list = shop.json(&["prices", "plan", "list", "--json"]);
    let told: Vec<_> = list["data"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|row| format!("{} {} {}", row["plan"], row["multiplier"], row["state"]))
        .collect();
    assert_eq!(told, [r#""default" "1" "standing""#, r#""partners" "0.95" "standing""#, r#""partners" "1.05" "scheduled""#]);
    shop.refuses(&["prices", "plan", "set", "partners", "5%"], "`multiplier` must be a decimal factor");
    shop.refuses(&["prices", "plan", "set", "a b", "1"], "`plan` must have 1 to 64 characters");
    shop.refuses(&["prices", "plan", "set", "partners", "1", "--at", "2020-01-01T00:00:00Z"], "`effective_from` has passed");
}

#[test]
fn a_quote_needs_no_gateway() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let usage = r#"{"prompt_tokens":12000,"completion_tokens":700,"prompt_tokens_details":{"cached_tokens":8192}}"#;
    let (done, out, error) = bellwether(folder.path(), &["price", "gpt-4.1", "--usage", usage], &[]);
    assert!(done && out.contains("tok.in.cache_read") && out.contains("0.017312000"), "{out}{error}");
    let (done, out, error) = bellwether(folder.path(), &["price", "gpt-4.1", "--usage", usage, "--plan", "1.05", "--json"], &[]);
    assert!(done, "{error}");
    let quote: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((&quote["total"]["nano"], &quote["route"]), (&json!("18177600"), &json!("openai/gpt-4.1")));
    let (done, _, error) = bellwether(folder.path(), &["price", "gpt-4.1", "--usage", r#"{"tokens":1}"#], &[]);
    assert!(!done && error.contains("known are tok.in, "), "{error}");
}
