//! A store of objects: one entry for all requests, so that a layer around a store (observation, limits, a dry
//! run) is one method. What the layers have in common they ask the request.

use super::{DeleteRequest, DeleteResult, ObjectMetadata, Page, StoredObject, WriteResult};
use crate::exclusivity::Condition;
use crate::model::{Failure, FailureClass, ObjectKey, StoredPart, UnixMillis};
use bytes::Bytes;
use std::future::Future;
use std::ops::Range;

/// A request to an object store.
#[derive(Debug)]
pub enum ObjectRequest<'a> {
    /// Creates or replaces an object, if the condition holds.
    Put {
        /// The object.
        object: &'a ObjectMetadata,
        /// Its content.
        body: Bytes,
        /// The checksum of the content.
        crc64nvme: u64,
        /// The condition; a store without conditions ignores it.
        condition: Option<&'a Condition>,
    },
    /// Inspects the object of a key.
    Head {
        /// The key.
        key: &'a ObjectKey,
    },
    /// Deletes objects, each if it still has its entity tag.
    Delete {
        /// The objects.
        objects: &'a [DeleteRequest],
    },
    /// Lists a page of the objects whose keys start with a prefix.
    List {
        /// The prefix.
        prefix: &'a str,
        /// The end of the previous page.
        from: Option<String>,
    },
    /// Creates an object from another one, if that one still has its entity tag.
    Copy {
        /// The key of the other object.
        from: &'a ObjectKey,
        /// Its entity tag.
        etag: &'a str,
        /// The object.
        object: &'a ObjectMetadata,
        /// The condition on `object`.
        condition: Option<&'a Condition>,
    },
    /// Starts a multipart upload.
    BeginUpload {
        /// The object.
        object: &'a ObjectMetadata,
    },
    /// Sends a part.
    PutPart {
        /// The upload.
        upload: UploadRef<'a>,
        /// The number of the part.
        number: i32,
        /// Its content.
        body: Bytes,
        /// The checksum of the content.
        crc64nvme: u64,
    },
    /// Creates a part from another object, if that one still has its entity tag.
    CopyPart {
        /// The key and the entity tag of the other object.
        from: (&'a ObjectKey, &'a str),
        /// The bytes of the other object.
        range: Range<u64>,
        /// The upload.
        upload: UploadRef<'a>,
        /// The number of the part.
        number: i32,
    },
    /// Creates the object of an upload from its parts.
    CompleteUpload {
        /// The upload.
        upload: UploadRef<'a>,
        /// Its parts.
        parts: &'a [StoredPart],
        /// The size of the object.
        size: u64,
        /// The checksum of the object.
        crc64nvme: u64,
        /// The condition on the object.
        condition: Option<&'a Condition>,
    },
    /// Aborts a multipart upload.
    AbortUpload {
        /// The upload.
        upload: UploadRef<'a>,
    },
    /// Lists the unfinished multipart uploads of exactly one key.
    ListUploads {
        /// The key.
        key: &'a ObjectKey,
    },
}

/// A multipart upload.
#[derive(Debug, Clone, Copy)]
pub struct UploadRef<'a> {
    /// The key of its object.
    pub key: &'a ObjectKey,
    /// Its id.
    pub id: &'a str,
}

impl<'a> ObjectRequest<'a> {
    /// The name of the operation in S3. The store may need several requests for it.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        match self {
            Self::Put { .. } => "PutObject",
            Self::Head { .. } => "HeadObject",
            Self::Delete { objects: [_] } => "DeleteObject",
            Self::Delete { .. } => "DeleteObjects",
            Self::List { .. } => "ListObjectsV2",
            Self::Copy { .. } => "CopyObject",
            Self::BeginUpload { .. } => "CreateMultipartUpload",
            Self::PutPart { .. } => "UploadPart",
            Self::CopyPart { .. } => "UploadPartCopy",
            Self::CompleteUpload { .. } => "CompleteMultipartUpload",
            Self::AbortUpload { .. } => "AbortMultipartUpload",
            Self::ListUploads { .. } => "ListMultipartUploads",
        }
    }

    /// The key of the first object; of a listing, the prefix.
    #[must_use]
    pub fn key(&self) -> &'a str {
        match self {
            Self::Put { object, .. } | Self::Copy { object, .. } | Self::BeginUpload { object } => {
                object.key.as_str()
            }
            Self::Head { key } | Self::ListUploads { key } => key.as_str(),
            Self::Delete { objects } => objects.first().map_or("", |object| object.key.as_str()),
            Self::List { prefix, .. } => prefix,
            Self::PutPart { upload, .. }
            | Self::CopyPart { upload, .. }
            | Self::CompleteUpload { upload, .. }
            | Self::AbortUpload { upload } => upload.key.as_str(),
        }
    }

    /// The keys of further objects.
    #[must_use]
    pub fn other_keys(&self) -> Vec<&'a str> {
        match self {
            Self::Delete { objects } => {
                objects.iter().skip(1).map(|object| object.key.as_str()).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The id of the multipart upload.
    #[must_use]
    pub fn upload_id(&self) -> Option<&'a str> {
        match self {
            Self::PutPart { upload, .. }
            | Self::CopyPart { upload, .. }
            | Self::CompleteUpload { upload, .. }
            | Self::AbortUpload { upload } => Some(upload.id),
            _ => None,
        }
    }

    /// The number of the part, if the request creates one.
    #[must_use]
    pub fn part_number(&self) -> Option<i32> {
        match self {
            Self::PutPart { number, .. } | Self::CopyPart { number, .. } => Some(*number),
            _ => None,
        }
    }

    /// The size of the body that is sent.
    #[must_use]
    pub fn body_bytes(&self) -> u64 {
        match self {
            Self::Put { body, .. } | Self::PutPart { body, .. } => body.len() as u64,
            _ => 0,
        }
    }
}

/// The answer to a request.
#[derive(Debug)]
pub enum StoreAnswer {
    /// The result of a put, or of the end of an upload.
    Written(WriteResult),
    /// The object, if there is one.
    Found(Option<StoredObject>),
    /// The result for each object of a delete, in their order.
    Deleted(Vec<Result<DeleteResult, Failure>>),
    /// A page of a listing.
    Listed(Page),
    /// The object; `None` if its source has changed or is gone, or the condition does not hold.
    Copied(Option<StoredObject>),
    /// The id of the upload.
    UploadBegun(String),
    /// The part.
    PartStored(StoredPart),
    /// The part; `None` if its source has changed or is gone.
    PartCopied(Option<StoredPart>),
    /// The upload does not exist any more.
    UploadAborted(()),
    /// The ids of the uploads, and when they were started.
    Uploads(Vec<(String, UnixMillis)>),
}

/// What the HTTP response says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObservedAnswer {
    /// The HTTP status; `None` if there was no response.
    pub status: Option<u16>,
    /// The request id, for the support of the store.
    pub request_id: Option<String>,
    /// The second id that the support of S3 needs.
    pub extended_request_id: Option<String>,
}

/// The result of a request, and what its HTTP response says of itself; of several, the last one.
#[derive(Debug)]
pub struct StoreResponse {
    /// The result.
    pub result: Result<StoreAnswer, Failure>,
    /// The HTTP response.
    pub http: ObservedAnswer,
}

impl StoreResponse {
    /// All failures: one, or one for each object that was not deleted.
    pub fn failures(&self) -> impl Iterator<Item = &Failure> {
        let each = match &self.result {
            Ok(StoreAnswer::Deleted(each)) => each.as_slice(),
            _ => &[],
        };
        self.result
            .as_ref()
            .err()
            .into_iter()
            .chain(each.iter().filter_map(|one| one.as_ref().err()))
    }

    fn answer<T>(self, of: impl FnOnce(StoreAnswer) -> Option<T>) -> Result<T, Failure> {
        of(self.result?).ok_or_else(|| Failure {
            class: FailureClass::Object,
            code: "answer-of-another-request".to_owned(),
            message: "a fault of this program: the answer is not one of this request".to_owned(),
            answer_lost: true,
            retry_after_ms: None,
        })
    }
}

impl From<Result<StoreAnswer, Failure>> for StoreResponse {
    /// A result without an HTTP response.
    fn from(result: Result<StoreAnswer, Failure>) -> Self {
        Self { result, http: ObservedAnswer::default() }
    }
}

/// The content of one variant of an answer.
macro_rules! answer {
    ($response:expr, $variant:ident) => {
        $response.answer(|answer| match answer {
            StoreAnswer::$variant(content) => Some(content),
            _ => None,
        })
    };
}

/// An object store, bound to one bucket. An implementation, and a layer around one, has only
/// [`call`](Self::call); the other methods are its typed forms.
pub trait ObjectStore: Send + Sync + 'static {
    /// Makes one request, without a retry.
    fn call(&self, request: ObjectRequest<'_>) -> impl Future<Output = StoreResponse> + Send;

    /// Creates or replaces an object from `body`, whose checksum is `crc64nvme`, if the condition holds. A
    /// store that does not know conditions does it in any case.
    fn put<'a>(
        &'a self,
        object: &'a ObjectMetadata,
        body: Bytes,
        crc64nvme: u64,
        condition: Option<&'a Condition>,
    ) -> impl Future<Output = Result<WriteResult, Failure>> + Send {
        let request = ObjectRequest::Put { object, body, crc64nvme, condition };
        async move { answer!(self.call(request).await, Written) }
    }

    /// Inspects the object `key`; `None` if there is none.
    fn head<'a>(
        &'a self,
        key: &'a ObjectKey,
    ) -> impl Future<Output = Result<Option<StoredObject>, Failure>> + Send {
        async move { answer!(self.call(ObjectRequest::Head { key }).await, Found) }
    }

    /// Deletes objects, each if it still has its entity tag, where the store can check that. A missing
    /// object is success. Returns a result for each, in their order; at most
    /// [`DELETE_BATCH_MAX`](crate::queue::DELETE_BATCH_MAX) at once.
    fn delete<'a>(
        &'a self,
        objects: &'a [DeleteRequest],
    ) -> impl Future<Output = Vec<Result<DeleteResult, Failure>>> + Send {
        async move {
            let response = self.call(ObjectRequest::Delete { objects }).await;
            let answer = answer!(response, Deleted);
            answer.unwrap_or_else(|failure| vec![Err(failure); objects.len()])
        }
    }

    /// Lists a page of the objects whose keys start with `prefix`, from the end of the previous page.
    fn list<'a>(
        &'a self,
        prefix: &'a str,
        from: Option<String>,
    ) -> impl Future<Output = Result<Page, Failure>> + Send {
        async move { answer!(self.call(ObjectRequest::List { prefix, from }).await, Listed) }
    }

    /// Creates `object` from the object `from`, if that one still has this entity tag and the condition on
    /// `object` holds; `None` if not.
    fn copy<'a>(
        &'a self,
        from: &'a ObjectKey,
        etag: &'a str,
        object: &'a ObjectMetadata,
        condition: Option<&'a Condition>,
    ) -> impl Future<Output = Result<Option<StoredObject>, Failure>> + Send {
        let request = ObjectRequest::Copy { from, etag, object, condition };
        async move { answer!(self.call(request).await, Copied) }
    }

    /// Starts a multipart upload and returns its id.
    fn begin_upload<'a>(
        &'a self,
        object: &'a ObjectMetadata,
    ) -> impl Future<Output = Result<String, Failure>> + Send {
        async move { answer!(self.call(ObjectRequest::BeginUpload { object }).await, UploadBegun) }
    }

    /// Sends one part.
    fn put_part<'a>(
        &'a self,
        upload: UploadRef<'a>,
        number: i32,
        body: Bytes,
        crc64nvme: u64,
    ) -> impl Future<Output = Result<StoredPart, Failure>> + Send {
        let request = ObjectRequest::PutPart { upload, number, body, crc64nvme };
        async move { answer!(self.call(request).await, PartStored) }
    }

    /// Creates a part from `range` of the object `from`, if that one still has this entity tag; `None` if
    /// not.
    fn copy_part<'a>(
        &'a self,
        from: (&'a ObjectKey, &'a str),
        range: Range<u64>,
        upload: UploadRef<'a>,
        number: i32,
    ) -> impl Future<Output = Result<Option<StoredPart>, Failure>> + Send {
        let request = ObjectRequest::CopyPart { from, range, upload, number };
        async move { answer!(self.call(request).await, PartCopied) }
    }

    /// Creates the object from its parts, if they are `size` bytes with this checksum and the condition
    /// holds.
    fn complete_upload<'a>(
        &'a self,
        upload: UploadRef<'a>,
        parts: &'a [StoredPart],
        size: u64,
        crc64nvme: u64,
        condition: Option<&'a Condition>,
    ) -> impl Future<Output = Result<WriteResult, Failure>> + Send {
        let request = ObjectRequest::CompleteUpload { upload, parts, size, crc64nvme, condition };
        async move { answer!(self.call(request).await, Written) }
    }

    /// Aborts a multipart upload; one that does not exist is success.
    fn abort_upload<'a>(
        &'a self,
        upload: UploadRef<'a>,
    ) -> impl Future<Output = Result<(), Failure>> + Send {
        async move { answer!(self.call(ObjectRequest::AbortUpload { upload }).await, UploadAborted) }
    }

    /// Lists the unfinished multipart uploads of exactly this key: ids, and when they were started.
    fn uploads<'a>(
        &'a self,
        key: &'a ObjectKey,
    ) -> impl Future<Output = Result<Vec<(String, UnixMillis)>, Failure>> + Send {
        async move { answer!(self.call(ObjectRequest::ListUploads { key }).await, Uploads) }
    }
}
