//! The lease: a small object beside the mirrored ones that names who may delete them. Pure: what was
//! seen goes in, the due write comes out.
//!
//! - A write has the condition that the object is as it was seen, so only one of two candidates gets it.
//! - No clock is compared with another one's. A process that wants a held lease *challenges* it: it
//!   writes its name into it, and waits for `patience`. A live holder reads the object in every third of
//!   that and removes the challenge. If the challenge remains, the holder is dead, and the lease is taken.
//! - A holder trusts its lease for two thirds of `patience` from the moment of its request. A challenger
//!   waits a whole one, and begins later: at no time do two processes consider themselves holders.
//! - The same state at work again takes its lease at once: the lock of the state directory shows that
//!   the process before it is gone.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The form of a claim that this program writes.
const VERSION: u32 = 1;

/// A process that has or wants the lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The mark of its record.
    pub owner: String,
    /// Distinguishes it from the same state at work at another time.
    pub process: String,
    /// Its host, for people.
    pub name: String,
}

/// What the object says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseClaim {
    version: u32,
    /// Another one in each write of a process. An entity tag may follow from the content alone, and must
    /// not come back.
    number: u64,
    /// How long the holder may be silent.
    seconds: u64,
    holder: Holder,
    #[serde(skip_serializing_if = "Option::is_none")]
    challenger: Option<Holder>,
}

impl LeaseClaim {
    /// Reads one; `None` if it is none that this program wrote.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok().filter(|claim: &Self| claim.version == VERSION)
    }

    /// As it is kept.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        // Strings and a number: nothing that JSON cannot say.
        let mut bytes = serde_json::to_vec(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }
}

/// The object, as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseObject {
    /// Its entity tag.
    pub etag: String,
    /// What it says; `None` if it is no claim.
    pub claim: Option<LeaseClaim>,
}

/// What has to hold for a write to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Nothing is there.
    Absent,
    /// It has this entity tag.
    Unchanged(String),
}

/// The write that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseWrite {
    /// The new object.
    pub claim: LeaseClaim,
    /// When.
    pub condition: Condition,
}

/// Who holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseStatus {
    /// Unknown.
    Unknown,
    /// This process, until then at least.
    Mine {
        /// Since the start of the clock.
        until: Duration,
    },
    /// Another one: its name.
    Other(String),
}

/// What a process knows of the lease. Times are since a start of its own.
#[derive(Debug)]
pub struct WriterLease {
    me: Holder,
    patience: Duration,
    standing: LeaseStatus,
    /// The entity tag with a challenge in it, and since when it is known to be there.
    challenged: Option<(String, Duration)>,
    has_held: bool,
    /// Claims made so far.
    claims: u64,
}

impl WriterLease {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(me: Holder, patience: Duration) -> Self {
        Self {
            me,
            patience,
            standing: LeaseStatus::Unknown,
            challenged: None,
            has_held: false,
            claims: 0,
        }
    }

    /// How often to look.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.patience / 3
    }

    /// Who holds it.
    #[must_use]
    pub fn standing(&self) -> &LeaseStatus {
        &self.standing
    }

    /// Whether this process made the claim.
    #[must_use]
    pub fn is_mine(&self, claim: &LeaseClaim) -> bool {
        claim.holder.process == self.me.process
    }

    /// The object was asked for at one time, and this was the answer at another. Answers what to write.
    pub fn seen(
        &mut self,
        seen: Option<LeaseObject>,
        asked: Duration,
        answered: Duration,
    ) -> Option<LeaseWrite> {
        let Some(LeaseObject { etag, claim }) = seen else {
            self.loses_to(None);
            return Some(self.claim(Condition::Absent));
        };
        let Some(claim) = claim else {
            self.loses_to(Some("an object that is not a lease".to_owned()));
            return None;
        };
        if self.is_mine(&claim) {
            self.has_held = true;
            if claim.challenger.is_some() {
                return Some(self.claim(Condition::Unchanged(etag)));
            }
            self.believes_from(asked);
            return None;
        }
        if claim.holder.owner == self.me.owner && !self.has_held {
            return Some(self.claim(Condition::Unchanged(etag)));
        }
        self.loses_to(Some(claim.holder.name.clone()));
        if claim.challenger.is_none() {
            self.challenged = None;
            let challenger = Some(self.me.clone());
            let number = self.next_number();
            let claim = LeaseClaim { challenger, number, ..claim };
            return Some(LeaseWrite { claim, condition: Condition::Unchanged(etag) });
        }
        // Whose challenge it is does not matter: the holder has not answered it.
        match &self.challenged {
            Some((challenged, since)) if *challenged == etag => {
                // The holder looks as often as it said, not as often as this one would.
                let patience = self.patience.max(Duration::from_secs(claim.seconds));
                let dead = asked.saturating_sub(*since) >= patience;
                dead.then(|| self.claim(Condition::Unchanged(etag)))
            }
            _ => {
                self.challenged = Some((etag, answered));
                None
            }
        }
    }

    /// A write that was sent at one time is done since another, and made this entity tag.
    pub fn written(&mut self, write: &LeaseWrite, etag: &str, sent: Duration, answered: Duration) {
        if self.is_mine(&write.claim) {
            self.has_held = true;
            self.challenged = None;
            self.believes_from(sent);
        } else {
            self.challenged = Some((etag.to_owned(), answered));
        }
    }

    fn claim(&mut self, condition: Condition) -> LeaseWrite {
        let claim = LeaseClaim {
            version: VERSION,
            number: self.next_number(),
            seconds: self.patience.as_secs(),
            holder: self.me.clone(),
            challenger: None,
        };
        LeaseWrite { claim, condition }
    }

    fn next_number(&mut self) -> u64 {
        self.claims += 1;
        self.claims
    }

    fn believes_from(&mut self, at: Duration) {
        let until = at + self.patience * 2 / 3;
        self.standing = LeaseStatus::Mine { until };
    }

    fn loses_to(&mut self, other: Option<String>) {
        self.standing = other.map_or(LeaseStatus::Unknown, LeaseStatus::Other);
    }
}

#[cfg(test)]
mod tests;
