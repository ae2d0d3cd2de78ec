"""What the kubelet does to a pod with the sidecar: nothing that was written is lost."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from api import Object, status
from common import WORK, eventually, let_pass, run
from place import Place, command, digests, text
from timeline import Timeline

FOLDER = "/var/www/uploads"
# Ends when it is asked to, and writes its last file only then.
LAST = f"""
trap 'sleep 1; echo last >{FOLDER}/last.txt; exit 0' TERM
echo first >{FOLDER}/first.txt
while true; do sleep 1 & wait $!; done
"""
BUSY = """
trap 'exit 0' TERM
n=0
while true; do
    n=$((n+1))
    echo "$n" >FOLDER/part.tmp && mv FOLDER/part.tmp FOLDER/file-$n
    sleep 0.1
done
"""


def data(pod: Object) -> Path:
    """The emptyDir of the application, on the node."""
    return Path("/var/lib/kubelet/pods") / pod["metadata"]["uid"] / "volumes/kubernetes.io~empty-dir/data"


def deploy(place: Place, script: str) -> Object:
    place.kubectl("apply", "--kustomize", place.example("web", [command("Deployment", "web", script)])).fine()
    return place.pod("web")


def delete(place: Place, pod: Object) -> None:
    """The pod's own end, without another one after it."""
    place.kubectl("scale", "deployment/web", "--replicas=0").fine()
    assert pod["metadata"]["name"].startswith("web-")


def kill_container(pod: Object, container: str) -> None:
    """As the kernel or an operator would: no hook, no signal that can be caught."""
    number = status(pod, container)["containerID"].rpartition("/")[2]
    run("ctr", "--namespace", "k8s.io", "tasks", "kill", "--signal", "SIGKILL", number).fine()


def test_a_file_of_the_last_moment_arrives(place: Place) -> None:
    """The application writes it after SIGTERM; the sidecar is still there, because it ends last."""
    pod = deploy(place, LAST)
    timeline = Timeline(place, pod)
    place.mirrors(text(**{"first.txt": "first\n"}))
    delete(place, pod)
    last = place.last(pod)
    timeline.write(WORK.parent / "timeline.txt")
    assert place.codes(last) == {"file-sync": 0, "web": 0}
    assert place.bucket() == text(**{"first.txt": "first\n", "last.txt": "last\n"})
    ended = {name: status(last, name)["state"]["terminated"]["finishedAt"] for name in ("web", "file-sync")}
    assert ended["web"] <= ended["file-sync"], ended


def test_killed_it_comes_back_and_goes_on(place: Place) -> None:
    pod = deploy(place, BUSY.replace("FOLDER", FOLDER))
    eventually("files arrive", lambda: len(place.bucket()) > 10, 60)
    kill_container(pod, "file-sync")

    def again() -> bool:
        (now,) = [one for one in place.api.list("pods", place.name) if one["metadata"]["uid"] == pod["metadata"]["uid"]]
        return status(now, "file-sync")["restartCount"] == 1 and bool(status(now, "file-sync").get("started"))

    eventually("it was started again", again, 60)
    (now,) = place.api.list("pods", place.name)
    assert status(now, "file-sync")["lastState"]["terminated"]["exitCode"] == 137
    assert status(now, "web")["restartCount"] == 0, "the application does not notice"
    count = len(place.bucket())
    eventually("more files arrive", lambda: len(place.bucket()) > count + 10, 60)
    written = len([name for name in digests(data(pod)) if not name.endswith(".tmp")])
    delete(place, pod)
    assert place.codes(place.last(pod)) == {"file-sync": 0, "web": 0}
    found = place.bucket()
    assert len(found) >= written
    assert found == numbered(len(found))


def numbered(count: int) -> dict[str, str]:
    """What the busy application has written, whole and without a gap."""
    return text(**{f"file-{n}": f"{n}\n" for n in range(1, count + 1)})


def test_a_store_that_is_away_for_seconds_at_the_end_loses_nothing(place: Place) -> None:
    pod = deploy(place, LAST)
    place.mirrors(text(**{"first.txt": "first\n"}))
    place.store.go_away()
    place.sh(pod, "web", f"for n in 1 2 3; do echo $n >{FOLDER}/away-$n; done")
    asked = time.monotonic()
    delete(place, pod)
    let_pass(6)
    place.store.come_back()
    last = place.last(pod)
    assert time.monotonic() - asked < 60, "it did not wait for its grace period to end"
    assert place.codes(last) == {"file-sync": 0, "web": 0}
    wanted = {"first.txt": "first\n", "last.txt": "last\n"} | {f"away-{n}": f"{n}\n" for n in (1, 2, 3)}
    assert place.bucket() == text(**wanted)


def test_a_roll_out_of_a_statefulset_loses_nothing(place: Place) -> None:
    script = BUSY.replace("FOLDER", "/var/lib/documents")
    overlay = place.example("statefulset", [command("StatefulSet", "documents", script)])
    place.kubectl("apply", "--kustomize", overlay).fine()
    pods = [place.pod(f"documents-{n}") for n in (0, 1)]
    # Each pod has a prefix of its own.
    eventually("files arrive", lambda: all(len(place.store.keys(f"documents/documents-{n}")) > 5 for n in (0, 1)), 60)
    place.kubectl("rollout", "restart", "statefulset/documents").fine()
    for pod in pods:
        assert place.codes(place.last(pod, 150)) == {"file-sync": 0, "documents": 0}
    # The application too: a shell that has not set its trap yet is killed after the grace period.
    again = [place.pod(f"documents-{n}", "documents") for n in (0, 1)]
    assert {one["metadata"]["uid"] for one in again}.isdisjoint({one["metadata"]["uid"] for one in pods})
    place.kubectl("scale", "statefulset/documents", "--replicas=0").fine()
    for pod in again:
        assert place.codes(place.last(pod)) == {"file-sync": 0, "documents": 0}
    for number in (0, 1):
        volume = place.provisioner.folder(place.name, f"data-documents-{number}")
        wanted = {name: digest for name, digest in digests(volume).items() if not name.endswith(".tmp")}
        assert len(wanted) > 10
        assert place.store.digests(f"documents/documents-{number}") == wanted


@pytest.mark.full
def test_a_killed_application_loses_nothing_either(place: Place) -> None:
    pod = deploy(place, f"trap '' TERM; echo first >{FOLDER}/first.txt; while true; do sleep 1; done")
    place.mirrors(text(**{"first.txt": "first\n"}))
    place.sh(pod, "web", f"echo second >{FOLDER}/second.txt")
    delete(place, pod)
    last = place.last(pod, 180)
    assert place.codes(last)["web"] == 137
    assert place.bucket() == text(**{"first.txt": "first\n", "second.txt": "second\n"})


@pytest.mark.full
def test_a_sandbox_that_dies_is_made_anew_and_nothing_is_lost(place: Place) -> None:
    """All containers of the pod go with it; volumes stay."""
    pod = deploy(place, BUSY.replace("FOLDER", FOLDER))
    eventually("files arrive", lambda: len(place.bucket()) > 10, 60)
    listed = run("ctr", "--namespace", "k8s.io", "containers", "list").fine()
    sandboxes = [line.split()[0] for line in listed.splitlines() if "localhost/pause:1" in line]
    ours = [one for one in sandboxes if pod["metadata"]["uid"] in run("ctr", "-n", "k8s.io", "c", "info", one).out]
    run("ctr", "--namespace", "k8s.io", "tasks", "kill", "--signal", "SIGKILL", *ours).fine()

    def again() -> bool:
        (now,) = place.api.list("pods", place.name)
        return all(
            status(now, one).get("restartCount") == 1 and status(now, one).get("started")
            for one in ("file-sync", "web")
        )

    eventually("both were started again", again, 120)
    count = len(digests(data(pod)))
    eventually("files arrive again", lambda: len(place.bucket()) >= count - 1, 60)
    delete(place, pod)
    last = place.last(pod)
    assert place.codes(last) == {"file-sync": 0, "web": 0}
    found = place.bucket()
    assert found == numbered(len(found))
