//! The steps of the story. Each says what it saw, or fails.

use anyhow::{Context, Result, bail, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};

use super::{
    caller::{Caller, header},
    receipts,
};
use crate::cli::AdminClient;

const MODELS: [&str; 4] = ["gpt-4.1", "claude-sonnet-4.5", "gemini-2.5-flash", "deepseek-v3.2"];

fn ask(model: &str, words: &str) -> Value {
    json!({ "model": model, "messages": [{ "role": "user", "content": words }] })
}

/// One whole answer.
pub(super) async fn chat(caller: &Caller, ids: &mut Vec<String>) -> Result<Value> {
    let answer = caller.chat(&ask("gpt-4.1", "What does a unified gateway save?"), None).await?;
    ids.push(answer.header("x-bellwether-request-id")?.to_owned());
    let served = served(&answer.body)?;
    ensure!(served == "gpt-4.1", "asked for gpt-4.1, served by {served}");
    let cost = answer.header("x-bellwether-cost-usd")?;
    let tokens = &answer.body["usage"]["total_tokens"];
    Ok(json!({ "said": format!("{served} answered with {tokens} tokens for {cost}"), "model": served, "cost": cost }))
}

/// The premium model is rate-limited; the next in its chain answers.
pub(super) async fn fallback(caller: &Caller, ids: &mut Vec<String>) -> Result<Value> {
    let limited = json!([{ "match": { "model": "gpt-4.1" }, "fault": { "kind": "status", "status": 429 } }]);
    let answer = caller.chat(&ask("gpt-4.1", "Are you there?"), Some(&limited)).await?;
    ids.push(answer.header("x-bellwether-request-id")?.to_owned());
    let served = served(&answer.body)?;
    ensure!(served == "claude-sonnet-4.5", "expected claude-sonnet-4.5 to step in, but {served} answered");
    let attempts = answer.header("x-bellwether-attempts")?;
    Ok(json!({ "said": format!("gpt-4.1 was rate-limited; {served} stepped in at attempt {attempts}"), "model": served }))
}

/// One streamed answer, to its terminator.
pub(super) async fn stream(caller: &Caller, ids: &mut Vec<String>) -> Result<Value> {
    let mut body = ask("gemini-2.5-flash", "Count to ten.");
    body["stream"] = json!(true);
    let response = caller.chat_stream(&body).await?;
    ids.push(header(response.headers(), "x-bellwether-request-id")?.to_owned());
    let text = response.text().await?;
    let events: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    ensure!(events.last() == Some(&"[DONE]"), "the stream did not end with its terminator");
    let mut words = String::new();
    for event in &events[..events.len() - 1] {
        let chunk: Value = serde_json::from_str(event).context("a chunk is not JSON")?;
        words.push_str(chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default());
    }
    ensure!(!words.is_empty(), "the stream carried no text");
    Ok(json!({ "said": format!("{} events, {} characters", events.len(), words.chars().count()), "events": events.len() }))
}

/// Twenty requests over four models, five at a time.
pub(super) async fn batch(caller: &Caller, ids: &mut Vec<String>) -> Result<Value> {
    let answers: Vec<_> = stream::iter(0..20)
        .map(|n| async move { caller.chat(&ask(MODELS[n % MODELS.len()], &format!("Question {n}")), None).await })
        .buffer_unordered(5)
        .try_collect()
        .await?;
    for answer in &answers {
        ids.push(answer.header("x-bellwether-request-id")?.to_owned());
    }
    Ok(json!({ "said": format!("{} of 20 answered, five at a time", answers.len()), "answered": answers.len() }))
}

/// The report must equal the receipts, and each receipt its own lines.
pub(super) async fn report(caller: &Caller, ids: &[String]) -> Result<Value> {
    let mut sum = 0i64;
    for id in ids {
        sum += receipts::recomputed(caller, id).await?;
    }
    let mut report = caller.get("/v1/billing/cost-report?period=all").await?;
    ensure!(report["total_requests"] == ids.len(), "the report counts {} requests, we made {}", report["total_requests"], ids.len());
    let reported = report["total_cost"]["nano"].as_str().context("a report without a total")?.to_owned();
    if reported != sum.to_string() {
        bail!("the report says {reported} nano, the receipts come to {sum}");
    }
    report["said"] = json!(format!("{} receipts recomputed; their sum is the report's: {reported} nano", ids.len()));
    Ok(report)
}

/// The books, checked by the ledger itself.
pub(super) async fn verify(admin: &AdminClient) -> Result<Value> {
    let mut outcome = admin.post("/admin/v1/ledger/verify", &json!({}), None).await?;
    ensure!(outcome["ok"] == true, "the ledger has violations: {outcome}");
    let checks = outcome["checks"].as_array().map_or(0, Vec::len);
    ensure!(outcome["open_holds"] == 0, "{} holds are still open", outcome["open_holds"]);
    outcome["said"] = json!(format!("{checks} invariants hold, no hold is open"));
    Ok(outcome)
}

fn served(body: &Value) -> Result<String> {
    let model = body["model"].as_str().context("an answer without a model")?;
    let words = body["choices"][0]["message"]["content"].as_str().unwrap_or_default();
    ensure!(!words.is_empty(), "{model} answered without text");
    Ok(model.to_owned())
}
