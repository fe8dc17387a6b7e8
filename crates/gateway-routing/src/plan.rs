//! The order in which a call's candidates are tried. Pure: the same inputs and seed give the same plan.

use gateway_core::{Candidate, Deployment, Routed, clock::Instant};

/// Whether a deployment may be asked now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Yes.
    Up,
    /// Not before this instant.
    Resting {
        /// When it may be asked again.
        until: Instant,
    },
    /// One call is finding out whether it works again; others stay away.
    Probing,
    /// Not until somebody changes something.
    Unusable,
}

/// Which candidates to try, best first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Positions in the call's candidates.
    pub order: Vec<usize>,
    /// When nothing can be tried: the first instant at which something can.
    pub wakes: Option<Instant>,
    /// When nothing can be tried: a probe is under way, and its end may change that.
    pub probing: bool,
}

impl Plan {
    /// Plans a call. Ranks stay in order. Within a rank the deployments with a weight come first, each drawn with a
    /// chance in proportion to its weight; those of weight 0 follow as listed. What cannot be asked is left out.
    pub fn new(routed: &Routed, mut standing: impl FnMut(&Deployment) -> Standing, rng: &mut fastrand::Rng) -> Self {
        let candidates = &*routed.candidates;
        let mut plan = Self { order: Vec::with_capacity(candidates.len()), wakes: None, probing: false };
        for (position, candidate) in candidates.iter().enumerate() {
            match standing(&candidate.deployment) {
                Standing::Up => plan.order.push(position),
                Standing::Resting { until } => plan.wakes = Some(plan.wakes.map_or(until, |wakes| wakes.min(until))),
                Standing::Probing => plan.probing = true,
                Standing::Unusable => {}
            }
        }
        if !plan.order.is_empty() {
            plan.wakes = None;
            plan.probing = false;
        }
        for same_rank in plan.order.chunk_by_mut(|a, b| candidates[*a].rank == candidates[*b].rank) {
            shuffle(same_rank, candidates, rng);
        }
        plan
    }
}

/// Orders one rank. Draws without replacement, so each deployment keeps its chance at every place that is left.
fn shuffle(order: &mut [usize], candidates: &[Candidate], rng: &mut fastrand::Rng) {
    if order.len() < 2 {
        return;
    }
    let weight = |position: usize| u64::from(candidates[position].deployment.weight);
    order.sort_by_key(|position| weight(*position) == 0);
    let weighted = order.iter().take_while(|position| weight(**position) > 0).count();
    for place in 0..weighted.saturating_sub(1) {
        let total: u64 = order[place..weighted].iter().map(|position| weight(*position)).sum();
        let mut drawn = rng.u64(0..total);
        let mut chosen = place;
        while drawn >= weight(order[chosen]) {
            drawn -= weight(order[chosen]);
            chosen += 1;
        }
        order[place..=chosen].rotate_right(1);
    }
}

#[cfg(test)]
mod tests;
