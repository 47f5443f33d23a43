//! Any octets → a bundle, verified or only read: an answer, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use turnpike::bundle::{self, Policy, Trust};

/// Public keys of RFC 8032, section 7.1: nobody here signs with them.
const TRUST: &str = "network = \"connect\"\n\
    operator = \"ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\"\n\
    controller = \"ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\"\n";

fuzz_target!(|octets: &[u8]| {
    let trust = Trust::from_toml(TRUST).expect("a trust file");
    assert!(bundle::open(octets, &trust).is_err(), "nobody signed this");
    // Hashes keep a mutant from the sections' own checks: read them without, and directly.
    if let Ok(bundle) = bundle::open_unverified(octets) {
        std::hint::black_box(bundle.effective_policy());
    }
    std::hint::black_box(serde_json::from_slice::<Policy>(octets).is_ok());
});
