//! Factors in millionths: plans, and overrides of prices.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A factor in millionths: 1,000,000 is "unchanged". At most 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ppm(pub(super) u32);

impl Ppm {
    /// Unchanged.
    pub const ONE: Self = Self(1_000_000);
    /// A hundredfold, the largest factor.
    pub const MAX: Self = Self(100_000_000);

    /// Takes millionths; `None` above [`Ppm::MAX`].
    #[must_use]
    pub const fn new(millionths: u32) -> Option<Self> {
        if millionths <= Self::MAX.0 { Some(Self(millionths)) } else { None }
    }

    /// The millionths.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl Serialize for Ppm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.0)
    }
}

impl<'de> Deserialize<'de> for Ppm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let millionths = u32::deserialize(deserializer)?;
        Self::new(millionths).ok_or_else(|| de::Error::custom("a factor must not exceed 100,000,000 millionths"))
    }
}

impl Default for Ppm {
    fn default() -> Self {
        Self::ONE
    }
}
