//! A plain HTTP caller with a test key, as any application would be.

use anyhow::{Context, Result, ensure};
use gateway_core::Secret;
use reqwest::{RequestBuilder, Response, header::HeaderMap};
use serde_json::Value;

/// Calls one gateway with one key.
#[derive(Clone)]
pub(super) struct Caller {
    http: reqwest::Client,
    base: String,
    key: Secret,
}

/// A whole answer.
pub(super) struct Answer {
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Result<&str> {
        header(&self.headers, name)
    }
}

/// A header's text.
pub(super) fn header<'h>(headers: &'h HeaderMap, name: &str) -> Result<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok()).with_context(|| format!("the answer has no header `{name}`"))
}

impl Caller {
    pub(super) fn new(base: &str, key: &str) -> Result<Self> {
        crate::tls::install_crypto_provider();
        let http = reqwest::Client::builder().timeout(std::time::Duration::from_secs(30)).build()?;
        Ok(Self { http, base: base.to_owned(), key: Secret::new(key) })
    }

    pub(super) async fn chat(&self, body: &Value, simulate: Option<&Value>) -> Result<Answer> {
        whole(self.chat_request(body, simulate)).await
    }

    pub(super) async fn chat_stream(&self, body: &Value) -> Result<Response> {
        let response = self.chat_request(body, None).send().await?;
        ensure!(response.status().is_success(), "status {}: {}", response.status(), response.text().await?);
        Ok(response)
    }

    pub(super) async fn get(&self, path: &str) -> Result<Value> {
        Ok(whole(self.http.get(format!("{}{path}", self.base)).bearer_auth(self.key.expose())).await?.body)
    }

    fn chat_request(&self, body: &Value, simulate: Option<&Value>) -> RequestBuilder {
        let request = self.http.post(format!("{}/v1/chat/completions", self.base)).bearer_auth(self.key.expose()).json(body);
        match simulate {
            Some(rules) => request.header("x-bellwether-simulate", rules.to_string()),
            None => request,
        }
    }
}

async fn whole(request: RequestBuilder) -> Result<Answer> {
    let response = request.send().await?;
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.text().await?;
    ensure!(status.is_success(), "status {status}: {text}");
    Ok(Answer { headers, body: serde_json::from_str(&text).context("the answer is not JSON")? })
}
