//! What a connection trusts: the machine's certificate authorities, read on first use, or a file given instead.

use std::{
    fmt,
    path::Path,
    sync::{Arc, OnceLock},
};

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, pem::PemObject};

use crate::error::ProviderError;

/// The machine's certificate authorities. Cloning shares them, so several providers read them once.
#[derive(Clone, Default)]
pub struct Roots(Arc<OnceLock<Result<Arc<RootCertStore>, ProviderError>>>);

impl Roots {
    /// Those of the machine; nothing is read yet. A machine without any is an error of the first TLS connection.
    #[must_use]
    pub fn system() -> Self {
        Self::default()
    }

    fn load(&self) -> Result<Arc<RootCertStore>, ProviderError> {
        self.0.get_or_init(read_system).clone()
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.get().is_some() { "Roots(read)" } else { "Roots(not read yet)" })
    }
}

fn read_system() -> Result<Arc<RootCertStore>, ProviderError> {
    let found = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    // A store commonly holds a few that no parser takes; one that is usable is enough to go on.
    store.add_parsable_certificates(found.certs);
    if store.is_empty() {
        let reason = found.errors.first().map_or_else(|| "the store is empty".to_owned(), ToString::to_string);
        return Err(ProviderError::NoSystemRoots { reason: reason.into() });
    }
    Ok(Arc::new(store))
}

fn read_file(path: &Path) -> Result<Arc<RootCertStore>, ProviderError> {
    let fail = |reason: String| ProviderError::CaFile { path: path.to_owned(), reason: reason.into() };
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| fail(error.to_string()))? {
        let certificate = certificate.map_err(|error| fail(error.to_string()))?;
        store.add(certificate).map_err(|error| fail(error.to_string()))?;
    }
    if store.is_empty() {
        return Err(fail("it holds no certificate; PEM text with BEGIN CERTIFICATE is expected".to_owned()));
    }
    Ok(Arc::new(store))
}

/// A TLS configuration made on first use.
#[derive(Clone)]
pub(super) struct LazyTls {
    config: Arc<OnceLock<Result<ClientConfig, ProviderError>>>,
    given: Option<Arc<RootCertStore>>,
    roots: Roots,
    http2: bool,
}

impl LazyTls {
    /// A file is read at once, so that a wrong path shows at start; the machine's store is not.
    pub(super) fn new(ca_file: Option<&Path>, roots: &Roots, http2: bool) -> Result<Self, ProviderError> {
        let given = ca_file.map(read_file).transpose()?;
        Ok(Self { config: Arc::default(), given, roots: roots.clone(), http2 })
    }

    /// Whether HTTP/2 is offered in the handshake.
    pub(super) fn http2(&self) -> bool {
        self.http2
    }

    pub(super) fn config(&self) -> Result<ClientConfig, ProviderError> {
        self.config.get_or_init(|| self.build()).clone()
    }

    fn build(&self) -> Result<ClientConfig, ProviderError> {
        let roots = match &self.given {
            Some(given) => Arc::clone(given),
            None => self.roots.load()?,
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| ProviderError::NoSystemRoots { reason: error.to_string().into() })?;
        Ok(builder.with_root_certificates(roots).with_no_client_auth())
    }
}
