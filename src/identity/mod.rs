//! Who is who: names, ids, numbers and keys.
//!
//! Names are what people write and DNS can carry; numbers are what packets and kernels carry. A number is given
//! out once and never again. Private keys redact themselves in `Debug` and are wiped when dropped.

mod batch;
mod keys;
mod names;
mod text;

pub use batch::{Signed, all_hold};
pub use keys::{KeyError, PresharedKey, PrivateKey, PublicKey, SignatureBytes, Signer, Verifier};
pub use names::{Id, IdError, Name, NameError, Qualified};
pub use text::steers;
