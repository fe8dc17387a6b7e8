//! Every recorded request of the callers' protocols, written for every provider's protocol.

#[expect(dead_code, reason = "other tests read the other fields")]
#[path = "support/cassettes.rs"]
mod cassettes;
#[expect(dead_code, reason = "requests need no answers")]
#[path = "support/properties.rs"]
mod properties;
#[path = "support/shapes.rs"]
mod shapes;

use cassettes::Cassette;
use gateway_core::Ingress;
use gateway_wire::{anthropic::AnthropicIngress, openai_chat::OpenAiChatIngress};
use properties::Held;

#[test]
fn chat_requests_encode_for_every_provider() {
    let ingress = OpenAiChatIngress::new();
    properties::run("chat requests across", &["openai.chat_completions"], sent, |cassette| across(&ingress, cassette));
}

#[test]
fn anthropic_requests_encode_for_every_provider() {
    let ingress = AnthropicIngress::new();
    let apis = ["anthropic.messages", "anthropic.count_tokens"];
    properties::run("anthropic requests across", &apis, sent, |cassette| across(&ingress, cassette));
}

/// Only what the provider took: a recorded 400 may well be malformed. Hosts that keep the model in the path (Bedrock,
/// Vertex) send a variant that is no caller's.
fn sent(cassette: &Cassette) -> bool {
    cassette.status == 200 && cassette.request.as_ref().is_some_and(|request| request.get("model").is_some())
}

fn across(ingress: &dyn Ingress, cassette: &Cassette) -> Held {
    let body = cassette.request.as_ref().ok_or("no request")?.to_string();
    let head = http::Request::post(&cassette.path).body(()).map_err(|e| e.to_string())?.into_parts().0;
    let request = ingress.decode(&head, body.as_bytes()).map_err(|e| format!("decode: {e}"))?;
    shapes::encodes_everywhere(&request)
}
