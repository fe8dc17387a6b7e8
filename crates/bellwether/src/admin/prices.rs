//! `/admin/v1/prices`: what is sold at, what a list of prices would change, and its publication.

use std::sync::Arc;

use bytes::Bytes;
use gateway_billing::{
    ledger::{HandPublication, PriceQuery, PriceView, PublishFailure},
    price::{Calendars, PriceList, SELL_BOOK, Sealed, ServedAt, seal},
};
use gateway_core::{Fault, FaultKind, Origin};
use gateway_routing::Routes;
use gateway_server::MountRequest;
use http::{Response, StatusCode};
use serde::{Deserialize, Serialize};

use super::{Admin, List, idempotency_key, instant_us, json, parse, unknown_parameter};

/// What showing and publishing prices needs beside the ledger.
#[derive(Clone)]
pub struct PriceDesk {
    /// Which names lead where.
    pub routes: Routes,
    /// The holidays that prices by the hour are closed with.
    pub calendars: Arc<Calendars>,
}

/// Most prices in one list.
const PRICES_MAX: usize = 20_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListBody {
    list: PriceList,
    #[serde(default)]
    effective_from: Option<String>,
}

/// A price with the place it was looked up for.
#[derive(Serialize)]
struct Shown {
    #[serde(skip_serializing_if = "Option::is_none")]
    deployment: Option<String>,
    #[serde(flatten)]
    price: PriceView,
}

impl Admin {
    pub(super) fn prices(&self, request: &MountRequest) -> Result<Response<Bytes>, Fault> {
        let (mut query, mut model) = (PriceQuery::default(), None);
        for (name, value) in request.query() {
            let number = |what: &str| Fault::invalid(format!("`{name}` must be {what}")).with_param(name.to_string());
            match &*name {
                "model" => model = Some(value.into_owned()),
                "book" => query.book = Some(value.into_owned()),
                "at" => query.at_us = Some(instant_us("at", &value)?),
                "limit" => query.limit = value.parse().map_err(|_| number("a whole number"))?,
                "after" => query.after = Some(value.parse().map_err(|_| number("what `next` of the page before said"))?),
                other => return Err(unknown_parameter(other, "model, book, at, limit, after")),
            }
        }
        match model {
            None => json(StatusCode::OK, &self.ledger.price_page(&query)),
            Some(model) => {
                let book = query.book.as_deref().unwrap_or(SELL_BOOK);
                let at_us = query.at_us.unwrap_or_else(|| self.ledger.clock().unix_us());
                json(StatusCode::OK, &List { data: self.prices_of(&model, book, at_us)? })
            }
        }
    }

    /// The prices of a public name where it is served, else those of a route or an upstream model of that name.
    fn prices_of(&self, model: &str, book: &str, at_us: i64) -> Result<Vec<Shown>, Fault> {
        let table = self.desk.routes.load();
        let mut shown = Vec::new();
        for deployment in table.model(model).into_iter().flat_map(|model| &model.deployments) {
            let provider = deployment.provider.as_str();
            let at = ServedAt { provider, upstream_model: &deployment.upstream_model, model: &deployment.model };
            let place = format!("{provider}/{}", deployment.upstream_model);
            let prices = self.ledger.prices_at(book, at, at_us).map_err(|error| Fault::internal(error.to_string()))?;
            shown.extend(prices.into_iter().map(|price| Shown { deployment: Some(place.clone()), price }));
        }
        if shown.is_empty() {
            let named = self.ledger.prices_named(book, model, at_us);
            shown.extend(named.into_iter().map(|price| Shown { deployment: None, price }));
        }
        if shown.is_empty() {
            let name: String = model.chars().take(200).collect();
            let message = format!(
                "nothing called `{name}` has a price in `{book}` then; a model is a public name, `provider/model`, or a provider's own name"
            );
            return Err(Fault::new(FaultKind::NotFound, Origin::Caller, message).with_param("model"));
        }
        Ok(shown)
    }

    pub(super) async fn compare_prices(&self, request: &MountRequest) -> Result<Response<Bytes>, Fault> {
        let (prices, effective_from) = self.sealed(request).await?;
        let ledger = Arc::clone(&self.ledger);
        let diff = aside(move || ledger.compare_prices(&prices, effective_from)).await?;
        json(StatusCode::OK, &diff)
    }

    pub(super) async fn publish_prices(&self, request: &MountRequest) -> Result<Response<Bytes>, Fault> {
        let idempotency_key = idempotency_key(request, "so that a repeat cannot publish twice")?;
        let (prices, effective_from) = self.sealed(request).await?;
        let publication = HandPublication { prices, effective_from, idempotency_key };
        json(StatusCode::OK, &self.ledger.publish_prices_by_hand(publication).await?)
    }

    /// The list of the body, closed and checked; any price that cannot be used refuses all of them.
    async fn sealed(&self, request: &MountRequest) -> Result<(Vec<Sealed>, Option<i64>), Fault> {
        let body: ListBody = parse(request)?;
        if body.list.prices.is_empty() || body.list.prices.len() > PRICES_MAX {
            let message = format!("`list.prices` must hold 1 to {PRICES_MAX} prices, not {}", body.list.prices.len());
            return Err(Fault::invalid(message).with_param("list.prices"));
        }
        let effective_from = body.effective_from.as_deref().map(|text| instant_us("effective_from", text)).transpose()?;
        let calendars = Arc::clone(&self.desk.calendars);
        let sealed = aside(move || body.list.drafts().and_then(|drafts| seal(&drafts, &calendars))).await?;
        Ok((sealed.map_err(PublishFailure::Prices)?, effective_from))
    }
}

/// Thousands of prices take longer than a thread that serves calls may be kept.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Fault> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Fault::internal("the prices could not be read").with_source(error))
}
