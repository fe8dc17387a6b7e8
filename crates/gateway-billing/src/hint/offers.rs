//! What else could have served: the public models as the operator routes and classes them.

use std::sync::Arc;

use crate::price::ServedAt;

/// A public model, for telling what else could have served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The name callers use.
    pub model: Arc<str>,
    /// Models of one class can stand in for each other, by the operator's word; `None`: for no other.
    pub class: Option<Box<str>>,
    /// Where it is served.
    pub places: Vec<Place>,
}

/// One place where a public model is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Who serves.
    pub provider: Arc<str>,
    /// The name the provider knows the model by.
    pub upstream_model: Arc<str>,
    /// Whether it takes part in serving, and not only when the others fail.
    pub in_use: bool,
    /// Most input and output tokens together, where known.
    pub context_window: Option<u32>,
    /// Most output tokens, where known.
    pub output_tokens_max: Option<u32>,
}

impl Offer {
    /// A place of it, as prices are looked up by.
    pub(super) fn at<'o>(&'o self, place: &'o Place) -> ServedAt<'o> {
        ServedAt { provider: &place.provider, upstream_model: &place.upstream_model, model: &self.model }
    }
}
