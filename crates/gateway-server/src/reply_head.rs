//! The headers of answers and errors.

use std::time::Duration;

use gateway_core::{Fault, FaultKind, Losses, Origin, RequestId};
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::{metrics::DeploymentLabels, stage::Unserved};

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-bellwether-request-id");
pub(crate) const REQUESTED_MODEL: HeaderName = HeaderName::from_static("x-bellwether-requested-model");
const MODEL: HeaderName = HeaderName::from_static("x-bellwether-model");
const PROVIDER: HeaderName = HeaderName::from_static("x-bellwether-provider");
const UPSTREAM_MODEL: HeaderName = HeaderName::from_static("x-bellwether-upstream-model");
const ATTEMPTS: HeaderName = HeaderName::from_static("x-bellwether-attempts");
const OVERHEAD: HeaderName = HeaderName::from_static("x-bellwether-overhead-us");
const LOSSES: HeaderName = HeaderName::from_static("x-bellwether-losses");
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Headers about the connection or the framing: ours to decide, whatever a reply carries.
const NOT_OURS_TO_PASS: [HeaderName; 5] =
    [header::CONNECTION, header::TRANSFER_ENCODING, header::CONTENT_LENGTH, header::UPGRADE, header::SET_COOKIE];

/// What an answer's headers tell about it.
pub(crate) struct Told<'a> {
    pub(crate) requested: &'a str,
    pub(crate) served: Option<&'a DeploymentLabels>,
    pub(crate) attempts: u32,
    pub(crate) overhead_us: u64,
    pub(crate) losses: &'a Losses,
}

/// Adds to the reply's own headers.
pub(crate) fn headers(mut headers: HeaderMap, streamed: bool, told: &Told<'_>) -> HeaderMap {
    headers.reserve(12);
    for name in NOT_OURS_TO_PASS {
        headers.remove(name);
    }
    if streamed {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        // nginx would otherwise collect the events before it passes them on.
        headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    } else if !headers.contains_key(header::CONTENT_TYPE) {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    headers.insert(REQUESTED_MODEL, visible(told.requested));
    if let Some(served) = told.served {
        headers.insert(MODEL, served.model_header.clone());
        headers.insert(PROVIDER, served.provider_header.clone());
        headers.insert(UPSTREAM_MODEL, served.upstream_model_header.clone());
    }
    headers.insert(ATTEMPTS, HeaderValue::from(told.attempts));
    headers.insert(OVERHEAD, HeaderValue::from(told.overhead_us));
    insert_losses(&mut headers, told.losses);
    headers
}

/// Adds to an error's headers how far the call had come: whoever looks into a 502 asks first who sent it.
pub(crate) fn tell_unserved(headers: &mut HeaderMap, unserved: &Unserved) {
    let Unserved { tried, overhead_us } = unserved;
    if let Some(last) = &tried.last {
        headers.insert(MODEL, visible(&last.model));
        headers.insert(PROVIDER, visible(last.provider.as_str()));
        headers.insert(UPSTREAM_MODEL, visible(&last.upstream_model));
    }
    headers.insert(ATTEMPTS, HeaderValue::from(tried.attempts));
    headers.insert(OVERHEAD, HeaderValue::from(*overhead_us));
}

/// The headers of an error.
pub(crate) fn fault_headers(fault: &Fault, allow: Option<&'static str>) -> HeaderMap {
    let mut headers = fault.headers().clone();
    headers.reserve(12);
    for name in NOT_OURS_TO_PASS {
        headers.remove(name);
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(wait) = fault.retry_after() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        headers.insert(RETRY_AFTER_MS, HeaderValue::from(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)));
    }
    if tried_enough(fault) {
        headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
    }
    if let Some(allow) = allow {
        headers.insert(header::ALLOW, HeaderValue::from_static(allow));
    }
    if fault.kind() == FaultKind::Authentication && fault.origin() == Origin::Caller {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    insert_losses(&mut headers, fault.losses());
    headers
}

/// SDKs repeat 408, 409, 429 and every 5xx by themselves. After our own attempts over several deployments that would
/// only multiply them; a limit of our own, which passes with time, is worth another try.
fn tried_enough(fault: &Fault) -> bool {
    fault.origin() == Origin::Provider || matches!(fault.kind(), FaultKind::NoDeployment | FaultKind::Internal)
}

fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

fn insert_losses(headers: &mut HeaderMap, losses: &Losses) {
    if !losses.is_empty() {
        headers.insert(LOSSES, visible(&losses.to_header()));
    }
}

/// The id, as a header.
pub(crate) fn id_header(id: RequestId) -> HeaderValue {
    visible(&id.to_string())
}

/// The text as a header value: what a header cannot hold becomes `?`, and a text beyond a kibibyte (the bound of the
/// losses) is cut to 256 characters.
pub(crate) fn visible(text: &str) -> HeaderValue {
    const MAX_BYTES: usize = 1_100;
    if text.len() <= MAX_BYTES
        && text.bytes().all(plain)
        && let Ok(value) = HeaderValue::from_str(text)
    {
        return value;
    }
    let safe: Vec<u8> = text.chars().take(256).map(|c| u8::try_from(c).ok().filter(|b| plain(*b)).unwrap_or(b'?')).collect();
    HeaderValue::from_bytes(&safe).unwrap_or_else(|_| HeaderValue::from_static("?"))
}

fn plain(byte: u8) -> bool {
    byte.is_ascii_graphic() || byte == b' '
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use gateway_core::{Fault, FaultKind, LossReason, Losses, Origin};
    use http::{HeaderMap, HeaderValue};

    use super::{Told, fault_headers, visible, whole_seconds};

    #[test]
    fn a_name_cannot_forge_a_header() {
        assert_eq!(visible("gpt-4.1\r\nset-cookie: a=b"), "gpt-4.1??set-cookie: a=b");
        assert_eq!(visible("modèle\0"), "mod?le?");
        assert_eq!(visible(&"x".repeat(5_000)).len(), 256);
    }

    #[test]
    fn waits_are_rounded_up_to_seconds_and_kept_in_milliseconds() {
        assert_eq!(whole_seconds(Duration::from_millis(1)), 1);
        assert_eq!(whole_seconds(Duration::from_secs(2)), 2);
        let fault = Fault::new(FaultKind::RateLimited, Origin::Gateway, "slow down").with_retry_after(Some(Duration::from_millis(1_200)));
        let headers = fault_headers(&fault, None);
        assert_eq!((&headers["retry-after"], &headers["retry-after-ms"]), (&"2".parse().unwrap(), &"1200".parse().unwrap()));
        assert!(!headers.contains_key("x-should-retry"), "our own limit is worth another try");
    }

    #[test]
    fn what_is_about_the_connection_is_not_passed_on() {
        let mut from_reply = HeaderMap::new();
        for (name, value) in [("content-length", "5"), ("transfer-encoding", "chunked"), ("set-cookie", "a=b"), ("x-kept", "1")] {
            from_reply.insert(name, HeaderValue::from_static(value));
        }
        let mut losses = Losses::new();
        losses.push("messages[0].cache_control", LossReason::Unsupported);
        let told = Told { requested: "m", served: None, attempts: 2, overhead_us: 7, losses: &losses };
        let headers = super::headers(from_reply, false, &told);
        let mut names: Vec<_> = headers.keys().map(http::HeaderName::as_str).collect();
        names.sort_unstable();
        let told = ["attempts", "losses", "overhead-us", "requested-model"].map(|name| format!("x-bellwether-{name}"));
        let mut expected: Vec<&str> = vec!["content-type"];
        expected.extend(told.iter().map(String::as_str));
        expected.push("x-kept");
        assert_eq!(names, expected);
        assert_eq!(headers["x-bellwether-losses"], "messages[0].cache_control;unsupported");
    }

    #[test]
    fn what_we_have_retried_is_not_to_be_retried() {
        let fault = Fault::new(FaultKind::Overloaded, Origin::Provider, "busy");
        assert_eq!(fault_headers(&fault, None)["x-should-retry"], "false");
    }
}
