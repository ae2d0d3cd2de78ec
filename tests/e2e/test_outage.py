"""S3 gone for a while: refused, or silent with the connections open."""

from __future__ import annotations

import pytest
import tree
from harness import LONG, SEED, Bucket, Daemon, Mirror, Proxy, eventually, let_pass

OUTAGE_SECONDS = 120 if LONG else 15


@pytest.mark.parametrize("kind", ["refused", "silent"])
def test_an_outage_only_delays(daemon: Daemon, bucket: Bucket, proxy: Proxy, kind: str) -> None:
    mirror = Mirror(bucket, lambda: tree.wanted(daemon.tree))
    churn = tree.Churn(daemon.tree, SEED)
    for _ in range(300):
        churn.step()
    daemon.endpoint = proxy.endpoint
    daemon.start()
    mirror.wait_until_equal(daemon, 60)

    churn.start(pause=0.01)
    proxy.refuse() if kind == "refused" else proxy.fall_silent()
    eventually("what waits is in the record", lambda: daemon.waiting() > 0, 15)
    let_pass(OUTAGE_SECONDS)
    daemon.assert_running()
    assert daemon.waiting() > 0, "an outage has emptied the queue"
    proxy.restore()
    churn.stop()

    # No file changes from here on.
    mirror.wait_until_equal(daemon, 120)
    eventually("nothing waits", lambda: daemon.waiting() == 0, 30)
    assert daemon.terminate(35) == 0


def test_it_starts_without_s3_and_waits_for_it(daemon: Daemon, bucket: Bucket, proxy: Proxy) -> None:
    mirror = Mirror(bucket, lambda: tree.wanted(daemon.tree))
    churn = tree.Churn(daemon.tree, SEED)
    for _ in range(100):
        churn.step()
    daemon.endpoint = proxy.endpoint
    proxy.refuse()
    daemon.start()
    let_pass(3)
    daemon.assert_running()
    proxy.restore()
    mirror.wait_until_equal(daemon, 60)
