"""`kubectl rollout restart` of each example while files are written: afterwards, the bucket equals the live volume."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from api import Object
from common import ROOT, eventually
from place import CONFIG, KEYS, Place, command, digests
from test_lifecycle import data
from test_shards import Writer

# The same names in every pod: an object of the old pod that is left in the place of a new one has another content.
PAGES = 20
WRITER = f"""
trap 'exit 0' TERM
n=0
while [ ! -e FOLDER/.stop ]; do
    n=$((n+1))
    echo "$HOSTNAME $n" >FOLDER/part.tmp && mv FOLDER/part.tmp FOLDER/page-$((n % {PAGES}))
    sleep 0.1
done
touch FOLDER/.stopped
while true; do sleep 1; done
"""
# A StatefulSet replaces one pod after the other.
WITHIN = 240


@dataclass(frozen=True)
class Example:
    """A workload whose application writes into its own volume, or that mirrors a claim which others write."""

    name: str
    workload: str
    pods: tuple[str, ...]
    folder: str | None = None

    @property
    def application(self) -> str:
        """The container that writes."""
        return self.workload.partition("/")[2]


PLAIN = "sidecar"
SERVICE = "statefulset/file-sync-service"
EXAMPLES = [
    Example(PLAIN, "deployment/web", ("web",), "/var/www/uploads"),
    Example("web", "deployment/web", ("web",), "/var/www/uploads"),
    Example("statefulset", "statefulset/documents", ("documents-0", "documents-1"), "/var/lib/documents"),
    Example("base", SERVICE, ("file-sync-service-0",)),
    Example("efs", SERVICE, ("file-sync-service-0",)),
    Example("shards", SERVICE, tuple(f"file-sync-service-{number}" for number in range(3))),
]


def install(place: Place, example: Example) -> None:
    if example.name == PLAIN:
        return install_plain(place, example)
    patches = []
    if example.folder:
        kind = {"deployment": "Deployment", "statefulset": "StatefulSet"}[example.workload.partition("/")[0]]
        patches = [command(kind, example.application, WRITER.replace("FOLDER", example.folder))]
    place.kubectl("apply", "--kustomize", place.example(example.name, patches)).fine()
    return None


def install_plain(place: Place, example: Example) -> None:
    """The manifest to copy from, with the store of the tests and a program for the application."""
    objects = list(yaml.safe_load_all((ROOT / "k8s/sidecar/deployment.yaml").read_text()))
    for one in objects:
        if one["kind"] == "ConfigMap":
            config = yaml.safe_load(one["data"]["config.yml"]) | CONFIG | {"s3_prefix": place.name}
            one["data"]["config.yml"] = yaml.safe_dump(config)
        if one["kind"] == "Deployment":
            pod = one["spec"]["template"]["spec"]
            pod["initContainers"][0]["envFrom"] = [{"secretRef": {"name": KEYS}}]
            pod["containers"][0]["command"] = ["sh", "-c", WRITER.replace("FOLDER", example.folder)]
    place.apply(*objects)


def volume(place: Place, example: Example, pod: Object) -> Path:
    """The files of the application, on the node."""
    if example.name == "statefulset":
        return place.provisioner.folder(place.name, f"data-{pod['metadata']['name']}")
    return data(pod)


def prefix(place: Place, example: Example, pod: Object) -> str:
    """Each pod of the StatefulSet has its own."""
    return f"documents/{pod['metadata']['name']}" if example.name == "statefulset" else place.name


def restart(place: Place, example: Example, pods: list[Object]) -> list[Object]:
    """The pods that have replaced these, which ended well."""
    place.kubectl("rollout", "restart", example.workload).fine()
    for pod in pods:
        codes = place.codes(place.last(pod, WITHIN))
        assert set(codes.values()) == {0}, codes
    place.kubectl("rollout", "status", example.workload, f"--timeout={WITHIN}s").fine()
    new = [place.pod(name, example.application if example.folder else "file-sync") for name in example.pods]
    assert {one["metadata"]["uid"] for one in new}.isdisjoint({one["metadata"]["uid"] for one in pods})
    return new


def stop_pages(place: Place, example: Example, pod: Object) -> dict[str, str]:
    """Stops the application when it has written each page, and answers what its volume holds then."""
    folder = volume(place, example, pod)
    name = pod["metadata"]["name"]

    def written() -> bool:
        pages = [folder / f"page-{number}" for number in range(PAGES)]
        return all(one.exists() and one.read_text().startswith(name) for one in pages)

    eventually("the new pod has written every page", written, 60)
    place.sh(pod, example.application, f"touch {example.folder}/.stop")
    eventually("the application has stopped", (folder / ".stopped").exists, 30)
    found = digests(folder)
    assert len(found) == PAGES
    return found


def bucket_equals(what: str, found: Callable[[], dict[str, str]], wanted: dict[str, str]) -> None:
    try:
        eventually(f"the bucket equals {what}", lambda: found() == wanted, WITHIN)
    except AssertionError as late:
        now = found()
        differ = sorted(key for key in wanted.keys() | now.keys() if wanted.get(key) != now.get(key))
        raise AssertionError(f"{late}: {differ[:PAGES]}") from None


@pytest.mark.full
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda one: one.name)
def test_after_a_rollout_under_a_writer_the_bucket_equals_the_live_volume(place: Place, example: Example) -> None:
    writer = None
    if not example.folder:
        claim = place.claim("uploads")
        writer = Writer(claim)
    install(place, example)
    pods = [place.pod(name) for name in example.pods]
    for pod in pods:
        arrived = prefix(place, example, pod)
        eventually("files arrive", lambda arrived=arrived: len(place.store.keys(arrived)) > 5, 120)
    new = restart(place, example, pods)
    if writer:
        writer.stop()
        bucket_equals("the claim", place.bucket, digests(claim))
        return
    for pod in new:
        wanted = stop_pages(place, example, pod)
        where = prefix(place, example, pod)
        bucket_equals(f"the volume of {where}", lambda where=where: place.store.digests(where), wanted)


def test_every_example_that_can_be_rolled_is_among_them() -> None:
    """A new example with a workload has to be tried as well. A Job is not rolled."""
    folders = {path.parent.name for path in ROOT.glob("k8s/examples/*/kustomization.yaml")}
    assert folders - {"job"} == {one.name for one in EXAMPLES} - {PLAIN, "base"}
