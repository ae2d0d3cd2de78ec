"""The volumes that a pod can have: what is mirrored of them, and what the kubelet does at their limits."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from api import Object, status
from common import WORK, eventually
from place import CONFIG, KEYS, Place, command, pod_spec, text
from test_install import CHART, ready

pytestmark = pytest.mark.full

FOLDER = "/var/www/uploads"
NAME = "uploads-file-sync-service"


def deploy(place: Place, script: str, spec: Object) -> Object:
    patches = [command("Deployment", "web", script), pod_spec("Deployment", "web", spec)]
    place.kubectl("apply", "--kustomize", place.example("web", patches)).fine()
    return place.pod("web", "web")


def test_only_the_subpath_is_mirrored(place: Place) -> None:
    folder = place.claim("uploads")
    for name in ("ours", "theirs"):
        (folder / name).mkdir()
        (folder / name / "a").write_text(name)
    values = place.values(source={"existingClaim": "uploads", "subPath": "ours"})
    place.helm("helm-4.2", "install", "uploads", CHART, "--values", values).fine()
    ready(place, f"{NAME}-0")
    (folder / "ours/b").write_text("b")
    (folder / "theirs/b").write_text("b")
    place.mirrors(text(a="ours", b="b"))


def test_a_volume_in_memory_is_mirrored_to_its_last_file(place: Place) -> None:
    script = f"trap 'echo last >{FOLDER}/last; exit 0' TERM; echo first >{FOLDER}/first; while true; do sleep 0.2; done"
    volume = {"name": "data", "emptyDir": {"medium": "Memory", "sizeLimit": "32Mi"}}
    pod = deploy(place, script, {"volumes": [volume]})
    mounts = [line.split() for line in place.sh(pod, "web", "cat /proc/mounts").splitlines()]
    assert [one[2] for one in mounts if one[1] == FOLDER] == ["tmpfs"]
    place.mirrors(text(first="first\n"))
    place.kubectl("scale", "deployment/web", "--replicas=0").fine()
    assert place.codes(place.last(pod)) == {"file-sync": 0, "web": 0}
    assert place.bucket() == text(first="first\n", last="last\n")


def test_a_volume_inside_the_volume_is_an_empty_directory_for_the_sidecar(place: Place) -> None:
    """As k8s/README.md has it."""
    web = {"name": "web", "volumeMounts": [{"name": "cache", "mountPath": f"{FOLDER}/cache"}]}
    spec = {"containers": [web], "volumes": [{"name": "cache", "emptyDir": {}}]}
    script = f"echo a >{FOLDER}/a; echo inside >{FOLDER}/cache/inside; echo b >{FOLDER}/b; sleep 3600"
    pod = deploy(place, script, spec)
    place.mirrors(text(a="a\n", b="b\n"))
    assert place.sh(pod, "web", f"ls {FOLDER}/cache") == "inside\n"
    assert {one["event"] for one in place.log(pod) if one["severity"] == "ERROR"} == set()


def test_a_volume_over_its_limit_costs_the_pod_and_no_object(place: Place) -> None:
    """The kubelet evicts the pod at once: what was in S3 stays, and the next pod goes on."""
    # Without its volume, the next pod has no files: what the last one sent is not deleted.
    script = f"echo $HOSTNAME >{FOLDER}/$HOSTNAME; sleep 3600"
    pod = deploy(place, script, {"volumes": [{"name": "data", "emptyDir": {"sizeLimit": "8Mi"}}]})
    first = pod["metadata"]["name"]
    place.mirrors(text(**{first: f"{first}\n"}))
    place.sh(pod, "web", f"dd if=/dev/zero of={FOLDER}/large.tmp bs=1M count=32")

    def evicted() -> bool:
        ours = [one for one in place.recorder.pods("web") if one["metadata"]["uid"] == pod["metadata"]["uid"]]
        return ours[0]["status"].get("reason") == "Evicted"

    eventually("the kubelet evicts it", evicted, 120)
    (event, *_) = eventually("an event says why", lambda: place.recorder.events("Evicted"), 30)
    assert 'EmptyDir volume "data" exceeds the limit "8Mi"' in event["message"]

    def next_name() -> str | None:
        pods = place.api.list("pods", place.name)
        running = [one["metadata"]["name"] for one in pods if "running" in status(one, "web").get("state", {})]
        return next((name for name in running if name != first), None)

    second = eventually("the next pod runs", next_name, 120)
    place.mirrors(text(**{first: f"{first}\n", second: f"{second}\n"}))


@pytest.fixture
def privileged(place: Place) -> Place:
    """`restricted` admits no directories of the node."""
    labels = [f"pod-security.kubernetes.io/{one}=privileged" for one in ("enforce", "warn")]
    place.kubectl("label", "--overwrite", "namespace", place.name, *labels).fine()
    return place


def folder_of_the_node(place: Place, name: str, owner: int) -> Path:
    folder = WORK / "host" / place.name / name
    folder.mkdir(parents=True)
    os.chown(folder, owner, owner)
    return folder


def test_a_daemonset_mirrors_a_directory_of_its_node_and_its_record_stays_there(privileged: Place) -> None:
    place = privileged
    files, state = folder_of_the_node(place, "files", 0), folder_of_the_node(place, "state", 65532)
    (files / "a").write_text("a")
    values = place.values(
        mode="daemonset",
        source={"volume": {"hostPath": {"path": str(files), "type": "Directory"}}},
        state={"type": "hostPath", "hostPath": str(state)},
        aws={"existingSecret": KEYS},
        config=CONFIG | {"s3_prefix": place.name},
    )
    place.helm("helm-4.2", "install", "uploads", CHART, "--values", values).fine()
    first = ready(place, NAME)
    place.mirrors(text(**{"node1/a": "a"}))
    place.kubectl("delete", "pod", first["metadata"]["name"]).fine()
    (files / "b").write_text("b")
    second = ready(place, NAME)
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    place.mirrors(text(**{"node1/a": "a", "node1/b": "b"}))
    sent = [one["file.path"] for one in place.log(second) if one["event"] == "upload.completed"]
    assert sent == ["b"], "the record says that the other one is there"
