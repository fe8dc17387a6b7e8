//! What is sent and what must come back. Every request carries a number that its answer must repeat.

use std::fmt::Write as _;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use serde::Deserialize;

/// Events with content in one stream.
pub(crate) const STREAM_EVENTS: usize = 64;

/// What the number follows in a prompt and in an answer.
const MARK: &[u8] = b"number ";

/// Digits of the number, so that every payload of a kind has one length.
const DIGITS: usize = 12;

/// A chat request of about 2 KB.
pub(crate) fn request(model: &str, stream: bool, number: u64) -> Bytes {
    let stream = if stream { r#","stream":true"# } else { "" };
    let padding = "The quick brown fox jumps over the lazy dog while the gateway counts its tokens. ".repeat(22);
    Bytes::from(format!(
        r#"{{"model":"{model}","messages":[{{"role":"system","content":"{padding}"}},{{"role":"user","content":"number {number:012}"}}],"temperature":0.7,"max_tokens":400{stream}}}"#
    ))
}

/// The number in a request.
pub(crate) fn number_in(body: &[u8]) -> Option<u64> {
    let at = body.windows(MARK.len()).rposition(|window| window == MARK)? + MARK.len();
    std::str::from_utf8(body.get(at..at + DIGITS)?).ok()?.parse().ok()
}

/// The top-level model of a request, which stands first or close to it.
pub(crate) fn model_in(body: &[u8]) -> Option<&str> {
    const KEY: &[u8] = br#""model":"#;
    let at = body.windows(KEY.len()).position(|window| window == KEY)? + KEY.len();
    let value = std::str::from_utf8(body.get(at..)?).ok()?.trim_start().strip_prefix('"')?;
    value.split_once('"').map(|(model, _)| model)
}

/// A whole answer of about 1.4 KB.
pub(crate) fn answer(model: &str, number: u64) -> Bytes {
    let padding = "All work and no play makes the proxy a dull process. ".repeat(20);
    Bytes::from(format!(
        r#"{{"id":"chatcmpl-bench","object":"chat.completion","created":1795435200,"model":"{model}","choices":[{{"index":0,"message":{{"role":"assistant","content":"number {number:012} {padding}","refusal":null}},"logprobs":null,"finish_reason":"stop"}}],"usage":{{"prompt_tokens":420,"completion_tokens":240,"total_tokens":660,"prompt_tokens_details":{{"cached_tokens":0}}}}}}"#
    ))
}

/// The frames of a stream, one each; the usage frame only if it was asked for, the terminator last.
pub(crate) fn frames(model: &str, number: u64, with_usage: bool) -> Vec<Bytes> {
    let head = format!(r#""id":"chatcmpl-bench","object":"chat.completion.chunk","created":1795435200,"model":"{model}""#);
    let choice = |delta: &str, finish: &str| {
        Bytes::from(format!(
            "data: {{{head},\"choices\":[{{\"index\":0,\"delta\":{delta},\"logprobs\":null,\"finish_reason\":{finish}}}]}}\n\n"
        ))
    };
    let mut frames = vec![choice(r#"{"role":"assistant","content":""}"#, "null")];
    frames.extend(words(number).iter().map(|word| choice(&format!(r#"{{"content":"{word}"}}"#), "null")));
    frames.push(choice("{}", r#""stop""#));
    if with_usage {
        let usage = format!(r#"{{"prompt_tokens":420,"completion_tokens":{STREAM_EVENTS},"total_tokens":{}}}"#, 420 + STREAM_EVENTS);
        frames.push(Bytes::from(format!("data: {{{head},\"choices\":[],\"usage\":{usage}}}\n\n")));
    }
    frames.push(Bytes::from_static(b"data: [DONE]\n\n"));
    frames
}

/// The words of a streamed answer, one an event.
fn words(number: u64) -> Vec<String> {
    (0..STREAM_EVENTS).map(|n| if n == 0 { format!("number {number:012}") } else { format!(" word{n:02} of some length") }).collect()
}

#[derive(Deserialize)]
struct Answer {
    model: String,
    choices: Vec<Choice>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Choice {
    message: Option<Content>,
    delta: Option<Content>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Content {
    content: Option<String>,
}

#[derive(Deserialize)]
struct Usage {
    total_tokens: u64,
}

/// Checks a whole answer to the request of that number.
pub(crate) fn check_answer(body: &[u8], model: &str, number: u64) -> Result<()> {
    let answer: Answer = serde_json::from_slice(body).context("the answer is not JSON")?;
    ensure!(answer.model == model, "the answer is from `{}`, not `{model}`", answer.model);
    ensure!(answer.usage.is_some_and(|usage| usage.total_tokens == 660), "the answer's usage is wrong");
    let [choice] = answer.choices.as_slice() else { bail!("the answer has {} choices", answer.choices.len()) };
    ensure!(choice.finish_reason.as_deref() == Some("stop"), "the answer is not finished");
    let content = choice.message.as_ref().and_then(|message| message.content.as_deref()).unwrap_or_default();
    ensure!(number_in(content.as_bytes()) == Some(number), "the answer belongs to another request");
    Ok(())
}

/// Checks a streamed answer to the request of that number: every word, in order, a finish, and the terminator.
pub(crate) fn check_stream(body: &[u8], model: &str, number: u64) -> Result<()> {
    let text = std::str::from_utf8(body).context("the stream is not text")?;
    let (mut content, mut finished, mut done) = (String::new(), false, false);
    for data in text.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim) {
        ensure!(!done, "something follows the terminator");
        if data == "[DONE]" {
            done = true;
            continue;
        }
        let chunk: Answer = serde_json::from_str(data).with_context(|| format!("a frame is not a chunk: {data}"))?;
        ensure!(chunk.model == model, "a chunk is from `{}`, not `{model}`", chunk.model);
        for choice in chunk.choices {
            finished |= choice.finish_reason.is_some();
            content.push_str(choice.delta.and_then(|delta| delta.content).as_deref().unwrap_or_default());
        }
    }
    ensure!(done && finished, "the stream was cut (finish: {finished}, terminator: {done})");
    let mut expected = String::new();
    for word in words(number) {
        write!(expected, "{word}")?;
    }
    ensure!(content == expected, "the stream's text is not what was sent");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_fit_their_requests_and_no_others() {
        let asked = request("m", false, 42);
        assert_eq!((model_in(&asked), number_in(&asked)), (Some("m"), Some(42)));
        assert!((1_900..2_200).contains(&asked.len()) && (1_300..1_500).contains(&answer("m", 42).len()));
        check_answer(&answer("m", 42), "m", 42).expect("it fits");
        check_answer(&answer("m", 43), "m", 42).expect_err("another number");
        check_answer(&answer("n", 42), "m", 42).expect_err("another model");
    }

    #[test]
    fn a_stream_must_be_whole() {
        for with_usage in [false, true] {
            let frames = frames("m", 7, with_usage);
            check_stream(&frames.concat(), "m", 7).expect("it is whole");
            check_stream(&frames[..frames.len() - 1].concat(), "m", 7).expect_err("no terminator");
            check_stream(&[&frames[..3], &frames[4..]].concat().concat(), "m", 7).expect_err("a word is missing");
        }
    }
}
