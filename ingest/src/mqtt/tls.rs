//! TLS: certificates and keys as they are given, a handshake within its time, and the device that a
//! client's certificate names.
//!
//! # Invariants
//! - With a client CA nobody comes in without a certificate that it signed.
//! - A certificate names one device, by its only common name; another kind of name lets nobody in.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;
use twin_core::TwinId;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::speaker::Speaker;

/// A file in PEM form, as it was read.
#[derive(Clone)]
pub struct Pem {
    /// Its name, for errors.
    pub name: String,
    /// What is in it.
    pub text: Vec<u8>,
}

impl std::fmt::Debug for Pem {
    /// Never what is in it: it may be a key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Pem").field(&self.name).finish()
    }
}

/// MQTT over TLS. What the files hold is taken when the server starts.
#[derive(Debug, Clone)]
pub struct Tls {
    /// Address to listen on; port 0 is any free one.
    pub listen: SocketAddr,
    /// The server's certificate, followed by those that lead to its root.
    pub certificate: Pem,
    /// The private key of that certificate.
    pub key: Pem,
    /// Certificates that sign those of devices. With it, a client must show one, and speaks for the
    /// device that it names; without it, only loopback is bound.
    pub client_ca: Option<Pem>,
}

/// Why a certificate or a key cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file without what it should hold.
    #[error("{file}: {expected}; it is expected in PEM form")]
    Missing {
        /// The file.
        file: String,
        /// What is not there.
        expected: &'static str,
    },
    /// A file that is not what it says.
    #[error("{file}: {reason}")]
    Malformed {
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A certificate and a key that are not one another's.
    #[error("{certificate} and {key}: {reason}; name the key that the certificate was made with")]
    Pair {
        /// The file of the certificate.
        certificate: String,
        /// The file of the key.
        key: String,
        /// What is wrong with them.
        reason: String,
    },
    /// TLS itself.
    #[error("TLS: {0}")]
    Setup(#[from] rustls::Error),
}

/// All certificates of a file, at least one.
fn certificates(file: &Pem) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&file.text).collect();
    let read = read.map_err(|error| malformed(file, error))?;
    if read.is_empty() {
        let file = file.name.clone();
        let expected = "there is no certificate (BEGIN CERTIFICATE)";
        return Err(TlsError::Missing { file, expected });
    }
    for certificate in &read {
        X509Certificate::from_der(certificate).map_err(|error| malformed(file, error))?;
    }
    Ok(read)
}

fn malformed(file: &Pem, reason: impl std::fmt::Display) -> TlsError {
    TlsError::Malformed {
        file: file.name.clone(),
        reason: reason.to_string(),
    }
}

fn private_key(file: &Pem) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&file.text).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::Missing {
            file: file.name.clone(),
            expected: "there is no private key (BEGIN PRIVATE KEY)",
        },
        error => malformed(file, error),
    })
}

/// Takes TLS connections.
#[derive(Clone)]
pub(crate) struct Acceptor {
    tls: TlsAcceptor,
    /// Whether a client's certificate says who it is.
    names: bool,
}

impl Acceptor {
    pub(crate) fn new(tls: &Tls) -> Result<Self, TlsError> {
        let chain = certificates(&tls.certificate)?;
        let key = private_key(&tls.key)?;
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let builder = match &tls.client_ca {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(file)? {
                    roots
                        .add(certificate)
                        .map_err(|error| malformed(file, error))?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .build()
                        .map_err(|error| malformed(file, error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let config = builder
            .with_single_cert(chain, key)
            .map_err(|error| TlsError::Pair {
                certificate: tls.certificate.name.clone(),
                key: tls.key.name.clone(),
                reason: error.to_string(),
            })?;
        Ok(Self {
            tls: TlsAcceptor::from(Arc::new(config)),
            names: tls.client_ca.is_some(),
        })
    }

    /// Shakes hands; the stream and whom it speaks for, or why it does not come in.
    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
    ) -> Result<(TlsStream<TcpStream>, Speaker), String> {
        let stream = self.tls.accept(stream).await;
        let stream = stream.map_err(|error| error.to_string())?;
        if !self.names {
            return Ok((stream, Speaker::Local));
        }
        let (_, session) = stream.get_ref();
        let shown = session.peer_certificates().and_then(<[_]>::first);
        let shown = shown.ok_or("no certificate was shown")?;
        let device = device_of(shown)?;
        Ok((stream, Speaker::Device(device)))
    }
}

/// The device that a certificate names.
fn device_of(certificate: &[u8]) -> Result<TwinId, String> {
    let (_, certificate) =
        X509Certificate::from_der(certificate).map_err(|error| error.to_string())?;
    let mut names = certificate.subject().iter_common_name();
    let (Some(name), None) = (names.next(), names.next()) else {
        return Err("the certificate's subject has no common name, or several".to_owned());
    };
    let name = name.as_str().map_err(|error| error.to_string())?;
    TwinId::new(name).map_err(|error| format!("the certificate's common name: {error}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(name: &str, text: &str) -> Pem {
        Pem {
            name: name.to_owned(),
            text: text.into(),
        }
    }

    fn refused(certificate: &str, key: &str) -> String {
        let tls = Tls {
            listen: ([127, 0, 0, 1], 0).into(),
            certificate: file("server.pem", certificate),
            key: file("server.key", key),
            client_ca: None,
        };
        match Acceptor::new(&tls) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn an_error_names_the_file_and_what_is_wrong() {
        let nothing = refused("", "");
        assert!(
            nothing.contains("server.pem: there is no certificate"),
            "{nothing}"
        );
        let cut = refused("-----BEGIN CERTIFICATE-----\nAAAA\n", "");
        assert!(cut.contains("server.pem: "), "{cut}");
        let noise = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let noise = refused(noise, "");
        assert!(noise.contains("server.pem: "), "{noise}");
        let key = private_key(&file("server.key", "no key")).unwrap_err();
        assert!(
            key.to_string()
                .contains("server.key: there is no private key")
        );
    }

    #[test]
    fn a_key_is_never_written_out() {
        let key = file("server.key", "SECRET");
        assert_eq!(format!("{key:?}"), "Pem(\"server.key\")");
    }

    proptest! {
        #[test]
        fn a_certificate_of_noise_names_nobody(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(device_of(&bytes).is_err());
        }
    }
}
