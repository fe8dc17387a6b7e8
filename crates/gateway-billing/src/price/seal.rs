//! Closing and checking drafts, so that what remains to be done in the store's transaction is a comparison of hashes.

use std::collections::HashSet;

use super::{
    ANY_MODEL, PriceError,
    calendar::Calendars,
    plan::is_plan_name,
    publish::{Draft, NewVersion, Origin, PublishError},
    terms::TimeBasis,
    version::{check_windows, sha256},
};
use crate::money::Currency;

/// A draft whose terms are closed, checked and in their canonical form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    pub(crate) book: Box<str>,
    pub(crate) model: Box<str>,
    pub(crate) route: Box<str>,
    pub(crate) currency: Currency,
    pub(crate) body: Box<str>,
    pub(crate) sha256: [u8; 32],
    pub(crate) published_by: Box<str>,
}

impl Sealed {
    /// Its book, model and route.
    pub(crate) fn place(&self) -> (&str, &str, &str) {
        (&self.book, &self.model, &self.route)
    }

    pub(crate) fn origin(&self) -> Origin {
        Origin::of(&self.published_by)
    }

    pub(crate) fn version(&self, effective_from: i64) -> NewVersion {
        NewVersion {
            book: self.book.clone(),
            model: self.model.clone(),
            route: self.route.clone(),
            currency: self.currency,
            effective_from,
            body: self.body.clone(),
            sha256: self.sha256,
            published_by: self.published_by.clone(),
        }
    }
}

/// Closes and checks all of them.
///
/// # Errors
/// Every draft that is no price, or whose place another one has.
pub fn seal(drafts: &[Draft], calendars: &Calendars) -> Result<Vec<Sealed>, Vec<PublishError>> {
    let mut sealed = Vec::with_capacity(drafts.len());
    let mut errors = Vec::new();
    let mut taken = HashSet::with_capacity(drafts.len());
    for draft in drafts {
        let outcome =
            if taken.insert((&*draft.book, &*draft.model, &*draft.route)) { seal_one(draft, calendars) } else { Err(PriceError::Twice) };
        match outcome {
            Ok(one) => sealed.push(one),
            Err(error) => errors.push(PublishError { model: draft.model.clone(), route: draft.route.clone(), error }),
        }
    }
    if errors.is_empty() { Ok(sealed) } else { Err(errors) }
}

fn seal_one(draft: &Draft, calendars: &Calendars) -> Result<Sealed, PriceError> {
    let sells = sells(&draft.book)?;
    check_place(&draft.model, &draft.route)?;
    if sells && draft.terms.currency != Currency::USD {
        return Err(PriceError::SellCurrency(draft.terms.currency));
    }
    if sells && draft.terms.time_basis == TimeBasis::ResponseEnd {
        return Err(PriceError::SellAtResponseEnd);
    }
    let terms = draft.terms.clone().close(calendars)?;
    check_windows(&terms)?;
    let body = terms.canonical()?;
    Ok(Sealed {
        book: draft.book.clone(),
        model: draft.model.clone(),
        route: draft.route.clone(),
        currency: terms.currency,
        sha256: sha256(&body),
        body: body.into(),
        published_by: draft.source.to_string().into(),
    })
}

/// Whether callers are charged from this book; an error if it is none.
fn sells(book: &str) -> Result<bool, PriceError> {
    match book.split_once(':') {
        Some(("sell", plan)) if is_plan_name(plan) => Ok(true),
        Some(("cost", provider)) if is_plan_name(provider) => Ok(false),
        Some(_) | None => Err(PriceError::Book(book.chars().take(80).collect())),
    }
}

/// A price that no call could ever be looked up by is a mistake of its author.
fn check_place(model: &str, route: &str) -> Result<(), PriceError> {
    let named = |text: &str| !text.is_empty() && !text.contains(char::is_control);
    let routed = route.split_once('/').is_some_and(|(provider, model)| named(provider) && named(model));
    if named(model) && (routed || (route.is_empty() && model != ANY_MODEL)) { Ok(()) } else { Err(PriceError::Place) }
}
