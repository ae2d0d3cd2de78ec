"""A node that is short of something: memory, CPU, time, inotify instances. Changes are late, never lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from api import Object, status
from common import eventually, let_pass, run
from place import CONFIG, Place, command, digests, pod_spec, text
from test_install import CHART, ready

pytestmark = pytest.mark.full

NAME = "uploads-file-sync-service"
# Of no other pod: what one of them frees would be there for this one.
USER = 64200
QUIET = "trap 'exit 0' TERM; while true; do sleep 0.2; done"
INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")


def install(place: Place, files: dict[str, str], **values: object) -> tuple[Path, Object]:
    """The chart on a claim that has files already."""
    folder = place.claim("uploads")
    for name, body in files.items():
        (folder / name).write_text(body)
    place.helm("helm-4.2", "install", "uploads", CHART, "--values", place.values(**values)).fine()
    return folder, ready(place, f"{NAME}-0")


def process(pod: Object, container: str = "file-sync") -> int:
    """Its number on the node."""
    wanted = status(pod, container)["containerID"].rpartition("/")[2]
    tasks = run("ctr", "--namespace", "k8s.io", "tasks", "list").fine().splitlines()
    (line,) = [one for one in tasks if one.startswith(wanted)]
    return int(line.split()[1])


def restarted(place: Place, pod: Object, count: int = 1) -> Object | None:
    """The pod, once its sidecar was started again so many times."""
    now = place.api.get("pods", place.name, pod["metadata"]["name"])
    said = status(now, "file-sync")
    return now if said["restartCount"] >= count and said.get("started") else None


def memory_limit(pid: int) -> Path:
    """The file of the control group that has the limit."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return Path("/sys/fs/cgroup/memory") / path.lstrip("/") / "memory.limit_in_bytes"
        unified = Path("/sys/fs/cgroup") / path.lstrip("/") / "memory.max"
        if not controllers and unified.exists():
            return unified
    raise AssertionError(f"no control group of {pid} limits memory")


def tighten(limit: Path) -> None:
    """As little as the kernel accepts: it refuses less than what is used and cannot be freed."""
    for mebibytes in range(8, 512):
        try:
            limit.write_text(str(mebibytes << 20))
        except OSError:
            continue
        return
    raise AssertionError(f"no limit was accepted: {limit}")


def test_a_sidecar_that_is_out_of_memory_is_started_again_and_goes_on(place: Place) -> None:
    folder, pod = install(place, {"a": "a"})
    place.mirrors(text(a="a"))
    tighten(memory_limit(process(pod)))
    for number in range(12):
        (folder / f"large-{number}").write_bytes(bytes([number]) * (9 << 20))
    now = eventually("it was started again", lambda: restarted(place, pod), 120)
    ended = status(now, "file-sync")["lastState"]["terminated"]
    assert ended["exitCode"] == 137, ended
    place.mirrors(digests(folder), 120)


def test_a_first_copy_with_a_twentieth_of_a_core_fails_no_probe(place: Place) -> None:
    resources = {"limits": {"cpu": "50m", "memory": "512Mi"}, "requests": {"cpu": "50m", "memory": "64Mi"}}
    files = {f"file-{number}": str(number) for number in range(200)}
    _, pod = install(place, files, resources=resources)
    place.mirrors(text(**files), 300)
    now = place.api.get("pods", place.name, pod["metadata"]["name"])
    assert status(now, "file-sync")["restartCount"] == 0
    assert place.recorder.events("Killing") == []


def test_stopped_for_a_while_it_loses_nothing(place: Place) -> None:
    folder, pod = install(place, {"a": "a"})
    place.mirrors(text(a="a"))
    pid = process(pod)
    os.kill(pid, signal.SIGSTOP)
    for number in range(50):
        (folder / f"meanwhile-{number}").write_text(str(number))
    (folder / "a").unlink()
    let_pass(5)
    assert place.bucket() == text(a="a")
    os.kill(pid, signal.SIGCONT)
    place.mirrors(text(**{f"meanwhile-{number}": str(number) for number in range(50)}))
    now = place.api.get("pods", place.name, pod["metadata"]["name"])
    assert status(now, "file-sync")["restartCount"] == 0


def test_one_that_does_not_move_any_more_is_started_again_by_its_probe(place: Place) -> None:
    # The kubelet gives the container the pod's time to end, and then kills it.
    quick = {"liveness": {"enabled": True, "periodSeconds": 5, "failureThreshold": 3, "timeoutSeconds": 5}}
    folder, pod = install(place, {"a": "a"}, probes=quick, terminationGracePeriodSeconds=10)
    place.mirrors(text(a="a"))
    os.kill(process(pod), signal.SIGSTOP)
    (folder / "b").write_text("b")
    now = eventually("it was started again", lambda: restarted(place, pod), 120)
    assert status(now, "file-sync")["lastState"]["terminated"]["exitCode"] == 137
    assert place.recorder.events("Unhealthy")
    place.mirrors(text(a="a", b="b"))


def write_all_the_time(trap: str) -> str:
    folder = "/var/lib/documents"
    return f"trap '{trap}' TERM; n=0; while true; do n=$((n+1)); echo $n >{folder}/file-$n; sleep 0.05; done"


def test_a_grace_period_that_is_too_short_leaves_the_rest_to_the_next_pod(place: Place) -> None:
    """The application ignores SIGTERM, so that all of the time is gone when the sidecar gets its own."""
    short = pod_spec("StatefulSet", "documents", {"terminationGracePeriodSeconds": 3})
    overlay = place.example("statefulset", [command("StatefulSet", "documents", write_all_the_time("")), short])
    place.kubectl("apply", "--kustomize", overlay).fine()
    pod = place.pod("documents-0", "documents")
    prefix = "documents/documents-0"
    eventually("files arrive", lambda: len(place.store.keys(prefix)) > 20, 60)
    place.store.go_away()
    let_pass(1)
    place.kubectl("delete", "pod", "documents-0", "--wait=false").fine()
    assert place.codes(place.last(pod))["documents"] == 137
    place.store.come_back()
    # The next ones have time, and an application that does not write.
    overlay = place.example("statefulset", [command("StatefulSet", "documents", QUIET)])
    place.kubectl("apply", "--kustomize", overlay).fine()

    def patient() -> bool:
        now = place.api.get("pods", place.name, "documents-0")
        return now is not None and now["spec"]["terminationGracePeriodSeconds"] == 120 and is_running(now, "documents")

    eventually("a pod with time enough runs", patient, 180)
    volume = place.provisioner.folder(place.name, "data-documents-0")
    eventually("the rest is sent", lambda: place.store.digests(prefix) == digests(volume), 60)


def is_running(pod: Object, container: str) -> bool:
    return "running" in status(pod, container).get("state", {})


@pytest.fixture
def no_instance_left() -> Iterator[None]:
    """A process of the same user has all inotify instances: the kernel counts them per user and node."""
    script = f"""
import ctypes, os, sys
os.setgroups([]); os.setgid({USER}); os.setuid({USER})
libc = ctypes.CDLL(None)
count = 0
while libc.inotify_init() >= 0: count += 1
print(count, flush=True)
sys.stdin.read()
"""
    command = [sys.executable, "-c", script]
    one = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/")
    try:
        taken, limit = int(one.stdout.readline()), int(INSTANCES.read_text())
        if taken < limit:
            pytest.skip(f"a process may open {taken} files, fewer than the {limit} of {INSTANCES}")
        yield
    finally:
        one.kill()
        one.wait()


def test_without_an_inotify_instance_it_scans_and_says_so(place: Place, no_instance_left: None) -> None:
    user = {"runAsUser": USER, "runAsGroup": USER}
    config = CONFIG | {"s3_prefix": place.name, "poll_interval_seconds": 2}
    folder, pod = install(place, {"a": "a"}, config=config, podSecurityContext=user, securityContext=user)
    place.mirrors(text(a="a"))
    (folder / "b").write_text("b")
    (folder / "a").unlink()
    place.mirrors(text(b="b"))
    said = {one["event"] for one in place.log(pod)}
    assert said & {"watch.failed", "detect.instance_limit"}, said
