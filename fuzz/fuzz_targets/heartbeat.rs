//! Any octets → a heartbeat: an answer, never a panic; what is read has one form, and nobody here has signed it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use turnpike::bundle::{Content as _, SignedHeartbeat};

/// A public key of RFC 8032, section 7.1: nobody here signs with it.
const KEY: &str = "ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

fuzz_target!(|octets: &[u8]| {
    if let Ok(read) = SignedHeartbeat::parse(octets) {
        assert_eq!(read.to_octets(), octets);
        assert_eq!(read.content.check(), Ok(()));
        assert!(!read.signed_by(&KEY.parse().expect("a key")), "nobody signed this");
    }
});
