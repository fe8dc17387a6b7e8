//! Every codec, in one place.

use std::sync::Arc;

use gateway_core::{Egress, Ingress};
use gateway_wire::{
    anthropic::{AnthropicEgress, AnthropicIngress},
    gemini::GeminiEgress,
    openai_chat::{OpenAiChatEgress, OpenAiChatIngress},
};

/// The callers' halves.
pub(crate) fn ingresses() -> Vec<Arc<dyn Ingress>> {
    vec![Arc::new(OpenAiChatIngress::new()), Arc::new(AnthropicIngress::new())]
}

/// The providers' halves.
pub(crate) fn egresses() -> Vec<Arc<dyn Egress>> {
    vec![Arc::new(OpenAiChatEgress::new()), Arc::new(AnthropicEgress::new()), Arc::new(GeminiEgress::new())]
}

pub(crate) fn ingress(protocol: &str) -> Option<Arc<dyn Ingress>> {
    ingresses().into_iter().find(|codec| codec.protocol().as_str() == protocol)
}

pub(crate) fn egress(protocol: &str) -> Option<Arc<dyn Egress>> {
    egresses().into_iter().find(|codec| codec.protocol().as_str() == protocol)
}
