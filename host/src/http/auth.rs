//! Who asks: bearer tokens, kept as hashes.

use crate::config::Secret;

/// A new token: `dng_` and 256 random bits.
pub fn mint_token() -> Secret {
    todo!()
}

/// What is stored of a token: its sha-256, hex.
pub fn hash_token(token: &str) -> String {
    let _ = token;
    todo!()
}
