//! Printing: JSON as it came, or a table.

use std::{
    fmt::Display,
    io::{ErrorKind, Write},
};

use serde_json::Value;

/// Prints a line. Whoever reads may stop, as `head` does: then there is nobody left to print for.
pub(super) fn line(text: impl Display) {
    if let Err(error) = writeln!(std::io::stdout(), "{text}") {
        if error.kind() != ErrorKind::BrokenPipe {
            eprintln!("error: cannot print: {error}");
        }
        std::process::exit(1);
    }
}

/// Prints JSON on several lines.
pub(super) fn json(value: &Value) {
    line(format_args!("{value:#}"));
}

/// Prints rows in aligned columns under their headings; the last column is not padded.
pub(super) fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) {
    let mut widths = headings.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let row = |cells: [&str; N]| {
        let padded: Vec<_> = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        line(padded.join("  ").trim_end());
    };
    row(headings);
    for cells in rows {
        row(std::array::from_fn(|at| cells[at].as_str()));
    }
}

/// The text of a member, or empty.
pub(super) fn text(value: &Value, pointer: &str) -> String {
    match value.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

/// The rows of a list answer, each made by `row`.
pub(super) fn rows<const N: usize>(list: &Value, row: impl Fn(&Value) -> [String; N]) -> Vec<[String; N]> {
    list["data"].as_array().map(|rows| rows.iter().map(row).collect()).unwrap_or_default()
}

/// The decimal of a `Money`, whatever it is in.
pub(super) fn amount(money: &Value) -> String {
    money
        .as_object()
        .and_then(|money| money.iter().find(|(unit, _)| *unit != "nano"))
        .map_or_else(String::new, |(unit, decimal)| format!("{} {}", decimal.as_str().unwrap_or("?"), unit.to_ascii_uppercase()))
}
