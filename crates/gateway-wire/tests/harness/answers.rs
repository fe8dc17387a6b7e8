//! What a provider's answer adds: decode, write for every caller, fold, fast path, faults.

use gateway_core::{Fault, Losses, Memo, RelayCtx, Signal, ir::ChatResponse};

use crate::{
    case::Case,
    codecs, ladder,
    replay::{self, Played},
    requests::record,
};

pub(crate) fn check(case: &Case, lost: &mut Vec<String>) {
    let whole = whole(case, lost);
    let folded = stream(case, lost);
    if let (Some(whole), Some(folded)) = (&whole, &folded)
        && case.source.folds.unwrap_or(true)
    {
        let mut whole = whole.clone();
        // A stream has no place for unknown fields of the envelope.
        whole.extras = None;
        whole.choices.iter_mut().for_each(|choice| choice.extras = None);
        let shown = |answer: &ChatResponse| serde_json::to_value(answer).expect("the canonical form is JSON");
        assert_eq!(shown(folded), shown(&whole), "{}: the folded stream is not the whole answer", case.name);
    }
    error(case);
}

fn whole(case: &Case, lost: &mut Vec<String>) -> Option<ChatResponse> {
    let body = case.read("response.json")?;
    let egress = codecs::egress(&case.protocol)?;
    if let Some(fault) = egress.fault_in_body(&body) {
        case.golden("fault.txt").text(&shown(&fault));
        return None;
    }
    let answer = egress.decode(&body, &Memo::default()).unwrap_or_else(|e| panic!("{}: decode: {e}", case.name));
    case.golden("response-ir.json").json(&serde_json::to_vec(&answer).expect("the canonical form is JSON"));
    for ingress in codecs::ingresses() {
        let to = ingress.protocol();
        let mut losses = Losses::new();
        case.golden(&format!("answer-{to}.json")).json(&ingress.encode(&answer, &case.render(), &mut losses));
        record(lost, &format!("answer-{to}"), &losses);
    }
    let mut signals = Vec::new();
    let relayed = egress.relay_whole(&relay_ctx(case), body, &mut |signal| signals.push(signal));
    let relayed = relayed.unwrap_or_else(|e| panic!("{}: relay_whole: {e}", case.name));
    case.golden("relay.json").text(std::str::from_utf8(&relayed).expect("UTF-8"));
    assert_usage(case, &signals, &answer);
    Some(answer)
}

fn assert_usage(case: &Case, signals: &[Signal], answer: &ChatResponse) {
    let usage = signals.iter().find_map(|signal| match signal {
        Signal::Usage { usage, is_final: true } => Some(usage),
        _ => None,
    });
    assert_eq!(usage, answer.usage.as_ref(), "{}: the relay's usage is not the decoder's", case.name);
    let finish = signals.iter().find_map(|signal| match signal {
        Signal::Finish(reason) => Some(*reason),
        _ => None,
    });
    assert_eq!(finish, answer.choices.first().map(|choice| choice.finish.reason), "{}: the relay's finish", case.name);
}

fn relay_ctx(case: &Case) -> RelayCtx {
    RelayCtx { render: case.render(), memo: Memo::default() }
}

fn stream(case: &Case, lost: &mut Vec<String>) -> Option<ChatResponse> {
    let stream = case.read("stream.sse")?;
    let egress = codecs::egress(&case.protocol)?;
    let (events, folded) = replay::decode(case, &*egress, &stream);
    case.golden("events.txt").text(&events);
    for ingress in codecs::ingresses() {
        let to = ingress.protocol();
        let mut losses = Losses::new();
        let played = replay::transcode(case, &*egress, &*ingress, &relay_ctx(case), &stream);
        for signal in &played.signals {
            if let Signal::Loss(loss) = signal {
                losses.push(loss.path.clone(), loss.reason);
            }
        }
        record(lost, &format!("stream-{to}"), &losses);
        end(case, &played);
        ladder::check(to.as_str(), &played.text).unwrap_or_else(|e| panic!("{} as {to}: {e}", case.name));
        case.golden(&format!("answer-{to}.sse")).text(&played.text);
        if to.as_str() == case.protocol {
            let relayed = replay::relay(case, &*egress, &relay_ctx(case), &stream);
            end(case, &relayed);
            assert_eq!(metered(&relayed), metered(&played), "{}: relay and transcoder meter differently", case.name);
            case.golden("relay.sse").text(&relayed.text);
        }
    }
    if codecs::ingress(&case.protocol).is_none() {
        let relayed = replay::relay(case, &*egress, &relay_ctx(case), &stream);
        end(case, &relayed);
        case.golden("relay.sse").text(&relayed.text);
    }
    folded
}

fn end(case: &Case, played: &Played) {
    assert_eq!(played.fault.is_some(), case.source.cut, "{}: fault {:?}", case.name, played.fault);
}

/// What the meter would show: bytes of content, the usage, the finish.
fn metered(played: &Played) -> String {
    let meter = gateway_core::Meter::new();
    played.signals.iter().for_each(|signal| meter.record(signal.clone()));
    meter.read(|reading| format!("{} {:?} {} {:?}", reading.content_bytes, reading.usage, reading.usage_final, reading.finish))
}

fn error(case: &Case) {
    let (Some(body), Some(egress)) = (case.read("error.json"), codecs::egress(&case.protocol)) else { return };
    let fault = egress.decode_fault(&case.response_head(), &body);
    case.golden("fault.txt").text(&shown(&fault));
    for ingress in codecs::ingresses() {
        let to = ingress.protocol();
        let (status, bytes) = ingress.encode_fault(&fault, case.render().request_id);
        let text = std::str::from_utf8(&bytes).expect("UTF-8");
        let text = serde_json::from_str::<serde::de::IgnoredAny>(text).map_or(text.to_owned(), |_| crate::golden::indented(text));
        case.golden(&format!("error-{to}.json")).text(&format!("{}\n{text}", status.as_u16()));
    }
}

pub(crate) fn shown(fault: &Fault) -> String {
    format!(
        "kind: {}\nretry: {:?}\nretry_after: {:?}\nblames_credential: {}\nwork_began: {}\nstatus: {}\ncode: {:?}\nparam: {:?}\nmessage: {}",
        fault.kind().as_str(),
        fault.retry(),
        fault.retry_after(),
        fault.blames_credential(),
        fault.work_began(),
        fault.status().as_u16(),
        fault.code(),
        fault.param(),
        fault.message(),
    )
}
