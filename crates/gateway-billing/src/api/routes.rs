//! Which address does what. A new one is a line here and an arm in [`super::BillingApi`].

use http::Method;

use super::error::ApiError;

/// What an address is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    Balance,
    Receipt,
    SignedReceipt,
    CostReport,
    Usage,
    Hints,
    Budgets,
    Statements,
    Statement,
    Redeem,
    WhatIf,
}

/// What may be done at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    /// `GET` and `HEAD`: nothing changes.
    Read,
    /// `POST`.
    Act,
}

/// Below `/v1/billing`. `{…}` stands for one segment that is not empty.
const ROUTES: [(Verb, &str, Route); 11] = [
    (Verb::Read, "/balance", Route::Balance),
    (Verb::Read, "/requests/{id}", Route::Receipt),
    (Verb::Read, "/requests/{id}/receipt", Route::SignedReceipt),
    (Verb::Read, "/cost-report", Route::CostReport),
    (Verb::Read, "/usage", Route::Usage),
    (Verb::Read, "/hints", Route::Hints),
    (Verb::Read, "/budgets", Route::Budgets),
    (Verb::Read, "/statements", Route::Statements),
    (Verb::Read, "/statements/{number}", Route::Statement),
    (Verb::Act, "/codes/redeem", Route::Redeem),
    // It changes nothing; a question of this size does not fit into an address.
    (Verb::Act, "/what-if", Route::WhatIf),
];

/// The route of an address with the segment that its pattern leaves open, or what is wrong with it.
pub(super) fn find<'p>(method: &Method, path: &'p str) -> Result<(Route, &'p str), ApiError> {
    let place = path.strip_prefix("/v1/billing").unwrap_or(path);
    let place = place.strip_suffix('/').unwrap_or(place);
    let mut allowed = Vec::new();
    for (verb, pattern, route) in ROUTES {
        let Some(open) = matched(pattern, place) else { continue };
        if verb.takes(method) {
            return Ok((route, open));
        }
        allowed.push(verb);
    }
    if allowed.is_empty() {
        return Err(ApiError::no_such_path(path, &known()));
    }
    Err(ApiError::MethodNotAllowed(match (allowed.contains(&Verb::Read), allowed.contains(&Verb::Act)) {
        (true, true) => "GET, HEAD, POST",
        (true, false) => "GET, HEAD",
        _ => "POST",
    }))
}

impl Verb {
    fn takes(self, method: &Method) -> bool {
        match self {
            Self::Read => method == Method::GET || method == Method::HEAD,
            Self::Act => method == Method::POST,
        }
    }
}

/// The open segment, or the empty text where there is none.
fn matched<'p>(pattern: &str, place: &'p str) -> Option<&'p str> {
    let (mut theirs, mut open) = (place.split('/'), "");
    for segment in pattern.split('/') {
        let found = theirs.next()?;
        if segment.starts_with('{') && !found.is_empty() {
            open = found;
        } else if segment != found {
            return None;
        }
    }
    theirs.next().is_none().then_some(open)
}

fn known() -> String {
    let mut patterns: Vec<_> = ROUTES.iter().map(|(_, pattern, _)| format!("/v1/billing{pattern}")).collect();
    patterns.dedup();
    patterns.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: &Method, path: &str, expected: Result<(Route, &str), u16>) {
        assert_eq!(find(method, path).map_err(|error| error.status().as_u16()), expected, "{method} {path}");
    }

    #[test]
    fn an_address_is_one_line_of_the_table() {
        check(&Method::GET, "/v1/billing/balance", Ok((Route::Balance, "")));
        check(&Method::HEAD, "/balance/", Ok((Route::Balance, "")));
        check(&Method::GET, "/v1/billing/requests/req_1", Ok((Route::Receipt, "req_1")));
        check(&Method::GET, "/v1/billing/requests/req_1/receipt", Ok((Route::SignedReceipt, "req_1")));
        check(&Method::POST, "/v1/billing/codes/redeem", Ok((Route::Redeem, "")));
        check(&Method::GET, "/v1/billing/codes/redeem", Err(405));
        check(&Method::POST, "/v1/billing/what-if", Ok((Route::WhatIf, "")));
        check(&Method::DELETE, "/v1/billing/balance", Err(405));
        for path in ["/v1/billing", "/v1/billing/requests/", "/v1/billing/requests/a/b", "/v1/billing/balances", "/v1/billing/{id}"] {
            check(&Method::GET, path, Err(404));
        }
    }
}
