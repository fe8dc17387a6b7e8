//! Two turns of a tool loop with Gemini behind: what the caller of another protocol sends back must reach Gemini with
//! every signature on its part and every result at its call.

use std::sync::Arc;

use gateway_core::{
    Deployment, DeploymentId, Egress, Ingress, Losses, Memo, ModelLimits, OnLoss, Pricer, ProviderId, Quirks, RenderCtx, RequestId, Target,
    Timeouts,
};
use gateway_wire::{GEMINI, anthropic::AnthropicIngress, gemini::GeminiEgress, openai_chat::OpenAiChatIngress};
use serde_json::{Value, json};

/// Gemini's first answer: a signed call with an id, or calls without ids.
fn answer(ids: bool) -> Value {
    let call = |id: &str, city: &str| {
        let mut call = json!({"name": "weather", "args": {"city": city}});
        if ids {
            call["id"] = id.into();
        }
        call
    };
    json!({"candidates": [{"content": {"role": "model", "parts": [
            {"text": "I need both.", "thought": true, "thoughtSignature": "dGhvdWdodA=="},
            {"functionCall": call("a", "Oslo"), "thoughtSignature": "c2lnbmVk"}, {"functionCall": call("b", "Rome")}]},
        "finishReason": "STOP"}], "responseId": "r", "modelVersion": "m"})
}

/// Shows the answer to the caller, lets `next` write the caller's second request, and encodes that for Gemini.
fn second_request(ingress: &dyn Ingress, ids: bool, next: impl Fn(Value) -> Value) -> (Value, Vec<String>) {
    let egress = GeminiEgress::new();
    let answer = egress.decode(answer(ids).to_string().as_bytes(), &Memo::default()).expect("an answer");
    let render = RenderCtx {
        request_id: RequestId::from_bytes([7; 16]),
        model: Arc::from("public"),
        created: 0,
        stream_usage: true,
        price: Pricer::default(),
    };
    let shown = ingress.encode(&answer, &render, &mut Losses::new());
    let body = next(serde_json::from_slice(&shown).expect("JSON")).to_string();
    let head = http::Request::post("/").body(()).expect("a head").into_parts().0;
    assert!(ingress.peek(&head, body.as_bytes()).expect("a request").foreign_seal, "the peek must see the envelope: {body}");
    let request = ingress.decode(&head, body.as_bytes()).expect("a request");
    let deployment = Deployment {
        id: DeploymentId::new("d"),
        provider: ProviderId::new("p"),
        model: Arc::from("public"),
        upstream_model: Arc::from("gemini-3"),
        protocol: GEMINI,
        weight: 1,
        limits: ModelLimits::default(),
        timeouts: Timeouts::default(),
        on_loss: OnLoss::Report,
        quirks: Quirks { thinking_by_effort: true, ..Quirks::default() },
        notice: None,
    };
    let mut losses = Losses::new();
    let target = Target { deployment: &deployment, stream: false, output_limit: None };
    let encoded = egress.encode(&request, &target, &mut losses).expect("a body");
    let losses = losses.iter().map(|loss| format!("{};{}", loss.path, loss.reason.as_str())).collect();
    (serde_json::from_slice(&encoded.body).expect("JSON"), losses)
}

fn check(ingress: &dyn Ingress, next: impl Fn(Value) -> Value) {
    for ids in [true, false] {
        let (body, losses) = second_request(ingress, ids, &next);
        let mut model = answer(ids)["candidates"][0]["content"].clone();
        let result = |id: &str, text: &str| {
            let mut response = json!({"name": "weather", "response": {"result": text}});
            if ids {
                response["id"] = id.into();
            }
            json!({"functionResponse": response})
        };
        model["role"] = "model".into();
        let expected = json!([
            {"role": "user", "parts": [{"text": "Oslo or Rome?"}]},
            model,
            {"role": "user", "parts": [result("a", "4"), result("b", "20")]},
        ]);
        assert_eq!(body["contents"], expected, "{}, ids: {ids}, {losses:?}", ingress.protocol());
        assert!(losses.is_empty(), "{losses:?}");
    }
}

#[test]
fn through_chat() {
    check(&OpenAiChatIngress::new(), |shown| {
        let message = shown["choices"][0]["message"].clone();
        let id = |n: usize| message["tool_calls"][n]["id"].clone();
        // Results come back in the order the tools ended.
        json!({"model": "public", "messages": [
            {"role": "user", "content": "Oslo or Rome?"},
            message,
            {"role": "tool", "tool_call_id": id(1), "content": "20"},
            {"role": "tool", "tool_call_id": id(0), "content": "4"},
        ]})
    });
}

#[test]
fn through_anthropic() {
    check(&AnthropicIngress::new(), |shown| {
        let content = shown["content"].clone();
        let calls: Vec<Value> = content.as_array().expect("blocks").iter().filter(|block| block["type"] == "tool_use").cloned().collect();
        let result = |n: usize, text: &str| json!({"type": "tool_result", "tool_use_id": calls[n]["id"], "content": text});
        json!({"model": "public", "max_tokens": 100, "messages": [
            {"role": "user", "content": "Oslo or Rome?"},
            {"role": "assistant", "content": content},
            {"role": "user", "content": [result(1, "20"), result(0, "4")]},
        ]})
    });
}
