//! TLS as a client: what certificates are trusted, in one place.
//!
//! The system's certificates count, so that an operator's own authority does; where there are none, the
//! list of Mozilla that this binary was built with.

use std::{
    io,
    sync::{Arc, OnceLock},
};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName},
};

/// Why there is no TLS connection.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Something is wrong on this side.
    #[error("{0}")]
    Unusable(String),
    /// The other side does not speak TLS, or is not who it should be.
    #[error("the TLS handshake failed")]
    Handshake(#[source] io::Error),
}

/// Begins TLS over a connection to `host`, a name or an address, which the certificate must name.
///
/// # Errors
/// See [`TlsError`].
pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    host: &str,
) -> Result<TlsStream<S>, TlsError> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| TlsError::Unusable(error.to_string()))?;
    TlsConnector::from(client_config()?)
        .connect(name, stream)
        .await
        .map_err(TlsError::Handshake)
}

/// The settings of all TLS clients of this process; the system's certificates are read once.
fn client_config() -> Result<Arc<ClientConfig>, TlsError> {
    static CONFIG: OnceLock<Result<Arc<ClientConfig>, String>> = OnceLock::new();
    CONFIG
        .get_or_init(|| {
            let mut roots = RootCertStore::empty();
            // Single certificates that cannot be read do not make the others worse.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
            }
            let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(|error| error.to_string())?;
            Ok(Arc::new(
                builder.with_root_certificates(roots).with_no_client_auth(),
            ))
        })
        .clone()
        .map_err(TlsError::Unusable)
}
