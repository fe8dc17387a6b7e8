//! The one TLS implementation of the process.

/// Makes ring the process's crypto provider. Repeats change nothing.
pub fn install_crypto_provider() {
    // An error means that one is installed already, by us or by whoever embeds us.
    drop(rustls::crypto::ring::default_provider().install_default());
}
