//! A client of the server, and a runtime to drive it.

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use file_sync_dev_s3::{ACCESS_KEY, Options, REGION, SECRET_KEY, Server};

pub(crate) const BUCKET: &str = file_sync_dev_s3::BUCKET;

/// A server and a client that never tries twice.
pub(crate) fn start() -> (Server, Client) {
    start_with(&Options::default())
}

pub(crate) fn start_with(options: &Options) -> (Server, Client) {
    let server = Server::start(options).expect("a free port");
    let client = client(&server, SECRET_KEY);
    (server, client)
}

pub(crate) fn client(server: &Server, secret: &str) -> Client {
    client_of(&server.endpoint(), secret)
}

/// A client of whatever is at `endpoint`.
pub(crate) fn client_of(endpoint: &str, secret: &str) -> Client {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .endpoint_url(endpoint)
        .credentials_provider(Credentials::new(ACCESS_KEY, secret, None, None, "test"))
        .retry_config(RetryConfig::disabled())
        .force_path_style(true)
        .build();
    Client::from_conf(config)
}

/// Status and code of an error that S3 answered with; status 0 if there was no answer.
pub(crate) fn failure<T: std::fmt::Debug, E>(result: Result<T, SdkError<E>>) -> (u16, String)
where
    E: ProvideErrorMetadata + std::fmt::Debug,
{
    match result.expect_err("an error") {
        SdkError::ServiceError(error) => {
            (error.raw().status().as_u16(), error.err().code().unwrap_or_default().to_owned())
        }
        _ => (0, String::new()),
    }
}

/// Whether all that is known is that no answer came.
pub(crate) fn is_unanswered<T, E>(result: &Result<T, SdkError<E>>) -> bool {
    matches!(result, Err(SdkError::DispatchFailure(_) | SdkError::ResponseError(_)))
}

/// Puts `body` under `key`, without which a test has nothing to look at.
pub(crate) async fn put(client: &Client, key: &str, body: &'static [u8]) -> String {
    let put = client.put_object().bucket(BUCKET).key(key).body(body.to_vec().into());
    let stored = put.send().await.expect("stored");
    stored.e_tag.expect("an ETag")
}

/// The keys in the bucket, in order.
pub(crate) fn keys(server: &Server) -> Vec<String> {
    server.objects(BUCKET).into_keys().collect()
}
