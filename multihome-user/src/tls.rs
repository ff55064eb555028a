//! TLS as a client, over a connection of the runtime. Whose word about a server counts is the same as for
//! probes: the certificate authorities of the system, so that an operator's own one does.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsConnector, client::TlsStream, rustls::pki_types::ServerName};

use crate::probe::exchange::{AuthoritiesError, client};

/// Why there is no TLS connection.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// There is nobody whose word about a server could be believed.
    #[error(transparent)]
    Authorities(#[from] AuthoritiesError),
    /// No certificate can be made out to this.
    #[error("{0:?} is not the name of a server")]
    Name(String),
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
    let name =
        ServerName::try_from(host.to_owned()).map_err(|_| TlsError::Name(host.to_owned()))?;
    TlsConnector::from(client(true)?)
        .connect(name, stream)
        .await
        .map_err(TlsError::Handshake)
}
