//! What a store that is not AWS's can do, found out by trying: once for a record and a version of the
//! program, before the first try, with two objects of a few bytes.
//!
//! - Only what the program relies on is asked about.
//! - The objects have names that are in no record, so what was written of them is noted nowhere. They
//!   are deleted again. What a crash leaves of them goes with the next probe, as it has the same names.
//! - Where deletes have no conditions, the store is asked about an object before it is deleted. An
//!   instance that is ending trusts a condition instead of an inspection where they have. Nothing else
//!   rests on the answers. A probe that fails is logged and tried again a few times, and holds
//!   up nothing for longer than [`PATIENCE`].

use super::bucket::AttemptWrites;
use super::{
    DeleteRequest, DeleteResult, ObjectMetadata, ObjectStore, StoredObject, Transfer, UploadRef,
    WriteResult,
};
use crate::model::{Failure, FailureClass, ObjectKey, RelPath, Version};
use bytes::Bytes;
use crc_fast::{CrcAlgorithm, checksum};
use std::time::Duration;

/// The longest time that one may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Probes that may fail before no other is tried until the next start.
pub(super) const PROBES_MAX: u8 = 3;
const BODY: &[u8] = b"file-sync-service asks what this store can do, and deletes this.\n";
/// No object has it.
const OTHER_ETAG: &str = "\"00000000000000000000000000000000\"";

/// What to ask with.
#[derive(Debug, Clone)]
pub struct CapabilityProbe {
    /// The name of the objects, below the prefix; no other object has it.
    pub name: String,
    /// What is noted when it is done.
    pub note: String,
    /// Whether the checksum on the wire is the one that is computed here, and can be a wrong one.
    pub own_checksum: bool,
}

/// What the store can do. Where it cannot, the word is its own.
#[derive(Debug, Default, PartialEq, Eq)]
struct ProbedCapabilities {
    /// Takes an object.
    put: Option<String>,
    /// Says the checksum of an object it took.
    checksum_returned: bool,
    /// Refuses bytes with a wrong one.
    checksum_verified: bool,
    /// Copies an object.
    copy: Option<String>,
    /// Makes an object of parts, with the checksum and the size of the whole.
    parts: Option<String>,
    /// Says the checksum of such a one.
    parts_checksum_returned: bool,
    /// Deletes an object only if it is the one that is meant …
    delete_conditions: bool,
    /// … and each of several.
    delete_many_conditions: bool,
}

impl<S: ObjectStore> Transfer<S> {
    /// Probes the store, if that is configured. Returns whether that is complete.
    pub(super) async fn probe(&self) -> bool {
        let Some(probe) = &self.settings.probe else { return true };
        let names = [&probe.name, &format!("{}-parts", probe.name)].map(|name| self.probed(name));
        let [Some(one), Some(other)] = names else { return true };
        let asking = async {
            let able = self.able(&one, &other, probe.own_checksum).await;
            let cleared = self.clear(&one.key, &other.key).await;
            able.and_then(|able| cleared.map(|()| able))
        };
        match tokio::time::timeout(PATIENCE, asking).await {
            Ok(Ok(able)) => {
                able.log();
                let conditions = able.delete_conditions && able.delete_many_conditions;
                self.conditions.note_probe(conditions);
                self.records.record_probe(&probe.note, conditions).await;
                return true;
            }
            Ok(Err(failure)) => not_probed(&failure.code, &failure.message),
            Err(_) => not_probed("timeout", "the store took too long"),
        }
        false
    }

    /// An object to ask with, as an object of ours is.
    fn probed(&self, name: &str) -> Option<ObjectMetadata> {
        let path = RelPath::new(name.as_bytes()).ok()?;
        Some(ObjectMetadata {
            key: self.settings.prefix.key(&path).ok()?,
            version: Version { size: BODY.len() as u64, mtime_ns: 0 },
            mode: 0o100_644,
            file_owner: None,
            head: self.settings.rules.head(&path),
            // No file of the directory is behind it, and no other shard is to take it over.
            source: "".into(),
            replaces_tags: self.settings.rules.have_tags(),
        })
    }

    async fn able(
        &self,
        one: &ObjectMetadata,
        other: &ObjectMetadata,
        own_checksum: bool,
    ) -> Result<ProbedCapabilities, Failure> {
        let body = Bytes::from_static(BODY);
        let crc64nvme = checksum(CrcAlgorithm::Crc64Nvme, BODY);
        let mut able = ProbedCapabilities::default();
        let stored = match answer(self.put_probe(one, body.clone(), crc64nvme).await)? {
            Ok(stored) => stored,
            Err(why) => return Ok(ProbedCapabilities { put: Some(why), ..able }),
        };
        able.checksum_returned = stored.crc64nvme == Some(crc64nvme);
        let mut etag = stored.etag;
        if own_checksum {
            match answer(self.put_probe(one, body.clone(), !crc64nvme).await)? {
                Ok(replaced) => etag = replaced.etag,
                Err(_) => able.checksum_verified = true,
            }
        }
        let copied = match &etag {
            Some(etag) => answer(
                self.store.copy(&AttemptWrites::default(), &one.key, etag, other, None).await,
            )?,
            None => Err("no entity tag".to_owned()),
        };
        able.copy = match copied {
            Ok(copied) => copied.is_none().then(|| "not found".to_owned()),
            Err(why) => Some(why),
        };
        match self.put_parts(other, body, crc64nvme).await? {
            Ok(stored) => able.parts_checksum_returned = stored.crc64nvme == Some(crc64nvme),
            Err(why) => able.parts = Some(why),
        }
        able.delete_conditions = self.spares(&[&one.key]).await?;
        if able.copy.is_none() || able.parts.is_none() {
            able.delete_many_conditions = self.spares(&[&one.key, &other.key]).await?;
        }
        Ok(able)
    }

    async fn put_probe(
        &self,
        object: &ObjectMetadata,
        body: Bytes,
        crc64nvme: u64,
    ) -> Result<StoredObject, Failure> {
        let writes = AttemptWrites::default();
        self.store.put(&writes, object, body, crc64nvme, None).await.and_then(unconditional)
    }

    /// Makes an object of one part. What an earlier probe left open is ended first.
    async fn put_parts(
        &self,
        object: &ObjectMetadata,
        body: Bytes,
        crc64nvme: u64,
    ) -> Result<Result<StoredObject, String>, Failure> {
        let key = &object.key;
        if let Ok(open) = answer(self.store.uploads(key).await)? {
            for (id, _) in open {
                self.store.abort_upload(UploadRef { key, id: &id }).await?;
            }
        }
        let id = match answer(self.store.begin_upload(object).await)? {
            Ok(id) => id,
            Err(why) => return Ok(Err(why)),
        };
        let upload = UploadRef { key, id: &id };
        let made = match self.store.put_part(upload, 1, body, crc64nvme).await {
            Ok(part) => {
                let size = object.version.size;
                let writes = AttemptWrites::default();
                let parts = [part];
                let made =
                    self.store.complete_upload(&writes, upload, &parts, size, crc64nvme, None);
                made.await.and_then(unconditional)
            }
            Err(failure) => Err(failure),
        };
        if made.is_err() {
            self.store.abort_upload(upload).await?;
        }
        answer(made)
    }

    /// Whether the last of these is left alone by a delete that means another one.
    async fn spares(&self, keys: &[&ObjectKey]) -> Result<bool, Failure> {
        let etag = Some(OTHER_ETAG.to_owned());
        let writes = AttemptWrites::default();
        let condemned =
            |key: &&ObjectKey| (&writes, DeleteRequest { key: (*key).clone(), etag: etag.clone() });
        let condemned: Vec<_> = keys.iter().map(condemned).collect();
        let deleted = self.store.delete(&condemned).await.pop();
        Ok(matches!(answer(deleted.transpose())?, Ok(Some(DeleteResult::Replaced))))
    }

    async fn clear(&self, one: &ObjectKey, other: &ObjectKey) -> Result<(), Failure> {
        let writes = AttemptWrites::default();
        let condemned =
            [one, other].map(|key| (&writes, DeleteRequest { key: key.clone(), etag: None }));
        self.store.delete(&condemned).await.into_iter().try_for_each(|deleted| deleted.map(drop))
    }
}

impl ProbedCapabilities {
    fn log(&self) {
        let can = |lacks: &Option<String>| lacks.clone().unwrap_or_else(|| "yes".to_owned());
        if let Some(why) = &self.put {
            tracing::warn!(
                event = "store.probed",
                put = why,
                "the store refuses an object of a few bytes; where it refuses files as well, another \
                 s3_checksum_algorithm may help"
            );
            return;
        }
        tracing::info!(
            event = "store.probed",
            put = "yes",
            checksum.returned = self.checksum_returned,
            checksum.verified = self.checksum_verified,
            copy = can(&self.copy),
            multipart = can(&self.parts),
            multipart.checksum.returned = self.parts_checksum_returned,
            delete.conditions = self.delete_conditions,
            delete.many.conditions = self.delete_many_conditions,
            "asked the store once what it can do"
        );
    }
}

/// The object of a write without a condition.
fn unconditional(result: WriteResult) -> Result<StoredObject, Failure> {
    match result {
        WriteResult::Stored(stored) => Ok(stored),
        WriteResult::Conflict => Err(Failure {
            class: FailureClass::Object,
            code: "conflict".into(),
            message: "the store refused a condition that was not set".into(),
            answer_lost: false,
            retry_after_ms: None,
        }),
    }
}

/// What the store can do, or its word for that it cannot. Anything else says nothing about it.
fn answer<T>(result: Result<T, Failure>) -> Result<Result<T, String>, Failure> {
    match result {
        Ok(answer) => Ok(Ok(answer)),
        Err(failure)
            if failure.class == FailureClass::Object
                || ["NotImplemented", "http-501"].contains(&failure.code.as_str()) =>
        {
            Ok(Err(failure.code))
        }
        Err(failure) => Err(failure),
    }
}

fn not_probed(code: &str, message: &str) {
    tracing::info!(
        event = "store.not_probed",
        error.type = code,
        error.message = message,
        "the store could not be asked what it can do; nothing waits for that"
    );
}
