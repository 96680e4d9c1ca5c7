//! Connect: a client from the configuration.

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::{RetryConfig, RetryPartition, TokenBucket};
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};

use super::fault::failed;
use crate::blobs::Error;
use crate::config::S3;
use crate::limits;

const REGION_DEFAULT: &str = "us-east-1";
const R2_REGION: &str = "auto";

pub(super) fn client(config: &S3) -> Result<Client, Error> {
    let endpoint = endpoint(config)?;
    let plain = endpoint.as_deref().is_some_and(|url| url.starts_with("http://"));
    let builder = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http_client(plain)?)
        .credentials_provider(credentials(config))
        .region(Region::new(region(config).to_owned()))
        .retry_config(retries())
        .retry_partition(retry_budget())
        .timeout_config(timeouts())
        .stalled_stream_protection(
            StalledStreamProtectionConfig::enabled().grace_period(limits::S3_STALL_TIMEOUT).build(),
        )
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    let builder = match endpoint {
        // A bucket as part of the host's name needs a DNS that many a server does not have.
        Some(endpoint) => builder.endpoint_url(endpoint).force_path_style(true),
        None => builder,
    };
    Ok(Client::from_conf(builder.build()))
}

/// One connector for https and http; its cryptography is ring, which TLS to the database uses too.
/// A plain endpoint needs no certificates, and a machine may have none.
fn http_client(plain: bool) -> Result<SharedHttpClient, Error> {
    let roots = if plain { TrustStore::empty() } else { TrustStore::default() };
    let context = TlsContext::builder().with_trust_store(roots).build();
    let context = context.map_err(|e| failed("preparing TLS for", "the object store", e))?;
    let builder = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring));
    Ok(builder.tls_context(context).build_https())
}

fn endpoint(config: &S3) -> Result<Option<String>, Error> {
    let refused = |why: &'static str| Err(failed("using the configured", "S3 endpoint", why));
    match (&config.endpoint, &config.account_id) {
        (Some(url), _) if url.starts_with("https://") || url.starts_with("http://") => Ok(Some(url.clone())),
        (Some(_), _) => refused("it must begin with https:// or http://"),
        (None, Some(id)) if !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric()) => {
            Ok(Some(format!("https://{id}.r2.cloudflarestorage.com")))
        }
        (None, Some(_)) => refused("an R2 account id has letters and digits only"),
        (None, None) => Ok(None),
    }
}

fn region(config: &S3) -> &str {
    let r2 = config.endpoint.is_none() && config.account_id.is_some();
    config.region.as_deref().unwrap_or(if r2 { R2_REGION } else { REGION_DEFAULT })
}

fn credentials(config: &S3) -> Credentials {
    let token = config.session_token.as_ref().map(|token| token.expose().to_owned());
    let secret = config.secret_access_key.expose();
    Credentials::new(&config.access_key_id, secret, token, None, "configuration")
}

/// Exponential back-off with full jitter.
fn retries() -> RetryConfig {
    RetryConfig::standard()
        .with_max_attempts(limits::S3_ATTEMPTS)
        .with_initial_backoff(limits::S3_BACKOFF_FIRST)
        .with_max_backoff(limits::S3_BACKOFF_MAX)
}

/// A budget of this client's own; by default all clients of a process share one.
fn retry_budget() -> RetryPartition {
    RetryPartition::custom("blobs").token_bucket(TokenBucket::default()).build()
}

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(limits::S3_CONNECT_TIMEOUT)
        .read_timeout(limits::S3_READ_TIMEOUT)
        .operation_attempt_timeout(limits::S3_ATTEMPT_TIMEOUT)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoint_and_region_follow_from_what_is_set() {
        let text = |s: &str| Some(s.to_owned());
        let r2 = S3 { account_id: text("ab12"), ..S3::default() };
        assert_eq!(endpoint(&r2).unwrap(), text("https://ab12.r2.cloudflarestorage.com"));
        assert_eq!(region(&r2), "auto");
        let own = S3 { endpoint: text("http://minio:9000"), account_id: text("ab12"), ..S3::default() };
        assert_eq!((endpoint(&own).unwrap(), region(&own)), (text("http://minio:9000"), "us-east-1"));
        let aws = S3 { region: text("eu-west-1"), ..S3::default() };
        assert_eq!((endpoint(&aws).unwrap(), region(&aws)), (None, "eu-west-1"));
        for wrong in [
            S3 { endpoint: text("ftp://host"), ..S3::default() },
            S3 { account_id: text("evil.example/"), ..S3::default() },
        ] {
            assert!(endpoint(&wrong).is_err(), "{wrong:?}");
        }
    }
}
