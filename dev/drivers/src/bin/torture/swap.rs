//! The watched directory is away for some seconds, or another one is in its place.

use crate::equality::{Found, files};
use crate::record::Record;
use crate::stage::{Stage, Way};
use crate::states::States;
use crate::target::Target;
use file_sync_dev_s3::{What, now};
use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

/// By then the daemon has noticed that its directory is back.
const NOTICED: Duration = Duration::from_secs(4);
/// A delete that was decided before the tree went away is carried out within this time.
const DECIDED: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Away {
    since: Instant,
    until: Instant,
    way: Way,
    sequence: u64,
    before: BTreeMap<String, Found>,
}

#[derive(Debug, Default)]
pub(crate) struct Swap {
    away: Option<Away>,
    /// When what is in the bucket is counted as not recorded once more.
    again: Option<Instant>,
    pub(crate) counts: BTreeMap<String, u64>,
}

impl Swap {
    /// Takes the directory away in a way that `dice` say.
    pub(crate) fn begin(
        &mut self,
        stage: &Stage,
        target: &Target,
        states: &States,
        dice: &mut fastrand::Rng,
    ) -> io::Result<()> {
        if self.away.is_some() {
            return Ok(());
        }
        let time = Duration::from_millis(dice.u64(500..4000));
        let way = stage.ways()[dice.usize(..stage.ways().len())];
        stage.take_away(way, states)?;
        let since = now();
        target.refresh()?;
        let last = target.last_sequence();
        let before = files(&stage.tree()?)?;
        self.away = Some(Away { since, until: since + time, way, sequence: last, before });
        *self.counts.entry(format!("{way:?}").to_lowercase()).or_default() += 1;
        Ok(())
    }

    /// Brings it back when its time has come. Answers what was deleted that must not be.
    pub(crate) fn go_on(
        &mut self,
        stage: &Stage,
        target: &Target,
        states: &States,
        record: &mut Record,
        at_once: bool,
    ) -> io::Result<Vec<String>> {
        if self.again.is_some_and(|again| now() >= again) {
            self.again = None;
            record.lose(target);
        }
        let due = self.away.as_ref().is_some_and(|away| at_once || now() >= away.until);
        let Some(away) = self.away.take_if(|_| due) else { return Ok(Vec::new()) };
        target.refresh()?;
        let after = files(&stage.tree()?)?;
        stage.bring_back(away.way)?;
        if away.way.is_foreign() {
            record.forget_copy();
            record.lose(target);
            self.again = Some(now() + NOTICED);
        }
        let unchanged = |key: &String| {
            let stamp = |files: &BTreeMap<String, Found>| files.get(key).map(|file| file.stamp);
            let had = states.had_before(key, away.since.checked_sub(DECIDED).unwrap_or(away.since));
            had && stamp(&away.before).is_some() && stamp(&away.before) == stamp(&after)
        };
        let deleted = target.history_since(away.sequence).into_iter();
        let deleted = deleted.filter(|change| matches!(change.what, What::Deleted));
        let wrong = deleted.filter(|change| unchanged(&change.key));
        Ok(wrong
            .map(|change| format!("{:?} was deleted while the tree was away", change.key))
            .collect())
    }
}
