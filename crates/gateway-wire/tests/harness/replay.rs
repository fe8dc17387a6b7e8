//! Plays a stream whole, split at every byte offset in two chunks, and byte by byte: all must give the same.

use std::collections::VecDeque;

use bytes::Bytes;
use gateway_core::{
    Egress, Fault, FaultKind, Ingress, Memo, Relay, RelayCtx, Signal,
    ir::{ChatResponse, Event},
    stream::{Fold, Transcoder},
};

use crate::case::Case;

/// What came out of a relay.
#[derive(Debug, PartialEq)]
pub(crate) struct Played {
    pub(crate) text: String,
    pub(crate) signals: Vec<Signal>,
    pub(crate) fault: Option<FaultKind>,
}

fn splits(stream: &Bytes) -> impl Iterator<Item = Vec<Bytes>> + '_ {
    let in_two = (1..stream.len()).map(|at| vec![stream.slice(..at), stream.slice(at..)]);
    let bytewise = (0..stream.len()).map(|at| stream.slice(at..=at)).collect();
    in_two.chain([bytewise])
}

/// The events, one a line, and what they fold to if the stream ends well.
pub(crate) fn decode(case: &Case, egress: &dyn Egress, stream: &Bytes) -> (String, Option<ChatResponse>) {
    let whole = decode_once(egress, std::slice::from_ref(stream));
    for chunks in splits(stream) {
        let (events, _) = decode_once(egress, &chunks);
        assert_eq!(events, whole.0, "{}: the events depend on the split after {} bytes", case.name, chunks[0].len());
    }
    whole
}

fn decode_once(egress: &dyn Egress, chunks: &[Bytes]) -> (String, Option<ChatResponse>) {
    let (mut framer, mut decoder) = (egress.framer(), egress.event_decoder(Memo::default()));
    let (mut text, mut fold, mut failed) = (String::new(), Fold::new(), false);
    let mut see = |event: Event<'_>| {
        text.push_str(&format!("{event:?}\n"));
        failed |= fold.push(&event).is_err();
    };
    let mut result = Ok(());
    for chunk in chunks {
        result = result.and_then(|()| framer.push(chunk, &mut |frame| decoder.decode(frame, &mut see)));
    }
    result = result.and_then(|()| framer.finish(&mut |frame| decoder.decode(frame, &mut see))).and_then(|()| decoder.finish(&mut see));
    if let Err(error) = result {
        text.push_str(&format!("error: {error}\n"));
        failed = true;
    }
    (text, (!failed).then(|| fold.finish()))
}

pub(crate) fn transcode(case: &Case, egress: &dyn Egress, ingress: &dyn Ingress, ctx: &RelayCtx, stream: &Bytes) -> Played {
    play(case, stream, &|| {
        let encoder = ingress.event_encoder(&ctx.render);
        Box::new(Transcoder::new(egress.framer(), egress.event_decoder(ctx.memo.clone()), encoder))
    })
}

pub(crate) fn relay(case: &Case, egress: &dyn Egress, ctx: &RelayCtx, stream: &Bytes) -> Played {
    play(case, stream, &|| egress.relay(ctx))
}

fn play(case: &Case, stream: &Bytes, make: &dyn Fn() -> Box<dyn Relay>) -> Played {
    let whole = play_once(&mut *make(), std::slice::from_ref(stream));
    for chunks in splits(stream) {
        let played = play_once(&mut *make(), &chunks);
        assert_eq!(played, whole, "{}: the answer depends on the split after {} bytes", case.name, chunks[0].len());
    }
    whole
}

pub(crate) fn play_once(relay: &mut dyn Relay, chunks: &[Bytes]) -> Played {
    let (mut out, mut signals) = (VecDeque::new(), Vec::new());
    let mut emit = |signal: Signal| signals.push(signal);
    let mut result: Result<(), Fault> = Ok(());
    for chunk in chunks {
        result = result.and_then(|()| relay.push(chunk.clone(), &mut out, &mut emit));
    }
    result = result.and_then(|()| relay.finish(&mut out, &mut emit));
    if let Err(fault) = &result {
        relay.interrupt(fault, &mut out);
    }
    let bytes: Vec<u8> = out.iter().flat_map(|chunk| chunk.iter().copied()).collect();
    // How often content was reported depends on the chunks; how much does not.
    let total = signals.iter().map(|signal| if let Signal::Content { bytes } = signal { *bytes } else { 0 }).sum();
    signals.retain(|signal| !matches!(signal, Signal::Content { .. }));
    signals.push(Signal::Content { bytes: total });
    // Losses are reported once a chunk, so their place among the other signals depends on the chunks, too.
    signals.sort_by_key(|signal| matches!(signal, Signal::Loss(_)));
    Played { text: String::from_utf8(bytes).expect("UTF-8"), signals, fault: result.err().map(|fault| fault.kind()) }
}
