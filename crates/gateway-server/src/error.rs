//! What can be wrong before a server runs.

use std::{fmt, io, net::SocketAddr};

use gateway_core::Fault;

/// A server that cannot be set up.
#[derive(Debug)]
#[non_exhaustive]
pub enum EdgeError {
    /// The address cannot be listened on.
    Bind {
        /// Which address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// No listener was given.
    NothingToListenOn,
    /// Two things claim one path.
    PathTaken {
        /// The path or prefix.
        path: Box<str>,
    },
    /// A path or prefix that does not start with `/`, or a prefix that ends with one.
    BadPath {
        /// The path or prefix.
        path: Box<str>,
    },
    /// The certificate or the key cannot be used.
    Tls {
        /// What is wrong with which of them.
        message: Box<str>,
    },
}

impl fmt::Display for EdgeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind { address, source } if source.kind() == io::ErrorKind::AddrInUse => {
                write!(f, "cannot listen on {address}: another process already does; stop it or choose another port")
            }
            Self::Bind { address, source } if source.kind() == io::ErrorKind::PermissionDenied => {
                write!(f, "cannot listen on {address}: not permitted; ports below 1024 need a privilege, choose a higher one")
            }
            Self::Bind { address, source } => write!(f, "cannot listen on {address}: {source}"),
            Self::NothingToListenOn => f.write_str("the server has no address to listen on"),
            Self::PathTaken { path } => write!(f, "two services claim the path `{path}`"),
            Self::BadPath { path } => write!(f, "`{path}` is not a path: it must start with `/`, and a prefix must not end with one"),
            Self::Tls { message } => write!(f, "TLS cannot be set up: {message}"),
        }
    }
}

impl std::error::Error for EdgeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Bind { source, .. } => Some(source),
            Self::NothingToListenOn | Self::PathTaken { .. } | Self::BadPath { .. } | Self::Tls { .. } => None,
        }
    }
}

impl From<EdgeError> for Fault {
    fn from(error: EdgeError) -> Self {
        Self::internal("the server is not set up correctly; its operator finds the reason in the log").with_source(error)
    }
}
