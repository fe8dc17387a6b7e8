//! What can go wrong between a request and a provider, and while building providers; with its one translation to [`Fault`].

use std::{error::Error, fmt, path::PathBuf, sync::Arc, time::Duration};

use gateway_core::{Fault, FaultKind, Origin, Retry};

type Source = Arc<dyn Error + Send + Sync>;

/// Everything this crate reports. The first group is met while building providers, the second while calling them.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ProviderError {
    /// A spec file is wrong.
    Spec {
        /// The file, or another name for where the text came from.
        origin: Box<str>,
        /// The line, counted from 1, where the text itself is at fault.
        line: Option<usize>,
        /// What is wrong and what was expected.
        message: Box<str>,
    },
    /// No provider of this name, and the settings do not describe one.
    UnknownProvider {
        /// The name.
        id: Box<str>,
        /// The names that exist.
        known: Vec<Box<str>>,
    },
    /// A provider speaks a protocol that this build has no codec for.
    UnknownProtocol {
        /// The name.
        protocol: Box<str>,
        /// The names that exist.
        known: Vec<&'static str>,
    },
    /// The base URL cannot be used.
    BaseUrl {
        /// Whose it is.
        provider: Box<str>,
        /// Why.
        reason: Box<str>,
    },
    /// The file with private certificate authorities cannot be used.
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: Box<str>,
    },
    /// The proxy setting cannot be used. The text never holds the proxy's password.
    Proxy {
        /// Why.
        reason: Box<str>,
    },
    /// The machine has no certificate authorities to trust.
    NoSystemRoots {
        /// What was tried.
        reason: Box<str>,
    },
    /// The provider's name could not be resolved.
    Dns {
        /// The host.
        host: Box<str>,
        /// The cause.
        source: Source,
    },
    /// No connection could be made.
    Connect {
        /// The host and port.
        host: Box<str>,
        /// The cause.
        source: Source,
    },
    /// No connection stood in time.
    ConnectTimeout {
        /// The host and port.
        host: Box<str>,
        /// The limit.
        after: Duration,
    },
    /// The TLS handshake failed.
    Tls {
        /// The host and port.
        host: Box<str>,
        /// The cause.
        source: Source,
    },
    /// The proxy refused the tunnel.
    Tunnel {
        /// The host and port that was asked for.
        host: Box<str>,
        /// The cause.
        source: Source,
    },
    /// The connection broke before the answer's head.
    Reset {
        /// The host and port.
        host: Box<str>,
        /// The cause.
        source: Source,
    },
    /// What came in place of an answer's head is not HTTP, or more of it than a head may have.
    NotHttp {
        /// The host and port.
        host: Box<str>,
        /// The cause.
        source: Source,
    },
    /// The connection broke, or the lengths did not add up, inside the body.
    BrokenBody {
        /// The host and port.
        host: Box<str>,
        /// The cause.
        source: Source,
    },
}

impl fmt::Display for ProviderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spec { origin, line: Some(line), message } => write!(f, "{origin}:{line}: {message}"),
            Self::Spec { origin, line: None, message } => write!(f, "{origin}: {message}"),
            Self::UnknownProvider { id, known } => write!(
                f,
                "there is no provider `{id}`; known are {}. For any other, set `protocol` and `base_url` in [providers.{id}]",
                known.join(", ")
            ),
            Self::UnknownProtocol { protocol, known } => {
                write!(f, "the protocol `{protocol}` is not known; expected one of {}", known.join(", "))
            }
            Self::BaseUrl { provider, reason } => write!(f, "providers.{provider}.base_url: {reason}"),
            Self::CaFile { path, reason } => write!(f, "ca_file {}: {reason}", path.display()),
            Self::Proxy { reason } => write!(f, "proxy: {reason}"),
            Self::NoSystemRoots { reason } => write!(
                f,
                "no certificate authorities were found on this machine ({reason}); install the ca-certificates package or set `ca_file`"
            ),
            Self::Dns { host, .. } => write!(f, "the name {host} could not be resolved"),
            Self::Connect { host, .. } => write!(f, "no connection to {host} could be made"),
            Self::ConnectTimeout { host, after } => write!(f, "no connection to {host} stood within {} ms", after.as_millis()),
            Self::Tls { host, .. } => write!(f, "the TLS handshake with {host} failed"),
            Self::Tunnel { host, .. } => write!(f, "the proxy did not open a tunnel to {host}"),
            Self::Reset { host, .. } => write!(f, "{host} closed the connection before it answered"),
            Self::NotHttp { host, .. } => write!(f, "{host} answered with something that is not HTTP, or with a head too large to be read"),
            Self::BrokenBody { host, .. } => write!(f, "{host} broke its answer off"),
        }
    }
}

impl Error for ProviderError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Dns { source, .. }
            | Self::Connect { source, .. }
            | Self::Tls { source, .. }
            | Self::Tunnel { source, .. }
            | Self::Reset { source, .. }
            | Self::NotHttp { source, .. }
            | Self::BrokenBody { source, .. } => Some(&**source),
            Self::Spec { .. }
            | Self::UnknownProvider { .. }
            | Self::UnknownProtocol { .. }
            | Self::BaseUrl { .. }
            | Self::CaFile { .. }
            | Self::Proxy { .. }
            | Self::NoSystemRoots { .. }
            | Self::ConnectTimeout { .. } => None,
        }
    }
}

impl From<ProviderError> for Fault {
    fn from(error: ProviderError) -> Self {
        let unavailable = |retry| Self::new(FaultKind::Unavailable, Origin::Provider, error.to_string()).with_retry(retry);
        let fault = match &error {
            ProviderError::Spec { .. }
            | ProviderError::UnknownProvider { .. }
            | ProviderError::UnknownProtocol { .. }
            | ProviderError::BaseUrl { .. }
            | ProviderError::CaFile { .. }
            | ProviderError::Proxy { .. }
            | ProviderError::NoSystemRoots { .. } => {
                Self::new(FaultKind::Unavailable, Origin::Gateway, error.to_string()).with_retry(Retry::NextDeployment)
            }
            // A name or a certificate that is wrong now is wrong in a second.
            ProviderError::Dns { .. } | ProviderError::Tls { .. } | ProviderError::Tunnel { .. } => unavailable(Retry::NextDeployment),
            ProviderError::Connect { .. } => unavailable(Retry::SameDeployment),
            ProviderError::ConnectTimeout { .. } => {
                Self::new(FaultKind::Timeout, Origin::Provider, error.to_string()).with_retry(Retry::NextDeployment)
            }
            // The request may have been read before the reset, so the provider may bill it.
            ProviderError::Reset { .. } => unavailable(Retry::SameDeployment).after_work_began(),
            ProviderError::NotHttp { .. } | ProviderError::BrokenBody { .. } => {
                Self::new(FaultKind::BadUpstream, Origin::Provider, error.to_string()).with_retry(Retry::NextDeployment).after_work_began()
            }
        };
        fault.with_source(error)
    }
}
