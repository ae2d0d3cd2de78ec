//! Bounds the lines about single files: a million files with one fault must not fill a disk with lines.

/// Lines of one kind, between two comparisons of everything.
const LINES_MAX: u64 = 1_000;

/// Kinds of lines about single files, each with a limit of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineKind {
    /// A file is skipped.
    Parked,
    /// A file cannot be read.
    Unreadable,
    /// A file changes during every read.
    Restless,
    /// The store refuses an object.
    Failed,
}

impl LineKind {
    /// The events that are limited.
    fn events(self) -> &'static str {
        match self {
            Self::Parked => "file.parked",
            Self::Unreadable => "file.unreadable",
            Self::Restless => "file.restless",
            Self::Failed => "upload.failed, delete.failed",
        }
    }
}

/// How many lines of each kind were logged.
#[derive(Debug, Default)]
pub(super) struct LineLimits([u64; 4]);

impl LineLimits {
    /// Whether one more line of this kind is logged; that there are more is, once.
    pub(super) fn allow(&mut self, kind: LineKind) -> bool {
        let lines = &mut self.0[kind as usize];
        *lines += 1;
        if *lines == LINES_MAX + 1 {
            tracing::warn!(
                event = "log.limited",
                events = kind.events(),
                lines = LINES_MAX,
                "more lines of these events are left out until the next comparison of everything; \
                 queue list has all files"
            );
        }
        *lines <= LINES_MAX
    }

    /// Everything was compared.
    pub(super) fn begin_again(&mut self) {
        self.0 = [0; 4];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_line_has_a_limit_of_its_own() {
        let mut limits = LineLimits::default();
        let allowed = (0..30_000).filter(|_| limits.allow(LineKind::Parked)).count();
        assert_eq!(allowed as u64, LINES_MAX);
        for kind in [LineKind::Unreadable, LineKind::Restless, LineKind::Failed] {
            assert!(limits.allow(kind), "{kind:?}");
        }
        limits.begin_again();
        assert!(limits.allow(LineKind::Parked));
    }
}
