//! Acme answers by itself: it has no API, so it implements [`Provider`] whole. It speaks no wire protocol; what it says
//! in canonical form reaches callers of every protocol.

use std::sync::Arc;

use async_trait::async_trait;
use gateway_core::{
    Attempt, Fault, Protocol, Provider, ProviderId, Reply, Usage,
    ir::{ChatResponse, Choice, Delta, Event, Finish, FinishReason, Part, PartBody, PartKind, Role},
    stream::EventPump,
};
use gateway_providers::{ProviderContext, ProviderError, ProviderFactory, ProviderSettings};

/// Makes the provider.
pub struct Acme;

impl ProviderFactory for Acme {
    fn id(&self) -> &str {
        "acme"
    }

    fn protocol(&self) -> Protocol {
        Protocol::new("acme")
    }

    fn build(&self, settings: ProviderSettings, _context: &ProviderContext) -> Result<Arc<dyn Provider>, ProviderError> {
        Ok(Arc::new(Echo { id: settings.id }))
    }
}

/// Repeats the last thing the user said, word by word.
struct Echo {
    id: ProviderId,
}

#[async_trait]
impl Provider for Echo {
    fn id(&self) -> &ProviderId {
        &self.id
    }

    async fn attempt(&self, attempt: Attempt) -> Result<Reply, Fault> {
        let request = attempt.call.canonical().map_err(gateway_core::WireError::into_caller_fault)?;
        let said = request.messages.iter().rev().find(|message| message.role == Role::User);
        let text: String = said.into_iter().flat_map(|message| &message.parts).filter_map(text).collect();
        let usage = Usage { input_uncached: Some(words(&text)), output_text: Some(words(&text)), ..Usage::default() };
        if request.stream {
            let mut events = events(&text, usage).into_iter();
            let encoder = attempt.call.ingress().event_encoder(&gateway_core::RenderCtx::of(&attempt));
            let pump = EventPump::new(move || std::future::ready(events.next()), encoder);
            return Ok(Reply::stream(&attempt, Box::new(pump), attempt.deadline));
        }
        let finish = Finish::new(FinishReason::Stop);
        let choice = Choice { index: 0, parts: vec![Part::text(text)], finish, logprobs: None, extras: None };
        Ok(Reply::whole(&attempt, &ChatResponse { choices: vec![choice], usage: Some(usage), ..ChatResponse::default() }))
    }
}

fn text(part: &Part) -> Option<&str> {
    match &part.body {
        PartBody::Text { text, .. } => Some(text),
        _ => None,
    }
}

/// Acme bills by the word.
fn words(text: &str) -> u64 {
    text.split_whitespace().count() as u64
}

fn events(text: &str, usage: Usage) -> Vec<Event<'static>> {
    let delta = |word: &str| Event::Delta { choice: 0, part: 0, delta: Delta::Text(word.to_owned().into()) };
    let mut events =
        vec![Event::Start { id: None, model: None, created: None }, Event::PartStart { choice: 0, part: 0, kind: PartKind::Text }];
    events.extend(text.split_inclusive(' ').map(delta));
    events.push(Event::PartEnd { choice: 0, part: 0 });
    events.push(Event::Finish { choice: 0, finish: Finish::new(FinishReason::Stop) });
    events.push(Event::Usage { usage, is_final: true });
    events.push(Event::End);
    events
}
