//! From the name a caller wrote to what serves it: a public name or alias, `provider/model`, or a wildcard.

use std::{borrow::Cow, sync::Arc};

use gateway_core::{Candidate, Deployment, DeploymentId, ModelAllowList};

use super::{Model, RouteTable, builder::is_name};

/// What a name stands for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'t> {
    table: &'t RouteTable,
    index: usize,
    asked: &'t str,
    how: How<'t>,
}

#[derive(Debug, Clone, Copy)]
enum How<'t> {
    Name,
    Pinned(&'t [Arc<Deployment>]),
    Wild { rest: &'t str },
}

impl RouteTable {
    /// Looks a name up: exact names win over `provider/model`, and both over wildcards, of which the longest wins.
    pub(crate) fn find<'t>(&'t self, name: &'t str) -> Option<Target<'t>> {
        let target = |index, how| Target { table: self, index, asked: name, how };
        if let Some(index) = self.names.get(name) {
            return Some(target(*index, How::Name));
        }
        if let Some((index, places)) = self.pinned.get(name) {
            return Some(target(*index, How::Pinned(places)));
        }
        if !is_name(name) || name.contains('*') {
            return None;
        }
        let (rest, index) = self.wildcards.iter().find_map(|(prefix, index)| Some((name.strip_prefix(&**prefix)?, *index)))?;
        (!rest.is_empty()).then(|| target(index, How::Wild { rest }))
    }

    /// Where calls to a name go, in the order in which they are tried, without its fallbacks; a wildcard's places bear the name
    /// that was asked for.
    #[must_use]
    pub fn served_by(&self, name: &str) -> Vec<Arc<Deployment>> {
        self.find(name).map(|target| target.deployments().into_owned()).unwrap_or_default()
    }

    /// Names close to a wrong one, among those the key may use: at most three, the closest first.
    pub(crate) fn suggest<'t>(&'t self, wrong: &str, allowed: &ModelAllowList) -> Vec<&'t str> {
        closest(
            wrong,
            self.names
                .iter()
                .filter(|(name, index)| allowed.allows(name) || allowed.allows(&self.models[**index].name))
                .map(|(name, _)| &**name),
        )
    }
}

impl<'t> Target<'t> {
    fn model(&self) -> &'t Model {
        &self.table.models[self.index]
    }

    /// The name the answer will carry.
    pub(crate) fn public_name(&self) -> &'t str {
        match self.how {
            How::Name | How::Pinned(_) => &self.model().name,
            How::Wild { .. } => self.asked,
        }
    }

    /// Whether one provider was asked for by name; then the route's own fallbacks do not apply.
    pub(crate) fn is_pinned(&self) -> bool {
        matches!(self.how, How::Pinned(_))
    }

    /// Whether a key may use it: by the public name, or by the qualified name it asked with.
    pub(crate) fn is_allowed(&self, allowed: &ModelAllowList) -> bool {
        allowed.allows(self.public_name()) || (self.is_pinned() && allowed.allows(self.asked))
    }

    /// Where it is served.
    pub(crate) fn deployments(&self) -> Cow<'t, [Arc<Deployment>]> {
        match self.how {
            How::Name => Cow::Borrowed(&self.model().deployments),
            How::Pinned(places) => Cow::Borrowed(places),
            How::Wild { rest } => self.model().deployments.iter().map(|place| Arc::new(instantiate(place, self.asked, rest))).collect(),
        }
    }

    /// The route's own fallbacks.
    pub(crate) fn fallbacks(&self) -> &'t [Box<str>] {
        if self.is_pinned() { &[] } else { &self.model().fallbacks }
    }

    /// The candidates with the route's own fallbacks, where they were worked out beforehand.
    pub(crate) fn ready_chain(&self) -> Option<&'t Arc<[Candidate]>> {
        matches!(self.how, How::Name).then(|| &self.table.chains[self.index])
    }

    /// What to say when nothing of it can serve.
    pub(crate) fn notice(&self) -> Option<&'t str> {
        self.model().notice.as_deref()
    }
}

/// A wildcard's deployment for one name.
fn instantiate(place: &Deployment, name: &str, rest: &str) -> Deployment {
    let upstream = place.upstream_model.replacen('*', rest, 1);
    Deployment {
        id: DeploymentId::new(format!("{name}@{}/{upstream}", place.provider)),
        model: Arc::from(name),
        upstream_model: Arc::from(upstream),
        ..place.clone()
    }
}

/// Names similar enough to be a slip of the hand: at most three, the closest first.
pub(super) fn closest<'n>(wrong: &str, names: impl Iterator<Item = &'n str>) -> Vec<&'n str> {
    const SIMILAR: f64 = 0.8;
    // A hostile name must not buy time: similarity is quadratic in length.
    let wrong: String = wrong.chars().take(64).flat_map(char::to_lowercase).collect();
    let mut scored: Vec<(f64, &str)> =
        names.map(|name| (strsim::jaro_winkler(&wrong, &name.to_lowercase()), name)).filter(|(score, _)| *score >= SIMILAR).collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    scored.into_iter().take(3).map(|(_, name)| name).collect()
}
