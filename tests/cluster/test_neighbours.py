"""More than one of it: two releases in a namespace, two pods on one claim, and the files of a volume that was lost."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from api import Object
from common import eventually
from place import CONFIG, KEYS, Place, command, digests, text
from test_install import CHART, HARDENED, ready

pytestmark = pytest.mark.full

LEASE = ".file-sync-service.lease"


def release(place: Place, name: str, claim: str, **more: object) -> Object:
    config = CONFIG | {"s3_prefix": f"{place.name}/{claim}"} | more
    values = place.values(source={"existingClaim": claim}, config=config, mode="deployment")
    place.helm("helm-4.2", "install", name, CHART, "--values", values).fine()
    return ready(place, f"{name}-file-sync-service")


def test_two_releases_in_a_namespace_share_nothing(place: Place) -> None:
    folders = {name: place.claim(name) for name in ("one", "two")}
    for name, folder in folders.items():
        for file in ("a", "b"):
            (folder / file).write_text(name)
        release(place, name, name)
    both = {"one/a": "one", "one/b": "one", "two/a": "two", "two/b": "two"}
    place.mirrors(text(**both))
    (folders["one"] / "a").unlink()
    del both["one/a"]
    place.mirrors(text(**both))
    place.helm("helm-4.2", "uninstall", "one").fine()
    (folders["two"] / "c").write_text("two")
    place.mirrors(text(**both, **{"two/c": "two"}))


def files(place: Place) -> dict[str, str]:
    return {name: digest for name, digest in place.bucket().items() if not name.endswith(LEASE)}


def said(place: Place, pod: Object, event: str) -> bool:
    return event in {one["event"] for one in place.log(pod)}


def test_of_two_pods_on_a_claim_the_one_with_the_lease_deletes_and_the_other_follows(place: Place) -> None:
    folder = place.claim("shared")
    for name in ("a", "b", "c"):
        (folder / name).write_text(name)
    lease = {"s3_lease_seconds": 15, "rescan_interval_seconds": 10}
    first = release(place, "one", "shared", **lease)
    eventually("the first one holds the lease", lambda: said(place, first, "lease.held"), 60)
    second = release(place, "two", "shared", **lease)
    eventually("the second one knows it", lambda: said(place, second, "lease.other"), 60)
    wanted = {f"shared/{name}": digest for name, digest in text(a="a", b="b", c="c").items()}
    eventually("all is mirrored", lambda: files(place) == wanted, 60)
    (folder / "a").unlink()
    del wanted["shared/a"]
    eventually("it is deleted", lambda: files(place) == wanted, 60)
    assert not said(place, second, "lease.held")

    name = first["metadata"]["name"]
    place.kubectl("scale", "deployment/one-file-sync-service", "--replicas=0").fine()
    assert place.codes(place.last(first)) == {"file-sync": 0}, name
    eventually("the second one has it now", lambda: said(place, second, "lease.held"), 90)
    (folder / "b").unlink()
    del wanted["shared/b"]
    eventually("it is deleted too", lambda: files(place) == wanted, 60)


def restoring(place: Place) -> Object:
    """The init container of docs/RESTORE.md, before the sidecar."""
    mounts = [
        {"name": "data", "mountPath": "/data"},
        {"name": "file-sync-state", "mountPath": "/var/lib/file-sync-service"},
        {"name": "file-sync-config", "mountPath": "/etc/file-sync-service", "readOnly": True},
    ]
    prefix = {"name": "FILE_SYNC__S3_PREFIX", "value": "documents/documents-0"}
    one = {"name": "restore", "image": "registry.example.com/file-sync-service:0.1.0", "volumeMounts": mounts}
    one |= {"args": ["restore", "--config=/etc/file-sync-service/config.yml", "--if-empty", "--allow-empty"]}
    one |= {"env": [prefix], "envFrom": [{"secretRef": {"name": KEYS}}]}
    one |= {"securityContext": HARDENED | {"runAsUser": 1000}}
    return one


def test_a_volume_that_was_lost_is_filled_before_the_application_starts(place: Place) -> None:
    script = "ls /var/lib/documents >/tmp/found; trap 'exit 0' TERM; "
    script += "echo new >/var/lib/documents/file-$(date +%s); while true; do sleep 0.2; done"
    overlay = place.example("statefulset", [command("StatefulSet", "documents", script)])
    rendered = place.kubectl("kustomize", overlay).fine()
    parts = list(yaml.safe_load_all(rendered))
    (workload,) = [one for one in parts if one["kind"] == "StatefulSet"]
    workload["spec"]["replicas"] = 1
    workload["spec"]["template"]["spec"]["initContainers"].insert(0, restoring(place))
    place.apply(*parts)
    pod = place.pod("documents-0", "documents")
    prefix = "documents/documents-0"
    claims = ("data", "file-sync-state")
    folders = {name: place.provisioner.folder(place.name, f"{name}-documents-0") for name in claims}
    eventually("its file arrives", lambda: place.store.digests(prefix) == digests(folders["data"]) != {}, 60)
    before = digests(folders["data"])
    assert place.sh(pod, "documents", "cat /tmp/found") == ""
    place.kubectl("scale", "statefulset/documents", "--replicas=0").fine()
    assert place.codes(place.last(pod)) == {"restore": 0, "file-sync": 0, "documents": 0}
    for folder in folders.values():
        empty(folder)
    place.kubectl("scale", "statefulset/documents", "--replicas=1").fine()
    pod = place.pod("documents-0", "documents")
    assert place.sh(pod, "documents", "cat /tmp/found").split() == sorted(before)
    eventually("the new file arrives", lambda: len(place.store.keys(prefix)) == len(before) + 1, 60)
    assert place.store.digests(prefix) == digests(folders["data"])
    assert before.items() <= digests(folders["data"]).items()


def empty(folder: Path) -> None:
    for one in folder.iterdir():
        shutil.rmtree(one) if one.is_dir() else one.unlink()
