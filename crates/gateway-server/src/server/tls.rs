//! TLS settings from PEM files.

use std::sync::Arc;

use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use crate::error::EdgeError;

/// Settings for [`crate::Server::listen_tls`]: TLS 1.2 and 1.3, HTTP/2 preferred. `chain` holds the server's certificate
/// first and then its issuers, `key` the private key, both PEM.
///
/// # Errors
/// No certificate or no key in the text, or they do not belong together.
pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Arc<ServerConfig>, EdgeError> {
    let wrong = |message: String| EdgeError::Tls { message: message.into() };
    let chain = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| wrong(format!("the certificate file is not valid PEM: {error}")))?;
    if chain.is_empty() {
        return Err(wrong("the certificate file holds no certificate".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| wrong(format!("the key file holds no usable private key: {error}")))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| wrong(format!("certificate and key do not fit together: {error}")))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
