//! Decides whether the state directory exists at the next start. If it does not, unfinished changes
//! are lost.
//!
//! An `emptyDir` looks like a disk of the node, and is deleted with its pod. Therefore a guess by
//! the type of the file system counts only until the end of the pod is announced.

use crate::config::{Config, ShutdownOnOutage, StateSurvives};
use crate::engine::control::Control;
use std::path::Path;

/// File systems whose files are deleted with the container or the machine.
const PASSING_FILE_SYSTEMS: [u64; 3] = [
    0x0102_1994, // tmpfs
    0x8584_58f6, // ramfs
    0x794c_7630, // overlay: a container's own layer
];

/// The setting, and the guess.
#[derive(Debug, Clone)]
pub(super) struct StateSurvival {
    setting: StateSurvives,
    /// The guess by the type of the file system.
    guess: bool,
    leaves_on_outage: bool,
    control: Control,
}

impl StateSurvival {
    /// Guesses for the state directory of `config`, which exists already.
    pub(super) fn new(config: &Config, control: Control) -> Self {
        Self {
            setting: config.state_survives,
            guess: is_persistent(&config.state_dir),
            leaves_on_outage: config.shutdown_on_outage == ShutdownOnOutage::Leave,
            control,
        }
    }

    /// A state that survives.
    #[cfg(test)]
    pub(super) fn certain() -> Self {
        let (control, _) = crate::engine::control::channel();
        Self { setting: StateSurvives::Yes, guess: true, leaves_on_outage: false, control }
    }

    /// Whether it survives, as far as is known now.
    pub(super) fn holds(&self) -> bool {
        match self.setting {
            StateSurvives::Yes => true,
            StateSurvives::No => false,
            StateSurvives::Auto => self.guess && !self.control.is_end_announced(),
        }
    }

    /// Whether an outage ends the drain early.
    pub(super) fn may_leave_on_outage(&self) -> bool {
        self.leaves_on_outage && self.holds()
    }

    /// Whether the end of the pod was announced.
    pub(super) fn is_end_announced(&self) -> bool {
        self.control.is_end_announced()
    }

    /// Warns of a directory that most likely is a mistake.
    pub(super) fn log(&self, directory: &Path) {
        if self.setting == StateSurvives::Auto && !self.guess {
            tracing::warn!(
                event = "state.ephemeral",
                state_dir = %directory.to_string_lossy().escape_debug(),
                "the state directory will not survive the container: what waits is lost with it, and \
                 deletions made while the daemon is not running are never found; mount a volume there"
            );
        }
    }
}

/// Whether files in `directory` survive a restart of the container. If that is unknown, they do.
fn is_persistent(directory: &Path) -> bool {
    let Ok(statfs) = rustix::fs::statfs(directory) else { return true };
    // The type of the field differs by architecture.
    let magic = u64::try_from(statfs.f_type).unwrap_or_default();
    !PASSING_FILE_SYSTEMS.contains(&magic)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::control;

    fn survival(setting: StateSurvives, guess: bool) -> StateSurvival {
        let (control, _) = control::channel();
        StateSurvival { setting, guess, leaves_on_outage: true, control }
    }

    #[tokio::test]
    async fn a_guess_counts_until_the_end_of_the_pod_is_announced_and_a_setting_always() {
        for (setting, guess, before, after) in [
            (StateSurvives::Auto, true, true, false),
            (StateSurvives::Auto, false, false, false),
            (StateSurvives::Yes, false, true, true),
            (StateSurvives::No, true, false, false),
        ] {
            let survival = survival(setting, guess);
            assert_eq!(survival.holds(), before, "{setting:?} {guess}");
            // There is no engine that answers.
            survival.control.announce_end().await.expect_err("nothing listens");
            assert_eq!(survival.holds(), after, "{setting:?} {guess}");
            assert_eq!(survival.may_leave_on_outage(), after, "{setting:?} {guess}");
        }
    }
}
