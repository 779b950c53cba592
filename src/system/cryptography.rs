//! The cryptography of TLS for a client without a certificate of its own: ring's, without what nobody asks for.
//!
//! * AES-GCM and no ChaCha20, which is for processors without instructions for AES; those of the platform have them. Whoever
//!   speaks TLS 1.3 has to have `TLS_AES_128_GCM_SHA256` (RFC 8446 9.1).
//! * Nothing of QUIC: TLS is spoken over TCP here.
//! * Nothing that signs: nobody asks us who we are.
//!
//! For the rest it is what rustls takes by default, which a test compares.

use std::sync::Arc;

use ring::rand::{SecureRandom as _, SystemRandom};
use rustls::crypto::ring::{cipher_suite, kx_group};
use rustls::crypto::{
    CipherSuiteCommon, CryptoProvider, GetRandomFailed, KeyProvider, SecureRandom,
    WebPkiSupportedAlgorithms,
};
use rustls::pki_types::{PrivateKeyDer, SignatureVerificationAlgorithm};
use rustls::sign::SigningKey;
use rustls::{SignatureScheme, SupportedCipherSuite, Tls13CipherSuite};
use webpki::ring as signatures;

/// What a connection is encrypted and checked with.
#[must_use]
pub(super) fn provider() -> CryptoProvider {
    let of_tls_13 = [&AES_256, &AES_128].into_iter().flatten();
    let suites = of_tls_13.map(SupportedCipherSuite::Tls13).chain(OF_TLS_12);
    CryptoProvider {
        cipher_suites: suites.collect(),
        kx_groups: vec![kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1],
        signature_verification_algorithms: SIGNATURES,
        secure_random: &Kernel,
        key_provider: &NoKeys,
    }
}

static AES_256: Option<Tls13CipherSuite> = over_tcp(&cipher_suite::TLS13_AES_256_GCM_SHA384);
static AES_128: Option<Tls13CipherSuite> = over_tcp(&cipher_suite::TLS13_AES_128_GCM_SHA256);

/// Worked out by the compiler, so that what only QUIC needs is not in the program.
const fn over_tcp(suite: &SupportedCipherSuite) -> Option<Tls13CipherSuite> {
    match suite {
        SupportedCipherSuite::Tls13(suite) => Some(Tls13CipherSuite {
            common: CipherSuiteCommon {
                suite: suite.common.suite,
                hash_provider: suite.common.hash_provider,
                confidentiality_limit: suite.common.confidentiality_limit,
            },
            hkdf_provider: suite.hkdf_provider,
            aead_alg: suite.aead_alg,
            quic: None,
        }),
        SupportedCipherSuite::Tls12(_) => None,
    }
}

static OF_TLS_12: [SupportedCipherSuite; 4] = [
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
];

type Algorithms = &'static [&'static dyn SignatureVerificationAlgorithm];

/// The signatures that count: `all` in certificates, and `mapping`, the preferred first, in a handshake. TLS 1.3 takes the
/// first of a scheme alone; in TLS 1.2 a scheme does not say which curve an ECDSA key is on (RFC 8446 4.2.3).
static SIGNATURES: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[
        signatures::ECDSA_P256_SHA256,
        signatures::ECDSA_P256_SHA384,
        signatures::ECDSA_P384_SHA256,
        signatures::ECDSA_P384_SHA384,
        signatures::ED25519,
        signatures::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
        signatures::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
        signatures::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
        signatures::RSA_PKCS1_2048_8192_SHA256,
        signatures::RSA_PKCS1_2048_8192_SHA384,
        signatures::RSA_PKCS1_2048_8192_SHA512,
        signatures::RSA_PKCS1_2048_8192_SHA256_ABSENT_PARAMS,
        signatures::RSA_PKCS1_2048_8192_SHA384_ABSENT_PARAMS,
        signatures::RSA_PKCS1_2048_8192_SHA512_ABSENT_PARAMS,
    ],
    mapping: &[
        (SignatureScheme::ECDSA_NISTP384_SHA384, ECDSA_SHA384),
        (SignatureScheme::ECDSA_NISTP256_SHA256, ECDSA_SHA256),
        (SignatureScheme::ED25519, &[signatures::ED25519]),
        (SignatureScheme::RSA_PSS_SHA512, PSS_SHA512),
        (SignatureScheme::RSA_PSS_SHA384, PSS_SHA384),
        (SignatureScheme::RSA_PSS_SHA256, PSS_SHA256),
        (SignatureScheme::RSA_PKCS1_SHA512, PKCS1_SHA512),
        (SignatureScheme::RSA_PKCS1_SHA384, PKCS1_SHA384),
        (SignatureScheme::RSA_PKCS1_SHA256, PKCS1_SHA256),
    ],
};

static ECDSA_SHA384: Algorithms = &[signatures::ECDSA_P384_SHA384, signatures::ECDSA_P256_SHA384];
static ECDSA_SHA256: Algorithms = &[signatures::ECDSA_P256_SHA256, signatures::ECDSA_P384_SHA256];
static PSS_SHA512: Algorithms = &[signatures::RSA_PSS_2048_8192_SHA512_LEGACY_KEY];
static PSS_SHA384: Algorithms = &[signatures::RSA_PSS_2048_8192_SHA384_LEGACY_KEY];
static PSS_SHA256: Algorithms = &[signatures::RSA_PSS_2048_8192_SHA256_LEGACY_KEY];
static PKCS1_SHA512: Algorithms = &[signatures::RSA_PKCS1_2048_8192_SHA512];
static PKCS1_SHA384: Algorithms = &[signatures::RSA_PKCS1_2048_8192_SHA384];
static PKCS1_SHA256: Algorithms = &[signatures::RSA_PKCS1_2048_8192_SHA256];

/// Random numbers of the kernel (getrandom(2)).
#[derive(Debug)]
struct Kernel;

impl SecureRandom for Kernel {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), GetRandomFailed> {
        let filled = SystemRandom::new().fill(buffer);
        filled.map_err(|_| GetRandomFailed)
    }
}

/// Signs nothing.
#[derive(Debug)]
struct NoKeys;

impl KeyProvider for NoKeys {
    fn load_private_key(
        &self,
        _: PrivateKeyDer<'static>,
    ) -> Result<Arc<dyn SigningKey>, rustls::Error> {
        Err(rustls::Error::General(
            "keys of clients are not used".into(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::crypto::ring::default_provider;

    /// The identifiers of a key's algorithm and of the signature's tell two algorithms apart: the curve is in the one, the
    /// digest and the padding in the other.
    fn names(algorithms: &[&dyn SignatureVerificationAlgorithm]) -> Vec<String> {
        let name = |algorithm: &&dyn SignatureVerificationAlgorithm| {
            let (key, signature) = (algorithm.public_key_alg_id(), algorithm.signature_alg_id());
            format!("{key:?} {signature:?}")
        };
        algorithms.iter().map(name).collect()
    }

    #[test]
    fn signatures_are_those_of_rustls_in_its_order() {
        let theirs = default_provider().signature_verification_algorithms;
        assert_eq!(names(SIGNATURES.all), names(theirs.all));
        let mapping = |algorithms: WebPkiSupportedAlgorithms| -> Vec<_> {
            let mapping = algorithms.mapping.iter();
            mapping
                .map(|(scheme, list)| (*scheme, names(list)))
                .collect()
        };
        assert_eq!(mapping(SIGNATURES), mapping(theirs));
        assert_eq!(SIGNATURES.supported_schemes(), theirs.supported_schemes());
    }

    #[test]
    fn suites_are_those_of_rustls_without_chacha20_and_without_quic() {
        let described = |suite: &SupportedCipherSuite| match suite {
            SupportedCipherSuite::Tls13(suite) => {
                let hash = suite.common.hash_provider.algorithm();
                let limit = suite.common.confidentiality_limit;
                let length = suite.aead_alg.key_len();
                format!("{:?} {hash:?} {limit} {length}", suite.common.suite)
            }
            // Taken over whole.
            SupportedCipherSuite::Tls12(suite) => format!("{:?}", suite.common.suite),
        };
        let theirs: Vec<_> = default_provider()
            .cipher_suites
            .iter()
            .map(described)
            .filter(|suite| !suite.contains("CHACHA20"))
            .collect();
        let ours = provider().cipher_suites;
        assert_eq!(ours.iter().map(described).collect::<Vec<_>>(), theirs);
        assert_eq!(ours.len(), 6, "{ours:?}");
        for suite in ours.iter().filter_map(SupportedCipherSuite::tls13) {
            assert!(suite.quic.is_none(), "{suite:?}");
        }
    }

    #[test]
    fn key_exchange_is_that_of_rustls() {
        let names = |provider: CryptoProvider| -> Vec<_> {
            let groups = provider.kx_groups.iter();
            groups.map(|group| group.name()).collect()
        };
        assert_eq!(names(provider()), names(default_provider()));
    }

    #[test]
    fn random_numbers_differ() {
        let (mut one, mut another) = ([0; 32], [0; 32]);
        provider().secure_random.fill(&mut one).unwrap();
        provider().secure_random.fill(&mut another).unwrap();
        assert_ne!(one, another);
        assert_ne!(one, [0; 32]);
    }
}
