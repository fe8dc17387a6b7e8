//! Printing what a list of prices would change.

use serde_json::Value;

use crate::cli::output;

/// How many changes are printed; all of them are in the JSON.
const SHOWN: usize = 50;

/// Prints a diff as the admin API answers it.
pub(super) fn print(diff: &Value) {
    let rows: Vec<[String; 5]> = diff["changes"].as_array().into_iter().flatten().flat_map(rows).collect();
    if !rows.is_empty() {
        output::table(["CHANGE", "MODEL", "FIGURE", "BEFORE", "AFTER"], &rows[..rows.len().min(SHOWN)]);
    }
    if rows.len() > SHOWN {
        output::line(format_args!("… and {} more lines; --json has all of them", rows.len() - SHOWN));
    }
    let count = |kind: &str| diff["summary"][kind].as_u64().unwrap_or(0);
    output::line(format_args!(
        "{} new, {} changed, {} pinned as they are, {} back to the catalog, {} unchanged, {} refused",
        count("new"),
        count("changed"),
        count("pinned"),
        count("unpinned"),
        count("unchanged"),
        count("refused")
    ));
}

/// One line a figure; the place only on the first.
fn rows(change: &Value) -> Vec<[String; 5]> {
    let route = output::text(change, "/route");
    let name = match output::text(change, "/model").as_str() {
        "*" => route,
        model if route.is_empty() => model.to_owned(),
        model => format!("{model} at {route}"),
    };
    let kind = output::text(change, "/change");
    let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    let mut lines: Vec<[String; 3]> = Vec::new();
    for figure in change["figures"].as_array().into_iter().flatten() {
        lines.push([output::text(figure, "/figure"), or_dash(output::text(figure, "/before")), or_dash(output::text(figure, "/after"))]);
    }
    for besides in change["besides"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        lines.push([besides.to_owned(), String::new(), "differs".to_owned()]);
    }
    let problem = output::text(change, "/problem");
    if !problem.is_empty() {
        lines.push([String::new(), String::new(), problem]);
    }
    if lines.is_empty() {
        lines.push(Default::default());
    }
    let mut first = true;
    let row = |[figure, before, after]: [String; 3]| {
        let heads = if std::mem::take(&mut first) { [kind.clone(), name.clone()] } else { Default::default() };
        let [kind, name] = heads;
        [kind, name, figure, before, after]
    };
    lines.into_iter().map(row).collect()
}
