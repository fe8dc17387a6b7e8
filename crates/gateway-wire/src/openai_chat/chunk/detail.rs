//! A reasoning detail that comes in pieces.

use bytes::BytesMut;
use gateway_core::WireError;

use crate::json::{Json, Writer};

/// The fields of one detail, merged: texts grow, everything else is overwritten.
#[derive(Debug, Default)]
pub(super) struct Detail(Vec<(String, Field)>);

#[derive(Debug)]
enum Field {
    /// `text`, `summary`, `signature` or `data`, unescaped.
    Growing(String),
    /// Anything else, as JSON.
    Fixed(String),
}

impl Detail {
    pub(super) fn read(item: Json<'_>) -> Result<Self, WireError> {
        let fields = item.fields()?;
        let mut read = Vec::new();
        for (key, value) in fields.rest().filter(|(_, value)| !value.is_null()) {
            let field = match key {
                "text" | "summary" | "signature" | "data" => Field::Growing(value.str()?.into_owned()),
                _ => Field::Fixed(value.raw()?.text().to_owned()),
            };
            read.push((key.to_owned(), field));
        }
        Ok(Self(read))
    }

    /// The readable text of the piece.
    pub(super) fn readable(&self) -> String {
        let texts = self.0.iter().find_map(|(key, field)| match field {
            Field::Growing(text) if key == "text" || key == "summary" => Some(text.clone()),
            Field::Growing(_) | Field::Fixed(_) => None,
        });
        texts.unwrap_or_default()
    }

    /// Whether `piece` is more of this detail: the same index and kind.
    pub(super) fn continues_with(&self, piece: &Self) -> bool {
        let fixed = |detail: &Self, name: &str| {
            detail.0.iter().find_map(|(key, field)| match field {
                Field::Fixed(text) if key == name => Some(text.clone()),
                Field::Fixed(_) | Field::Growing(_) => None,
            })
        };
        self.0.is_empty() || ["index", "type"].into_iter().all(|name| fixed(self, name) == fixed(piece, name))
    }

    pub(super) fn merge(&mut self, piece: Self) {
        for (key, field) in piece.0 {
            match (self.0.iter_mut().find(|(name, _)| *name == key), field) {
                (Some((_, Field::Growing(standing))), Field::Growing(more)) => standing.push_str(&more),
                (Some((_, standing)), field) => *standing = field,
                (None, field) => self.0.push((key, field)),
            }
        }
    }

    /// The merged detail as JSON.
    pub(super) fn text(&self) -> String {
        let mut out = BytesMut::new();
        let mut w = Writer::new(&mut out);
        w.begin_object();
        for (key, field) in &self.0 {
            match field {
                Field::Growing(text) => w.key(key).str(text),
                Field::Fixed(json) => w.key(key).raw(json),
            }
        }
        w.end_object();
        String::from_utf8_lossy(&out).into_owned()
    }
}
