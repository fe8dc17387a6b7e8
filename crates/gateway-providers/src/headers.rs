//! Which headers cross the gateway, in either direction. Allow-lists: what is not named stays on its side.

use gateway_core::Mode;
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{ACCEPT_ENCODING, CONTENT_TYPE},
};

/// The scenario of one call to the simulated provider.
pub const SIMULATE: HeaderName = HeaderName::from_static("x-bellwether-simulate");

/// The provider's own id of the request, for its support desk.
pub const UPSTREAM_REQUEST_ID: HeaderName = HeaderName::from_static("x-bellwether-upstream-request-id");

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Headers that belong to a protocol and go only to a provider of the same.
const PROTOCOL_OWN: [HeaderName; 2] = [HeaderName::from_static("anthropic-version"), HeaderName::from_static("anthropic-beta")];

/// The names under which providers tell their id of a request.
const REQUEST_IDS: [&str; 5] = ["x-request-id", "request-id", "mistral-correlation-id", "x-ds-trace-id", "apim-request-id"];

/// What the caller's request may contribute.
pub(crate) struct Forwarded<'a> {
    /// The caller's headers.
    pub(crate) from: &'a HeaderMap,
    /// Both sides speak one protocol.
    pub(crate) same_protocol: bool,
    /// Live or test.
    pub(crate) mode: Mode,
    /// What the provider's spec names besides.
    pub(crate) named: &'a [HeaderName],
}

/// Adds to an upstream request what may be forwarded; a header that is already there stays.
pub(crate) fn forward_request(forwarded: &Forwarded<'_>, to: &mut HeaderMap) {
    copy(forwarded.from, to, &TRACEPARENT);
    if forwarded.same_protocol {
        PROTOCOL_OWN.iter().chain(forwarded.named).for_each(|name| copy(forwarded.from, to, name));
    }
    if forwarded.mode == Mode::Test {
        copy(forwarded.from, to, &SIMULATE);
    }
    to.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    to.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
}

/// Copies what a caller may see of a provider's headers.
pub(crate) fn forward_answer(from: &HeaderMap, to: &mut HeaderMap) {
    if let Some(id) = REQUEST_IDS.iter().find_map(|name| from.get(*name)) {
        to.insert(UPSTREAM_REQUEST_ID, id.clone());
    }
}

fn copy(from: &HeaderMap, to: &mut HeaderMap, name: &HeaderName) {
    if to.contains_key(name) {
        return;
    }
    for value in from.get_all(name) {
        to.append(name.clone(), value.clone());
    }
}
