//! Keys: X25519 for WireGuard, Ed25519 for signatures.
//!
//! WireGuard keys are written as `wg(8)` writes them (base64 of 32 octets); Ed25519 public keys and signatures
//! as `ed25519:` and padded base64; Ed25519 private keys are PKCS#8 PEM (RFC 8410).

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use zeroize::{Zeroize as _, ZeroizeOnDrop, Zeroizing};

/// Why a text is no key or signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not padded base64 of the right length.
    #[error("not the padded base64 of {0} octets")]
    NotBase64(usize),
    /// The `ed25519:` in front is missing.
    #[error("does not begin with 'ed25519:'")]
    NoAlgorithm,
    /// The octets are no point of the curve.
    #[error("not an Ed25519 public key")]
    NotOnCurve,
    /// Not a PKCS#8 PEM file of an Ed25519 key.
    #[error("not an Ed25519 private key in PKCS#8 PEM")]
    NotPem,
    /// The operating system gave no random octets.
    #[error("the operating system gave no random numbers")]
    NoEntropy,
}

fn decode<const N: usize>(text: &str) -> Result<[u8; N], KeyError> {
    let octets = Zeroizing::new(STANDARD.decode(text).map_err(|_| KeyError::NotBase64(N))?);
    octets.as_slice().try_into().map_err(|_| KeyError::NotBase64(N))
}

fn random() -> Result<[u8; 32], KeyError> {
    let mut octets = [0; 32];
    getrandom::fill(&mut octets).map_err(|_| KeyError::NoEntropy)?;
    Ok(octets)
}

/// A WireGuard private key: an X25519 scalar (RFC 7748). `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, ZeroizeOnDrop)]
pub struct PrivateKey([u8; 32]);

impl PrivateKey {
    /// Takes the octets as they are.
    pub fn from_octets(octets: [u8; 32]) -> Self {
        Self(octets)
    }

    /// A new key from the operating system's random numbers, clamped as RFC 7748, section 5 asks.
    ///
    /// # Errors
    /// [`KeyError::NoEntropy`].
    pub fn generate() -> Result<Self, KeyError> {
        let mut octets = random()?;
        octets[0] &= 248;
        octets[31] = octets[31] & 127 | 64;
        Ok(Self(octets))
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(x25519_dalek::PublicKey::from(&x25519_dalek::StaticSecret::from(self.0)).to_bytes())
    }

    /// The secret octets: for the tunnel, the key file and `wg showconf`.
    pub fn octets(&self) -> &[u8; 32] {
        &self.0
    }

    /// The secret in base64, as `wg genkey` prints it.
    pub fn to_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(STANDARD.encode(self.0))
    }
}

impl FromStr for PrivateKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        decode(text).map(Self)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(…)")
    }
}

/// A WireGuard public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Takes the octets as they are.
    pub fn from_octets(octets: [u8; 32]) -> Self {
        Self(octets)
    }

    /// The 32 octets.
    pub fn octets(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether what is agreed on with it is zero, whatever the private key (RFC 7748, section 6.1): anyone knows
    /// that secret, so neither Linux nor wireguard-go begins or answers a handshake with such a key.
    pub fn is_low_order(&self) -> bool {
        let mut canonical = self.0;
        // X25519 passes over the highest bit.
        canonical[31] &= 0x7f;
        LOW_ORDER.contains(&canonical)
    }
}

/// Every encoding of a point whose order divides 8, without the highest bit: 0, 1, the two of order 8, and
/// `p - 1`, `p`, `p + 1` with `p = 2^255 - 19`.
const LOW_ORDER: [[u8; 32]; 7] = [
    [0; 32],
    near_zero(1),
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda, 0x09,
        0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04, 0x44,
        0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
    ],
    near_p(0xec),
    near_p(0xed),
    near_p(0xee),
];

const fn near_zero(lowest: u8) -> [u8; 32] {
    let mut octets = [0; 32];
    octets[0] = lowest;
    octets
}

const fn near_p(lowest: u8) -> [u8; 32] {
    let mut octets = [0xff; 32];
    octets[0] = lowest;
    octets[31] = 0x7f;
    octets
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        decode(text).map(Self)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A WireGuard preshared key. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, ZeroizeOnDrop)]
pub struct PresharedKey([u8; 32]);

impl PresharedKey {
    /// Takes the octets as they are; all zeros means "none" on the configuration protocol's wire.
    pub fn from_octets(octets: [u8; 32]) -> Option<Self> {
        (octets != [0; 32]).then_some(Self(octets))
    }

    /// The secret octets.
    pub fn octets(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for PresharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresharedKey(…)")
    }
}

/// An Ed25519 private key (RFC 8032): consents, bundles. `Debug` does not show it.
pub struct Signer(ed25519_dalek::SigningKey);

impl Signer {
    /// A new key from the operating system's random numbers.
    ///
    /// # Errors
    /// [`KeyError::NoEntropy`].
    pub fn generate() -> Result<Self, KeyError> {
        let mut seed = random()?;
        let key = ed25519_dalek::SigningKey::from_bytes(&seed);
        seed.zeroize();
        Ok(Self(key))
    }

    /// Reads PKCS#8 PEM.
    ///
    /// # Errors
    /// [`KeyError::NotPem`].
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        ed25519_dalek::SigningKey::from_pkcs8_pem(pem).map(Self).map_err(|_| KeyError::NotPem)
    }

    /// Writes PKCS#8 PEM.
    ///
    /// # Errors
    /// [`KeyError::NotPem`] if the encoder refuses, which it does for no Ed25519 key.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        self.0.to_pkcs8_pem(LineEnding::LF).map_err(|_| KeyError::NotPem)
    }

    /// The public half.
    pub fn verifier(&self) -> Verifier {
        Verifier(self.0.verifying_key())
    }

    /// Signs `message` (pure Ed25519, no prehash).
    pub fn sign(&self, message: &[u8]) -> SignatureBytes {
        use ed25519_dalek::Signer as _;
        SignatureBytes(self.0.sign(message).to_bytes())
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({}, …)", self.verifier())
    }
}

/// An Ed25519 public key, written `ed25519:` and base64.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Verifier(ed25519_dalek::VerifyingKey);

impl Verifier {
    /// Whether `signature` is this key's over `message`. Strict: small-order keys and malleable signatures fail.
    pub fn verifies(&self, message: &[u8], signature: &SignatureBytes) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        self.0.verify_strict(message, &signature).is_ok()
    }

    pub(super) fn octets(&self) -> [u8; 32] {
        self.0.to_bytes()
    }
}

impl FromStr for Verifier {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let octets = decode(text.strip_prefix("ed25519:").ok_or(KeyError::NoAlgorithm)?)?;
        let key = ed25519_dalek::VerifyingKey::from_bytes(&octets).map_err(|_| KeyError::NotOnCurve)?;
        if key.is_weak() { Err(KeyError::NotOnCurve) } else { Ok(Self(key)) }
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ed25519:{}", STANDARD.encode(self.0.as_bytes()))
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An Ed25519 signature, written `ed25519:` and base64.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SignatureBytes([u8; 64]);

impl SignatureBytes {
    #[cfg(test)]
    pub(super) fn from_octets(octets: [u8; 64]) -> Self {
        Self(octets)
    }

    pub(super) fn octets(&self) -> &[u8; 64] {
        &self.0
    }
}

impl FromStr for SignatureBytes {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        decode(text.strip_prefix("ed25519:").ok_or(KeyError::NoAlgorithm)?).map(Self)
    }
}

impl fmt::Display for SignatureBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ed25519:{}", STANDARD.encode(self.0))
    }
}

impl fmt::Debug for SignatureBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_a_key_of_low_order_the_secret_is_zero() {
        let private = x25519_dalek::StaticSecret::from([7; 32]);
        let agreed = |octets: [u8; 32]| private.diffie_hellman(&x25519_dalek::PublicKey::from(octets)).to_bytes();
        for mut octets in LOW_ORDER {
            for highest in [0, 0x80] {
                octets[31] = octets[31] & 0x7f | highest;
                assert_eq!(agreed(octets), [0; 32], "{octets:02x?}");
                assert!(PublicKey(octets).is_low_order(), "{octets:02x?}");
            }
        }
        for octets in [near_zero(2), near_zero(9), near_p(0xeb), near_p(0xef)] {
            assert_ne!(agreed(octets), [0; 32], "{octets:02x?}");
            assert!(!PublicKey(octets).is_low_order(), "{octets:02x?}");
        }
    }

    #[test]
    fn the_public_half_is_what_wg_pubkey_prints() {
        let private: PrivateKey = "mE2KefQSZVpqzog1WaHlHcOv9Vy+2zy1NekDa49gx1Q=".parse().expect("a key");
        assert_eq!(private.public().to_string(), "cA82X8n4kF9n5/Cpo5Vq32DVfbCx9GR8CiA7dizgnVo=");
    }

    #[test]
    fn secrets_do_not_show_in_debug() {
        let key = PrivateKey::generate().expect("entropy");
        assert!(!format!("{key:?}").contains(key.to_base64().as_str()));
        assert_eq!(format!("{:?}", PresharedKey::from_octets([1; 32])), "Some(PresharedKey(…))");
    }

    #[test]
    fn a_signature_holds_for_its_message_and_key_alone() {
        let signer = Signer::generate().expect("entropy");
        let other = Signer::generate().expect("entropy");
        let signature: SignatureBytes = signer.sign(b"terms").to_string().parse().expect("its own text");
        assert!(signer.verifier().verifies(b"terms", &signature));
        assert!(!signer.verifier().verifies(b"terns", &signature));
        assert!(!other.verifier().verifies(b"terms", &signature));
    }

    #[test]
    fn pem_reads_back() {
        let signer = Signer::generate().expect("entropy");
        let pem = signer.to_pem().expect("an Ed25519 key");
        assert_eq!(Signer::from_pem(&pem).expect("its own PEM").verifier(), signer.verifier());
        assert!(Signer::from_pem("-----BEGIN PRIVATE KEY-----\n").is_err());
    }

    #[test]
    fn malformed_keys_are_refused_by_cause() {
        assert_eq!("".parse::<PublicKey>(), Err(KeyError::NotBase64(32)));
        assert_eq!("AAAA".parse::<PublicKey>(), Err(KeyError::NotBase64(32)));
        assert_eq!("AAAA".parse::<Verifier>(), Err(KeyError::NoAlgorithm));
        let identity = format!("ed25519:AQ{}=", "A".repeat(41));
        assert_eq!(identity.parse::<Verifier>(), Err(KeyError::NotOnCurve));
    }
}
