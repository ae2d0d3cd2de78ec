//! Nothing to do costs nothing.

use crate::harness::{Churn, World, seed, sleep_for, until};
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
        let requests = world.server.journal().total();
        let work = daemon.cpu_time();
        sleep_for(IDLE);
        assert_eq!(world.server.journal().total(), requests);
        let work = daemon.cpu_time() - work;
        assert!(work < IDLE / 5, "{work:?} of work in {IDLE:?} with nothing to do");
    }
    daemon.stop();
}

/// A thread that the runtime has made for a peak stays as long as there is something to do now and then.
#[test]
fn bursts_leave_few_threads() {
    const FILES: usize = 1_000;
    const THREADS_MAX: usize = 8;
    // More requests have more threads that read.
    let world = World::new().setting("max_concurrent_transfers", "64");
    let daemon = world.start().ready();
    for burst in 0..3 {
        for file in 0..FILES {
            world.tree.write(format!("file{file}"), burst.to_string());
        }
        world.wait_until_done();
    }
    let threads = daemon.threads();
    for kind in ["read files", "tokio-rt-worker"] {
        let of_kind = threads.iter().filter(|name| *name == kind).count();
        assert!(of_kind <= THREADS_MAX, "{of_kind} are called {kind}: {threads:?}");
    }
    daemon.stop();
}
