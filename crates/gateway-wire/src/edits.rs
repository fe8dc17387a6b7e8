//! What changes in an answer that is otherwise forwarded as it came: the model's name, and the price beside the usage.

use std::ops::Range;

use bytes::BytesMut;
use gateway_core::WireError;

use crate::{
    json::{Cursor, Json, Kind, top_level, write_str},
    nano::{self, Round},
    splice::Splice,
};

/// The member of a usage object that states the price.
const COST: &str = "cost";

/// What else providers state there of what they bill: OpenRouter's parts of its `cost`, and xAI's bill in ten-billionths of a
/// dollar (<https://docs.x.ai/developers/cost-tracking.md>).
const BILLS: [&str; 2] = ["cost_details", TICKS];
pub(crate) const TICKS: &str = "cost_in_usd_ticks";

/// Edits of one answer or chunk; every other byte stays.
#[derive(Debug, Default)]
pub(crate) struct Edits<'e> {
    /// Where the model's name stands, and the JSON string that takes its place.
    pub(crate) model: Option<(Range<usize>, &'e [u8])>,
    /// Where the usage object stands, and the price to write into it; without one, the provider's own is taken out.
    pub(crate) usage: Option<(Range<usize>, Option<&'e str>)>,
}

impl Edits<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        self.model.is_none() && self.usage.is_none()
    }

    /// How much longer the answer may get.
    pub(crate) fn growth(&self) -> usize {
        let model = self.model.as_ref().map_or(0, |(_, name)| name.len());
        let usage = self.usage.as_ref().map_or(0, |(_, price)| price.map_or(0, str::len) + r#","cost":"""#.len());
        model + usage
    }

    /// Copies `data` with the edits made.
    pub(crate) fn apply(&self, data: &[u8], out: &mut BytesMut) {
        let mut copied = 0;
        let usage_first = matches!((&self.model, &self.usage), (Some((model, _)), Some((usage, _))) if usage.start < model.start);
        for is_usage in [usage_first, !usage_first] {
            let place = match (is_usage, &self.usage, &self.model) {
                (true, Some((place, _)), _) | (false, _, Some((place, _))) => place,
                _ => continue,
            };
            out.extend_from_slice(data.get(copied..place.start).unwrap_or_default());
            let standing = data.get(place.clone()).unwrap_or_default();
            match (is_usage, &self.usage, &self.model) {
                (true, Some((_, price)), _) => write_usage(out, standing, *price),
                (_, _, Some((_, name))) => out.extend_from_slice(name),
                _ => out.extend_from_slice(standing),
            }
            copied = place.end;
        }
        out.extend_from_slice(data.get(copied..).unwrap_or_default());
    }
}

/// Whether a usage object may state a price of its provider's.
pub(crate) fn states_cost(usage: &[u8]) -> bool {
    memchr::memmem::find(usage, b"cost").is_some() || memchr::memchr(b'\\', usage).is_some()
}

/// Writes a usage object with the price in it. What a provider states there it bills the operator, not the caller, so it
/// is replaced, or taken out where there is no price yet.
pub(crate) fn write_usage(out: &mut BytesMut, usage: &[u8], price: Option<&str>) {
    match (place_of_cost(usage), price) {
        (Ok(Place::One(own)), Some(price)) => {
            out.extend_from_slice(&usage[..own.start]);
            write_str(out, price);
            out.extend_from_slice(&usage[own.end..]);
        }
        (Ok(Place::None { end, is_empty }), Some(price)) => {
            out.extend_from_slice(&usage[..end]);
            out.extend_from_slice(if is_empty { b"\"cost\":".as_slice() } else { b",\"cost\":" });
            write_str(out, price);
            out.extend_from_slice(&usage[end..]);
        }
        (Ok(Place::None { .. }), None) | (Err(_), _) => out.extend_from_slice(usage),
        (Ok(Place::One(_) | Place::Several), _) => {
            let Ok(spans) = top_level(usage) else { return out.extend_from_slice(usage) };
            let mut splice = Splice::new(usage, &spans);
            match price {
                Some(price) => splice.set_str(COST, price),
                None => splice.remove(COST),
            }
            BILLS.into_iter().for_each(|bill| splice.remove(bill));
            out.extend_from_slice(&splice.apply());
        }
    }
}

/// As [`write_usage`], for a usage object that is text already.
pub(crate) fn priced_usage(usage: &str, price: Option<&str>) -> String {
    let mut out = BytesMut::with_capacity(usage.len() + 32);
    write_usage(&mut out, usage.as_bytes(), price);
    // A JSON text with a JSON string put in or taken out between two members.
    String::from_utf8_lossy(&out).into_owned()
}

/// The same in xAI's ticks, ten of which are a billionth.
pub(crate) fn reported_ticks(value: Json<'_>) -> Option<u64> {
    let ticks: u64 = value.text().parse().ok()?;
    Some(ticks.div_ceil(10))
}

/// What a provider says that it bills for the answer, in billionths: a number, or an object with the total of its parts.
/// What cannot be read was not said.
pub(crate) fn reported_cost(value: Json<'_>) -> Option<u64> {
    match value.kind() {
        Kind::Number => nano::parse(value.text(), Round::Up),
        Kind::String => nano::parse(&value.str().ok()?, Round::Up),
        Kind::Object => value.fields().ok()?.peek("total_cost").filter(|total| total.kind() == Kind::Number).and_then(reported_cost),
        Kind::Array | Kind::Bool | Kind::Null => None,
    }
}

enum Place {
    /// Nowhere; a member can be added at `end`.
    None {
        end: usize,
        is_empty: bool,
    },
    One(Range<usize>),
    /// More than once, or beside others that tell of it, or a key is escaped and must be read to be compared.
    Several,
}

fn place_of_cost(usage: &[u8]) -> Result<Place, WireError> {
    let mut cursor = Cursor::new(usage);
    let (mut members, mut end, mut own) = (0, cursor_start(usage), None);
    while let Some(key) = cursor.key(members == 0)? {
        let key = cursor.bytes(key);
        let value = cursor.value()?;
        members += 1;
        end = value.end;
        let another = key == COST.as_bytes() && own.replace(value).is_some();
        if another || BILLS.iter().any(|bill| key == bill.as_bytes()) || key.contains(&b'\\') {
            return Ok(Place::Several);
        }
    }
    Ok(own.map_or(Place::None { end, is_empty: members == 0 }, Place::One))
}

/// Right after the opening brace.
fn cursor_start(object: &[u8]) -> usize {
    memchr::memchr(b'{', object).map_or(0, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::{Edits, Json, priced_usage, reported_cost, reported_ticks};

    #[test]
    fn the_price_is_put_last_or_in_the_place_of_the_providers_own() {
        for (usage, priced, bare) in [
            (r#"{"a":1}"#, r#"{"a":1,"cost":"0.5"}"#, r#"{"a":1}"#),
            ("{ \"a\" : 1 \n}", "{ \"a\" : 1,\"cost\":\"0.5\" \n}", "{ \"a\" : 1 \n}"),
            ("{ }", r#"{"cost":"0.5" }"#, "{ }"),
            (r#"{"cost":0.0014,"b":{"cost":7}}"#, r#"{"cost":"0.5","b":{"cost":7}}"#, r#"{"b":{"cost":7}}"#),
            (r#"{"a":1, "cost" : null}"#, r#"{"a":1, "cost" : "0.5"}"#, r#"{"a":1}"#),
            (r#"{"cost":1,"x":2,"cost":3}"#, r#"{"cost":"0.5","x":2,"cost":"0.5"}"#, r#"{"x":2}"#),
            (r#"{"cost":1,"cost_details":{"upstream":1},"x":2}"#, r#"{"cost":"0.5","x":2}"#, r#"{"x":2}"#),
            (r#"{"x":2,"cost_in_usd_ticks":37756000}"#, r#"{"x":2,"cost":"0.5"}"#, r#"{"x":2}"#),
            (r#"{"\u0063ost":1,"x":2}"#, r#"{"\u0063ost":"0.5","x":2}"#, r#"{"x":2}"#),
        ] {
            assert_eq!(priced_usage(usage, Some("0.5")), priced, "{usage}");
            assert_eq!(priced_usage(usage, None), bare, "{usage}");
        }
    }

    #[test]
    fn both_edits_are_made_whichever_comes_first() {
        let edited = |data: &str| {
            let place = |value: &str| data.find(value).map(|at| at..at + value.len()).expect("it is there");
            let edits = Edits { model: Some((place("\"up\""), b"\"public\"")), usage: Some((place("{}"), Some("0.5"))) };
            let mut out = BytesMut::new();
            edits.apply(data.as_bytes(), &mut out);
            assert!(out.len() <= data.len() + edits.growth());
            String::from_utf8(out.to_vec()).expect("text")
        };
        assert_eq!(edited(r#"[1.50,"up" ,{} ,2]"#), r#"[1.50,"public" ,{"cost":"0.5"} ,2]"#);
        assert_eq!(edited(r#"[1.50,{}, "up",2]"#), r#"[1.50,{"cost":"0.5"}, "public",2]"#);
    }

    #[test]
    fn a_providers_own_cost_is_read_without_a_float() {
        let read = |text: &str| reported_cost(Json::parse(text.as_bytes()).expect("JSON"));
        for (text, nano) in [
            ("0.00014", Some(140_000)),
            ("1.4e-10", Some(1)),
            ("\"0.5\"", Some(500_000_000)),
            (r#"{"input_tokens_cost":1,"total_cost":0.006}"#, Some(6_000_000)),
            ("-1", None),
            ("null", None),
            ("[1]", None),
            (r#"{"total_cost":{"total_cost":1}}"#, None),
            ("1e400", None),
        ] {
            assert_eq!(read(text), nano, "{text}");
        }
        let ticks = |text: &str| reported_ticks(Json::parse(text.as_bytes()).expect("JSON"));
        for (text, nano) in [("37756000", Some(3_775_600)), ("1", Some(1)), ("0", Some(0)), ("1.5", None), ("-1", None), ("\"1\"", None)] {
            assert_eq!(ticks(text), nano, "{text}");
        }
    }
}
