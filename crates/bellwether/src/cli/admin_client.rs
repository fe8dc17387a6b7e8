//! A client of a running gateway's admin API.

use anyhow::{Context, Result, anyhow, bail};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::config::Environment;

/// Rows asked for at once.
const PAGE: usize = 100;

/// Talks to `BELLWETHER_URL` with `BELLWETHER_ADMIN_TOKEN`.
#[derive(Debug, Clone)]
pub struct AdminClient {
    http: reqwest::Client,
    base: String,
    token: gateway_core::Secret,
}

impl AdminClient {
    /// For a gateway at `base`, such as `http://127.0.0.1:8080`.
    ///
    /// # Errors
    /// `base` is no HTTP URL, or the HTTP client cannot be made.
    pub fn new(base: &str, token: gateway_core::Secret) -> Result<Self> {
        crate::tls::install_crypto_provider();
        let usable = reqwest::Url::parse(base).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if !usable {
            bail!("BELLWETHER_URL is `{base}`; it must be a URL such as http://127.0.0.1:8080");
        }
        let http = reqwest::Client::builder().timeout(std::time::Duration::from_secs(60)).build().context("cannot make an HTTP client")?;
        Ok(Self { http, base: base.trim_end_matches('/').to_owned(), token })
    }

    /// For the gateway that the environment names.
    ///
    /// # Errors
    /// `BELLWETHER_ADMIN_TOKEN` is not set, or `BELLWETHER_URL` is no HTTP URL.
    pub fn from_environment(environment: &dyn Environment) -> Result<Self> {
        let base = environment.var("BELLWETHER_URL").unwrap_or_else(|| "http://127.0.0.1:8080".to_owned());
        let token = environment
            .var("BELLWETHER_ADMIN_TOKEN")
            .filter(|token| !token.trim().is_empty())
            .ok_or_else(|| anyhow!("BELLWETHER_ADMIN_TOKEN is not set; the gateway showed the token at its first start"))?;
        Self::new(&base, gateway_core::Secret::new(token.trim()))
    }

    /// `GET path`.
    ///
    /// # Errors
    /// The gateway cannot be reached, or refused; the error carries its words.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.send(Method::GET, path, None, None).await
    }

    /// `GET path`, a list in pages, as one list.
    ///
    /// # Errors
    /// As [`AdminClient::get`].
    pub async fn list(&self, path: &str) -> Result<Value> {
        let query = if path.contains('?') { '&' } else { '?' };
        let mut list = self.get(&format!("{path}{query}limit={PAGE}")).await?;
        while let Some(after) = list["next"].as_str().map(segment) {
            let mut page = self.get(&format!("{path}{query}limit={PAGE}&after={after}")).await?;
            if let (Some(rows), Some(more)) = (list["data"].as_array_mut(), page["data"].as_array_mut()) {
                rows.append(more);
            }
            list["has_more"] = page["has_more"].take();
            list["next"] = page["next"].take();
        }
        Ok(list)
    }

    /// `POST path` with a body; `idempotency_key` makes a repeat return the first answer.
    ///
    /// # Errors
    /// As [`AdminClient::get`].
    pub async fn post(&self, path: &str, body: &Value, idempotency_key: Option<&str>) -> Result<Value> {
        self.send(Method::POST, path, Some(body), idempotency_key).await
    }

    /// `PATCH path` with what is to be changed.
    ///
    /// # Errors
    /// As [`AdminClient::get`].
    pub async fn patch(&self, path: &str, body: &Value) -> Result<Value> {
        self.send(Method::PATCH, path, Some(body), None).await
    }

    /// `DELETE path`.
    ///
    /// # Errors
    /// As [`AdminClient::get`].
    pub async fn delete(&self, path: &str) -> Result<Value> {
        self.send(Method::DELETE, path, None, None).await
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>, idempotency_key: Option<&str>) -> Result<Value> {
        let mut request = self.http.request(method, format!("{}{path}", self.base)).bearer_auth(self.token.expose());
        if let Some(body) = body {
            request = request.json(body);
        }
        if let Some(key) = idempotency_key {
            request = request.header("idempotency-key", key);
        }
        let response = request.send().await.map_err(|error| {
            anyhow!("cannot reach the gateway at {}: {}; is it running, and is BELLWETHER_URL right?", self.base, root(&error))
        })?;
        let status = response.status();
        let text = response.text().await.context("the gateway's answer broke off")?;
        let value = serde_json::from_str::<Value>(&text).unwrap_or(Value::Null);
        if status.is_success() {
            return Ok(value);
        }
        let message = value.pointer("/error/message").and_then(Value::as_str).unwrap_or(text.trim());
        match status {
            StatusCode::UNAUTHORIZED => bail!("{message} (set BELLWETHER_ADMIN_TOKEN to the gateway's admin token)"),
            _ => bail!("{message} (status {})", status.as_u16()),
        }
    }
}

/// The last cause, which says what happened; those above it say only where.
fn root(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// An idempotency key for a command that is sent once.
pub(super) fn fresh_key() -> String {
    format!("cli-{:032x}", fastrand::u128(..))
}

/// A path segment: accounts may have names with any characters.
pub(super) fn segment(text: &str) -> String {
    const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    utf8_percent_encode(text, RESERVED).to_string()
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_a_web_address_is_taken_for_the_gateways() {
        for base in ["nonsense", "localhost:8080", "http://", "ftp://127.0.0.1", ""] {
            let error = super::AdminClient::new(base, gateway_core::Secret::new("t")).expect_err(base);
            assert!(error.to_string().contains("BELLWETHER_URL"), "{error}");
        }
        super::AdminClient::new("http://127.0.0.1:8080/", gateway_core::Secret::new("t")).expect("a URL");
    }

    #[test]
    fn a_name_cannot_leave_its_path_segment() {
        assert_eq!(super::segment("a/../b c?é"), "a%2F..%2Fb%20c%3F%C3%A9");
    }
}
