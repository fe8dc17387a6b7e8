//! What is kept of a request for hints, and that nothing else is.

use gateway_billing::{facts::RequestFacts, ledger::LedgerOptions};
use gateway_core::testing::Act;

use super::{
    hold::{provider, send},
    stage::{Stage, check, open, routed},
};

/// Stands in prompts and must stand nowhere else.
const MARKER: &str = "the-otter-sleeps-under-the-third-bridge";

/// The facts in the rows, oldest first, and whether any file of the database holds the marker.
async fn kept(change: impl FnOnce(LedgerOptions) -> LedgerOptions) -> (Vec<Option<RequestFacts>>, bool) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let stage = Stage::prepared(folder, open(&path, change).await, 1_000_000_000).await;
    let provider = provider(Act::text("fine"));
    let long = MARKER.repeat(200);
    let ask = |text: &str| stage.call("model").input(text);
    for call in [ask(MARKER).output_limit(500), ask(MARKER).output_limit(500), ask(&long), ask(&format!("{long} and more"))] {
        send(&stage, &provider, routed(call, &[("model", "house")])).await.unwrap();
    }
    stage.settled().await;
    let rows: Vec<(Option<Vec<u8>>,)> =
        sqlx::query_as("SELECT facts FROM hold ORDER BY id").fetch_all(stage.ledger.reader()).await.unwrap();
    let facts = rows.iter().map(|(bytes,)| bytes.as_deref().map(|bytes| RequestFacts::decode(bytes).unwrap())).collect();
    check(&stage.ledger).await;
    let mut found = false;
    for file in std::fs::read_dir(&path).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        found |= bytes.windows(MARKER.len()).any(|window| window == MARKER.as_bytes());
    }
    (facts, found)
}

#[tokio::test]
async fn hashes_tell_repeats_and_no_word_of_a_prompt_is_kept() {
    let (facts, found) = kept(|options| options).await;
    assert!(!found, "a prompt's text stands in the database");
    let facts: Vec<_> = facts.into_iter().map(Option::unwrap).collect();
    assert_eq!(facts[0], facts[1]);
    assert_eq!((facts[0].output_limit, facts[0].choices, facts[2].output_limit), (Some(500), 1, None));
    assert_ne!(facts[2].body, facts[3].body);
    assert_eq!((facts[2].prefixes.len(), &facts[2].prefixes), (1, &facts[3].prefixes));
}

#[tokio::test]
async fn switched_off_nothing_is_kept() {
    let (facts, found) = kept(|options| LedgerOptions { request_facts: false, ..options }).await;
    assert_eq!((facts, found), (vec![None; 4], false));
}
