//! Any octets, in pieces of any size → requests of the configuration protocol, applied to a configuration.
#![no_main]

use libfuzzer_sys::fuzz_target;
use turnpike::uapi::{Config, Reader, Request};

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, octets) = input;
    let mut reader = Reader::default();
    let mut config = Config::default();
    for mut rest in octets.chunks(usize::from(piece).max(1)) {
        while let Some(outcome) = reader.read(&mut rest, &|_| None) {
            match outcome {
                Ok(Request::Get) => {}
                Ok(Request::Set(change)) => {
                    config = config.applied(&change);
                    let plan = config.plan();
                    assert!(plan.routes.iter().all(|(_, site)| plan.sites.iter().any(|known| known.id == *site)));
                }
                Err(refusal) if refusal.ends_the_connection() => return,
                Err(_) => {}
            }
        }
    }
});
