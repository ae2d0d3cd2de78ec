"""SIGKILL at random moments, with the tree changing all the time."""

from __future__ import annotations

import os
import random

import tree
from harness import SEED, Bucket, Daemon, Mirror, eventually, let_pass

KILLS = int(os.environ.get("E2E_KILLS", "20"))


def test_killed_at_any_moment_it_converges_after_a_restart(daemon: Daemon, bucket: Bucket) -> None:
    chance = random.Random(SEED)
    mirror = Mirror(bucket, lambda: tree.wanted(daemon.tree))
    churn = tree.Churn(daemon.tree, SEED)
    # What piles up behind the kills is more than the default limit lets one start delete.
    daemon.env["FILE_SYNC__DELETE_LIMIT_PERCENT"] = "100"
    churn.start()
    for number in range(KILLS):
        moment = chance.uniform(0.02, 2.5)
        daemon.start()
        let_pass(moment)
        # It may only end by our hand.
        daemon.assert_running()
        daemon.kill()
        print(f"kill {number + 1} of {KILLS}: {moment:.3f} s after its start, {churn.steps} changes so far")
    daemon.start()
    churn.stop()

    mirror.wait_until_equal(daemon, 120)
    eventually("nothing waits", lambda: daemon.waiting() == 0, 30)
    eventually("no upload is left unfinished", lambda: not bucket.unfinished_uploads(), 30)
    assert daemon.terminate(35) == 0
