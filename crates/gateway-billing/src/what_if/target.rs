//! Another model, as a question names it: `"gpt-4o-mini"` or `{"model": "gpt-4o-mini", "provider": "azure"}`.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor, value::MapAccessDeserializer},
};

/// A model, and the provider that is to serve it, if it is to be a certain one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) model: String,
    pub(super) provider: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Both {
    model: String,
    #[serde(default)]
    provider: Option<String>,
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Target;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a model's name, or {\"model\": …, \"provider\": …}")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Target, E> {
                Ok(Target { model: name.to_owned(), provider: None })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Target, A::Error> {
                let Both { model, provider } = Both::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Target { model, provider })
            }
        }

        deserializer.deserialize_any(Either)
    }
}
