"""SIGTERM in the middle of the work."""

from __future__ import annotations

import time

import pytest
import tree
from harness import PATIENCE, SEED, Bucket, Daemon, Mirror, eventually


@pytest.mark.parametrize("drain_seconds", [2, 10])
def test_sigterm_under_load_exits_0_in_time_and_a_restart_converges(
    daemon: Daemon, bucket: Bucket, drain_seconds: int
) -> None:
    mirror = Mirror(bucket, lambda: tree.wanted(daemon.tree))
    daemon.env["FILE_SYNC__SHUTDOWN_TIMEOUT_SECONDS"] = str(drain_seconds)
    churn = tree.Churn(daemon.tree, SEED)
    churn.start(pause=0.001)
    daemon.start()
    eventually("it has sent something", lambda: bool(bucket.objects()), 30)

    asked = time.monotonic()
    # The writers go on: it must not wait for a quiet that never comes.
    code = daemon.terminate(drain_seconds + 5)
    took = time.monotonic() - asked
    churn.stop()
    assert code == 0, daemon.tail()
    assert took < drain_seconds + 2 * PATIENCE, f"took {took:.1f} s"

    daemon.start()
    mirror.wait_until_equal(daemon, 60)
    assert daemon.terminate(35) == 0


def test_sigterm_collects_what_was_written_just_before(daemon: Daemon, bucket: Bucket) -> None:
    mirror = Mirror(bucket, lambda: tree.wanted(daemon.tree))
    daemon.start()
    (daemon.tree / "first").write_text("first")
    mirror.wait_until_equal(daemon, 30)
    (daemon.tree / "last").write_text("written, and the signal right behind it")
    assert daemon.terminate(35) == 0
    assert mirror.differences() == []
