//! Writes a streamed answer: parts become flat deltas.

use bytes::{BufMut, Bytes, BytesMut};
use gateway_core::{
    EventEncoder, Fault, LossReason, Losses, RenderCtx, Usage, Used,
    ir::{Citation, Delta, Event, Extras, Finish, PartKind, Seal, ToolKind},
};

use super::{
    extras::write_outer,
    fault, finish, reasoning, usage,
    write_answer::{Cited, answer_id, char_count, tier_word, write_seal},
    write_messages::holder,
};
use crate::{
    OPENAI_CHAT,
    json::{Writer, write_str},
};

pub(super) struct Encoder {
    ctx: RenderCtx,
    /// Everything of a chunk before its choices; the same in all chunks.
    envelope: BytesMut,
    choices: Vec<Choice>,
    usage: Option<Usage>,
}

struct Choice {
    index: u32,
    parts: Vec<(u32, Writing)>,
    tools: u64,
    thoughts: u64,
    /// Characters of text so far; citations point into it.
    chars: u64,
}

/// What a part is to this protocol.
enum Writing {
    /// Citations that do not say which characters they support are kept until all of the part's are there.
    Text {
        from: u64,
        cited: Vec<Citation>,
    },
    /// The text is kept until the part ends: a detail holds text and signature together, and the signature comes last.
    Reasoning {
        text: String,
        seal: Option<Seal>,
        index: u64,
    },
    Refusal,
    Tool {
        index: u64,
        kind: ToolKind,
    },
    /// Not shown; the loss is recorded.
    Nothing,
}

impl Encoder {
    pub(super) fn new(ctx: &RenderCtx) -> Self {
        Self { ctx: ctx.clone(), envelope: BytesMut::new(), choices: Vec::new(), usage: None }
    }

    fn start(&mut self, id: Option<&str>, created: Option<u64>) {
        self.envelope.clear();
        self.envelope.put_slice(b"data: {\"id\":");
        write_str(&mut self.envelope, &answer_id(id, self.ctx.request_id));
        self.envelope.put_slice(b",\"object\":\"chat.completion.chunk\",\"created\":");
        self.envelope.put_slice(created.unwrap_or(self.ctx.created).to_string().as_bytes());
        self.envelope.put_slice(b",\"model\":");
        write_str(&mut self.envelope, &self.ctx.model);
        self.envelope.put_slice(b",\"choices\":[");
    }

    /// Writes one chunk with one choice; `rest` writes what follows its index.
    fn chunk(&mut self, index: u32, out: &mut BytesMut, rest: impl FnOnce(&mut Writer<'_>)) {
        if self.envelope.is_empty() {
            self.start(None, None);
        }
        out.put_slice(&self.envelope);
        let mut w = Writer::new(out);
        w.begin_object();
        w.key("index").u64(index.into());
        rest(&mut w);
        w.end_object();
        self.seal_chunk(out);
    }

    fn seal_chunk(&self, out: &mut BytesMut) {
        // With usage asked for, every chunk but the last says null.
        out.put_slice(if self.ctx.stream_usage { b"],\"usage\":null}\n\n".as_slice() } else { b"]}\n\n" });
    }

    fn delta(&mut self, index: u32, out: &mut BytesMut, delta: impl FnOnce(&mut Writer<'_>)) {
        self.chunk(index, out, |w| {
            w.key("delta").begin_object();
            delta(w);
            w.end_object();
            w.key("logprobs").null();
            w.key("finish_reason").null();
        });
    }

    /// The choice; its first chunk carries the role.
    fn choice(&mut self, index: u32, out: &mut BytesMut) -> usize {
        if let Some(at) = self.choices.iter().position(|choice| choice.index == index) {
            return at;
        }
        self.choices.push(Choice { index, parts: Vec::new(), tools: 0, thoughts: 0, chars: 0 });
        self.delta(index, out, |w| {
            w.key("role").str("assistant");
            w.key("content").null();
            w.key("refusal").null();
        });
        self.choices.len() - 1
    }

    fn part_start(&mut self, choice: u32, part: u32, kind: &PartKind<'_>, out: &mut BytesMut, losses: &mut Losses) {
        let at = self.choice(choice, out);
        let building = &mut self.choices[at];
        let writing = match kind {
            PartKind::Text => Writing::Text { from: building.chars, cited: Vec::new() },
            PartKind::Refusal => Writing::Refusal,
            PartKind::Reasoning => {
                building.thoughts += 1;
                Writing::Reasoning { text: String::new(), seal: None, index: building.thoughts - 1 }
            }
            PartKind::ToolCall { kind, .. } => {
                building.tools += 1;
                Writing::Tool { index: building.tools - 1, kind: *kind }
            }
            PartKind::Media(_) => {
                losses.push(format!("choices[{choice}].content[{part}]"), LossReason::Unsupported);
                Writing::Nothing
            }
            PartKind::Opaque { .. } => {
                losses.push(format!("choices[{choice}].content[{part}]"), LossReason::Foreign);
                Writing::Nothing
            }
        };
        if let (PartKind::ToolCall { id, name, .. }, Writing::Tool { index, kind }) = (kind, &writing) {
            let (index, (holder, field)) = (*index, holder(*kind));
            self.tool_delta(choice, index, out, |w| {
                w.key("id").str(id);
                w.key("type").str(holder);
                w.key(holder).begin_object();
                w.key("name").str(name);
                w.key(field).str("");
                w.end_object();
            });
        }
        self.choices[at].parts.push((part, writing));
    }

    fn tool_delta(&mut self, choice: u32, index: u64, out: &mut BytesMut, rest: impl FnOnce(&mut Writer<'_>)) {
        self.delta(choice, out, |w| {
            w.key("tool_calls").begin_array();
            w.begin_object();
            w.key("index").u64(index);
            rest(w);
            w.end_object();
            w.end_array();
        });
    }

    fn grow(&mut self, choice: u32, part: u32, delta: &Delta<'_>, out: &mut BytesMut, losses: &mut Losses) {
        let at = self.choice(choice, out);
        let Some((_, writing)) = self.choices[at].parts.iter_mut().rev().find(|(index, _)| *index == part) else { return };
        let path = |what: &str| format!("choices[{choice}].content[{part}].{what}");
        match (delta, writing) {
            (_, Writing::Nothing) => {}
            (Delta::Text(text), Writing::Text { .. }) => {
                self.choices[at].chars += char_count(text);
                self.delta(choice, out, |w| w.key("content").str(text));
            }
            (Delta::Text(text), Writing::Refusal) => self.delta(choice, out, |w| w.key("refusal").str(text)),
            (Delta::Text(more), Writing::Reasoning { text, .. }) => {
                text.push_str(more);
                self.delta(choice, out, |w| w.key("reasoning_content").str(more));
            }
            (Delta::Text(text), Writing::Tool { index, kind }) => {
                let (index, (holder, field)) = (*index, holder(*kind));
                self.tool_delta(choice, index, out, |w| {
                    w.key(holder).begin_object();
                    w.key(field).str(text);
                    w.end_object();
                });
            }
            (Delta::Seal(made), Writing::Reasoning { seal, .. }) => *seal = Some(made.clone()),
            (Delta::Seal(seal), Writing::Tool { index, .. }) => {
                let index = *index;
                self.tool_delta(choice, index, out, |w| write_seal(w, Some(seal)));
            }
            (Delta::Seal(_), Writing::Text { .. } | Writing::Refusal) => losses.push(path("signature"), LossReason::Unsupported),
            (Delta::Citation(citation), Writing::Text { from, cited }) => {
                let knows_its_place = citation.origin == OPENAI_CHAT || citation.start.zip(citation.end).is_some();
                let from = *from;
                match Cited::new(citation, || from..from) {
                    Some(link) if knows_its_place => self.cite(choice, &link, out),
                    Some(_) => cited.push((**citation).clone()),
                    None => losses.push(path("citations"), LossReason::Unsupported),
                }
            }
            (Delta::Citation(_), _) => losses.push(path("citations"), LossReason::Unsupported),
            (Delta::Extras(extras), Writing::Tool { index, .. }) if extras.origin == OPENAI_CHAT => {
                let index = *index;
                self.tool_delta(choice, index, out, |w| write_own(w, extras));
            }
            (Delta::Extras(extras), _) if extras.unmodelled().next().is_none() => {}
            (Delta::Extras(extras), _) => {
                let foreign = extras.origin != OPENAI_CHAT;
                losses.push(path("extras"), if foreign { LossReason::Foreign } else { LossReason::Unsupported });
            }
        }
    }

    fn cite(&mut self, choice: u32, cited: &Cited<'_>, out: &mut BytesMut) {
        self.delta(choice, out, |w| {
            w.key("annotations").begin_array();
            cited.write(w);
            w.end_array();
        });
    }

    /// The part is complete: a sealed thought's detail can be written, and the citations of all of a text.
    fn part_end(&mut self, choice: u32, part: u32, out: &mut BytesMut) {
        let Some(building) = self.choices.iter_mut().find(|building| building.index == choice) else { return };
        let Some((_, writing)) = building.parts.iter_mut().rev().find(|(index, _)| *index == part) else { return };
        let (ended, chars) = (std::mem::replace(writing, Writing::Nothing), building.chars);
        match ended {
            Writing::Reasoning { text, seal: Some(seal), index } => self.delta(choice, out, |w| {
                w.key("reasoning_details").begin_array();
                reasoning::write_detail(w, &text, Some(&seal), index);
                w.end_array();
            }),
            Writing::Text { from, cited } => {
                for cited in cited.iter().filter_map(|citation| Cited::new(citation, || from..chars)) {
                    self.cite(choice, &cited, out);
                }
            }
            Writing::Reasoning { seal: None, .. } | Writing::Refusal | Writing::Tool { .. } | Writing::Nothing => {}
        }
    }

    fn finish_choice(&mut self, choice: u32, finish: &Finish, out: &mut BytesMut) {
        self.choice(choice, out);
        self.chunk(choice, out, |w| {
            w.key("delta").begin_object();
            w.end_object();
            w.key("logprobs").null();
            finish::write(w, finish);
        });
    }
}

fn write_own(w: &mut Writer<'_>, extras: &Extras) {
    let _ = write_outer(w, Some(extras), &[]);
}

impl EventEncoder for Encoder {
    fn encode(&mut self, event: &Event<'_>, out: &mut BytesMut, losses: &mut Losses) {
        match event {
            Event::Start { id, created, .. } => self.start(id.as_deref(), *created),
            Event::PartStart { choice, part, kind } => self.part_start(*choice, *part, kind, out, losses),
            Event::Delta { choice, part, delta } => self.grow(*choice, *part, delta, out, losses),
            Event::PartEnd { choice, part } => self.part_end(*choice, *part, out),
            Event::Logprobs { choice, raw } => {
                self.choice(*choice, out);
                self.chunk(*choice, out, |w| {
                    w.key("delta").begin_object();
                    w.end_object();
                    w.key("logprobs").raw(raw.text());
                    w.key("finish_reason").null();
                });
            }
            Event::Finish { choice, finish } => self.finish_choice(*choice, finish, out),
            Event::Usage { usage, .. } => self.usage.get_or_insert_default().restate(usage),
            Event::Opaque { origin, raw } if *origin == OPENAI_CHAT => {
                if self.envelope.is_empty() {
                    self.start(None, None);
                }
                out.put_slice(&self.envelope);
                out.put_slice(raw.text().as_bytes());
                self.seal_chunk(out);
            }
            Event::Opaque { .. } => losses.push("event", LossReason::Foreign),
            // Whoever drives the encoder ends a failed stream with `interrupt`, and a good one with `finish`.
            Event::Fault(_) | Event::End => {}
        }
    }

    fn finish(&mut self, used: &Used, out: &mut BytesMut) {
        if self.ctx.stream_usage
            && let Some(usage) = self.usage.take()
        {
            if self.envelope.is_empty() {
                self.start(None, None);
            }
            out.put_slice(&self.envelope);
            out.put_slice(b"],\"usage\":");
            usage::write(&mut Writer::new(out), &usage, self.ctx.price.price(used).as_deref());
            if let Some(tier) = &usage.service_tier {
                out.put_slice(b",\"service_tier\":");
                write_str(out, tier_word(tier));
            }
            out.put_slice(b"}\n\n");
        }
        out.put_slice(b"data: [DONE]\n\n");
    }

    fn interrupt(&mut self, fault: &Fault, out: &mut BytesMut) {
        interrupt(fault, out);
    }

    fn keep_alive(&self) -> Bytes {
        Bytes::from_static(b": keep-alive\n\n")
    }
}

/// The error event of this protocol; no terminator follows it.
pub(super) fn interrupt(fault: &Fault, out: &mut BytesMut) {
    out.put_slice(b"data: ");
    fault::write(out, fault);
    out.put_slice(b"\n\n");
}
