//! A new instance with an empty state of its own takes the place of the one that runs, as in a
//! rolling update of a Deployment whose state does not survive.

use crate::conductor::{Conductor, TIME_TO_STOP};
use crate::outgoing::Outgoing;
use crate::stage::Stage;
use crate::writer::Shared;
use file_sync_dev_drivers::Daemon;
use file_sync_dev_s3::now;
use std::fs;
use std::io;
use std::time::Duration;

/// The longest time for which both run before the old one is signalled.
const OVERLAP_MAX: Duration = Duration::from_secs(5);

impl Conductor<'_> {
    /// Begins one, unless the one before is still under way.
    pub(crate) fn roll_out(&mut self) -> io::Result<()> {
        if self.rollouts.outgoing.is_some() {
            return Ok(());
        }
        self.rollouts.begun += 1;
        // The new state knows of no object that was written before.
        self.record.lose(&self.target);
        let state = self.stage.root().join(format!("state-{}", self.rollouts.begun));
        fs::create_dir(&state)?;
        let endpoint = self.target.server.endpoint();
        let mut incoming = Daemon::new(&self.stage.workspace, &endpoint, self.interrupt.clone());
        Stage::set(&mut incoming, &self.target);
        incoming.set("FILE_SYNC__STATE_DIR", &state.to_string_lossy());
        let daemon = std::mem::replace(&mut self.daemon, incoming);
        self.start()?;
        let overlap = OVERLAP_MAX.mul_f64(self.dice.f64());
        let is_killed = self.dice.u32(..3) == 0;
        self.rollouts.outgoing =
            Some(Outgoing { daemon, is_killed, signal_at: now() + overlap, asked: None });
        Ok(())
    }

    /// Ends the outgoing instance when its time has come, or `at_once`.
    pub(crate) fn go_on_rolling(&mut self, shared: &Shared, at_once: bool) -> io::Result<()> {
        let Some(outgoing) = &mut self.rollouts.outgoing else { return Ok(()) };
        match outgoing.asked {
            None if at_once || now() >= outgoing.signal_at => {
                if outgoing.is_killed {
                    outgoing.daemon.kill()?;
                    self.outgoing_ended()?;
                    return Ok(());
                }
                shared.states.term();
                outgoing.daemon.terminate()?;
                outgoing.asked = Some(now());
            }
            None => return Ok(()),
            Some(_) => {}
        }
        let Some(asked) = outgoing.asked else { return Ok(()) };
        let patience = if at_once { TIME_TO_STOP } else { Duration::ZERO };
        let ended =
            if at_once { outgoing.daemon.wait(patience)? } else { outgoing.daemon.ended()? };
        match ended {
            Some(status) if !outgoing.daemon.has_ended_well(status) => {
                self.failures.push(format!("the outgoing instance ended with {status}"));
            }
            None if at_once || now() >= asked + TIME_TO_STOP => {
                self.failures.push("the outgoing instance does not end".to_owned());
            }
            None => return Ok(()),
            Some(_) => {}
        }
        shared.states.term();
        self.outgoing_ended()
    }

    /// Its state has gone with it, so no state need know of what it wrote.
    fn outgoing_ended(&mut self) -> io::Result<()> {
        self.rollouts.outgoing = None;
        self.target.settle()?;
        self.record.lose(&self.target);
        Ok(())
    }
}
