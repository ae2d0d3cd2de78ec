//! What has to be true in the end.

use crate::conductor::{Conductor, STEP, TIME_TO_STOP};
use crate::equality;
use crate::states::Content;
use file_sync_dev_s3::now;
use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::time::Duration;

/// Until the bucket has to equal the tree.
const CONVERGENCE: Duration = Duration::from_secs(180);

impl Conductor<'_> {
    /// Waits until the bucket equals the tree, and judges all that ever happened.
    pub(crate) fn judge(&mut self) -> Result<(), Box<dyn Error>> {
        let tree = equality::contents(&equality::files(&self.stage.tree()?)?)?;
        println!("writers ended: {} files; waiting for the bucket", tree.len());
        let started = now();
        let mut differences = Vec::new();
        while !self.is_interrupted() {
            self.target.refresh()?;
            self.versions.follow(&self.target, &self.shared.states, &mut self.record);
            let states = &self.shared.states;
            let record = &mut self.record;
            self.swap.go_on(self.stage, &self.target, states, record, true)?;
            differences = self.differences(&tree);
            differences.extend(self.lingering());
            let enough = !self.failures.is_empty() || now() >= started + CONVERGENCE;
            if differences.is_empty() || enough {
                break;
            }
            self.expect_running()?;
            std::thread::sleep(STEP * 10);
        }
        let equal = differences.is_empty();
        let time = (now() - started).as_secs_f64();
        if !self.is_interrupted() {
            println!(
                "the bucket {} the tree after {time:.1} s",
                if equal { "equals" } else { "is not" }
            );
        }
        let objects = self.target.objects();
        let lost = |key: &&String| !tree.contains_key(*key) && self.record.may_remain(key);
        self.left_over = objects.keys().filter(lost).count();
        self.terminate_at_last()?;
        self.target.refresh()?;
        if !self.is_interrupted() {
            let after = self.differences(&tree).into_iter();
            differences.extend(after.map(|what| format!("after SIGTERM: {what}")));
        }
        self.target.refresh()?;
        self.versions.follow(&self.target, &self.shared.states, &mut self.record);
        self.versions.judge(&self.shared.states, Duration::ZERO);
        self.failures.append(&mut self.versions.failures);
        self.failures.extend(differences);
        Ok(())
    }

    fn differences(&self, tree: &BTreeMap<String, Content>) -> Vec<String> {
        equality::differences(tree, &self.target, &self.foreign.objects, &self.record)
    }

    /// Uploads of ours that are neither completed nor aborted.
    fn lingering(&self) -> Vec<String> {
        let uploads = self.target.uploads();
        let mut lingering = Vec::new();
        if !uploads.contains(&self.foreign.upload) {
            lingering.push("the foreign upload is gone".to_owned());
        }
        let ours = uploads.iter().filter(|upload| **upload != self.foreign.upload);
        let wrong = ours.filter(|upload| !self.record.may_linger(upload));
        lingering.extend(wrong.map(|(key, id)| format!("upload {id} of {key:?} is left")));
        lingering
    }

    fn terminate_at_last(&mut self) -> io::Result<()> {
        self.daemon.terminate()?;
        let ended = self.daemon.wait(TIME_TO_STOP)?;
        if !ended.is_some_and(|status| status.success()) && !self.is_interrupted() {
            self.failures.push(format!("the last SIGTERM ended with {ended:?}"));
        }
        Ok(())
    }
}
