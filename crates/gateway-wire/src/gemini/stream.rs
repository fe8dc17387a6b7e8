//! Reads answers, streamed or whole: a whole answer is a stream of one frame.
//!
//! Every frame is a complete `GenerateContentResponse`. Usage is cumulative, parts have no numbers, and nothing marks the
//! end but the end of the connection after a `finishReason`. So neighbouring pieces of one kind form one part, a sealed
//! piece closes its part (signed and unsigned text must not be joined afterwards), and finishes go out at the end.

use gateway_core::{
    EventDecoder, Frame, Memo, Usage, WireError,
    ir::{Citation, Delta, Event, Extras, PartKind, Seal, ToolKind},
};

use super::{
    citations, fault, finish,
    ids::{Ids, Sent},
    logprobs, part,
    partial::Partial,
    schema::{Answer, Candidate as WireCandidate, FunctionCall, PromptFeedback},
    usage,
};
use crate::GEMINI;

/// Most text kept for turning byte offsets of citations into characters; past it citations carry no offsets.
const TEXT_KEPT_MAX: usize = 1 << 20;

type Emit<'e> = dyn FnMut(Event<'_>) + 'e;

/// Reads the frames of one answer.
pub(super) struct Decoder {
    calls_before: u32,
    state: State,
    candidates: Vec<Candidate>,
    usage: Usage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Started,
    /// The provider reported an error; what follows means nothing.
    Failed,
}

/// One of the answers asked for.
struct Candidate {
    index: u32,
    parts: u32,
    open: Open,
    ids: Ids,
    called: bool,
    finish_reason: Option<Box<str>>,
    text: String,
    citations: Vec<Citation>,
    citations_sent: usize,
    searches: u64,
}

/// The part that is open.
enum Open {
    Nothing,
    Text,
    Thought,
    /// A call whose arguments come in pieces.
    Call(Partial),
}

impl Decoder {
    pub(super) fn new(memo: &Memo) -> Self {
        let calls_before = memo.get::<Sent>().map_or(0, |sent| sent.calls);
        Self { calls_before, state: State::Idle, candidates: Vec::new(), usage: Usage::default() }
    }

    /// Reads one answer or frame. A refused prompt is a fault.
    pub(super) fn answer(&mut self, answer: &Answer<'_>, emit: &mut Emit<'_>) -> Result<(), WireError> {
        if self.state == State::Failed {
            return Ok(());
        }
        if let Some(error) = answer.error {
            self.state = State::Failed;
            emit(Event::Fault(fault::in_answer(error)));
            return Ok(());
        }
        if self.state == State::Idle {
            self.state = State::Started;
            emit(Event::Start {
                id: answer.response_id.as_ref().map(|text| text.0.as_ref().into()),
                model: answer.model_version.as_ref().map(|text| text.0.as_ref().into()),
                created: None,
            });
        }
        // Before the parts: protocols that state the input at the start of a stream learn it in time.
        if let Some(wire) = answer.usage_metadata {
            usage::restate(&mut self.usage, wire);
            if !self.usage.is_empty() {
                emit(Event::Usage { usage: self.usage.clone(), is_final: false });
            }
        }
        for (n, wire) in answer.candidates.iter().flatten().enumerate() {
            let index = wire.index.or_else(|| u32::try_from(n).ok()).unwrap_or(0);
            let id = answer.response_id.as_ref().map_or("", |text| &text.0);
            self.candidate(index, id).read(wire, emit)?;
        }
        let searches = self.candidates.iter().map(|candidate| candidate.searches).fold(0, u64::saturating_add);
        if searches > 0 {
            self.usage.web_searches = Some(searches);
        }
        Ok(())
    }

    /// A prompt that was refused outright: nothing was answered, and this frame says why.
    pub(super) fn refused<'f, 'a>(&self, answer: &'f Answer<'a>) -> Option<&'f PromptFeedback<'a>> {
        let answered = !self.candidates.is_empty() || answer.candidates.as_ref().is_some_and(|candidates| !candidates.is_empty());
        answer.prompt_feedback.as_ref().filter(|feedback| !answered && feedback.block_reason.is_some())
    }

    /// The answer is over: closes what is open, then tells how each choice ended.
    pub(super) fn close(&mut self, emit: &mut Emit<'_>) -> Result<(), WireError> {
        if self.state == State::Failed {
            return Ok(());
        }
        let unfinished = self.candidates.iter().any(|candidate| candidate.finish_reason.is_none());
        if unfinished || self.candidates.is_empty() {
            return Err(WireError::new("the answer ended without a finishReason"));
        }
        for candidate in &mut self.candidates {
            candidate.finish(emit);
        }
        for candidate in &self.candidates {
            let native = candidate.finish_reason.as_deref().unwrap_or_default();
            emit(Event::Finish { choice: candidate.index, finish: finish::decode(native, candidate.called) });
        }
        if !self.usage.is_empty() {
            emit(Event::Usage { usage: std::mem::take(&mut self.usage), is_final: true });
        }
        emit(Event::End);
        Ok(())
    }

    fn candidate(&mut self, index: u32, answer_id: &str) -> &mut Candidate {
        let known = self.candidates.iter().position(|candidate| candidate.index == index);
        let at = known.unwrap_or_else(|| {
            let mut ids = Ids::new(self.calls_before, index);
            ids.answer(answer_id);
            self.candidates.push(Candidate::new(index, ids));
            self.candidates.len() - 1
        });
        &mut self.candidates[at]
    }
}

impl EventDecoder for Decoder {
    fn decode(&mut self, frame: Frame<'_>, emit: &mut Emit<'_>) -> Result<(), WireError> {
        if frame.data.trim_ascii().is_empty() {
            return Ok(());
        }
        let answer = parse(frame.data)?;
        if let Some(feedback) = self.refused(&answer) {
            let fault = fault::blocked(feedback);
            self.answer(&answer, emit)?;
            self.state = State::Failed;
            emit(Event::Fault(fault));
            return Ok(());
        }
        self.answer(&answer, emit)
    }

    fn finish(&mut self, emit: &mut Emit<'_>) -> Result<(), WireError> {
        self.close(emit)
    }
}

/// Parses an answer or a frame. Errors inside a stream come wrapped in an array now and then.
pub(super) fn parse(data: &[u8]) -> Result<Answer<'_>, WireError> {
    let data = data.trim_ascii();
    let invalid = |error: serde_json::Error| WireError::new(format!("not a Gemini answer: {error}"));
    if data.starts_with(b"[") {
        let [answer] = serde_json::from_slice::<[Answer<'_>; 1]>(data).map_err(invalid)?;
        return Ok(answer);
    }
    serde_json::from_slice(data).map_err(invalid)
}

impl Candidate {
    fn new(index: u32, ids: Ids) -> Self {
        Self {
            index,
            parts: 0,
            open: Open::Nothing,
            ids,
            called: false,
            finish_reason: None,
            text: String::new(),
            citations: Vec::new(),
            citations_sent: 0,
            searches: 0,
        }
    }

    fn read(&mut self, wire: &WireCandidate<'_>, emit: &mut Emit<'_>) -> Result<(), WireError> {
        let raws = wire.content.iter().flat_map(|content| content.parts.iter().flatten());
        let parts = raws.map(|raw| part::decode(raw));
        if wire.citation_metadata.is_none() && wire.grounding_metadata.is_none() {
            for part in parts {
                let part = part?;
                self.keep(&part);
                self.part(part, emit)?;
            }
        } else {
            // Sources come beside the parts they belong to, so they must be known before those parts end.
            let parts = parts.collect::<Result<Vec<_>, _>>()?;
            parts.iter().for_each(|part| self.keep(part));
            self.sources(wire);
            for part in parts {
                self.part(part, emit)?;
            }
        }
        if let Some(raw) = wire.logprobs_result.as_ref().and_then(logprobs::decode) {
            emit(Event::Logprobs { choice: self.index, raw });
        }
        if let Some(reason) = &wire.finish_reason {
            self.finish_reason = Some(reason.0.as_ref().into());
        }
        Ok(())
    }

    fn keep(&mut self, part: &part::Part<'_>) {
        if let part::Body::Text { text, thought: false } = &part.body
            && self.text.len() < TEXT_KEPT_MAX
        {
            self.text.push_str(text);
        }
    }

    fn part(&mut self, wire: part::Part<'_>, emit: &mut Emit<'_>) -> Result<(), WireError> {
        let part::Part { body, seal, extras } = wire;
        match body {
            part::Body::Text { text, thought } => {
                let wanted = if thought { Open::Thought } else { Open::Text };
                if std::mem::discriminant(&self.open) != std::mem::discriminant(&wanted) {
                    if text.is_empty() && seal.is_none() && extras.is_none() {
                        return Ok(());
                    }
                    self.close(emit);
                    self.start(if thought { PartKind::Reasoning } else { PartKind::Text }, emit);
                    self.open = wanted;
                }
                if !text.is_empty() {
                    self.delta(Delta::Text(text), emit);
                }
                let sealed = seal.is_some();
                self.beside(seal, extras, emit);
                if sealed {
                    self.close(emit);
                }
            }
            part::Body::Call(call) => self.call(&call, seal, extras, emit)?,
            part::Body::Media(media) => {
                self.close(emit);
                self.start(PartKind::Media(Box::new(media)), emit);
                self.beside(seal, extras, emit);
                self.end(emit);
            }
            part::Body::Opaque(raw) => {
                self.close(emit);
                self.start(PartKind::Opaque { origin: GEMINI, raw }, emit);
                self.end(emit);
            }
        }
        Ok(())
    }

    fn call(&mut self, wire: &FunctionCall<'_>, seal: Option<Seal>, extras: Option<Extras>, emit: &mut Emit<'_>) -> Result<(), WireError> {
        let goes_on = wire.will_continue == Some(true);
        let continues = matches!(self.open, Open::Call(_)) && wire.name.as_ref().is_none_or(|name| name.0.is_empty());
        if !continues {
            self.close(emit);
            let name = wire.name.as_ref().map_or("", |text| &text.0);
            let args = wire.args.map_or("{}", |raw| raw.get());
            let id = match &wire.id {
                Some(id) if !id.0.is_empty() => id.0.as_ref().into(),
                Some(_) | None => self.ids.next(name, args).into(),
            };
            self.called = true;
            self.start(PartKind::ToolCall { id, name: name.into(), kind: ToolKind::Function }, emit);
            if !goes_on && wire.partial_args.is_none() {
                self.beside(seal, extras, emit);
                self.delta(Delta::Text(args.into()), emit);
                self.end(emit);
                return Ok(());
            }
            self.open = Open::Call(Partial::default());
        }
        self.beside(seal, extras, emit);
        if let Open::Call(partial) = &mut self.open {
            for piece in wire.partial_args.iter().flatten() {
                partial.add(piece)?;
            }
        }
        if !goes_on {
            self.close(emit);
        }
        Ok(())
    }

    /// Takes note of sources. Later frames restate them, perhaps knowing more of where they belong.
    fn sources(&mut self, wire: &WireCandidate<'_>) {
        let mut found = Vec::new();
        let answer = if self.text.len() < TEXT_KEPT_MAX { self.text.as_str() } else { "" };
        if let Some(metadata) = &wire.citation_metadata {
            found.append(&mut citations::recited(metadata, answer));
        }
        if let Some(metadata) = &wire.grounding_metadata {
            found.append(&mut citations::grounded(metadata, answer));
            let queries = metadata.web_search_queries.as_ref().map_or(0, Vec::len) as u64;
            self.searches = self.searches.max(queries);
        }
        for citation in found {
            let same = |known: &Citation| known.raw == citation.raw && known.cited_text == citation.cited_text;
            match self.citations.iter().position(same) {
                Some(n) if n >= self.citations_sent => self.citations[n] = citation,
                Some(_sent) => {}
                None => self.citations.push(citation),
            }
        }
    }

    /// Ends the open part, if one is open. Sources known by then belong to the text that ends.
    fn close(&mut self, emit: &mut Emit<'_>) {
        match std::mem::replace(&mut self.open, Open::Nothing) {
            Open::Nothing => {}
            Open::Text => {
                self.cite(emit);
                self.end(emit);
            }
            Open::Thought => self.end(emit),
            Open::Call(partial) => {
                self.delta(Delta::Text(partial.text().into()), emit);
                self.end(emit);
            }
        }
    }

    /// Ends the choice. Sources that came after the last text had ended get an empty one to hang on.
    fn finish(&mut self, emit: &mut Emit<'_>) {
        self.close(emit);
        if self.citations_sent < self.citations.len() {
            self.start(PartKind::Text, emit);
            self.cite(emit);
            self.end(emit);
        }
    }

    fn cite(&mut self, emit: &mut Emit<'_>) {
        for citation in &self.citations[self.citations_sent..] {
            emit(Event::Delta { choice: self.index, part: self.parts, delta: Delta::Citation(Box::new(citation.clone())) });
        }
        self.citations_sent = self.citations.len();
    }

    fn start(&self, kind: PartKind<'_>, emit: &mut Emit<'_>) {
        emit(Event::PartStart { choice: self.index, part: self.parts, kind });
    }

    fn delta(&self, delta: Delta<'_>, emit: &mut Emit<'_>) {
        emit(Event::Delta { choice: self.index, part: self.parts, delta });
    }

    fn beside(&self, seal: Option<Seal>, extras: Option<Extras>, emit: &mut Emit<'_>) {
        if let Some(seal) = seal {
            self.delta(Delta::Seal(seal), emit);
        }
        if let Some(extras) = extras {
            self.delta(Delta::Extras(extras), emit);
        }
    }

    fn end(&mut self, emit: &mut Emit<'_>) {
        emit(Event::PartEnd { choice: self.index, part: self.parts });
        self.parts += 1;
    }
}

#[cfg(test)]
mod tests;
