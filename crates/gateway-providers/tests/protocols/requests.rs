//! Answers in the caller's protocol from every provider.

use gateway_core::{FaultKind, Mode, ReplyBody};
use serde_json::{Value, json};

use crate::caller::{Asking, Caller, PROVIDERS, Served};

const CALLERS: [Caller; 2] = [Caller::OpenAi, Caller::Anthropic];

#[tokio::test]
async fn every_provider_answers_every_caller_whole_and_streamed() {
    for (id, model) in PROVIDERS {
        let served = Served::in_process(id, model);
        for caller in CALLERS {
            let whole =
                served.text(&Asking::new(caller, caller.ask("hello", false))).await.unwrap_or_else(|fault| panic!("{id}: {fault:?}"));
            let value: Value = serde_json::from_str(&whole).expect("JSON");
            assert_eq!(value["model"], "public", "{id} {whole}");
            let text = value.pointer("/choices/0/message/content").or(value.pointer("/content/0/text")).and_then(Value::as_str);
            let text = text.unwrap_or_else(|| panic!("{id}: {whole}"));

            let stream =
                served.text(&Asking::new(caller, caller.ask("hello", true))).await.unwrap_or_else(|fault| panic!("{id}: {fault:?}"));
            let end = if caller == Caller::OpenAi { "data: [DONE]\n\n" } else { "event: message_stop\n" };
            assert!(stream.contains(end), "{id} {caller:?} {stream}");
            assert!(!stream.contains(model), "the upstream's name is rewritten: {stream}");
            assert_eq!(streamed_text(&stream), text, "{id} {caller:?}");
        }
    }
}

fn streamed_text(stream: &str) -> String {
    let values = stream.lines().filter_map(|line| line.strip_prefix("data: ")).filter_map(|data| serde_json::from_str::<Value>(data).ok());
    values
        .filter_map(|value| Some(value.pointer("/choices/0/delta/content").or(value.pointer("/delta/text"))?.as_str()?.to_owned()))
        .collect()
}

#[tokio::test]
async fn the_meter_knows_what_a_stream_used() {
    for (id, model) in PROVIDERS {
        let served = Served::in_process(id, model);
        for caller in CALLERS {
            let mut reply = served.ask(&Asking::new(caller, caller.ask("hello", true))).await.expect("answered");
            reply.commit().await.expect("it has content");
            let meter = reply.meter.clone();
            gateway_core::testing::read_body(reply).await;
            let (usage, is_final, bytes) = meter.read(|reading| (reading.usage.clone(), reading.usage_final, reading.content_bytes));
            assert!(
                is_final && usage.input_tokens() == 5 && usage.output_tokens() >= 12 && bytes > 20,
                "{id} {caller:?} {usage:?} {bytes}"
            );
        }
    }
}

#[tokio::test]
async fn over_a_socket_the_answer_is_the_same() {
    for (id, model) in PROVIDERS {
        let (inside, outside) = (Served::in_process(id, model), Served::on_a_socket(id, model, "[]").await);
        for stream in [false, true] {
            let mut asking = Asking::new(Caller::Anthropic, Caller::Anthropic.ask("hello", stream));
            let here = inside.text(&asking).await.expect("answered");
            asking.mode = Mode::Live;
            let there = outside.text(&asking).await.unwrap_or_else(|fault| panic!("{id}: {fault:?}"));
            assert_eq!(here, there, "{id} {stream}");
        }
    }
}

#[tokio::test]
async fn tokens_are_counted_by_anthropic_and_by_nobody_else() {
    let body = json!({ "model": "public", "messages": [{ "role": "user", "content": "four and four" }] });
    let mut asking = Asking::new(Caller::Anthropic, body);
    asking.path = "/v1/messages/count_tokens";
    asking.headers = vec![("anthropic-version", "2023-06-01")];
    let served = Served::in_process("anthropic", "claude-sonnet-4-5");
    let reply = served.ask(&asking).await.expect("counted");
    assert!(matches!(&reply.body, ReplyBody::Whole(bytes) if bytes == r#"{"input_tokens":7}"#));
    let fault = Served::in_process("openai", "gpt-4.1").ask(&asking).await.err().expect("not served");
    assert_eq!(fault.kind(), FaultKind::NotFound);
}

#[tokio::test]
async fn tools_and_reasoning_reach_the_caller_from_every_provider() {
    for (id, model) in PROVIDERS {
        let served = Served::in_process(id, model);
        let mut body = Caller::OpenAi.ask("the weather in Oslo and Quito", false);
        body["tools"] = json!([{ "type": "function", "function": { "name": "get_weather", "parameters": { "type": "object", "properties": { "city": { "type": "string" } } } } }]);
        let whole = served.text(&Asking::new(Caller::OpenAi, body)).await.unwrap_or_else(|fault| panic!("{id}: {fault:?}"));
        let value: Value = serde_json::from_str(&whole).expect("JSON");
        let calls = value.pointer("/choices/0/message/tool_calls").and_then(Value::as_array).map_or(0, Vec::len);
        assert_eq!((calls, &value["choices"][0]["finish_reason"]), (2, &json!("tool_calls")), "{id} {whole}");
    }
}
