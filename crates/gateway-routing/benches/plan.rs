//! What resolving and planning cost a call: both are on the path of every request.

use std::{hint::black_box, sync::Arc};

use criterion::{Criterion, criterion_group, criterion_main};
use gateway_core::{
    Clock, Provider, Routed, SystemClock,
    testing::{ScriptedProvider, TestCall, deployment},
};
use gateway_routing::{Health, Model, Providers, RouteTable, Router, resolve};

fn plan(c: &mut Criterion) {
    let place = |model: &str, provider: &str| Arc::new(deployment(model, provider));
    let fallbacks = vec!["middle".into(), "small".into()];
    let table = RouteTable::builder()
        .model(Model { fallbacks, ..Model::new("large", vec![place("large", "a"), place("large", "b")]) })
        .model(Model::new("middle", vec![place("middle", "b")]))
        .model(Model::new("small", vec![place("small", "a"), place("small", "b")]))
        .model(Model::new("single", vec![place("single", "a")]))
        .build()
        .expect("the table is right");
    let providers = Providers::new(["a", "b"].map(|id| Arc::new(ScriptedProvider::new(id)) as Arc<dyn Provider>));
    let router = Router::new(providers.clone(), Health::default(), Arc::new(SystemClock));
    let mut rng = fastrand::Rng::with_seed(1);
    let now = SystemClock.monotonic();
    for model in ["single", "large"] {
        let call = TestCall::to(model).build();
        c.bench_function(&format!("resolve/{model}"), |b| b.iter(|| resolve(black_box(&call), &table, &providers)));
        let routed = Routed { candidates: resolve(&call, &table, &providers).expect("it is served"), call };
        c.bench_function(&format!("plan/{model}"), |b| b.iter(|| router.plan(black_box(&routed), now, &mut rng)));
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = plan
}
criterion_main!(benches);
