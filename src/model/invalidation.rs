//! Paths of which a CDN may hold outdated copies, and the requests that invalidate them.

use super::{RelPath, SpanReference, UnixMillis};

/// A path of which a CDN may hold an outdated copy.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PendingInvalidation {
    /// The file, or the directory.
    pub path: RelPath,
    /// Whether this covers all files below `path`.
    pub below: bool,
    /// Whether every copy of it carries its tags: see [`CacheTags`](super::CacheTags).
    pub tagged: bool,
    /// The change that made the copies outdated, if its trace is exported.
    pub change: Option<TraceLink>,
}

/// A change whose trace is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceLink {
    /// The context of its root span.
    pub context: SpanReference,
    /// The time when it was in S3.
    pub since: UnixMillis,
}

/// A change of an object, recorded because a CDN may hold an outdated copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedObject {
    /// The file.
    pub path: RelPath,
    /// Whether there may be copies.
    pub staleness: Staleness,
    /// The time when it was in S3.
    pub at: UnixMillis,
    /// The digest of the attributes by which the previous object is known to carry its tags.
    pub tagged: Option<u64>,
    /// Its trace, if it is exported.
    pub context: Option<SpanReference>,
}

/// The changes of an object that make its copies outdated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Staleness {
    /// An object existed before, as far as is known.
    Certain,
    /// Only if the state has a record of it: a new object has no copies.
    IfReplaced,
}

/// A calendar month in UTC for budgets: months since the year 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MonthCount(pub u32);

impl MonthCount {
    /// The month of `now`.
    #[must_use]
    pub fn at(now: UnixMillis) -> Self {
        // The calendar repeats after 400 years; here a year starts with March, so that the
        // irregular month is last.
        const DAY_MS: u64 = 86_400_000;
        const DAYS_BEFORE_1970: u64 = 719_468;
        let days = now / DAY_MS + DAYS_BEFORE_1970;
        let era = days / 146_097;
        let day = days % 146_097;
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let months = (era * 400 + year) * 12 + (5 * day + 2) / 153 + 2;
        Self(u32::try_from(months).unwrap_or(u32::MAX))
    }
}

/// An invalidation request. It is on disk before it is sent, and repeated unchanged until it is
/// answered, so that the CDN recognises repetitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathBatch {
    /// Its unique id; no other batch of any state has it.
    pub id: String,
    /// Its caller reference: equal for the same request, and different for every other.
    pub reference: String,
    /// Its distribution.
    pub distribution: String,
    /// The paths in the form of the CDN, sorted, without line breaks; a final `*` is a wildcard.
    pub paths: Vec<String>,
    /// The month of its budget.
    pub month: MonthCount,
    /// The time of its creation.
    pub created: UnixMillis,
    /// The id in the CDN, after it was accepted.
    pub accepted: Option<String>,
    /// Some of the changes that it covers.
    pub links: Vec<TraceLink>,
}

impl PathBatch {
    /// The number of paths, each of which is billed.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.paths.len() as u64
    }

    /// Its trace: the same for every attempt, and after a restart.
    #[must_use]
    pub fn context(&self) -> SpanReference {
        SpanReference::from_name(&self.id)
    }

    /// The number of wildcards among them.
    #[must_use]
    pub fn wildcards(&self) -> u64 {
        self.paths.iter().filter(|path| path.ends_with('*')).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_begin_on_their_first_day() {
        let day = |days: u64| MonthCount::at(days * 86_400_000);
        assert_eq!(day(0), MonthCount(1970 * 12));
        assert_eq!(
            (day(30), day(31), day(58), day(59)),
            (day(0), day(31), day(31), MonthCount(1970 * 12 + 2))
        );
        // The leap day of 2024, and the days around it; the end of that year.
        let leap = 19_782;
        assert_eq!(
            (day(leap), day(leap + 1)),
            (MonthCount(2024 * 12 + 1), MonthCount(2024 * 12 + 2))
        );
        assert_eq!((day(20_088), day(20_089)), (MonthCount(2024 * 12 + 11), MonthCount(2025 * 12)));
        assert_eq!(MonthCount::at(20_089 * 86_400_000 - 1), day(20_088));
    }
}
