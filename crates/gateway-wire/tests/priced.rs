//! The price that an answer states: all that differs from the same answer unpriced, and a price of just what the meter is
//! told, on both paths, of every fixture, however a stream is cut.

#[expect(dead_code, reason = "the test programs share the harness, and each uses its part")]
#[path = "harness/case.rs"]
mod case;
#[path = "harness/codecs.rs"]
mod codecs;
#[expect(dead_code, reason = "the test programs share the harness, and each uses its part")]
#[path = "harness/golden.rs"]
mod golden;
#[expect(dead_code, reason = "the test programs share the harness, and each uses its part")]
#[path = "harness/replay.rs"]
mod replay;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use case::Case;
use gateway_core::{
    Attempt, AttemptEnd, AttemptLog, Deployment, Egress, Losses, Memo, Meter, PartialUsage, Pricer, RelayCtx, RenderCtx, Signal, Used,
};
use replay::Played;
use serde_json::Value;

/// Prices by a rule that needs every figure it is given, and remembers what it was asked last.
#[derive(Default)]
struct Prices(Mutex<Option<Used>>);

impl AttemptLog for Prices {
    fn started(&self, _attempt: &Attempt) {}

    fn ended(&self, _ordinal: u32, _end: AttemptEnd, _seen: &PartialUsage) {}

    fn price(&self, _deployment: &Arc<Deployment>, used: &Used) -> Option<Box<str>> {
        *self.0.lock().expect("no test panics here") = Some(used.clone());
        Some(price_of(used).into())
    }
}

fn price_of(used: &Used) -> String {
    let tier = used.usage.service_tier.as_ref().map_or(0, |tier| tier.len() as u64);
    format!("{}.{:09}", u64::from(used.is_final), used.usage.total_tokens() * 1_000_000 + used.content_bytes * 100 + tier)
}

/// As [`Case::render`], with a price.
fn priced(case: &Case) -> (RelayCtx, Arc<Prices>) {
    let prices = Arc::new(Prices::default());
    let deployment = case.deployment(gateway_core::Protocol::new("any"));
    let price = Pricer::new(Arc::clone(&prices) as Arc<dyn AttemptLog>, Arc::new(deployment));
    (RelayCtx { render: RenderCtx { price, ..case.render() }, memo: Memo::default() }, prices)
}

fn plain(case: &Case) -> RelayCtx {
    RelayCtx { render: case.render(), memo: Memo::default() }
}

fn cases() -> impl Iterator<Item = (Case, Arc<dyn Egress>)> {
    let protocols = ["openai-chat", "anthropic-messages", "gemini"];
    let cases = protocols.into_iter().flat_map(Case::all);
    cases.map(|case| {
        let egress = codecs::egress(&case.protocol).expect("every protocol has a provider's half");
        (case, egress)
    })
}

/// What the meter shows at the end.
fn metered(signals: &[Signal]) -> Used {
    let meter = Meter::new();
    signals.iter().for_each(|signal| meter.record(signal.clone()));
    meter.read(|reading| Used { usage: reading.usage.clone(), is_final: reading.usage_final, content_bytes: reading.content_bytes })
}

/// The answer without the price, every other byte as it is; and how often the price stood in it.
fn without(price: &str, text: &str) -> (String, usize) {
    let member = format!(r#","cost":"{price}""#);
    (text.replace(&member, ""), text.matches(&member).count())
}

fn asked(prices: &Prices) -> Option<Used> {
    prices.0.lock().expect("no test panics here").take()
}

/// Whether a provider of the fixture states a cost of its own, which is replaced and not added.
fn has_own_cost(body: &[u8]) -> bool {
    String::from_utf8_lossy(body).contains("\"cost\"")
}

#[test]
fn a_whole_answer_states_its_price_and_is_the_same_but_for_it() {
    let mut priced_answers = 0;
    for (case, egress) in cases() {
        let Some(body) = case.read("response.json").filter(|body| egress.fault_in_body(body).is_none()) else { continue };
        let mut signals = Vec::new();
        let bare = egress.relay_whole(&plain(&case), body.clone(), &mut |signal| signals.push(signal)).expect("a sound answer");
        let used = metered(&signals);
        let (ctx, prices) = priced(&case);
        let relayed = egress.relay_whole(&ctx, body.clone(), &mut |_| {}).expect("a sound answer");
        let stated = relay_states(&case, &relayed, &bare, &used, has_own_cost(&body));
        assert_eq!(asked(&prices), stated.then(|| used.clone()), "{}: priced by other figures", case.name);
        priced_answers += u32::from(stated);

        // Of odd content the two paths count the bytes otherwise, and so do their meters.
        let answer = egress.decode(&body, &Memo::default()).expect("a sound answer");
        let used = Used::from(&answer);
        for ingress in codecs::ingresses() {
            let (ctx, prices) = priced(&case);
            let bare = ingress.encode(&answer, &case.render(), &mut Losses::new());
            let shown = ingress.encode(&answer, &ctx.render, &mut Losses::new());
            let value: Value = serde_json::from_slice(&shown).expect("JSON");
            if value["usage"].is_object() {
                assert_eq!(value["usage"]["cost"], price_of(&used), "{} as {}", case.name, ingress.protocol());
                assert_eq!(asked(&prices).as_ref(), Some(&used), "{}: priced by other figures", case.name);
            }
            if !has_own_cost(&bare) {
                let (rest, times) = without(&price_of(&used), &text(&shown));
                assert_eq!((rest, times), (text(&bare), usize::from(value["usage"].is_object())), "{}", case.name);
            }
        }
    }
    assert!(priced_answers > 20, "only {priced_answers} answers have a price");
}

/// Checks one relayed answer; whether it states a price.
fn relay_states(case: &Case, relayed: &Bytes, bare: &Bytes, used: &Used, own: bool) -> bool {
    let value: Value = serde_json::from_slice(bare).expect("JSON");
    // No caller speaks Gemini's protocol.
    if !value["usage"].is_object() || case.protocol == "gemini" {
        assert_eq!(relayed, bare, "{}: nowhere to put a price", case.name);
        return false;
    }
    let stated: Value = serde_json::from_slice(relayed).expect("JSON");
    assert_eq!(stated["usage"]["cost"], price_of(used), "{}", case.name);
    if !own {
        assert_eq!(without(&price_of(used), &text(relayed)), (text(bare), 1), "{}: another byte has changed", case.name);
    }
    true
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

#[test]
fn the_frame_with_the_final_usage_states_the_price_and_nothing_else_changes() {
    let mut priced_streams = 0;
    for (case, egress) in cases() {
        let Some(stream) = case.read("stream.sse").filter(|stream| !has_own_cost(stream)) else { continue };
        let bare = replay::relay(&case, &*egress, &plain(&case), &stream);
        let (ctx, prices) = priced(&case);
        let relayed = replay::relay(&case, &*egress, &ctx, &stream);
        priced_streams += u32::from(stream_states(&case, &relayed, &bare, &prices));
        for ingress in codecs::ingresses() {
            let (ctx, prices) = priced(&case);
            let bare = replay::transcode(&case, &*egress, &*ingress, &plain(&case), &stream);
            let shown = replay::transcode(&case, &*egress, &*ingress, &ctx, &stream);
            stream_states(&case, &shown, &bare, &prices);
        }
    }
    assert!(priced_streams > 10, "only {priced_streams} streams have a price");
}

/// Checks one stream; whether it states a price.
fn stream_states(case: &Case, priced: &Played, bare: &Played, prices: &Prices) -> bool {
    assert_eq!((&priced.signals, priced.fault), (&bare.signals, bare.fault), "{}: the meter is told otherwise", case.name);
    let Some(used) = asked(prices) else {
        assert_eq!(priced.text, bare.text, "{}: nobody was asked for a price", case.name);
        return false;
    };
    let (rest, times) = without(&price_of(&used), &priced.text);
    assert_eq!(rest, bare.text, "{}: another byte has changed", case.name);
    assert_eq!(times, 1, "{}: one frame has the final usage", case.name);
    if bare.fault.is_none() {
        assert_eq!(used, metered(&bare.signals), "{}: priced by other figures", case.name);
    }
    true
}

/// What OpenRouter answers: it says what it bills its customer, who here is the operator.
const OWN: &str = r#"{"id":"gen-1","object":"chat.completion","created":1,"model":"up","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4,"cost":1.4e-05,"is_byok":false}}"#;

fn any_case() -> Case {
    Case::all("openai-chat").into_iter().find(|case| case.name == "text").expect("the plainest case")
}

#[test]
fn a_providers_own_cost_is_kept_for_the_books_and_shown_to_nobody() {
    let case = any_case();
    let egress = codecs::egress("openai-chat").expect("a codec");
    let (ctx, prices) = priced(&case);
    let mut signals = Vec::new();
    let relayed = egress.relay_whole(&ctx, Bytes::from_static(OWN.as_bytes()), &mut |signal| signals.push(signal)).expect("sound");
    let used = asked(&prices).expect("a price was asked for");
    assert_eq!((used.usage.reported_cost, &used), (Some(14_000), &metered(&signals)));
    let price = price_of(&used);
    let expected = OWN.replace("1.4e-05", &format!("\"{price}\"")).replace("\"up\"", &format!("\"{}\"", case::MODEL));
    assert_eq!(text(&relayed), expected);

    let answer = egress.decode(OWN.as_bytes(), &Memo::default()).expect("sound");
    assert_eq!(answer.usage.as_ref().and_then(|usage| usage.reported_cost), Some(14_000));
    for ingress in codecs::ingresses() {
        let shown = text(&ingress.encode(&answer, &ctx.render, &mut Losses::new()));
        assert_eq!((shown.matches("cost").count(), shown.contains(&price)), (1, true), "{shown}");
        let bare = text(&ingress.encode(&answer, &case.render(), &mut Losses::new()));
        assert!(!bare.contains("cost"), "{bare}");
    }
}

#[test]
fn whatever_else_a_provider_says_of_its_bill_is_shown_to_nobody_and_believed_where_it_is_whole() {
    let case = any_case();
    let egress = codecs::egress("openai-chat").expect("a codec");
    for (said, believed) in [
        (r#""cost":1.4e-05,"is_byok":false,"cost_details":{"upstream_inference_cost":1.3e-05}"#, Some(14_000)),
        // The router's own fee, beside what another provider bills to the account's own key.
        (r#""cost":7e-07,"is_byok":true,"cost_details":{"upstream_inference_cost":1.4e-05}"#, None),
        (r#""cost_in_usd_ticks":37756001"#, Some(3_775_601)),
    ] {
        let (ctx, prices) = priced(&case);
        let sent = OWN.replace(r#""cost":1.4e-05,"is_byok":false"#, said);
        let relayed = egress.relay_whole(&ctx, Bytes::from(sent), &mut |_| {}).expect("sound");
        let used = asked(&prices).expect("a price was asked for");
        assert_eq!(used.usage.reported_cost, believed, "{said}");
        let shown = text(&relayed);
        assert_eq!((shown.matches("cost").count(), shown.contains(&price_of(&used))), (1, true), "{shown}");
    }
}

#[test]
fn a_cost_that_is_not_the_last_word_is_taken_out_of_a_stream() {
    let case = any_case();
    let egress = codecs::egress("openai-chat").expect("a codec");
    let chunk = |rest: &str| format!("data: {{\"id\":\"gen-1\",\"model\":\"public-model\",{rest}}}\n\n");
    let usage = |cost: &str| format!(r#""usage":{{"prompt_tokens":3,"completion_tokens":1{cost}}}"#);
    let text = r#""choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}],"#;
    let end = r#""choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"#;
    let stream = |early: &str, last: &str| {
        [chunk(&format!("{text}{}", usage(early))), chunk(&format!("{end}{}", usage(last))), "data: [DONE]\n\n".to_owned()].concat()
    };
    let (ctx, prices) = priced(&case);
    let played = replay::relay(&case, &*egress, &ctx, &Bytes::from(stream(r#","cost":0.5"#, r#","cost":0.7"#)));
    let used = asked(&prices).expect("a price was asked for");
    assert_eq!((used.usage.reported_cost, &used), (Some(700_000_000), &metered(&played.signals)));
    assert_eq!(played.text, stream("", &format!(r#","cost":"{}""#, price_of(&used))));
}

#[test]
fn an_anthropic_providers_own_cost_is_replaced_on_both_paths() {
    let case = any_case();
    let egress = codecs::egress("anthropic-messages").expect("a codec");
    let ingress = codecs::ingress("anthropic-messages").expect("a codec");
    let start = |model: &str, cost: &str| {
        format!(
            r#"{{"type":"message_start","message":{{"id":"m","type":"message","role":"assistant","model":"{model}","content":[],"stop_reason":null,"stop_sequence":null,"usage":{{"input_tokens":3{cost},"output_tokens":1}}}}}}"#
        )
    };
    let delta = |cost: &str| {
        format!(
            r#"{{"type":"message_delta","delta":{{"stop_reason":"end_turn","stop_sequence":null}},"usage":{{"output_tokens":2,"odd":[1],"cost":{cost}}}}}"#
        )
    };
    let frame = |name: &str, data: &str| format!("event: {name}\ndata: {data}\n\n");
    let stream = |start: String, cost: &str| {
        [frame("message_start", &start), frame("message_delta", &delta(cost)), frame("message_stop", r#"{"type":"message_stop"}"#)].concat()
    };
    let (ctx, prices) = priced(&case);
    let sent = Bytes::from(stream(start("up", r#","cost":0.1"#), "0.7"));
    let played = replay::relay(&case, &*egress, &ctx, &sent);
    let used = asked(&prices).expect("a price was asked for");
    assert_eq!((used.usage.reported_cost, &used), (Some(700_000_000), &metered(&played.signals)));
    assert_eq!(played.text, stream(start(case::MODEL, ""), &format!("\"{}\"", price_of(&used))));
    let rewritten = replay::transcode(&case, &*egress, &*ingress, &ctx, &sent);
    assert!(rewritten.text.contains(&format!(r#""odd":[1],"cost":"{}""#, price_of(&used))), "{}", rewritten.text);
    assert!(!rewritten.text.contains("0.7") && !rewritten.text.contains("0.1"), "{}", rewritten.text);
}
