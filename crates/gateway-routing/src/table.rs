//! The route table: which public names exist and where each is served. Immutable; a reload swaps the whole snapshot.

mod builder;
mod lookup;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    str::FromStr,
    sync::Arc,
};

use arc_swap::ArcSwap;
use gateway_core::{Candidate, Deployment, ModelAllowList, ModelLimits};

pub(crate) use builder::push;
pub use builder::{RouteError, RouteTableBuilder};
pub(crate) use lookup::Target;

/// What a model is for, in the operator's judgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// The best answers.
    Premium,
    /// Good answers at a fair price.
    Balanced,
    /// The lowest price.
    Economy,
}

impl Tier {
    /// As configuration spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Premium => "premium",
            Self::Balanced => "balanced",
            Self::Economy => "economy",
        }
    }
}

impl FromStr for Tier {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "premium" => Ok(Self::Premium),
            "balanced" => Ok(Self::Balanced),
            "economy" => Ok(Self::Economy),
            other => Err(format!("`{other}` is not a tier; use `premium`, `balanced` or `economy`")),
        }
    }
}

/// One public model.
///
/// A name that ends in `*` stands for every name with that beginning; then a `*` in a deployment's upstream model is
/// replaced by the rest of the name asked for.
#[derive(Debug, Clone)]
pub struct Model {
    /// The name callers use.
    pub name: Arc<str>,
    /// What it is for.
    pub tier: Option<Tier>,
    /// Further names for it.
    pub aliases: Vec<Box<str>>,
    /// Where it is served.
    pub deployments: Vec<Arc<Deployment>>,
    /// What to try after it, by public name.
    pub fallbacks: Vec<Box<str>>,
    /// Shown when none of its deployments can serve: a retirement, with its date.
    pub notice: Option<Arc<str>>,
}

impl Model {
    /// A model served at these places, with no tier, aliases, fallbacks or notice.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, deployments: Vec<Arc<Deployment>>) -> Self {
        Self { name: name.into(), tier: None, aliases: Vec::new(), deployments, fallbacks: Vec::new(), notice: None }
    }

    /// What a caller may rely on wherever the call goes: the smallest known limits of its deployments.
    #[must_use]
    pub fn limits(&self) -> ModelLimits {
        let smallest = |limit: fn(&ModelLimits) -> Option<u32>| self.deployments.iter().filter_map(|d| limit(&d.limits)).min();
        ModelLimits { output_tokens_max: smallest(|l| l.output_tokens_max), context_window: smallest(|l| l.context_window) }
    }

    /// Whether the name stands for every name with its beginning.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.name.ends_with('*')
    }
}

/// A checked set of models. Make one with [`RouteTable::builder`].
pub struct RouteTable {
    models: Vec<Model>,
    /// Public names and aliases, wildcards excepted.
    names: HashMap<Box<str>, usize>,
    /// Each model's own deployments and then its fallbacks', ready to hand out; empty for wildcards.
    chains: Vec<Arc<[Candidate]>>,
    /// `provider/upstream model` and `provider/public model`, to the model and its deployments at that provider.
    pinned: HashMap<Box<str>, (usize, Vec<Arc<Deployment>>)>,
    /// Beginnings of wildcard names, the longest first.
    wildcards: Vec<(Box<str>, usize)>,
}

impl RouteTable {
    /// Starts an empty table.
    #[must_use]
    pub fn builder() -> RouteTableBuilder {
        RouteTableBuilder::default()
    }

    /// Every model, in the order it was added; wildcards among them.
    #[must_use]
    pub fn models(&self) -> &[Model] {
        &self.models
    }

    /// The models a key may use, for a listing.
    pub fn visible<'t>(&'t self, allowed: &'t ModelAllowList) -> impl Iterator<Item = &'t Model> {
        self.models.iter().filter(|model| !model.is_wildcard() && allowed.allows(&model.name))
    }

    /// The model of that public name or alias.
    #[must_use]
    pub fn model(&self, name: &str) -> Option<&Model> {
        self.names.get(name).map(|index| &self.models[*index])
    }

    /// Every deployment of every model, for prices and checks. Those of wildcards have a `*` in their names.
    pub fn deployments(&self) -> impl Iterator<Item = &Arc<Deployment>> {
        self.models.iter().flat_map(|model| &model.deployments)
    }
}

impl fmt::Debug for RouteTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let routes: BTreeMap<&str, usize> = self.models.iter().map(|model| (&*model.name, model.deployments.len())).collect();
        f.debug_struct("RouteTable").field("deployments_by_model", &routes).finish_non_exhaustive()
    }
}

/// The table in force. A cheap handle: clones share it and see every swap; a call keeps what it was resolved with.
#[derive(Debug, Clone)]
pub struct Routes(Arc<ArcSwap<RouteTable>>);

impl Routes {
    /// Starts with this table.
    #[must_use]
    pub fn new(table: RouteTable) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(table)))
    }

    /// The table now.
    #[must_use]
    pub fn load(&self) -> Arc<RouteTable> {
        self.0.load_full()
    }

    /// Looks at the table now without counting a reference.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&RouteTable) -> T) -> T {
        look(&self.0.load())
    }

    /// Puts another table in force.
    pub fn swap(&self, table: RouteTable) {
        self.0.store(Arc::new(table));
    }
}

#[cfg(test)]
mod tests;
