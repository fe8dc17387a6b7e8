//! The upstream side of the gateway.
//!
//! * [`HttpProvider`] turns an [`Adapter`] and a transport into a [`gateway_core::Provider`]: the fast path, the slow
//!   path, time limits, key rotation, and the reading of errors.
//! * [`Transport`] is the transport: hyper with a connection pool, TLS, proxies and either version of HTTP.
//! * [`CredentialPool`] uses several keys in turn and rests the failing ones.
//! * [`ProviderSpec`] describes a provider as data; [`Registry`] builds providers from specs and from the factories of
//!   other crates.
//! * [`simulator`] is a provider that needs no account: it speaks all three protocols, in process or as a server.
//!
//! Nothing here knows routes, budgets or tenants, and nothing reads the environment.

#![doc = include_str!("../README.md")]

pub mod adapter;
pub mod credential;
pub mod error;
pub mod headers;
pub mod provider;
pub mod registry;
#[cfg(feature = "builtin")]
pub mod simulator;
pub mod spec;
pub mod transport;

pub use adapter::{Adapter, Pass};
pub use credential::{Credential, CredentialHealth, CredentialPool, CredentialState};
pub use error::ProviderError;
pub use provider::HttpProvider;
pub use registry::{ProviderContext, ProviderFactory, ProviderSettings, Registry};
pub use spec::ProviderSpec;
pub use transport::{ProxySettings, Transport, TransportSettings};
