//! Checks models against each other and makes the table. Every mistake is reported, each by the name that is wrong.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::Arc,
};

use gateway_core::{Candidate, Deployment};

use super::{Model, RouteTable, lookup::closest};

/// Longest name of a model, also of one that a wildcard matches.
pub(super) const NAME_BYTES_MAX: usize = 256;

/// A mistake in the routes, told to the operator who wrote them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RouteError {
    /// A public name or alias is empty, too long, or holds white space or control characters.
    BadName {
        /// The name.
        name: String,
    },
    /// Two models or aliases have one name.
    DuplicateName {
        /// The name.
        name: String,
    },
    /// A `*` is somewhere else than at the end of a model's name.
    BadWildcard {
        /// The name.
        name: String,
    },
    /// A model is served nowhere and says nothing about why.
    NoDeployments {
        /// The model.
        model: String,
    },
    /// Two deployments of one model are the same provider and upstream model.
    DuplicateDeployment {
        /// Their id.
        deployment: String,
    },
    /// A deployment says that it serves another model than the one it is listed under.
    WrongModel {
        /// The deployment's id.
        deployment: String,
        /// The model it is listed under.
        model: String,
    },
    /// A fallback names nothing.
    UnknownFallback {
        /// The model that has it.
        model: String,
        /// The name.
        fallback: String,
        /// What may have been meant.
        closest: Option<String>,
    },
    /// A model falls back to itself, or to another one twice.
    RepeatedFallback {
        /// The model that has it.
        model: String,
        /// The name.
        fallback: String,
    },
}

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadName { name } => {
                write!(f, "`{}` is not a model name: use 1 to {NAME_BYTES_MAX} bytes without white space", name.escape_debug())
            }
            Self::DuplicateName { name } => write!(f, "`{name}` is the name or alias of two models; rename one of them"),
            Self::BadWildcard { name } => write!(f, "`{name}`: a `*` may stand only at the end of a model's name, as in `house/*`"),
            Self::NoDeployments { model } => write!(f, "model `{model}` has no deployments; list at least one provider and upstream model"),
            Self::DuplicateDeployment { deployment } => {
                write!(f, "deployment `{deployment}` is listed twice; give one entry a larger weight instead")
            }
            Self::WrongModel { deployment, model } => {
                write!(f, "deployment `{deployment}` is listed under model `{model}` but serves another")
            }
            Self::UnknownFallback { model, fallback, closest } => {
                write!(f, "model `{model}` falls back to `{fallback}`, which is not a model")?;
                closest.as_ref().map_or(Ok(()), |name| write!(f, "; did you mean `{name}`?"))
            }
            Self::RepeatedFallback { model, fallback } => {
                write!(f, "model `{model}` falls back to `{fallback}` although that is tried already; remove it")
            }
        }
    }
}

impl std::error::Error for RouteError {}

/// Collects models.
#[derive(Debug, Clone, Default)]
pub struct RouteTableBuilder {
    models: Vec<Model>,
}

impl RouteTableBuilder {
    /// Adds a model. Order is the order of listings.
    #[must_use]
    pub fn model(mut self, model: Model) -> Self {
        self.models.push(model);
        self
    }

    /// Checks everything and makes the table. Fallbacks that lead back are harmless, because only the first model's own
    /// list is followed.
    ///
    /// # Errors
    /// Every mistake found, in the order of the models.
    pub fn build(self) -> Result<RouteTable, Vec<RouteError>> {
        let mut errors = Vec::new();
        let mut table =
            RouteTable { models: self.models, names: HashMap::new(), chains: Vec::new(), pinned: HashMap::new(), wildcards: Vec::new() };
        index_names(&mut table, &mut errors);
        for (index, model) in table.models.iter().enumerate() {
            check_deployments(model, &mut errors);
            for deployment in model.deployments.iter().filter(|_| !model.is_wildcard()) {
                for name in [&deployment.upstream_model, &deployment.model] {
                    pin(&mut table.pinned, format!("{}/{name}", deployment.provider), index, deployment);
                }
            }
        }
        table.wildcards.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        for model in &table.models {
            check_fallbacks(model, &table, &mut errors);
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        table.chains = table.models.iter().map(|model| chain(model, &table)).collect();
        Ok(table)
    }
}

fn index_names(table: &mut RouteTable, errors: &mut Vec<RouteError>) {
    let mut taken = HashSet::new();
    for (index, model) in table.models.iter().enumerate() {
        for (name, may_be_wild) in std::iter::once((&*model.name, true)).chain(model.aliases.iter().map(|alias| (&**alias, false))) {
            if !is_name(name) {
                errors.push(RouteError::BadName { name: name.to_owned() });
            } else if !taken.insert(name.to_owned()) {
                errors.push(RouteError::DuplicateName { name: name.to_owned() });
            }
            match name.strip_suffix('*') {
                Some(prefix) if may_be_wild && !prefix.contains('*') => table.wildcards.push((prefix.into(), index)),
                None if !name.contains('*') => {
                    table.names.insert(name.into(), index);
                }
                Some(_) | None => errors.push(RouteError::BadWildcard { name: name.to_owned() }),
            }
        }
    }
}

/// Whether the text can be a model's name.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.chars().any(|c| c.is_whitespace() || c.is_control())
}

fn check_deployments(model: &Model, errors: &mut Vec<RouteError>) {
    if model.deployments.is_empty() && model.notice.is_none() {
        errors.push(RouteError::NoDeployments { model: model.name.to_string() });
    }
    let mut seen = HashSet::new();
    for deployment in &model.deployments {
        if !seen.insert(&deployment.id) {
            errors.push(RouteError::DuplicateDeployment { deployment: deployment.id.to_string() });
        }
        if deployment.model != model.name {
            errors.push(RouteError::WrongModel { deployment: deployment.id.to_string(), model: model.name.to_string() });
        }
    }
}

fn check_fallbacks(model: &Model, table: &RouteTable, errors: &mut Vec<RouteError>) {
    let mut seen = HashSet::from([model.name.to_string()]);
    for fallback in &model.fallbacks {
        match table.find(fallback) {
            None => errors.push(RouteError::UnknownFallback {
                model: model.name.to_string(),
                fallback: fallback.to_string(),
                closest: closest(fallback, table.names.keys().map(|name| &**name)).first().map(|name| (*name).to_owned()),
            }),
            // A pinned place of the same model is a new thing to try; the same public name is not.
            Some(target) => {
                let key = if target.is_pinned() { fallback.to_string() } else { target.public_name().to_owned() };
                if !seen.insert(key) {
                    errors.push(RouteError::RepeatedFallback { model: model.name.to_string(), fallback: fallback.to_string() });
                }
            }
        }
    }
}

fn pin(pinned: &mut HashMap<Box<str>, (usize, Vec<Arc<Deployment>>)>, name: String, index: usize, deployment: &Arc<Deployment>) {
    let (owner, places) = pinned.entry(name.into()).or_insert((index, Vec::new()));
    // Two public models at one upstream model: the first one listed owns the qualified name.
    if *owner == index && !places.iter().any(|place| place.id == deployment.id) {
        places.push(Arc::clone(deployment));
    }
}

/// A model's deployments and then its fallbacks', each once.
fn chain(model: &Model, table: &RouteTable) -> Arc<[Candidate]> {
    let mut candidates = Vec::new();
    if model.is_wildcard() {
        return candidates.into();
    }
    push(&mut candidates, 0, &model.deployments);
    for (rank, target) in (1..).zip(model.fallbacks.iter().filter_map(|name| table.find(name))) {
        push(&mut candidates, rank, &target.deployments());
    }
    candidates.into()
}

/// Appends the deployments that are not among the candidates yet.
pub(crate) fn push(candidates: &mut Vec<Candidate>, rank: u32, deployments: &[Arc<Deployment>]) {
    for deployment in deployments {
        if !candidates.iter().any(|candidate: &Candidate| candidate.deployment.id == deployment.id) {
            candidates.push(Candidate { rank, deployment: Arc::clone(deployment) });
        }
    }
}
