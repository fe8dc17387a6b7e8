use gateway_core::testing::deployment;

use super::*;

/// `name=provider,provider` with optional `>fallback,fallback` and `~alias,alias`.
fn model(text: &str) -> Model {
    let (text, aliases) = text.split_once('~').unwrap_or((text, ""));
    let (text, fallbacks) = text.split_once('>').unwrap_or((text, ""));
    let (name, providers) = text.split_once('=').expect("a model has a `=`");
    let list = |text: &str| text.split(',').filter(|word| !word.is_empty()).map(Box::from).collect::<Vec<Box<str>>>();
    let place = |provider: &str| {
        let upstream = if name.ends_with('*') { Arc::from("*") } else { Arc::from(format!("{name}-up")) };
        Arc::new(Deployment { upstream_model: upstream, ..deployment(name, provider) })
    };
    Model {
        aliases: list(aliases),
        fallbacks: list(fallbacks),
        ..Model::new(name, list(providers).iter().map(|provider| place(provider)).collect())
    }
}

fn build(models: &[&str]) -> Result<RouteTable, Vec<RouteError>> {
    models.iter().fold(RouteTable::builder(), |builder, text| builder.model(model(text))).build()
}

fn errors(models: &[&str]) -> Vec<String> {
    build(models).map_or_else(|errors| errors.iter().map(ToString::to_string).collect(), |_| Vec::new())
}

/// What a name stands for: public name, then the deployments' ids.
fn found(table: &RouteTable, name: &str) -> String {
    table.find(name).map_or_else(
        || "-".to_owned(),
        |target| {
            let places: Vec<_> = target.deployments().iter().map(|place| format!("{}/{}", place.provider, place.upstream_model)).collect();
            format!("{} at {}", target.public_name(), places.join(" "))
        },
    )
}

#[test]
fn names_are_found_by_precedence() {
    let table = build(&["gpt=openai,house~g", "house/mini=other", "house/*=house", "house/big-*=big", "*=any"]).expect("it is right");
    for (name, expected) in [
        ("gpt", "gpt at openai/gpt-up house/gpt-up"),
        ("g", "gpt at openai/gpt-up house/gpt-up"),
        ("openai/gpt-up", "gpt at openai/gpt-up"),
        ("house/gpt", "gpt at house/gpt-up"),
        ("house/mini", "house/mini at other/house/mini-up"),
        ("house/x/y", "house/x/y at house/x/y"),
        ("house/big-1", "house/big-1 at big/1"),
        ("house/", "-"),
        ("what", "what at any/what"),
        ("", "-"),
        ("a b", "-"),
        ("house/*", "-"),
    ] {
        assert_eq!(found(&table, name), expected, "{name}");
        let places: Vec<_> = table.served_by(name).iter().map(|place| format!("{}/{}", place.provider, place.upstream_model)).collect();
        assert_eq!(places.join(" "), expected.split_once(" at ").map_or("", |(_, places)| places), "{name}");
    }
    assert_eq!(found(&table, &"x".repeat(257)), "-");
}

#[test]
fn every_mistake_is_told_by_name() {
    let found = errors(&["a=p,p", "b=>a,zzz,c", "c=p>c,a,a", "a=p", "d*d=p", "e f=p", "gpt-4.1=p>gpt-4.o", "gpt-4.0=p~b"]);
    let expected = [
        "`b` is the name or alias of two models; rename one of them",
        "`a` is the name or alias of two models; rename one of them",
        "`d*d`: a `*` may stand only at the end of a model's name, as in `house/*`",
        "`e f` is not a model name: use 1 to 256 bytes without white space",
        "deployment `a@p/a-upstream` is listed twice; give one entry a larger weight instead",
        "model `b` has no deployments; list at least one provider and upstream model",
        "model `b` falls back to `zzz`, which is not a model",
        "model `c` falls back to `c` although that is tried already; remove it",
        "model `c` falls back to `a` although that is tried already; remove it",
        "model `gpt-4.1` falls back to `gpt-4.o`, which is not a model; did you mean `gpt-4.0`?",
    ];
    let sorted = |mut texts: Vec<String>| {
        texts.sort();
        texts
    };
    assert_eq!(sorted(found), sorted(expected.map(str::to_owned).to_vec()));
}

#[test]
fn a_deployment_under_the_wrong_model_is_refused() {
    let errors = RouteTable::builder().model(Model::new("a", vec![Arc::new(deployment("b", "p"))])).build().map(drop);
    assert_eq!(errors, Err(vec![RouteError::WrongModel { deployment: "b@p/b-upstream".into(), model: "a".into() }]));
}

#[test]
fn cycles_are_harmless_and_chains_hold_each_deployment_once() {
    let table = build(&["a=p,q>b,q/b", "b=q>a"]).expect("a cycle is no mistake");
    let chain = table.find("a").and_then(|target| target.ready_chain().cloned()).expect("it is a plain name");
    let shown: Vec<_> = chain.iter().map(|candidate| format!("{} {}", candidate.rank, candidate.deployment.id)).collect();
    assert_eq!(shown, ["0 a@p/a-upstream", "0 a@q/a-upstream", "1 b@q/b-upstream"]);
}

#[test]
fn a_model_without_a_place_may_say_why() {
    let retired = Model { notice: Some("retired on 2026-07-24".into()), ..Model::new("old", vec![]) };
    assert!(RouteTable::builder().model(retired).build().is_ok());
}

#[test]
fn a_listing_shows_what_the_key_may_use_with_the_smallest_limits() {
    let small = ModelLimits { output_tokens_max: Some(100), context_window: None };
    let places = vec![Arc::new(deployment("a", "p")), Arc::new(Deployment { limits: small, ..deployment("a", "q") })];
    let table =
        RouteTable::builder().model(Model::new("a", places)).model(model("b=p")).model(model("w/*=p")).build().expect("it is right");
    let names = |allowed: &ModelAllowList| table.visible(allowed).map(|model| model.name.to_string()).collect::<Vec<_>>();
    assert_eq!(names(&ModelAllowList::All), ["a", "b"]);
    assert_eq!(names(&ModelAllowList::Only(["b".into()].into())), ["b"]);
    assert_eq!(table.model("a").map(Model::limits), Some(ModelLimits { output_tokens_max: Some(100), context_window: Some(128_000) }));
}

#[test]
fn a_swap_is_seen_by_every_handle_and_not_by_what_was_loaded() {
    let routes = Routes::new(build(&["a=p"]).expect("it is right"));
    let (other, before) = (routes.clone(), routes.load());
    routes.swap(build(&["b=p"]).expect("it is right"));
    assert!(other.load().model("b").is_some() && before.model("b").is_none());
}
