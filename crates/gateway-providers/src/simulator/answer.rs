//! What the simulated model says: decided by the seed and the question alone, the same streamed or whole.

use fastrand::Rng;
use serde_json::Value;

use super::{
    question::{Choice, Output, Question, ToolDeclared},
    schema,
};

const WORDS: [&str; 40] = [
    "a",
    "steady",
    "answer",
    "from",
    "the",
    "simulated",
    "model",
    "keeps",
    "every",
    "test",
    "honest",
    "while",
    "small",
    "clouds",
    "drift",
    "over",
    "quiet",
    "water",
    "and",
    "numbers",
    "add",
    "up",
    "again",
    "because",
    "nothing",
    "here",
    "depends",
    "on",
    "luck",
    "or",
    "time",
    "so",
    "two",
    "runs",
    "agree",
    "word",
    "for",
    "until",
    "it",
    "ends",
];

/// How a choice ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Ended {
    Stop,
    StopSequence(String),
    Length,
    Tools,
}

/// One call of a tool.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ToolCall {
    pub(super) id: String,
    pub(super) name: String,
    /// JSON text in pieces of a token each; cut short when the limit was reached.
    pub(super) arguments: Vec<String>,
}

/// One of the answers asked for. Texts are in pieces of a token each.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    pub(super) reasoning: Vec<String>,
    pub(super) text: Vec<String>,
    pub(super) calls: Vec<ToolCall>,
    pub(super) ended: Ended,
    /// Stands for the vendor's signature over the reasoning.
    pub(super) signature: String,
}

impl Answer {
    pub(super) fn reasoning_tokens(&self) -> u64 {
        self.reasoning.len() as u64
    }

    /// Text and tool calls.
    pub(super) fn visible_tokens(&self) -> u64 {
        let calls: usize = self.calls.iter().map(|call| call.arguments.len() + CALL_TOKENS).sum();
        (self.text.len() + calls) as u64
    }
}

/// A call's name and frame.
const CALL_TOKENS: usize = 4;

/// All answers to a question.
pub(super) fn answers(seed: u64, question: &Question) -> Vec<Answer> {
    (0..question.choices).map(|index| answer(seed, question, index)).collect()
}

fn answer(seed: u64, question: &Question, index: u32) -> Answer {
    let mut rng = Rng::with_seed(seed ^ question.digest.rotate_left(index));
    let reasoning = if question.reasoning { words(&mut rng, 12..24) } else { Vec::new() };
    let signature = format!("c2ltdWxhdGVk{:016x}{:016x}", rng.u64(..), rng.u64(..));
    let calls = calls(&mut rng, question);
    let text = if calls.is_empty() { text(&mut rng, question) } else { Vec::new() };
    let ended = if calls.is_empty() { Ended::Stop } else { Ended::Tools };
    let mut answer = Answer { reasoning, text, calls, ended, signature };
    stop_at(&mut answer, &question.stops);
    if let Some(limit) = question.limit {
        limit_to(&mut answer, usize::try_from(limit).unwrap_or(usize::MAX));
    }
    answer
}

fn text(rng: &mut Rng, question: &Question) -> Vec<String> {
    let json = match &question.output {
        Output::Text if question.tool_results > 0 => {
            let mut pieces = pieces_of_words(&format!("The {} tool results say", question.tool_results));
            pieces.extend(words(rng, 8..24).into_iter().map(|word| format!(" {}", word.trim_start())));
            return pieces;
        }
        Output::Text => return words(rng, 12..64),
        Output::Object => serde_json::json!({ "answer": words(rng, 3..8).concat() }),
        Output::Schema(schema) => schema::value(schema, rng),
    };
    pieces_of_json(&json.to_string())
}

/// A sentence of so many words, each with the space before it.
fn words(rng: &mut Rng, count: std::ops::Range<usize>) -> Vec<String> {
    let count = rng.usize(count);
    (0..count)
        .map(|n| {
            let word = WORDS[rng.usize(..WORDS.len())];
            let end = if n + 1 == count { "." } else { "" };
            if n == 0 { format!("{}{}{end}", word[..1].to_ascii_uppercase(), &word[1..]) } else { format!(" {word}{end}") }
        })
        .collect()
}

fn pieces_of_words(text: &str) -> Vec<String> {
    text.split_inclusive(' ').map(str::to_owned).collect()
}

/// Four bytes a piece, never inside a character.
fn pieces_of_json(text: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut piece = String::new();
    for c in text.chars() {
        piece.push(c);
        if piece.len() >= 4 {
            pieces.push(std::mem::take(&mut piece));
        }
    }
    if !piece.is_empty() {
        pieces.push(piece);
    }
    pieces
}

/// How much of a question is read for names of tools, and how many of the tools it is read for: both come from the caller.
const ASKED_MAX: usize = 4_096;
const TOOLS_MAX: usize = 128;

/// The tools the model decides to call. Left to itself it calls those that the last question names, or any when it
/// speaks of tools; twice when asked for several things at once.
fn calls(rng: &mut Rng, question: &Question) -> Vec<ToolCall> {
    let asked = question.asked.chars().take(ASKED_MAX).collect::<String>().to_lowercase();
    let chosen: Vec<&ToolDeclared> = match &question.choice {
        _ if question.tools.is_empty() => Vec::new(),
        Choice::None => Vec::new(),
        Choice::Named(name) => question.tools.iter().filter(|tool| tool.name == *name).collect(),
        // The results of the last calls are there: now the answer is given in text.
        Choice::Auto | Choice::Required if question.tool_results > 0 => Vec::new(),
        Choice::Auto | Choice::Required => {
            let named: Vec<_> = question.tools.iter().take(TOOLS_MAX).filter(|tool| names_tool(&asked, &tool.name)).collect();
            let any = question.choice == Choice::Required || asked.contains("tool");
            if named.is_empty() && any { question.tools.iter().take(1).collect() } else { named }
        }
    };
    let several = question.parallel && chosen.len() == 1 && ["parallel", "both", " and "].iter().any(|word| asked.contains(word));
    let most = if question.parallel { usize::MAX } else { 1 };
    let repeated = chosen.iter().flat_map(|tool| std::iter::repeat_n(*tool, if several { 2 } else { 1 }));
    repeated
        .take(most)
        .map(|tool| {
            let arguments = schema::value(&tool.schema, rng);
            let arguments = if arguments.is_object() { arguments } else { Value::Object(serde_json::Map::new()) };
            ToolCall { id: id(rng), name: tool.name.clone(), arguments: pieces_of_json(&arguments.to_string()) }
        })
        .collect()
}

/// Whether a text speaks of a tool: by its name, or by a longer word of it.
fn names_tool(asked: &str, name: &str) -> bool {
    let name = name.to_lowercase();
    asked.contains(&name) || name.split(['_', '-', '.']).any(|word| word.len() >= 5 && asked.contains(word))
}

/// Nine of `[A-Za-z0-9]`, which every protocol accepts.
fn id(rng: &mut Rng) -> String {
    (0..9).map(|_| rng.alphanumeric()).collect()
}

/// As many as any protocol allows.
const STOPS_MAX: usize = 16;

fn stop_at(answer: &mut Answer, stops: &[String]) {
    let whole = answer.text.concat();
    let met = stops
        .iter()
        .take(STOPS_MAX)
        .filter(|stop| !stop.is_empty())
        .filter_map(|stop| whole.find(stop.as_str()).map(|at| (at, stop)))
        .min();
    let Some((at, stop)) = met else { return };
    let mut left = at;
    answer.text.retain_mut(|piece| {
        let keep = left.min(piece.len());
        piece.truncate(keep);
        left -= keep;
        !piece.is_empty()
    });
    answer.ended = Ended::StopSequence(stop.clone());
}

fn limit_to(answer: &mut Answer, limit: usize) {
    let mut left = limit;
    let mut take = |pieces: &mut Vec<String>| {
        let cut = pieces.len() > left;
        pieces.truncate(left);
        left -= pieces.len();
        cut
    };
    let mut cut = take(&mut answer.reasoning);
    cut |= take(&mut answer.text);
    let mut calls = Vec::new();
    for mut call in std::mem::take(&mut answer.calls) {
        if left < CALL_TOKENS {
            cut = true;
            break;
        }
        left -= CALL_TOKENS;
        let most = call.arguments.len().min(left);
        cut |= most < call.arguments.len();
        call.arguments.truncate(most);
        left -= most;
        calls.push(call);
    }
    answer.calls = calls;
    if cut {
        answer.ended = Ended::Length;
    }
}
