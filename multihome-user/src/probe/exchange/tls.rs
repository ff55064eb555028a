//! TLS over a connection without I/O, and whose word about a server counts.

use std::{
    fmt,
    io::{ErrorKind, Read as _, Write as _},
    sync::{Arc, OnceLock},
};

use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use super::{CHUNK, MAX_RECEIVED, http, http::Head, stream::Stream};
use crate::probe::{Failure, service::HttpRequest};

/// There is nobody whose word about a server could be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this system has no certificate authorities{0}")]
pub struct AuthoritiesError(String);

/// The certificate authorities that this system trusts, read once.
///
/// # Errors
/// When there are none.
pub fn authorities() -> Result<&'static Arc<RootCertStore>, AuthoritiesError> {
    static READ: OnceLock<Result<Arc<RootCertStore>, AuthoritiesError>> = OnceLock::new();
    READ.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs();
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(found.certs);
        if store.is_empty() {
            let causes: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
            let causes = if causes.is_empty() {
                String::new()
            } else {
                format!(": {}", causes.join("; "))
            };
            return Err(AuthoritiesError(causes));
        }
        Ok(Arc::new(store))
    })
    .as_ref()
    .map_err(Clone::clone)
}

/// What a client needs to know, made once for all that verify and once for all that do not.
///
/// # Errors
/// When certificates are to be verified and there are no authorities.
pub fn client(verify: bool) -> Result<Arc<ClientConfig>, AuthoritiesError> {
    static VERIFYING: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    static BLIND: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if verify {
        let roots = authorities()?;
        let config = VERIFYING.get_or_init(|| {
            finished(|builder| {
                builder
                    .with_root_certificates(Arc::clone(roots))
                    .with_no_client_auth()
            })
        });
        return Ok(Arc::clone(config));
    }
    let config = BLIND.get_or_init(|| {
        finished(|builder| {
            let anybody = Arc::new(Anybody(Arc::clone(builder.crypto_provider())));
            builder
                .dangerous()
                .with_custom_certificate_verifier(anybody)
                .with_no_client_auth()
        })
    });
    Ok(Arc::clone(config))
}

type Builder = rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>;

/// A client's configuration.
pub(super) fn finished(verifier: impl FnOnce(Builder) -> ClientConfig) -> Arc<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has cipher suites of all versions");
    let mut config = verifier(builder);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Each probe looks at the certificate anew.
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// HTTP over TLS on one connection.
pub struct Session {
    tls: ClientConnection,
    head: Head,
    /// Records that the connection had no room for.
    unsent: Vec<u8>,
    received: usize,
}

impl Session {
    /// A client of the request's host.
    pub fn new(config: &Arc<ClientConfig>, request: &HttpRequest) -> Result<Self, Failure> {
        let name = ServerName::try_from(request.host.clone()).map_err(|_| Failure::Tls)?;
        let mut tls =
            ClientConnection::new(Arc::clone(config), name).map_err(|error| failure(&error))?;
        // It is kept until the handshake allows it to leave.
        tls.writer()
            .write_all(&http::request(request))
            .map_err(|_| Failure::Tls)?;
        Ok(Self {
            tls,
            head: Head::new(request.status.clone()),
            unsent: Vec::new(),
            received: 0,
        })
    }

    /// Reads and writes all it can; the result when it is known.
    pub fn go_on(&mut self, stream: &mut Stream) -> Option<Result<(), Failure>> {
        self.write(stream);
        let mut chunk = [0; CHUNK];
        loop {
            let len = stream.receive(&mut chunk);
            if len == 0 {
                return None;
            }
            self.received += len;
            if let Some(result) = self.read(&chunk[..len]) {
                return Some(result);
            }
            self.write(stream);
            if self.received > MAX_RECEIVED {
                return Some(Err(Failure::TooLong));
            }
        }
    }

    fn write(&mut self, stream: &mut Stream) {
        while self.tls.wants_write() {
            // A vector takes all.
            if !matches!(self.tls.write_tls(&mut self.unsent), Ok(1..)) {
                break;
            }
        }
        let sent = stream.send(&self.unsent);
        self.unsent.drain(..sent);
    }

    fn read(&mut self, mut bytes: &[u8]) -> Option<Result<(), Failure>> {
        while !bytes.is_empty() {
            if !matches!(self.tls.read_tls(&mut bytes), Ok(1..)) {
                return Some(Err(Failure::Tls));
            }
            if let Err(error) = self.tls.process_new_packets() {
                return Some(Err(failure(&error)));
            }
            let mut plain = [0; CHUNK];
            loop {
                match self.tls.reader().read(&mut plain) {
                    Ok(0) => return Some(Err(Failure::Closed)),
                    Ok(len) => {
                        if let Some(result) = self.head.take(&plain[..len]) {
                            return Some(result);
                        }
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(_) => return Some(Err(Failure::Closed)),
                }
            }
        }
        None
    }
}

fn failure(error: &Error) -> Failure {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "what is not about the certificate is one to the operator, and the enum grows"
    )]
    match error {
        Error::InvalidCertificate(_) | Error::NoCertificatesPresented => Failure::Certificate,
        _ => Failure::Tls,
    }
}

/// Takes any server for the one that was meant, as `verify = false` says. That it has the key of the
/// certificate that it shows is still checked.
struct Anybody(Arc<CryptoProvider>);

impl fmt::Debug for Anybody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Anybody")
    }
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
