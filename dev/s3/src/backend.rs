//! The operations, as s3s hands them over: already authenticated, their inputs parsed.

mod copies;
mod listing;
mod listing_v1;
mod objects;
mod uploads;
mod versions;

use crate::checksum::Declared;
use crate::mode::StoreModes;
use crate::options::Options;
use crate::store::{Condition, Store};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::StatusCode;
use s3s::dto::{self, CopySource, ETagCondition, StreamingBlob};
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, TrailingHeaders, s3_error};

/// The operations on a store.
#[derive(Debug, Clone)]
pub(crate) struct Backend {
    pub(crate) store: Store,
    pub(crate) region: String,
    pub(crate) part_bytes_min: u64,
    pub(crate) conditional_deletes: bool,
    pub(crate) conditional_writes: bool,
    pub(crate) modes: StoreModes,
}

impl Backend {
    pub(crate) fn new(options: &Options, store: Store) -> Self {
        Self {
            store,
            region: options.region.clone(),
            part_bytes_min: options.part_bytes_min,
            conditional_deletes: options.heeds_delete_conditions(),
            conditional_writes: options.heeds_write_conditions(),
            modes: options.modes.clone(),
        }
    }
}

impl Backend {
    /// What is looked at of the conditions of a write.
    fn condition(
        &self,
        if_match: Option<ETagCondition>,
        if_none_match: Option<ETagCondition>,
    ) -> Condition {
        match self.conditional_writes {
            true => Condition { if_match, if_none_match },
            false => Condition::default(),
        }
    }
}

/// Reads a body to its end and compares it with what was declared. Nothing is stored before that.
async fn read_body(
    body: Option<StreamingBlob>,
    mut declared: Declared,
    trailers: Option<TrailingHeaders>,
) -> S3Result<(Bytes, Declared)> {
    let mut bytes = BytesMut::new();
    if let Some(body) = body {
        let mut body = s3s::Body::from(body);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| unreadable(&*error))?;
            bytes.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new()));
        }
    }
    if let Some(trailers) = trailers.and_then(|trailers| trailers.take()) {
        declared.add_trailers(&trailers);
    }
    declared.verify(&bytes)?;
    Ok((bytes.freeze(), declared))
}

/// The types of these errors are private to s3s, so their words have to distinguish them.
fn unreadable(error: &(dyn std::error::Error + Send + Sync)) -> S3Error {
    let words = error.to_string();
    if words.contains("Sha256Mismatch") {
        let mut mismatch = S3Error::new(S3ErrorCode::Custom("XAmzContentSHA256Mismatch".into()));
        mismatch.set_status_code(StatusCode::BAD_REQUEST);
        return mismatch;
    }
    if words.contains("SignatureMismatch") {
        return s3_error!(SignatureDoesNotMatch);
    }
    s3_error!(IncompleteBody, "{words}")
}

/// Bucket and key that a copy is made of.
fn source(source: &CopySource) -> S3Result<(&str, &str)> {
    match source {
        CopySource::Bucket { bucket, key, .. } => Ok((bucket, key)),
        CopySource::AccessPoint { .. } | CopySource::Outpost { .. } => {
            Err(s3_error!(NotImplemented, "copies are made within buckets only"))
        }
    }
}

/// Conditions of operations whose input in s3s does not have them.
fn condition_in_headers<T>(request: &S3Request<T>) -> S3Result<Condition> {
    let parse = |name: &str| {
        let Some(value) = request.headers.get(name) else { return Ok(None) };
        ETagCondition::parse_http_header(value.as_bytes())
            .map(Some)
            .map_err(|_| s3_error!(InvalidArgument, "invalid header: {name}"))
    };
    Ok(Condition { if_match: parse("if-match")?, if_none_match: parse("if-none-match")? })
}

/// Writes the methods of the trait, each of which calls the function of the same name.
macro_rules! operations {
    ($($method:ident in $module:ident: $input:ident -> $output:ident;)*) => {
        #[async_trait::async_trait]
        impl S3 for Backend {
            $(
                async fn $method(
                    &self,
                    request: S3Request<dto::$input>,
                ) -> S3Result<S3Response<dto::$output>> {
                    $module::$method(self, request).await.map(S3Response::new)
                }
            )*
        }
    };
}

operations! {
    put_object in objects: PutObjectInput -> PutObjectOutput;
    get_object in objects: GetObjectInput -> GetObjectOutput;
    head_object in objects: HeadObjectInput -> HeadObjectOutput;
    copy_object in copies: CopyObjectInput -> CopyObjectOutput;
    delete_object in objects: DeleteObjectInput -> DeleteObjectOutput;
    delete_objects in objects: DeleteObjectsInput -> DeleteObjectsOutput;
    list_objects in listing_v1: ListObjectsInput -> ListObjectsOutput;
    list_objects_v2 in listing: ListObjectsV2Input -> ListObjectsV2Output;
    list_object_versions in versions: ListObjectVersionsInput -> ListObjectVersionsOutput;
    list_multipart_uploads in listing: ListMultipartUploadsInput -> ListMultipartUploadsOutput;
    list_parts in listing: ListPartsInput -> ListPartsOutput;
    head_bucket in listing: HeadBucketInput -> HeadBucketOutput;
    get_bucket_location in listing: GetBucketLocationInput -> GetBucketLocationOutput;
    get_bucket_versioning in listing: GetBucketVersioningInput -> GetBucketVersioningOutput;
    create_multipart_upload in uploads: CreateMultipartUploadInput -> CreateMultipartUploadOutput;
    upload_part in uploads: UploadPartInput -> UploadPartOutput;
    upload_part_copy in uploads: UploadPartCopyInput -> UploadPartCopyOutput;
    complete_multipart_upload in uploads: CompleteMultipartUploadInput -> CompleteMultipartUploadOutput;
    abort_multipart_upload in uploads: AbortMultipartUploadInput -> AbortMultipartUploadOutput;
}
