//! Newtypes for every id, so that two ids of different things cannot be swapped.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Serialize, Serializer};

/// The text was not an id of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidId {
    /// The prefix that the text should have carried.
    pub expected_prefix: &'static str,
}

impl fmt::Display for InvalidId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected `{}` followed by 32 hexadecimal digits", self.expected_prefix)
    }
}

impl std::error::Error for InvalidId {}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; 16]);

        impl $name {
            /// What the text form starts with.
            pub const PREFIX: &'static str = $prefix;

            /// Takes the sixteen bytes as they are, for example from a database row.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// A version 7 UUID (RFC 9562 §5.7) of the given Unix time in milliseconds. `random` must come from a
            /// good generator: only it tells apart two ids of one millisecond.
            #[must_use]
            pub const fn v7(unix_ms: u64, random: [u8; 10]) -> Self {
                let t = unix_ms.to_be_bytes();
                let r = random;
                Self([
                    t[2], t[3], t[4], t[5], t[6], t[7],
                    0x70 | (r[0] & 0x0f), r[1],
                    0x80 | (r[2] & 0x3f), r[3], r[4], r[5], r[6], r[7], r[8], r[9],
                ])
            }

            /// The sixteen bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut text = [0u8; $prefix.len() + 32];
                text[..$prefix.len()].copy_from_slice($prefix.as_bytes());
                write_hex(&self.0, &mut text[$prefix.len()..]);
                f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                text.strip_prefix($prefix)
                    .and_then(read_hex)
                    .map(Self)
                    .ok_or(InvalidId { expected_prefix: $prefix })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
}

uuid_id!(
    /// One call of one caller; also the id of the money held for it. Shown as `req_…`.
    RequestId, "req_"
);
uuid_id!(
    /// A tenant. The API and the command line call it an account: `acc_…`.
    OrgId, "acc_"
);
uuid_id!(
    /// A team of a tenant: `team_…`.
    TeamId, "team_"
);
uuid_id!(
    /// A person or service of a tenant that owns keys: `user_…`.
    UserId, "user_"
);
uuid_id!(
    /// An API key's public id: `key_…`. It is not the key and opens nothing.
    KeyId, "key_"
);

fn write_hex(bytes: &[u8; 16], out: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in out.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 0x0f)];
    }
}

fn read_hex(text: &str) -> Option<[u8; 16]> {
    if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    u128::from_str_radix(text, 16).ok().map(u128::to_be_bytes)
}

macro_rules! name_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps the name; cloning it afterwards is a reference count.
            #[must_use]
            pub fn new(name: impl Into<Arc<str>>) -> Self {
                Self(name.into())
            }

            /// The name.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
    };
}

name_id!(
    /// A provider as configuration names it, such as `openai` or `house`.
    ProviderId
);
name_id!(
    /// One deployment of one public model: `<public model>@<provider>/<upstream model>`, unique in a route table.
    DeploymentId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips_and_other_kinds_are_refused() {
        let id = RequestId::v7(1_795_435_200_000, [0xab; 10]);
        let text = id.to_string();
        assert_eq!(text.len(), 36);
        assert_eq!(text.parse::<RequestId>(), Ok(id));
        assert_eq!(text.parse::<KeyId>(), Err(InvalidId { expected_prefix: "key_" }));
        assert!("req_+1".parse::<RequestId>().is_err());
        assert!(format!("req_+{}", "0".repeat(31)).parse::<RequestId>().is_err());
    }

    #[test]
    fn version_and_variant_bits_are_those_of_uuid_7() {
        let id = RequestId::v7(u64::MAX, [0xff; 10]);
        assert_eq!(id.as_bytes()[6] >> 4, 7);
        assert_eq!(id.as_bytes()[8] >> 6, 2);
    }

    #[test]
    fn later_ids_sort_later() {
        assert!(RequestId::v7(1, [0xff; 10]) < RequestId::v7(2, [0; 10]));
    }
}
