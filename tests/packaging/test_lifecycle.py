"""What the kubelet does to a pod with the sidecar, in its order, on the image.

1. The sidecar starts, and the application after it.
2. The pod ends: `preStop` of the sidecar at once, SIGTERM for the application.
3. The application is gone, or killed late. Only now the sidecar gets SIGTERM, and what is left of the grace period.
4. What is still there then is killed. Somewhere a new pod starts on the same volumes.

The order is that of KEP-753; there is no kubelet here.
"""

from __future__ import annotations

import re
import time

import pytest
from engine import BUSYBOX, eventually
from pod import HARDENED, Pod, objects

# Small files without end, and a large one that is not done when the pod ends.
WRITER = """
n=0
while true; do
    n=$((n+1))
    echo "$n" >/data/part.tmp && mv /data/part.tmp "/data/small-$n"
    if [ $((n % 50)) = 0 ]; then
        dd if=/dev/urandom of=/data/part.tmp bs=1M count=20 2>/dev/null && mv /data/part.tmp "/data/large-$n"
    fi
    sleep 0.02
done
"""


class Lifecycle:
    """The kubelet's part."""

    def __init__(self, pod: Pod, commands: str) -> None:
        self.pod = pod
        self.engine = pod.engine
        self.app = f"{pod.name}-app"
        self.knows = {name for name in ("health", "prestop") if re.search(rf"^\s+{name}\b", commands, re.M)}
        # What the charts derive from a grace period of 120 seconds; the sidecar does not learn what is left of it.
        pod.settings["FILE_SYNC__SHUTDOWN_TIMEOUT_SECONDS"] = "115"

    def start(self) -> None:
        """The sidecar, its startup probe, the application."""
        self.pod.start()
        eventually("the startup probe succeeds", self._started, 60)
        volume = ("--volume", f"{self.pod.name}-data:/data")
        options = ("--network", "none", "--user", "1000", "--init", *HARDENED, *volume)
        self.engine("run", "--detach", "--name", self.app, *options, BUSYBOX, "sh", "-c", WRITER)
        self.pod.containers.append(self.app)

    def _started(self) -> bool:
        if "health" in self.knows:
            return self._exec("health", "--started")
        return '"watching"' in self.engine.ask("logs", self.pod.service).said

    def _exec(self, *arguments: str) -> bool:
        program = "/usr/local/bin/file-sync-service"
        return self.engine.ask("exec", self.pod.service, program, *arguments).code == 0

    def end(self, app_seconds: int, left_seconds: int) -> int:
        """The sidecar's exit code."""
        if "prestop" in self.knows:
            asked = time.monotonic()
            assert self._exec("prestop")
            assert time.monotonic() - asked < 5, "a slow hook takes the time it is there to give"
        self.engine("stop", "--time", app_seconds, self.app)
        self.engine("stop", "--time", left_seconds, self.pod.service)
        return self.pod.state()["ExitCode"]

    def wanted(self) -> dict[str, str]:
        return {name: digest for name, digest in self.pod.volume().items() if not name.endswith(".tmp")}


@pytest.fixture
def lifecycle(pod: Pod, commands: str) -> Lifecycle:
    return Lifecycle(pod, commands)


@pytest.mark.parametrize("left_seconds", [60, 5, 2])
def test_whatever_time_is_left_nothing_is_lost(lifecycle: Lifecycle, left_seconds: int) -> None:
    pod = lifecycle.pod
    lifecycle.start()
    eventually("the application is busy", lambda: len(objects(pod.s3)) > 60, 60)
    code = lifecycle.end(app_seconds=10, left_seconds=left_seconds)
    wanted = lifecycle.wanted()
    assert len(wanted) > 60
    # After 5 or 2 seconds the kubelet kills a container that is not done.
    assert code == 0 or (code == 137 and left_seconds < 60), pod.log()
    if left_seconds == 60:
        assert pod.bucket() == wanted, "there was time enough to send all of it"

    # What is in the bucket is whole, whatever was cut off.
    torn = {key for key, digest in pod.bucket().items() if wanted.get(key) != digest}
    assert torn == set()

    pod.engine("start", pod.service)
    eventually("the next pod sends the rest", lambda: set(objects(pod.s3)) == set(wanted), 90)
    assert pod.bucket() == wanted


def test_killed_without_a_word_it_goes_on(lifecycle: Lifecycle) -> None:
    """As `RestartAllContainers`, a lost node or the out-of-memory killer would: no hook, no signal."""
    pod = lifecycle.pod
    lifecycle.start()
    for _ in range(3):
        count = len(objects(pod.s3))
        eventually("more has arrived", lambda count=count: len(objects(pod.s3)) > count + 20, 60)
        pod.engine("kill", "--signal", "KILL", pod.service)
        eventually("it is dead", lambda: not pod.state()["Running"], 10)
        pod.engine("start", pod.service)
    assert lifecycle.end(app_seconds=10, left_seconds=60) == 0, pod.log()
    assert pod.bucket() == lifecycle.wanted()


def test_a_second_signal_stops_at_once_and_loses_nothing(lifecycle: Lifecycle) -> None:
    pod = lifecycle.pod
    lifecycle.start()
    eventually("the application is busy", lambda: len(objects(pod.s3)) > 20, 60)
    pod.engine("stop", "--time", "1", f"{pod.name}-s3")
    pod.engine("kill", "--signal", "TERM", pod.service)
    pod.engine("kill", "--signal", "TERM", pod.service)
    eventually("it has ended", lambda: not pod.state()["Running"], 15)
    assert pod.state()["ExitCode"] == 0, pod.log()
    pod.engine("stop", "--time", "10", lifecycle.app)
    wanted = lifecycle.wanted()
    pod.engine("start", f"{pod.name}-s3")
    pod.engine("start", pod.service)
    eventually("everything is there", lambda: set(objects(pod.s3)) == set(wanted), 120)
    assert pod.bucket() == wanted
