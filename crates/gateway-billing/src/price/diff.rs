//! What a publication by hand would change, before anybody publishes it.

use serde::Serialize;

use super::{
    PriceBook, PriceInput, Step, Terms, instant,
    publish::{Move, moves},
    seal::Sealed,
};

/// What publishing a list would do, place by place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diff {
    /// `price_diff`.
    pub object: &'static str,
    /// From when the prices would hold, RFC 3339; `None` is from their publication on.
    pub effective_from: Option<String>,
    /// How many of each kind.
    pub summary: DiffSummary,
    /// Every place where something would change or cannot.
    pub changes: Vec<Change>,
}

/// How many places of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct DiffSummary {
    /// Without a price so far.
    pub new: usize,
    /// With another price.
    pub changed: usize,
    /// With the price they have, which would follow the catalog no longer.
    pub pinned: usize,
    /// With the price they have, which would follow the catalog again.
    pub unpinned: usize,
    /// With the price they have, and from the same origin.
    pub unchanged: usize,
    /// Whose price cannot be published.
    pub refused: usize,
}

/// What would happen at one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The book.
    pub book: Box<str>,
    /// The public model; `*` is any.
    pub model: Box<str>,
    /// `<provider>/<upstream model>`; empty is any.
    pub route: Box<str>,
    /// `new`, `changed`, `pinned`, `unpinned` or `refused`.
    pub change: &'static str,
    /// The version that would end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    /// Why it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The figures that differ. One that goes along with `input` or `output` is not repeated.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub figures: Vec<FigureChange>,
    /// What else differs: `overrides`, `min_charge`, `currency`, `time_basis`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub besides: Vec<&'static str>,
}

/// One figure before and after, as it is written in a price.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FigureChange {
    /// `input`, `output`, `web_search`, or a SKU.
    pub figure: String,
    /// Before; `None` if there was none.
    pub before: Option<String>,
    /// After; `None` if there will be none.
    pub after: Option<String>,
}

impl Diff {
    /// What publishing these by hand from `at_us` on, or now, would do to the prices of `book`.
    #[must_use]
    pub fn of(drafts: &[Sealed], book: &PriceBook, at_us: Option<i64>, now_us: i64) -> Self {
        let existing = book.rows(|_| true);
        let mut summary = DiffSummary::default();
        let mut changes = Vec::new();
        for (draft, outcome) in drafts.iter().zip(moves(drafts, &existing, at_us, now_us)) {
            let (book, model, route) = (draft.book.clone(), draft.model.clone(), draft.route.clone());
            let empty =
                Change { book, model, route, change: "refused", version: None, problem: None, figures: Vec::new(), besides: Vec::new() };
            let step = match outcome {
                Err(error) => {
                    summary.refused += 1;
                    changes.push(Change { problem: Some(error.to_string()), ..empty });
                    continue;
                }
                Ok(step) => step,
            };
            match step.step {
                Step::New => summary.new += 1,
                Step::Change => summary.changed += 1,
                Step::Pin => summary.pinned += 1,
                Step::Unpin => summary.unpinned += 1,
                Step::Nothing => {
                    summary.unchanged += 1;
                    continue;
                }
            }
            changes.push(change(draft, &step, empty));
        }
        Self { object: "price_diff", effective_from: at_us.map(instant), summary, changes }
    }
}

fn change(draft: &Sealed, step: &Move<'_>, empty: Change) -> Change {
    // The draft's body was written a moment ago by the code that reads it here.
    let terms = |body: &str| serde_json::from_str::<Terms>(body).ok().map(|terms| PriceInput::of(&terms));
    let after = terms(&draft.body).unwrap_or_default();
    let change = Change { change: step.step.as_str(), version: step.before.map(|row| row.id.0), ..empty };
    match step.before.map(|row| terms(&row.body)) {
        None => Change { figures: figures(&PriceInput::default(), &after), ..change },
        Some(Some(before)) => Change { figures: figures(&before, &after), besides: besides(&before, &after), ..change },
        Some(None) => Change { problem: Some("the price that stands cannot be read".to_owned()), ..change },
    }
}

fn figures(before: &PriceInput, after: &PriceInput) -> Vec<FigureChange> {
    let pair = |name: &str| (before.rates.get(name), after.rates.get(name));
    let (input, output) = (pair("input"), pair("output"));
    let mut names: Vec<&String> = before.rates.keys().chain(after.rates.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let told = |name: &&String| {
        let (before, after) = pair(name);
        let leader = if name.starts_with("output") || name.starts_with("tok.out") { output } else { input };
        let goes_along = !matches!(name.as_str(), "input" | "output") && (before, after) == leader;
        before != after && !goes_along
    };
    let change = |name: &String| {
        let (before, after) = pair(name);
        FigureChange { figure: name.clone(), before: before.cloned(), after: after.cloned() }
    };
    names.into_iter().filter(told).map(change).collect()
}

fn besides(before: &PriceInput, after: &PriceInput) -> Vec<&'static str> {
    let differs = [
        ("overrides", before.overrides != after.overrides),
        ("min_charge", before.min_charge != after.min_charge),
        ("currency", before.currency != after.currency),
        ("time_basis", before.time_basis != after.time_basis),
    ];
    differs.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}
