//! Who is calling: keys, the stores that know them, and the [`Principal`] a key stands for.

use std::{sync::Arc, time::SystemTime};

use async_trait::async_trait;

use crate::{
    id::{KeyId, OrgId, TeamId, UserId},
    secret::Secret,
};

/// Whether real money and real providers are involved. A test call keeps its route but reaches only the simulator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mode {
    /// Real providers, real money.
    Live,
    /// The simulated provider, test money.
    Test,
}

impl Mode {
    /// `live` or `test`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Test => "test",
        }
    }
}

/// The public models a key may use.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ModelAllowList {
    /// Every model.
    #[default]
    All,
    /// Only these names; a trailing `*` matches any rest.
    Only(Box<[Box<str>]>),
}

impl ModelAllowList {
    /// Whether the public name may be used.
    #[must_use]
    pub fn allows(&self, model: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.iter().any(|name| match name.strip_suffix('*') {
                Some(prefix) => model.starts_with(prefix),
                None => **name == *model,
            }),
        }
    }
}

/// An authenticated caller. Only a [`KeyStore`] makes one for traffic; a [`crate::Call`] cannot exist without it.
#[derive(Debug, Clone)]
pub struct Principal {
    /// The tenant that pays.
    pub org: OrgId,
    /// The key that was presented.
    pub key: KeyId,
    /// The team it was made for.
    pub team: Option<TeamId>,
    /// The user it was made for.
    pub user: Option<UserId>,
    /// Live or test.
    pub mode: Mode,
    /// Which public models the key may use.
    pub models: ModelAllowList,
    /// When the key stops working, if ever.
    pub expires_at: Option<SystemTime>,
}

impl Principal {
    /// A key of a tenant's own: in no team, of no user, for every model, without an end.
    #[must_use]
    pub const fn new(org: OrgId, key: KeyId, mode: Mode) -> Self {
        Self { org, key, team: None, user: None, mode, models: ModelAllowList::All, expires_at: None }
    }
}

/// Why a presented key was not accepted. A store must not say more than this: a stranger learns nothing about which
/// keys exist, while the holder of a real key that ended learns that it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyRefusal {
    /// Well formed, but no such key.
    Unknown,
    /// Has our prefix, but the check characters do not fit: mistyped or cut.
    Mistyped,
    /// Looks like a key of another service (`sk-…`).
    Foreign,
    /// Not shaped like any key.
    Malformed,
    /// The right key, revoked.
    Revoked,
    /// The right key, past its expiry.
    Expired,
    /// The store cannot answer now.
    Unavailable,
}

/// Turns a presented key into a [`Principal`].
#[async_trait]
pub trait KeyStore: Send + Sync {
    /// Looks the key up. It is on the path of every call: answer from memory where possible, compare in constant time,
    /// and let a revocation take effect at once.
    async fn authenticate(&self, presented: &Secret) -> Result<Arc<Principal>, KeyRefusal>;
}

#[cfg(test)]
mod tests {
    use super::ModelAllowList;

    #[test]
    fn an_allow_list_matches_whole_names_and_prefixes() {
        let list = ModelAllowList::Only(["gpt-4.1".into(), "house/*".into()].into());
        assert!(list.allows("gpt-4.1") && list.allows("house/any"));
        assert!(!list.allows("gpt-4.1-mini") && !list.allows("house"));
        assert!(ModelAllowList::All.allows("anything"));
        assert!(!ModelAllowList::Only([].into()).allows("anything"));
    }
}
