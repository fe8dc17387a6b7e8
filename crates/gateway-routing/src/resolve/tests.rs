use gateway_core::{Deployment, Protocol, Provider, testing::*};

use super::*;
use crate::table::Model;

const OTHER: Protocol = Protocol::new("other");

struct Scene {
    table: RouteTable,
    providers: Providers,
    first: Arc<ScriptedProvider>,
    second: Arc<ScriptedProvider>,
}

/// Two providers; `large` falls back to `middle` and `small`; `old` is retired; `house/*` is a wildcard.
fn scene() -> Scene {
    let place = |model: &str, provider: &str| Arc::new(deployment(model, provider));
    let wild = Arc::new(Deployment { upstream_model: "*".into(), ..deployment("house/*", "first") });
    let retired = Arc::new(Deployment { notice: Some("retired by its maker on 2026-07-24".into()), ..deployment("old", "third") });
    let chain = |names: &[&str]| names.iter().map(|name| Box::from(*name)).collect::<Vec<_>>();
    let table = RouteTable::builder()
        .model(Model {
            fallbacks: chain(&["middle", "small"]),
            aliases: chain(&["big"]),
            ..Model::new("large", vec![place("large", "first"), place("large", "second")])
        })
        .model(Model {
            fallbacks: chain(&["small"]),
            ..Model::new("middle", vec![Arc::new(Deployment { protocol: OTHER, ..deployment("middle", "second") })])
        })
        .model(Model::new("small", vec![place("small", "second")]))
        .model(Model::new("old", vec![retired]))
        .model(Model { notice: Some("gone for good".into()), ..Model::new("gone", vec![]) })
        .model(Model::new("house/*", vec![wild]))
        .build()
        .expect("the table is right");
    let (first, second, third) = (ScriptedProvider::new("first"), ScriptedProvider::new("second"), ScriptedProvider::new("third"));
    third.set_readiness(Mode::Live, Readiness::Unusable("set THIRD_API_KEY".into()));
    let (first, second) = (Arc::new(first), Arc::new(second));
    let all: [Arc<dyn Provider>; 3] = [first.clone(), second.clone(), Arc::new(third)];
    Scene { table, providers: Providers::new(all), first, second }
}

impl Scene {
    /// `rank:model@provider …`, or `status code param: message`.
    fn resolve(&self, call: TestCall) -> String {
        match resolve(&call.build(), &self.table, &self.providers) {
            Ok(candidates) => {
                let shown = candidates.iter().map(|c| format!("{}:{}@{}", c.rank, c.deployment.model, c.deployment.provider));
                shown.collect::<Vec<_>>().join(" ")
            }
            Err(fault) => {
                format!("{} {} {}: {}", fault.status().as_u16(), fault.code().unwrap_or("-"), fault.param().unwrap_or("-"), fault.message())
            }
        }
    }
}

fn check(call: TestCall, expected: &str) {
    assert_eq!(scene().resolve(call), expected);
}

#[test]
fn a_plain_call_gets_the_routes_chain() {
    let chain = "0:large@first 0:large@second 1:middle@second 2:small@second";
    check(TestCall::to("large"), chain);
    check(TestCall::to("big"), chain);
    let scene = scene();
    let both = [1, 2].map(|_| resolve(&TestCall::to("large").build(), &scene.table, &scene.providers).expect("it is served"));
    assert!(Arc::ptr_eq(&both[0], &both[1]), "the plain path hands out one shared chain");
}

#[test]
fn callers_say_what_comes_after_or_that_nothing_does() {
    check(TestCall::to("large").fallbacks(&["small"]), "0:large@first 0:large@second 1:small@second");
    check(TestCall::to("large").fallbacks(&[]), "0:large@first 0:large@second");
    check(TestCall::to("ignored").models(&["small", "large"]), "0:small@second 1:large@first 1:large@second");
    check(TestCall::to("large").with("disable_fallbacks", true), "0:large@first 0:large@second");
    check(TestCall::to("large").models(&["small", "large"]).with("disable_fallbacks", true), "0:small@second");
    check(TestCall::to("large").models(&[]), "400 - models: `models` is empty; name at least one model or leave it out");
    check(TestCall::to("large").fallbacks(&["small"; 17]), "400 - fallbacks: `fallbacks` lists 17 models; at most 16 are tried");
}

#[test]
fn a_provider_named_by_the_caller_is_the_only_one() {
    check(TestCall::to("second/large"), "0:large@second");
    check(TestCall::to("second/large").fallbacks(&["house/new"]), "0:large@second 1:house/new@first");
    check(TestCall::to("house/any/thing"), "0:house/any/thing@first");
}

#[test]
fn unknown_names_are_404_and_suggest_what_the_key_may_use() {
    check(TestCall::to("larg"), "404 model_not_found model: the model `larg` does not exist; did you mean `large`?");
    check(
        TestCall::to("larg").only(&["small"]),
        "404 model_not_found model: the model `larg` does not exist; `GET /v1/models` lists what there is",
    );
    check(
        TestCall::to("large").fallbacks(&["small", "\u{1b}[31mxyz"]),
        "404 model_not_found fallbacks[1]: the model `\\u{1b}[31mxyz` does not exist; `GET /v1/models` lists what there is",
    );
}

#[test]
fn the_allow_list_binds_every_candidate() {
    let refusal = |param: &str, name: &str| {
        format!(
            "403 model_not_found {param}: this key may not use the model `{name}`; use one that `GET /v1/models` lists, or ask for a key that may"
        )
    };
    check(TestCall::to("large").only(&["small"]), &refusal("model", "large"));
    check(TestCall::to("big").only(&["large"]), "0:large@first 0:large@second");
    check(TestCall::to("large").only(&["large", "small"]), "0:large@first 0:large@second 1:small@second");
    check(TestCall::to("large").only(&["large"]).fallbacks(&["small"]), &refusal("fallbacks[0]", "small"));
    check(TestCall::to("small").only(&["small"]).models(&["small", "large"]), &refusal("models[1]", "large"));
    check(TestCall::to("second/large").only(&["second/*"]), "0:large@second");
    check(TestCall::to("first/large").only(&["second/*"]), &refusal("model", "first/large"));
    check(TestCall::to("house/x").only(&["large"]), &refusal("model", "house/x"));
}

#[test]
fn a_live_call_without_a_usable_place_learns_what_to_do() {
    check(TestCall::to("old"), "503 no_deployment -: nothing can serve `old` now. third: retired by its maker on 2026-07-24");
    check(TestCall::to("old").test_mode(), "0:old@third");
    check(TestCall::to("gone"), "503 no_deployment -: nothing can serve `gone` now. gone for good");
    let scene = scene();
    scene.second.set_readiness(Mode::Live, Readiness::Unusable("set SECOND_API_KEY".into()));
    assert_eq!(scene.resolve(TestCall::to("small")), "503 no_deployment -: nothing can serve `small` now. second: set SECOND_API_KEY");
    assert_eq!(scene.resolve(TestCall::to("large")), "0:large@first");
    scene.first.set_readiness(Mode::Live, Readiness::Resting { until: gateway_core::Clock::monotonic(&TestClock::new()) });
    assert_eq!(scene.resolve(TestCall::to("large")), "0:large@first", "a resting provider is planning's business");
    scene.providers.swap([scene.first.clone() as Arc<dyn Provider>]);
    assert_eq!(
        scene.resolve(TestCall::to("small")),
        "503 no_deployment -: nothing can serve `small` now. second: this provider is not configured"
    );
}

#[test]
fn counting_stays_with_the_model_asked_for_and_the_callers_protocol() {
    let count = |model| TestCall::to(model).with("operation", "count_tokens");
    check(count("large"), "0:large@first 0:large@second");
    check(count("middle").speaking(OTHER), "0:middle@second");
    check(
        count("middle"),
        "404 operation_unsupported model: `middle` is served nowhere by the protocol `test-lines`, which this request needs",
    );
}

#[tokio::test]
async fn the_layer_hands_on_the_candidates_or_answers_the_fault() {
    use tower::ServiceExt;
    let Scene { table, providers, .. } = scene();
    let inner = tower::service_fn(|routed: Routed| ready(Ok::<_, Fault>(routed.candidates.len())));
    let service = ResolveLayer::new(Routes::new(table), providers).layer(inner);
    assert_eq!(service.clone().oneshot(TestCall::to("large").build()).await.expect("it is served"), 4);
    assert_eq!(service.oneshot(TestCall::to("nope-nope").build()).await.expect_err("unknown").kind(), FaultKind::NotFound);
}
