//! Who asks: bearer tokens, kept as hashes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use sha2::{Digest, Sha256};

use super::problem::{Code, Problem};
use crate::config::Secret;
use crate::db::{Db, Millis, TokenRecord};
use crate::model::{Principal, Scope};
use crate::{clock, limits};

/// A new token: `dng_` and 256 random bits.
pub fn mint_token() -> Secret {
    let mut random = [0; limits::TOKEN_RANDOM_BYTES];
    getrandom::fill(&mut random).expect("a machine without random numbers makes no tokens");
    Secret::new(format!("dng_{}", URL_SAFE_NO_PAD.encode(random)))
}

/// What is stored of a token: its sha-256, hex. A token's bits are random, so that neither salt nor
/// a slow hash would add anything.
pub fn hash_token(token: &str) -> String {
    hex::encode(Sha256::digest(token.as_bytes()))
}

/// Tells who a request's token belongs to.
pub struct Tokens {
    db: Db,
    known: Mutex<Known>,
}

impl Tokens {
    pub fn new(db: Db) -> Self {
        Self { db, known: Mutex::default() }
    }

    /// None when the request has no `Authorization` at all.
    pub async fn authenticate(&self, headers: &HeaderMap) -> Result<Option<Arc<Principal>>, Problem> {
        let Some(token) = bearer(headers)? else { return Ok(None) };
        let hash = hash_token(token);
        let known = self.known.lock().expect("no panic holds this lock").find(&hash, Instant::now());
        let token = match known {
            Some(token) => token,
            None => self.look_up(hash).await?,
        };
        if token.expires_at.is_some_and(|at| at <= clock::now_millis()) {
            return Err(unauthorized("the token has expired", true));
        }
        Ok(Some(token.principal))
    }

    async fn look_up(&self, hash: String) -> Result<Token, Problem> {
        let record = self.db.token_by_hash(&hash).await?;
        let record = record.ok_or_else(|| unauthorized("the token is not known", true))?;
        if record.revoked_at.is_some() {
            return Err(unauthorized("the token was revoked", true));
        }
        let token = Token::from(record);
        self.known.lock().expect("no panic holds this lock").keep(hash, token.clone(), Instant::now());
        Ok(token)
    }
}

/// The token must be there, with that scope.
pub fn require(by: Option<&Arc<Principal>>, scope: Scope) -> Result<(), Problem> {
    let Some(by) = by else {
        return Err(unauthorized("send a token: Authorization: Bearer <token>", false));
    };
    if by.may(scope) {
        return Ok(());
    }
    let detail = format!("the token {} lacks the scope {scope}", by.id);
    Err(Problem::new(Code::Forbidden, detail).with("scope", scope))
}

#[derive(Clone, Debug)]
struct Token {
    principal: Arc<Principal>,
    expires_at: Option<Millis>,
}

impl From<TokenRecord> for Token {
    fn from(record: TokenRecord) -> Self {
        let principal = Arc::new(Principal { id: record.name, scopes: record.scopes });
        Self { principal, expires_at: record.expires_at }
    }
}

/// Tokens that were good a moment ago. Those that were not are never kept, so that inventing
/// tokens pushes no good one out.
#[derive(Default)]
struct Known(HashMap<String, (Instant, Token)>);

impl Known {
    fn find(&self, hash: &str, now: Instant) -> Option<Token> {
        let (since, token) = self.0.get(hash)?;
        (now.duration_since(*since) < limits::TOKEN_CACHE_KEPT).then(|| token.clone())
    }

    fn keep(&mut self, hash: String, token: Token, now: Instant) {
        if self.0.len() >= limits::TOKEN_CACHE_MAX {
            self.0.retain(|_, (since, _)| now.duration_since(*since) < limits::TOKEN_CACHE_KEPT);
        }
        if self.0.len() < limits::TOKEN_CACHE_MAX {
            self.0.insert(hash, (now, token));
        }
    }
}

fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut sent = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = sent.next() else { return Ok(None) };
    let malformed = || unauthorized("Authorization is not of the form: Bearer <token>", true);
    if sent.next().is_some() {
        return Err(malformed());
    }
    let (scheme, token) = value.to_str().ok().and_then(|v| v.split_once(' ')).ok_or_else(malformed)?;
    let token = token.trim();
    let fits = (1..=limits::TOKEN_BYTES_MAX).contains(&token.len());
    if scheme.eq_ignore_ascii_case("bearer") && fits { Ok(Some(token)) } else { Err(malformed()) }
}

fn unauthorized(detail: &str, sent: bool) -> Problem {
    let challenge =
        if sent { "Bearer realm=\"dunnage\", error=\"invalid_token\"" } else { "Bearer realm=\"dunnage\"" };
    Problem::new(Code::Unauthorized, detail).header(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn token(name: &str) -> Token {
        Token {
            principal: Arc::new(Principal { id: name.to_owned(), scopes: vec![Scope::Read] }),
            expires_at: None,
        }
    }

    #[test]
    fn tokens_are_long_and_all_different() {
        let (a, b) = (mint_token(), mint_token());
        assert_ne!(a, b);
        assert_eq!(a.expose().len(), "dng_".len() + 43);
        assert!(a.expose().len() >= limits::ADMIN_TOKEN_CHARS_MIN);
        assert!(a.expose().bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_' || c == b'-'));
        assert_eq!(hash_token("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn a_bearer_token_is_read_and_anything_else_refused() {
        assert_eq!(bearer(&headers(&[])).unwrap(), None);
        assert_eq!(bearer(&headers(&["Bearer abc"])).unwrap(), Some("abc"));
        assert_eq!(bearer(&headers(&["bearer  abc"])).unwrap(), Some("abc"));
        let long = format!("Bearer {}", "x".repeat(limits::TOKEN_BYTES_MAX + 1));
        for bad in
            [&["Bearer"][..], &["Bearer "], &["Basic abc"], &["abc"], &[&long], &["Bearer a", "Bearer a"]]
        {
            let problem = bearer(&headers(bad)).unwrap_err();
            assert_eq!(problem.code(), Code::Unauthorized, "{bad:?}");
            assert!(!format!("{problem:?}").contains("abc"), "a token is never repeated");
        }
    }

    #[test]
    fn a_known_token_is_asked_for_again_after_a_while() {
        let mut known = Known::default();
        let begun = Instant::now();
        known.keep("h".to_owned(), token("a"), begun);
        assert!(known.find("h", begun).is_some());
        assert!(known.find("other", begun).is_none());
        assert!(known.find("h", begun + limits::TOKEN_CACHE_KEPT).is_none());
    }

    #[test]
    fn known_tokens_are_bounded() {
        let mut known = Known::default();
        let begun = Instant::now();
        for n in 0..2 * limits::TOKEN_CACHE_MAX {
            known.keep(n.to_string(), token("a"), begun);
        }
        assert_eq!(known.0.len(), limits::TOKEN_CACHE_MAX);
        known.keep("late".to_owned(), token("b"), begun + limits::TOKEN_CACHE_KEPT);
        assert_eq!(known.0.len(), 1);
    }

    #[test]
    fn a_scope_is_required_and_admin_has_all() {
        let with = |scopes: &[Scope]| Arc::new(Principal { id: "t".into(), scopes: scopes.to_vec() });
        assert_eq!(require(None, Scope::Read).unwrap_err().code(), Code::Unauthorized);
        for scope in Scope::ALL {
            assert!(require(Some(&with(&[Scope::Admin])), scope).is_ok());
            assert!(require(Some(&with(&[scope])), scope).is_ok());
            for other in Scope::ALL.into_iter().filter(|o| *o != scope && *o != Scope::Admin) {
                let refused = require(Some(&with(&[other])), scope).unwrap_err();
                assert_eq!(refused.code(), Code::Forbidden);
                assert!(format!("{refused:?}").contains(scope.as_str()));
            }
        }
    }
}
