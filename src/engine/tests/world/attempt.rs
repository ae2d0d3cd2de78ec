//! What the model's S3 makes of an attempt: a sequence of requests, each of which is carried out or not,
//! and answered or not, in every combination.

use super::{File, Object, World};
use crate::model::{
    AttemptOutcome, Failure, FailureClass, ObjectRecord, Operation, Outcome, RelPath,
    RootGeneration, UploadDisposition, Version, WriteEffect,
};
use crate::queue::Attempt;

/// What becomes of one request.
#[derive(Clone, Copy)]
enum Fate {
    /// It is carried out, and its answer arrives.
    Answered,
    /// Its answer is lost.
    Lost { done: bool },
    /// The store refuses it.
    Refused,
}

impl World {
    /// The second half of a try: S3 does it, or not, and answers, or not.
    pub(super) fn try_it(&mut self, lease: &Attempt, read: Option<File>) -> AttemptOutcome {
        let mut written = WriteEffect::No;
        let ended = match lease.pending.operation {
            Operation::Put => self.put(lease, read, &mut written),
            Operation::Delete => self.delete(lease, &mut written),
        };
        AttemptOutcome { outcome: ended.unwrap_or_else(|outcome| outcome), written }
    }

    fn put(
        &mut self,
        lease: &Attempt,
        read: Option<File>,
        written: &mut WriteEffect,
    ) -> Result<Outcome, Outcome> {
        let path = &lease.pending.path;
        let wanted = lease.pending.version;
        let file = read.filter(|file| Version::from_fingerprint(&file.fingerprint) == wanted);
        let file = file.ok_or(Outcome::LookAgain("the file has changed"))?;
        let row = ObjectRecord {
            fingerprint: file.fingerprint,
            crc64nvme: file.content,
            etag: None,
            racy: false,
            epoch: RootGeneration(1),
            head: None,
        };
        if lease.sent_before == Some(wanted) {
            self.ask(path)?;
            if self.has(path, wanted) {
                return Ok(Outcome::Mirrored(row, UploadDisposition::Found));
            }
        }
        let unchanged = self.mirrored.get(path).is_some_and(|row| row.crc64nvme == file.content);
        if lease.sent_before.is_none() && unchanged {
            return Ok(Outcome::Mirrored(row, UploadDisposition::Unchanged));
        }
        // As of a file that had another name before; any doubt about the copy ends in an upload.
        if self.rng.u8(0..3) == 0 {
            let copied = self.send(path, written, |world| world.make(path, file, wanted));
            match copied {
                Ok(()) if self.checksums => {
                    return Ok(Outcome::Mirrored(row, UploadDisposition::Copied));
                }
                Ok(()) => {
                    self.ask(path)?;
                    if self.has(path, wanted) {
                        return Ok(Outcome::Mirrored(row, UploadDisposition::Copied));
                    }
                }
                Err(Outcome::Failed(failure)) if failure.class == FailureClass::Unavailable => {
                    return Err(Outcome::Failed(failure));
                }
                Err(_) => {}
            }
        }
        if self.faults && self.rng.u8(0..20) == 0 {
            return Err(Outcome::LookAgain("it changes while it is read"));
        }
        self.send(path, written, |world| world.make(path, file, wanted))?;
        Ok(Outcome::Mirrored(row, UploadDisposition::Sent))
    }

    fn delete(&mut self, lease: &Attempt, written: &mut WriteEffect) -> Result<Outcome, Outcome> {
        let path = &lease.pending.path;
        if lease.sent_before.is_some() {
            self.ask(path)?;
        }
        let ours = self.bucket.get(path).is_some_and(|object| object.version.is_some());
        if !self.mirrored.contains_key(path) && !ours {
            return Ok(Outcome::Deleted);
        }
        self.send(path, written, |world| {
            let gone = world.bucket.remove(path);
            world.stale.extend(gone.map(|_| path.clone()));
            let foreign = gone.is_some_and(|object| object.version.is_none());
            assert!(!foreign, "an object that was never ours was deleted");
        })?;
        Ok(Outcome::Deleted)
    }

    fn has(&self, path: &RelPath, version: Version) -> bool {
        self.bucket.get(path).is_some_and(|object| object.version == Some(version))
    }

    fn make(&mut self, path: &RelPath, file: File, version: Version) {
        self.puts += 1;
        let object = Object { content: file.content, version: Some(version) };
        let before = self.bucket.insert(path.clone(), object);
        // An upload behind a copy of the same bytes changes nothing for anybody.
        if before.is_some_and(|it| it.version.is_some() && it.content != file.content) {
            self.stale.insert(path.clone());
        }
    }

    fn fate(&mut self) -> Fate {
        match self.rng.u8(0..10) {
            0 if self.faults => Fate::Lost { done: true },
            1 if self.faults => Fate::Lost { done: false },
            2 if self.faults => Fate::Refused,
            _ => Fate::Answered,
        }
    }

    /// A request that changes nothing.
    fn ask(&mut self, path: &RelPath) -> Result<(), Outcome> {
        match self.fate() {
            Fate::Answered => Ok(()),
            Fate::Lost { .. } => Err(failed(path, true)),
            Fate::Refused => Err(failed(path, false)),
        }
    }

    /// A request that changes the object.
    fn send(
        &mut self,
        path: &RelPath,
        written: &mut WriteEffect,
        change: impl FnOnce(&mut Self),
    ) -> Result<(), Outcome> {
        let (done, answer) = match self.fate() {
            Fate::Answered => (true, Ok(())),
            Fate::Lost { done } => (done, Err(failed(path, true))),
            Fate::Refused => (false, Err(failed(path, false))),
        };
        if done {
            change(self);
        }
        if !matches!(&answer, Err(Outcome::Failed(failure)) if !failure.answer_lost) {
            *written = WriteEffect::Maybe;
        }
        answer
    }
}

/// Of any class.
fn failed(path: &RelPath, answer_lost: bool) -> Outcome {
    let classes = [FailureClass::Unavailable, FailureClass::Object, FailureClass::Refused];
    let class = classes[usize::from(path.as_bytes()[0]) % 3];
    let code = "Code".into();
    let message = "message".into();
    Outcome::Failed(Failure { class, code, message, answer_lost, retry_after_ms: None })
}
