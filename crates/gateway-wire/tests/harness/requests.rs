//! What a caller's request adds: decode, encode for every provider, round trip, fast path.

use gateway_core::{Losses, Protocol, Target};

use crate::{
    case::{Case, MODEL},
    codecs,
};

pub(crate) fn check(case: &Case, lost: &mut Vec<String>) {
    let (Some(body), Some(ingress)) = (case.read("request.json"), codecs::ingress(&case.protocol)) else { return };
    let head = case.request_head();
    let decoded = ingress.decode(&head, &body).unwrap_or_else(|e| panic!("{}: decode: {e}", case.name));
    case.golden("ir.json").json(&serde_json::to_vec(&decoded).expect("the canonical form is JSON"));

    let call = case.call(ingress.clone(), body);
    assert_eq!(call.peek().stream, decoded.stream, "{}: peek and decode disagree on streaming", case.name);
    assert_eq!(&*call.peek().model, MODEL, "{}: every fixture asks for the same public model", case.name);
    assert_eq!(call.peek().output_limit, decoded.output_tokens_max, "{}: peek and decode disagree on the output limit", case.name);

    for egress in codecs::egresses() {
        let to = egress.protocol();
        let deployment = case.deployment(to);
        let target = Target { deployment: &deployment, stream: decoded.stream, output_limit: case.source.output_limit };
        let mut losses = Losses::new();
        match egress.encode(&decoded, &target, &mut losses) {
            Ok(encoded) => {
                let headers: Vec<String> =
                    encoded.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap_or("?"))).collect();
                case.golden(&format!("to-{to}.json")).json(&encoded.body);
                case.golden(&format!("to-{to}.headers.txt")).text_or_absent(&headers.join("\n"));
                if to.as_str() == case.protocol && losses.is_empty() {
                    round_trip(case, &encoded.body, &decoded, &*ingress, to);
                }
            }
            Err(error) => case.golden(&format!("to-{to}.refused.txt")).text(&error.to_string()),
        }
        record(lost, &format!("to-{to}"), &losses);
        if to.as_str() == case.protocol {
            let mut losses = Losses::new();
            let forwarded = egress.forward(&call, &target, &mut losses);
            let text = forwarded.map(|encoded| String::from_utf8(encoded.body.to_vec()).expect("UTF-8")).unwrap_or_default();
            case.golden("forward.json").text_or_absent(&text);
            record(lost, "forward", &losses);
        }
    }
}

/// What the same protocol wrote decodes to what it was written from, but for what the target itself decides.
fn round_trip(case: &Case, encoded: &[u8], decoded: &gateway_core::ir::ChatRequest, ingress: &dyn gateway_core::Ingress, to: Protocol) {
    if !case.source.quirks.is_empty() {
        return;
    }
    let mut again = ingress.decode(&case.request_head(), encoded).unwrap_or_else(|e| panic!("{}: round trip to {to}: {e}", case.name));
    again.output_tokens_max = decoded.output_tokens_max;
    assert_eq!(&again, decoded, "{}: round trip", case.name);
}

pub(crate) fn record(lost: &mut Vec<String>, translation: &str, losses: &Losses) {
    lost.extend(losses.iter().map(|loss| format!("{translation}: {};{}", loss.path, loss.reason.as_str())));
}
