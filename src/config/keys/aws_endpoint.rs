//! The keys that select one of AWS's endpoints for S3.

use super::{DefaultValue, Key, ValueKind, key};

pub(super) const SECTION: &[&Key] = &[&S3_USE_ACCELERATE, &S3_USE_DUALSTACK, &S3_USE_FIPS];

pub(in crate::config) const S3_USE_ACCELERATE: Key = key(
    "s3_use_accelerate_endpoint",
    ValueKind::Boolean,
    DefaultValue::Then("`use_accelerate_endpoint` below `s3` in the AWS profile, else false"),
    "whether requests use transfer acceleration, which has to be enabled for the bucket",
);
pub(in crate::config) const S3_USE_DUALSTACK: Key = key(
    "s3_use_dualstack_endpoint",
    ValueKind::Boolean,
    DefaultValue::Then(
        "`AWS_USE_DUALSTACK_ENDPOINT`, else `use_dualstack_endpoint` of the AWS profile, else false",
    ),
    "whether requests use an endpoint that has addresses of IPv6 too",
);
pub(in crate::config) const S3_USE_FIPS: Key = key(
    "s3_use_fips_endpoint",
    ValueKind::Boolean,
    DefaultValue::Then(
        "`AWS_USE_FIPS_ENDPOINT`, else `use_fips_endpoint` of the AWS profile, else false",
    ),
    "whether requests use an endpoint with cryptography validated by FIPS 140",
);
