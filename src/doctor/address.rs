//! The bucket as policies name it.

/// Where the objects are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketAddress {
    /// The bucket, or the ARN of an access point.
    pub bucket: String,
    /// The prefix of every key.
    pub prefix: String,
}

impl BucketAddress {
    /// The resource of a policy statement for `action`.
    pub(super) fn resource(&self, action: &str) -> String {
        let Self { bucket, prefix } = self;
        let arn = match bucket.starts_with("arn:") {
            true => bucket.clone(),
            false => format!("arn:aws:s3:::{bucket}"),
        };
        let objects = if bucket.starts_with("arn:") { "/object/" } else { "/" };
        match action.contains("ListBucket") {
            true => arn,
            false => format!("{arn}{objects}{prefix}*"),
        }
    }
}
