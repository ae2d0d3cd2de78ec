//! Nothing to do costs nothing.

use crate::harness::{Churn, World, let_pass, seed, until};
use std::time::Duration;

#[test]
fn an_idle_daemon_makes_no_request_and_does_no_work() {
    const IDLE: Duration = Duration::from_secs(1);
    let world = World::new();
    let mut churn = Churn::new(seed(), &world.tree);
    let daemon = world.start().ready();
    for round in 0..4 {
        churn.steps(100);
        world.pass_a_marker(&format!("marker{round}"));
        world.wait_until_done();
        // What was written and read within one tick of the clock is looked at once more, later.
        until("nothing is looked at any more", || world.racy() == 0);
        let (requests, work) = (world.server.journal().total(), daemon.cpu_time());
        let_pass(IDLE);
        assert_eq!(world.server.journal().total(), requests);
        let work = daemon.cpu_time() - work;
        assert!(work < IDLE / 5, "{work:?} of work in {IDLE:?} with nothing to do");
    }
    daemon.stop();
}
