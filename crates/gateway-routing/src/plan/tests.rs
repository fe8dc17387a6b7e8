use std::{sync::Arc, time::Duration};

use gateway_core::testing::{TestCall, deployment};
use gateway_core::{Clock, SystemClock};
use proptest::prelude::*;

use super::*;

fn routed(places: &[(u32, u32)]) -> Routed {
    let candidate = |(n, (rank, weight)): (usize, &(u32, u32))| Candidate {
        rank: *rank,
        deployment: Arc::new(Deployment { weight: *weight, ..deployment(&format!("m{rank}"), &format!("p{n}")) }),
    };
    Routed { call: TestCall::to("m0").build(), candidates: places.iter().enumerate().map(candidate).collect() }
}

fn order(places: &[(u32, u32)], seed: u64) -> Vec<usize> {
    Plan::new(&routed(places), |_| Standing::Up, &mut fastrand::Rng::with_seed(seed)).order
}

#[test]
fn ranks_keep_their_order_and_weight_0_comes_last_in_its_rank() {
    for seed in 0..50 {
        let order = order(&[(0, 0), (0, 5), (0, 1), (1, 0), (1, 1), (2, 0)], seed);
        assert_eq!(order[2], 0, "{order:?}");
        assert_eq!(order[3..], [4, 3, 5], "{order:?}");
    }
}

#[test]
fn first_places_are_drawn_in_proportion_to_the_weights() {
    let routed = routed(&[(0, 1), (0, 2), (0, 7)]);
    let mut rng = fastrand::Rng::with_seed(1);
    let mut firsts = [0u32; 3];
    for _ in 0..10_000 {
        firsts[Plan::new(&routed, |_| Standing::Up, &mut rng).order[0]] += 1;
    }
    for (count, expected) in firsts.into_iter().zip([1_000u32, 2_000, 7_000]) {
        assert!(count.abs_diff(expected) < 250, "{firsts:?}");
    }
}

#[test]
fn what_rests_is_left_out_and_the_first_to_wake_is_told_only_when_nothing_else_is_left() {
    let now = SystemClock.monotonic();
    let at = |s| now + Duration::from_secs(s);
    let standings = [Standing::Resting { until: at(9) }, Standing::Resting { until: at(4) }, Standing::Unusable, Standing::Probing];
    let plan = |standings: &[Standing]| {
        let mut each = standings.iter().copied();
        let places: Vec<_> = standings.iter().map(|_| (0, 1)).collect();
        Plan::new(&routed(&places), |_| each.next().expect("each is asked once"), &mut fastrand::Rng::with_seed(1))
    };
    assert_eq!(plan(&standings), Plan { order: vec![], wakes: Some(at(4)), probing: true });
    assert_eq!(plan(&[&standings[..], &[Standing::Up]].concat()), Plan { order: vec![4], wakes: None, probing: false });
    assert_eq!(plan(&[Standing::Unusable]), Plan::default());
}

proptest! {
    #[test]
    fn a_plan_is_a_permutation_in_order_of_rank(
        mut places in prop::collection::vec((0u32..4, prop_oneof![Just(0u32), 1..5u32, Just(u32::MAX)]), 0..40),
        seed: u64,
    ) {
        places.sort_by_key(|(rank, _)| *rank);
        let order = order(&places, seed);
        prop_assert!(order.is_sorted_by_key(|position| places[*position].0));
        prop_assert!(order.is_sorted_by_key(|position| (places[*position].0, places[*position].1 == 0)));
        let mut sorted = order;
        sorted.sort_unstable();
        prop_assert_eq!(sorted, (0..places.len()).collect::<Vec<_>>());
    }
}
