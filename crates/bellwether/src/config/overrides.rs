//! `BELLWETHER_SECTION__KEY=value`: one setting each, applied on top of the file.

use toml::{Table, Value};

use super::{
    Config, Environment,
    error::{ConfigError, with_suggestion},
};

/// One override: the variable, the path it names, and its text.
pub(super) struct Override {
    variable: String,
    path: Vec<String>,
    value: String,
}

/// Every variable that names a setting. Only names with `__` do; `BELLWETHER_URL` and the like are not settings.
pub(super) fn collect(environment: &dyn Environment) -> Vec<Override> {
    let mut all: Vec<_> = environment
        .all()
        .into_iter()
        .filter_map(|(variable, value)| {
            let rest = variable.strip_prefix("BELLWETHER_")?;
            let path: Vec<_> = rest.split("__").map(str::to_ascii_lowercase).collect();
            (path.len() > 1).then_some(Override { variable, path, value })
        })
        .collect();
    all.sort_by(|a, b| a.variable.cmp(&b.variable));
    all
}

/// Applies them one by one, so that an error names the variable that caused it.
pub(super) fn apply(mut table: Table, overrides: Vec<Override>) -> Result<Config, ConfigError> {
    let mut config = None;
    for item in overrides {
        let syntax = |message: String| ConfigError::Syntax { place: item.variable.clone(), message };
        let as_written = table.clone();
        insert(&mut table, &item.path, literal(&item.value)).map_err(syntax)?;
        config = Some(match table.clone().try_into() {
            Ok(config) => config,
            // `5` may be meant as text: prices and names are.
            Err(first) => {
                table = as_written;
                insert(&mut table, &item.path, Value::String(item.value.clone())).map_err(syntax)?;
                let first: toml::de::Error = first;
                table.clone().try_into().map_err(|_: toml::de::Error| syntax(with_suggestion(first.message())))?
            }
        });
    }
    config.map_or_else(|| table.try_into().map_err(|error| syntax_of(&error)), Ok)
}

fn syntax_of(error: &toml::de::Error) -> ConfigError {
    ConfigError::Syntax { place: "configuration".to_owned(), message: with_suggestion(error.message()) }
}

/// The value as TOML if it is some, else as text.
fn literal(text: &str) -> Value {
    toml::from_str::<Table>(&format!("value = {text}"))
        .ok()
        .filter(|table| table.len() == 1)
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

fn insert(table: &mut Table, path: &[String], value: Value) -> Result<(), String> {
    let Some((last, parents)) = path.split_last() else { return Ok(()) };
    let mut at = table;
    for name in parents {
        at = match at.entry(name.clone()).or_insert_with(|| Value::Table(Table::new())) {
            Value::Table(inner) => inner,
            other => return Err(format!("`{name}` is a {}, not a section", other.type_str())),
        };
    }
    at.insert(last.clone(), value);
    Ok(())
}
