//! The least an upload can take: the file is read and put by the SDK the daemon uses, on a connection
//! that is there already, with nothing before it and nothing after it.

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use file_sync_dev_s3::{ACCESS_KEY, BUCKET, REGION, SECRET_KEY, Server, now};
use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::Instant;
use tokio::runtime::Runtime;

/// A client, and what drives it.
pub(crate) struct Bare {
    runtime: Runtime,
    client: Client,
}

impl Bare {
    pub(crate) fn new(server: &Server) -> Result<Self, Box<dyn Error>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .endpoint_url(server.endpoint())
            .credentials_provider(Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "latency"))
            .retry_config(RetryConfig::disabled())
            .force_path_style(true)
            .build();
        Ok(Self { runtime, client: Client::from_conf(config) })
    }

    /// Puts the file under `key`, and returns when that began.
    pub(crate) fn put(&self, path: &Path, key: &str) -> Result<Instant, Box<dyn Error>> {
        let began = now();
        let body = fs::read(path)?;
        let put = self.client.put_object().bucket(BUCKET).key(key).body(body.into());
        self.runtime.block_on(put.send())?;
        Ok(began)
    }
}
