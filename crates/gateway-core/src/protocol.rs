//! The name of a wire format. An open set: a codec crate adds its own constant.

use std::fmt;

use serde::{Serialize, Serializer};

/// A wire format by name, such as `openai-chat`. Two protocols are the same when their names are.
///
/// ```
/// use gateway_core::Protocol;
/// const HOUSE: Protocol = Protocol::new("house-rpc");
/// assert_eq!(HOUSE.as_str(), "house-rpc");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Protocol(&'static str);

impl Protocol {
    /// Names a protocol. Use lower-case words joined by `-`; the name appears in configuration and in sealed envelopes.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self(name)
    }

    /// The name, as configuration spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Debug for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Serialize for Protocol {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0)
    }
}
