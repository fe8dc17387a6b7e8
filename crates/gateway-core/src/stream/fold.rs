//! Builds a whole answer from a stream's events.

use serde_json::value::RawValue;

use crate::{
    codec::WireError,
    fault::Fault,
    ir::{ChatResponse, Choice, Delta, Event, Extras, Finish, FinishReason, Part, PartBody, PartKind, Raw, ToolCall},
    usage::Usage,
};

/// What a part costs in memory besides its text, roughly; so that a stream of empty parts is bounded too.
const PART_BYTES: usize = 256;

/// Collects events into a [`ChatResponse`]. "Stream, then fold" and "decode whole" agree.
///
/// ```
/// use gateway_core::{ir::{Delta, Event, Finish, FinishReason, PartKind}, stream::Fold};
///
/// let mut fold = Fold::new();
/// fold.push(&Event::PartStart { choice: 0, part: 0, kind: PartKind::Text })?;
/// fold.push(&Event::Delta { choice: 0, part: 0, delta: Delta::Text("Hel".into()) })?;
/// fold.push(&Event::Delta { choice: 0, part: 0, delta: Delta::Text("lo".into()) })?;
/// fold.push(&Event::Finish { choice: 0, finish: Finish::new(FinishReason::Stop) })?;
/// let answer = fold.finish();
/// assert_eq!(answer.choices[0].parts, [gateway_core::ir::Part::text("Hello")]);
/// # Ok::<(), gateway_core::Fault>(())
/// ```
#[derive(Debug)]
pub struct Fold {
    id: Option<String>,
    model: Option<String>,
    created: Option<u64>,
    choices: Vec<Building>,
    usage: Option<Usage>,
    bytes: usize,
    bytes_max: usize,
}

#[derive(Debug)]
struct Building {
    index: u32,
    parts: Vec<(u32, Part)>,
    finish: Option<Finish>,
    logprobs: Vec<Raw>,
}

impl Default for Fold {
    fn default() -> Self {
        Self::new()
    }
}

impl Fold {
    /// As large as a whole answer may be when it is buffered.
    pub const BYTES_MAX: usize = 32 * 1_024 * 1_024;

    /// Holds at most [`Fold::BYTES_MAX`].
    #[must_use]
    pub fn new() -> Self {
        Self::with_max(Self::BYTES_MAX)
    }

    /// Holds at most `bytes_max` bytes.
    #[must_use]
    pub fn with_max(bytes_max: usize) -> Self {
        Self { id: None, model: None, created: None, choices: Vec::new(), usage: None, bytes: 0, bytes_max }
    }

    /// Adds one event. Events that only a stream can show ([`Event::Opaque`]) have no place in a whole answer.
    ///
    /// # Errors
    /// The event is a fault, the answer is larger than the maximum, or the event names a part that never began.
    pub fn push(&mut self, event: &Event<'_>) -> Result<(), Fault> {
        match event {
            Event::Start { id, model, created } => {
                self.id = id.as_deref().map(str::to_owned);
                self.model = model.as_deref().map(str::to_owned);
                self.created = *created;
            }
            Event::PartStart { choice, part, kind } => {
                self.grow(PART_BYTES)?;
                let body = begun(kind);
                self.choice(*choice)?.parts.push((*part, Part::new(body)));
            }
            Event::Delta { choice, part, delta } => {
                self.grow(delta_bytes(delta))?;
                let parts = &mut self.choice(*choice)?.parts;
                let Some((_, part)) = parts.iter_mut().rev().find(|(index, _)| index == part) else {
                    return Err(WireError::new("the stream continued a part that never began").into_upstream_fault());
                };
                add(part, delta);
            }
            Event::PartEnd { .. } | Event::End | Event::Opaque { .. } => {}
            Event::Logprobs { choice, raw } => {
                self.grow(raw.text().len())?;
                self.choice(*choice)?.logprobs.push(raw.clone());
            }
            Event::Finish { choice, finish } => self.choice(*choice)?.finish = Some(finish.clone()),
            Event::Usage { usage, .. } => self.usage.get_or_insert_default().restate(usage),
            Event::Fault(fault) => return Err(fault.clone()),
        }
        Ok(())
    }

    /// The answer. A choice that never finished says so with [`FinishReason::Error`].
    #[must_use]
    pub fn finish(mut self) -> ChatResponse {
        self.choices.sort_by_key(|choice| choice.index);
        let choices = self.choices.into_iter().map(|choice| Choice {
            index: choice.index,
            parts: choice.parts.into_iter().map(|(_, part)| part).collect(),
            finish: choice.finish.unwrap_or_else(|| Finish::new(FinishReason::Error)),
            logprobs: joined(choice.logprobs),
            extras: None,
        });
        ChatResponse { id: self.id, model: self.model, created: self.created, choices: choices.collect(), usage: self.usage, extras: None }
    }

    fn choice(&mut self, index: u32) -> Result<&mut Building, Fault> {
        let at = match self.choices.iter().position(|choice| choice.index == index) {
            Some(at) => at,
            None => {
                self.grow(PART_BYTES)?;
                self.choices.push(Building { index, parts: Vec::new(), finish: None, logprobs: Vec::new() });
                self.choices.len() - 1
            }
        };
        Ok(&mut self.choices[at])
    }

    fn grow(&mut self, bytes: usize) -> Result<(), Fault> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes <= self.bytes_max {
            return Ok(());
        }
        Err(WireError::new(format!("the streamed answer is larger than the limit of {} bytes", self.bytes_max)).into_upstream_fault())
    }
}

fn begun(kind: &PartKind<'_>) -> PartBody {
    match kind {
        PartKind::Text => PartBody::Text { text: String::new(), citations: Vec::new() },
        PartKind::Reasoning => PartBody::Reasoning(String::new()),
        PartKind::Refusal => PartBody::Refusal(String::new()),
        PartKind::ToolCall { id, name, kind } => PartBody::ToolCall(ToolCall {
            id: id.clone().into_owned(),
            name: name.clone().into_owned(),
            arguments: String::new(),
            kind: *kind,
        }),
        PartKind::Media(media) => PartBody::Media((**media).clone()),
        PartKind::Opaque { origin, raw } => PartBody::Opaque { origin: *origin, raw: raw.clone() },
    }
}

fn delta_bytes(delta: &Delta<'_>) -> usize {
    match delta {
        Delta::Text(text) => text.len(),
        Delta::Seal(seal) => seal.bytes.len(),
        Delta::Citation(citation) => citation.raw.text().len(),
        Delta::Extras(extras) => extras.fields.iter().map(|(key, value)| key.len() + value.text().len()).sum(),
    }
}

fn add(part: &mut Part, delta: &Delta<'_>) {
    match (delta, &mut part.body) {
        (Delta::Text(more), PartBody::Text { text, .. } | PartBody::Reasoning(text) | PartBody::Refusal(text)) => text.push_str(more),
        (Delta::Text(more), PartBody::ToolCall(call)) => call.arguments.push_str(more),
        (Delta::Citation(citation), PartBody::Text { citations, .. }) => citations.push((**citation).clone()),
        // Only text parts grow citations, and media and opaque parts come whole: no decoder emits anything else.
        (Delta::Text(_), PartBody::Media(_) | PartBody::ToolResult(_) | PartBody::Opaque { .. }) | (Delta::Citation(_), _) => {}
        (Delta::Seal(seal), _) => part.seal = Some(seal.clone()),
        (Delta::Extras(more), _) => merge(&mut part.extras, more),
    }
}

/// Later fields follow earlier ones; a field stated again is overwritten.
fn merge(extras: &mut Option<Extras>, more: &Extras) {
    match extras {
        Some(standing) if standing.origin == more.origin => {
            for (key, value) in &more.fields {
                match standing.fields.iter_mut().find(|(name, _)| name == key) {
                    Some((_, old)) => *old = value.clone(),
                    None => standing.fields.push((key.clone(), value.clone())),
                }
            }
            more.modelled.iter().for_each(|name| standing.mark_modelled(name));
        }
        Some(_) | None => *extras = Some(more.clone()),
    }
}

/// Log probabilities come in pieces, each an object whose lists hold the piece's tokens: lists of one name are joined.
/// Pieces of any other shape cannot be joined, so the last of them stands.
fn joined(mut pieces: Vec<Raw>) -> Option<Raw> {
    let last = pieces.pop()?;
    if pieces.is_empty() {
        return Some(last);
    }
    pieces.push(last.clone());
    let lists = |raw: &Raw| serde_json::from_str::<std::collections::BTreeMap<String, Option<Vec<Box<RawValue>>>>>(raw.text()).ok();
    let mut whole = std::collections::BTreeMap::new();
    for piece in &pieces {
        let Some(piece) = lists(piece) else { return Some(last) };
        for (name, list) in piece {
            let standing: &mut Option<Vec<Box<RawValue>>> = whole.entry(name).or_default();
            if let Some(list) = list {
                standing.get_or_insert_default().extend(list);
            }
        }
    }
    Raw::of(&whole).ok().or(Some(last))
}

#[cfg(test)]
mod tests;
