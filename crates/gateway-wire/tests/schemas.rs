//! Every fixture, and every body that the codecs make of one, against the vendors' official API descriptions.
//!
//! What a caller or provider says (`request.json`, `response.json`, `stream.sse`) must fit unless the case's
//! `source.toml` says why it `departs`; then it must not, or the word is stale. What comes out of a translation must fit
//! whatever went in. A copy (the fast path, the same protocol on both sides) must fit if its original does. Error bodies
//! of imitators fit nothing; what callers are told must.
//!
//! Recorded traffic, where there is any, is translated to every other protocol and must fit as well.

#[expect(dead_code, reason = "the test programs share the harness, and each uses its part")]
#[path = "harness/case.rs"]
mod case;
#[expect(dead_code, reason = "other tests read the other fields")]
#[path = "support/cassettes.rs"]
mod cassettes;
#[path = "harness/codecs.rs"]
mod codecs;
#[expect(dead_code, reason = "the test programs share the harness, and each uses its part")]
#[path = "harness/golden.rs"]
mod golden;
#[expect(dead_code, reason = "the test programs share the harness, and each uses its part")]
#[path = "harness/replay.rs"]
mod replay;
#[path = "support/schemas.rs"]
mod schemas;

use std::{fs, path::Path};

use bytes::Bytes;
use case::Case;
use cassettes::Cassette;
use gateway_core::{Losses, Memo, RelayCtx, Target, stream::Transcoder};
use schemas::{Kind, Schemas};
use serde_json::Value;

const PROTOCOLS: [&str; 3] = ["openai-chat", "anthropic-messages", "gemini"];

/// What was checked and what does not fit.
struct Tally<'s> {
    schemas: &'s Schemas,
    bodies: usize,
    misfits: Vec<String>,
}

impl Tally<'_> {
    /// Checks the bodies of a file, if there is one; the first misfit.
    fn file(&mut self, case: &Case, file: &str, schema: &str, kind: Kind) -> Option<String> {
        let bytes = case.read(file)?;
        let mut found = None;
        for body in bodies(&String::from_utf8_lossy(&bytes)) {
            self.bodies += 1;
            let fits = match serde_json::from_str::<Value>(&body) {
                Ok(body) => self.schemas.check(schema, kind, &body),
                Err(error) => Err(format!("not JSON: {error}")),
            };
            found = found.or(fits.err().map(|reason| format!("{}/{}/{file} as {schema} {kind:?}: {reason}", case.protocol, case.name)));
        }
        found
    }

    fn must_fit(&mut self, case: &Case, file: &str, schema: &str, kind: Kind) {
        let misfit = self.file(case, file, schema, kind);
        self.misfits.extend(misfit);
    }
}

/// The payloads of a stream, or the one body of a file, whose first line may be a status.
fn bodies(text: &str) -> Vec<String> {
    if text.starts_with(['{', '[']) {
        return vec![text.to_owned()];
    }
    if let Some((status, body)) = text.split_once('\n')
        && status.parse::<u16>().is_ok()
    {
        return vec![body.to_owned()];
    }
    let normal = text.replace("\r\n", "\n").replace('\r', "\n");
    let payload = |event: &str| {
        let lines: Vec<&str> = event.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim_start).collect();
        lines.join("\n")
    };
    normal.split("\n\n").map(payload).filter(|payload| !payload.is_empty() && payload != "[DONE]").collect()
}

#[test]
fn fixtures_and_what_is_made_of_them_fit_the_official_schemas() {
    let Some(schemas) = schemas::load() else { return };
    let mut tally = Tally { schemas: &schemas, bodies: 0, misfits: Vec::new() };
    let mut cases = 0;
    for protocol in PROTOCOLS {
        for case in Case::all(protocol) {
            cases += 1;
            originals(&case, &mut tally);
            translations(&case, &mut tally);
        }
    }
    println!("{} bodies of {cases} cases against the official schemas", tally.bodies);
    assert!(tally.misfits.is_empty(), "{} misfits:\n{}", tally.misfits.len(), tally.misfits.join("\n"));
}

fn originals(case: &Case, tally: &mut Tally<'_>) {
    let own = case.source.schema.as_deref().unwrap_or(&case.protocol);
    let said = [
        ("request.json", "expect/forward.json", case.protocol.as_str(), Kind::Request),
        ("response.json", "expect/relay.json", own, Kind::Answer),
        ("stream.sse", "expect/relay.sse", own, Kind::Event),
    ];
    let mut departures = 0;
    for (original, copy, schema, kind) in said {
        match (tally.file(case, original, schema, kind), &case.source.departs) {
            (None, _) => tally.must_fit(case, copy, schema, kind),
            (Some(_), Some(_)) => departures += 1,
            (Some(misfit), None) => tally.misfits.push(misfit),
        }
    }
    if case.source.departs.is_some() && departures == 0 {
        tally.misfits.push(format!("{}/{}: nothing departs from the schema", case.protocol, case.name));
    }
}

fn translations(case: &Case, tally: &mut Tally<'_>) {
    for to in PROTOCOLS {
        let same = to == case.protocol;
        if same && case.source.departs.is_some() {
            continue;
        }
        let upstream = if same { case.source.schema.as_deref().unwrap_or(to) } else { to };
        tally.must_fit(case, &format!("expect/to-{to}.json"), upstream, Kind::Request);
        tally.must_fit(case, &format!("expect/answer-{to}.json"), to, Kind::Answer);
        tally.must_fit(case, &format!("expect/answer-{to}.sse"), to, Kind::Event);
        if !same || tally.file(case, "error.json", to, Kind::Error).is_none() {
            tally.must_fit(case, &format!("expect/error-{to}.json"), to, Kind::Error);
        }
    }
}

#[test]
fn every_cell_of_the_table_fits_the_official_schemas() {
    let Some(schemas) = schemas::load() else { return };
    let mut tally = Tally { schemas: &schemas, bodies: 0, misfits: Vec::new() };
    let mut cells = 0;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/cells");
    for pair in directories(&root) {
        let name = pair.file_name().expect("a directory has a name").to_string_lossy().into_owned();
        let (caller, provider) = name.split_once("-to-").expect("named for caller and provider");
        for dir in directories(&pair) {
            cells += 1;
            let case = Case::open(&name, dir);
            for (file, schema, kind) in [
                ("request.json", caller, Kind::Request),
                ("upstream-request.json", provider, Kind::Request),
                ("upstream-response.json", provider, Kind::Answer),
                ("upstream-response.sse", provider, Kind::Event),
                ("answer.json", caller, Kind::Answer),
                ("answer.sse", caller, Kind::Event),
            ] {
                tally.must_fit(&case, file, schema, kind);
            }
        }
    }
    println!("{} bodies of {cells} cells against the official schemas", tally.bodies);
    assert!(tally.misfits.is_empty(), "{} misfits:\n{}", tally.misfits.len(), tally.misfits.join("\n"));
}

fn directories(root: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(root).unwrap_or_else(|error| panic!("{}: {error}", root.display()));
    let mut dirs: Vec<_> = entries.map(|entry| entry.expect("a directory entry").path()).filter(|path| path.is_dir()).collect();
    dirs.sort();
    dirs
}

#[test]
fn translations_of_recorded_traffic_fit_the_official_schemas() {
    let apis = ["openai.chat_completions", "anthropic.messages", "gemini.generate_content", "gemini.stream_generate_content"];
    let (Some(schemas), Some(recorded)) = (schemas::load(), cassettes::load(&apis)) else { return };
    let (mut bodies, mut misfits) = (0, Vec::new());
    for cassette in recorded.iter().filter(|cassette| cassette.status == 200) {
        let from = match cassette.api.as_str() {
            "openai.chat_completions" => "openai-chat",
            "anthropic.messages" => "anthropic-messages",
            _ => "gemini",
        };
        for (to, kind, text) in requests(cassette, from).into_iter().chain(answers(cassette, from)) {
            bodies += 1;
            let body: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{} as {to}: {error}", cassette.file));
            if let Err(reason) = schemas.check(to, kind, &body) {
                misfits.push(format!("{} as {to} {kind:?}: {reason}", cassette.file));
            }
        }
    }
    println!("{bodies} bodies made of {} recordings against the official schemas", recorded.len());
    assert!(misfits.is_empty(), "{} misfits:\n{}", misfits.len(), misfits.join("\n"));
}

type Body = (&'static str, Kind, String);

/// The recorded request as every other provider gets it.
fn requests(cassette: &Cassette, from: &str) -> Vec<Body> {
    let request = cassette.request.as_ref().filter(|request| request.get("model").is_some());
    let (Some(request), Some(ingress)) = (request, codecs::ingress(from)) else { return Vec::new() };
    let head = http::Request::post(&cassette.path).body(()).expect("a path").into_parts().0;
    let decoded = ingress.decode(&head, request.to_string().as_bytes()).unwrap_or_else(|e| panic!("{}: {e}", cassette.file));
    let plain = Case::open("openai-chat", Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/openai-chat/text"));
    let others = codecs::egresses().into_iter().filter(|egress| egress.protocol().as_str() != from);
    let written = others.map(|egress| {
        let to = egress.protocol();
        let deployment = plain.deployment(to);
        let target = Target { deployment: &deployment, stream: decoded.stream, output_limit: None };
        let encoded = egress.encode(&decoded, &target, &mut Losses::new()).unwrap_or_else(|e| panic!("{}: {e}", cassette.file));
        (to.as_str(), Kind::Request, String::from_utf8(encoded.body.to_vec()).expect("UTF-8"))
    });
    written.collect()
}

/// The recorded answer as every other caller gets it; errors and cut streams are other tests' concern.
fn answers(cassette: &Cassette, from: &str) -> Vec<Body> {
    let egress = codecs::egress(from).expect("every protocol has a provider's half");
    let plain = Case::open("openai-chat", Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/openai-chat/text"));
    let ctx = RelayCtx { render: plain.render(), memo: Memo::default() };
    let body = Bytes::copy_from_slice(&cassette.body);
    let mut made = Vec::new();
    for ingress in codecs::ingresses().into_iter().filter(|ingress| ingress.protocol().as_str() != from) {
        let to = ingress.protocol().as_str();
        if cassette.stream {
            let encoder = ingress.event_encoder(&ctx.render);
            let mut relay = Transcoder::new(egress.framer(), egress.event_decoder(Memo::default()), encoder);
            let played = replay::play_once(&mut relay, std::slice::from_ref(&body));
            if played.fault.is_none() {
                made.extend(bodies(&played.text).into_iter().map(|event| (to, Kind::Event, event)));
            }
        } else if egress.fault_in_body(&body).is_none() {
            let answer = egress.decode(&body, &ctx.memo).unwrap_or_else(|e| panic!("{}: {e}", cassette.file));
            let shown = ingress.encode(&answer, &ctx.render, &mut Losses::new());
            made.push((to, Kind::Answer, String::from_utf8(shown.to_vec()).expect("UTF-8")));
        }
    }
    made
}
