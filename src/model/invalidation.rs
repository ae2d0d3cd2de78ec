//! What viewers of a CDN may hold an old copy of, and the requests that tell the CDN so.

use super::{Context, RelPath, UnixMillis};

/// A path of which a CDN may hold an old copy.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Stale {
    /// The file, or the directory.
    pub path: RelPath,
    /// Whether all files below `path` are meant.
    pub below: bool,
    /// Whether every copy of it carries its tags: see [`CacheTags`](super::CacheTags).
    pub tagged: bool,
    /// The change that made them stale, where its trace is exported.
    pub change: Option<Link>,
}

/// A change whose trace is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Link {
    /// Its first span.
    pub context: Context,
    /// When it was in S3.
    pub since: UnixMillis,
}

/// A change of an object, noted because a CDN may hold an old copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The file.
    pub path: RelPath,
    /// Whether there may be copies.
    pub staleness: Staleness,
    /// When it was in S3.
    pub at: UnixMillis,
    /// The digest of the head by which an object before this change is known to carry its tags.
    pub tagged: Option<u64>,
    /// Its trace, if it is exported.
    pub context: Option<Context>,
}

/// Which change of an object makes copies of it stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Staleness {
    /// There was an object before, as far as anybody knows.
    Certain,
    /// Only if the record says that there was one: a new object has no copies.
    IfReplaced,
}

/// A calendar month in UTC, for budgets: months since the year 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month(pub u32);

impl Month {
    /// The month in which `now` is.
    #[must_use]
    pub fn at(now: UnixMillis) -> Self {
        // The calendar repeats after 400 years; a year begins with March, so that the odd month is last.
        const DAY_MS: u64 = 86_400_000;
        const DAYS_BEFORE_1970: u64 = 719_468;
        let days = now / DAY_MS + DAYS_BEFORE_1970;
        let (era, day) = (days / 146_097, days % 146_097);
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let months = (era * 400 + year) * 12 + (5 * day + 2) / 153 + 2;
        Self(u32::try_from(months).unwrap_or(u32::MAX))
    }
}

/// One invalidation request. It is on disk before it is sent, and sent again as it is until it was
/// answered, so that the CDN can tell a repetition from a new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Its name here; no other batch of any record ever has it.
    pub id: String,
    /// Its name there: the same for the same request, another one for every other.
    pub reference: String,
    /// The distribution it is for.
    pub distribution: String,
    /// As the CDN wants them, sorted, without line breaks; a `*` at the end stands for anything.
    pub paths: Vec<String>,
    /// The month in whose budget it is counted.
    pub month: Month,
    /// When it was made.
    pub created: UnixMillis,
    /// The CDN's id of it, once it was accepted.
    pub accepted: Option<String>,
    /// Some of the changes it is made of.
    pub links: Vec<Link>,
}

impl Batch {
    /// Paths, each of which is paid for.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.paths.len() as u64
    }

    /// Its trace: the same for every try, and after a restart.
    #[must_use]
    pub fn context(&self) -> Context {
        Context::of(&self.id)
    }

    /// Those among them that stand for more than one.
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
        let day = |days: u64| Month::at(days * 86_400_000);
        assert_eq!(day(0), Month(1970 * 12));
        assert_eq!(
            (day(30), day(31), day(58), day(59)),
            (day(0), day(31), day(31), Month(1970 * 12 + 2))
        );
        // The leap day of 2024, and the days around it; the end of that year.
        let leap = 19_782;
        assert_eq!((day(leap), day(leap + 1)), (Month(2024 * 12 + 1), Month(2024 * 12 + 2)));
        assert_eq!((day(20_088), day(20_089)), (Month(2024 * 12 + 11), Month(2025 * 12)));
        assert_eq!(Month::at(20_089 * 86_400_000 - 1), day(20_088));
    }
}
