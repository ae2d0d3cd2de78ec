//! Whether the store honours conditions, and what follows from that.

use std::sync::{Mutex, PoisonError};

/// What is known of a store's conditions on deletes. Stores learned those on writes before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConditionSupport {
    /// The store was not probed.
    Unknown,
    /// A request whose condition does not hold is refused.
    Honoured,
    /// A request whose condition does not hold is carried out.
    Ignored,
}

/// The use of conditions: set by the configuration, and adapted to the store by a probe.
#[derive(Debug)]
pub(super) struct Conditions(Mutex<Option<ConditionSupport>>);

impl Conditions {
    /// Conditions on a store of this kind; `None` if none are sent.
    pub(super) fn new(support: Option<ConditionSupport>) -> Self {
        Self(Mutex::new(support))
    }

    /// Whether an object has to be inspected before it is deleted, because no condition protects it.
    pub(super) fn inspect_before_delete(&self) -> bool {
        matches!(self.support(), None | Some(ConditionSupport::Ignored))
    }

    /// Whether a condition takes the place of an inspection.
    pub(super) fn replace_inspections(&self) -> bool {
        self.support() == Some(ConditionSupport::Honoured)
    }

    /// Records the result of a probe.
    pub(super) fn note_probe(&self, honoured: bool) {
        let support = if honoured { ConditionSupport::Honoured } else { ConditionSupport::Ignored };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *known = known.map(|_| support);
    }

    fn support(&self) -> Option<ConditionSupport> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_store_that_ignores_conditions_or_gets_none_is_inspected_before_deletes() {
        use ConditionSupport::{Honoured, Ignored, Unknown};
        for (support, inspects, replaces) in [
            (None, true, false),
            (Some(Unknown), false, false),
            (Some(Honoured), false, true),
            (Some(Ignored), true, false),
        ] {
            let conditions = Conditions::new(support);
            assert_eq!(conditions.inspect_before_delete(), inspects, "{support:?}");
            assert_eq!(conditions.replace_inspections(), replaces, "{support:?}");
        }
    }

    #[test]
    fn a_probe_decides_unless_conditions_are_off() {
        let conditions = Conditions::new(Some(ConditionSupport::Unknown));
        conditions.note_probe(true);
        assert!(conditions.replace_inspections());
        conditions.note_probe(false);
        assert!(conditions.inspect_before_delete());
        let off = Conditions::new(None);
        off.note_probe(true);
        assert!(off.inspect_before_delete() && !off.replace_inspections());
    }
}
