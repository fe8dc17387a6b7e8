//! A provider's protocol made for these tests: one JSON object whole, lines of text streamed.

use std::collections::VecDeque;

use bytes::Bytes;
use gateway_core::{
    Call, Egress, Encoded, EventDecoder, Fault, FaultKind, Frame, Framer, LossReason, Losses, Memo, Origin, Protocol, Relay, RelayCtx,
    Retry, Signal, Target, Usage, WireError,
    ir::{ChatRequest, ChatResponse, Choice, Delta, Event, Finish, FinishReason, Part, PartKind},
};
use http::response;
use serde_json::{Value, json};

/// A stream is `text WORD` lines and `end`; a whole answer `{"text": …}`; an error `{"error": {"kind": …}}`.
pub(crate) struct HouseEgress(pub Protocol);

impl Egress for HouseEgress {
    fn protocol(&self) -> Protocol {
        self.0
    }

    fn encode(&self, request: &ChatRequest, target: &Target<'_>, losses: &mut Losses) -> Result<Encoded, WireError> {
        for (index, _) in request.tools.iter().enumerate() {
            losses.push(format!("tools[{index}]"), LossReason::Unsupported);
        }
        let body = json!({ "model": &*target.deployment.upstream_model, "stream": target.stream, "encoded": true });
        Ok(Encoded::body(body.to_string()))
    }

    fn forward(&self, call: &Call, _target: &Target<'_>, _losses: &mut Losses) -> Option<Encoded> {
        Some(Encoded::body(call.body().clone()))
    }

    fn decode(&self, body: &[u8], _memo: &Memo) -> Result<ChatResponse, WireError> {
        let value: Value = serde_json::from_slice(body).map_err(|error| WireError::new(error.to_string()))?;
        let text = value["text"].as_str().ok_or_else(|| WireError::at("text", "is missing"))?;
        let finish = Finish::new(FinishReason::Stop);
        let choice = Choice { index: 0, parts: vec![Part::text(text)], finish, logprobs: None, extras: None };
        let usage = Usage { output_text: Some(1), ..Usage::default() };
        Ok(ChatResponse { choices: vec![choice], usage: Some(usage), ..ChatResponse::default() })
    }

    fn fault_in_body(&self, body: &[u8]) -> Option<Fault> {
        let value: Value = serde_json::from_slice(body).ok()?;
        value.get("error").map(|_| upstream(FaultKind::Overloaded))
    }

    fn framer(&self) -> Box<dyn Framer> {
        Box::new(Lines(Vec::new()))
    }

    fn event_decoder(&self, _memo: Memo) -> Box<dyn EventDecoder> {
        Box::new(Words { started: false, ended: false })
    }

    fn relay(&self, _ctx: &RelayCtx) -> Box<dyn Relay> {
        Box::new(Passing { tail: Vec::new() })
    }

    fn relay_whole(&self, _ctx: &RelayCtx, body: Bytes, emit: &mut dyn FnMut(Signal)) -> Result<Bytes, Fault> {
        if let Some(fault) = self.fault_in_body(&body) {
            return Err(fault);
        }
        self.decode(&body, &Memo::default()).map_err(WireError::into_upstream_fault)?;
        emit(Signal::Finish(FinishReason::Stop));
        Ok(body)
    }

    fn decode_fault(&self, head: &response::Parts, body: &Bytes) -> Fault {
        let message = format!("status {} with {} bytes", head.status.as_u16(), body.len());
        let fault = |kind, retry| Fault::new(kind, Origin::Provider, message.clone()).with_retry(retry);
        let seconds = head.headers.get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        match head.status.as_u16() {
            401 => fault(FaultKind::Unavailable, Retry::NextDeployment).blaming_credential(),
            403 => fault(FaultKind::Unavailable, Retry::NextDeployment).blaming_access(),
            429 => fault(FaultKind::RateLimited, Retry::SameDeployment)
                .with_retry_after(seconds.map(std::time::Duration::from_secs))
                .blaming_credential(),
            400 => fault(FaultKind::InvalidRequest, Retry::Never),
            _ => fault(FaultKind::UpstreamError, Retry::SameDeployment).after_work_began(),
        }
    }
}

fn upstream(kind: FaultKind) -> Fault {
    Fault::new(kind, Origin::Provider, "the house is full").with_retry(Retry::NextDeployment).after_work_began()
}

struct Lines(Vec<u8>);

impl Framer for Lines {
    fn push(&mut self, chunk: &[u8], each: &mut dyn FnMut(Frame<'_>) -> Result<(), WireError>) -> Result<(), WireError> {
        self.0.extend_from_slice(chunk);
        while let Some(end) = self.0.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.0.drain(..=end).collect();
            each(Frame { name: None, data: &line[..end] })?;
        }
        Ok(())
    }

    fn finish(&mut self, _each: &mut dyn FnMut(Frame<'_>) -> Result<(), WireError>) -> Result<(), WireError> {
        if self.0.is_empty() { Ok(()) } else { Err(WireError::new("ended inside a line")) }
    }
}

struct Words {
    started: bool,
    ended: bool,
}

impl EventDecoder for Words {
    fn decode(&mut self, frame: Frame<'_>, emit: &mut dyn FnMut(Event<'_>)) -> Result<(), WireError> {
        let line = std::str::from_utf8(frame.data).map_err(|error| WireError::new(error.to_string()))?;
        if line == "end" {
            self.ended = true;
            emit(Event::Finish { choice: 0, finish: Finish::new(FinishReason::Stop) });
            return Ok(());
        }
        if line == "error" {
            emit(Event::Fault(upstream(FaultKind::Overloaded)));
            return Ok(());
        }
        let word = line.strip_prefix("text ").ok_or_else(|| WireError::new("not a line of the house"))?;
        if !std::mem::replace(&mut self.started, true) {
            emit(Event::PartStart { choice: 0, part: 0, kind: PartKind::Text });
        }
        emit(Event::Delta { choice: 0, part: 0, delta: Delta::Text(word.into()) });
        Ok(())
    }

    fn finish(&mut self, emit: &mut dyn FnMut(Event<'_>)) -> Result<(), WireError> {
        if !self.ended {
            return Err(WireError::new("the stream ended without `end`"));
        }
        emit(Event::End);
        Ok(())
    }
}

/// Forwards whatever comes and remembers only how it ended.
struct Passing {
    tail: Vec<u8>,
}

impl Relay for Passing {
    fn push(&mut self, chunk: Bytes, out: &mut VecDeque<Bytes>, emit: &mut dyn FnMut(Signal)) -> Result<(), Fault> {
        self.tail.extend_from_slice(&chunk);
        self.tail.drain(..self.tail.len().saturating_sub(4));
        emit(Signal::Content { bytes: chunk.len() });
        emit(Signal::Commit);
        out.push_back(chunk);
        Ok(())
    }

    fn finish(&mut self, _out: &mut VecDeque<Bytes>, _emit: &mut dyn FnMut(Signal)) -> Result<(), Fault> {
        if self.tail == b"end\n" { Ok(()) } else { Err(WireError::new("cut").into_upstream_fault()) }
    }

    fn interrupt(&mut self, fault: &Fault, out: &mut VecDeque<Bytes>) {
        out.push_back(Bytes::from(format!("!{}\n", fault.kind().as_str())));
    }

    fn keep_alive(&self) -> Bytes {
        Bytes::from_static(b"\n")
    }
}
