"""Charts and manifests as they are installed: each is accepted, becomes ready, and a file arrives in the bucket."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import yaml
from api import Object, status
from common import ROOT, Run, eventually
from place import KEYS, Place, command, digests, text

CHART = ROOT / "helm/file-sync-service"
HARDENED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def private_files(folder: Path) -> None:
    """Of an application that lets only its group read; the kubelet's fsGroup makes them the service's."""
    for name, body in (("a.txt", "first"), ("folder/b.txt", "second")):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(body)
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, 1000, 1000)
        path.chmod(0o750 if path.is_dir() else 0o640)


def ready(place: Place, prefix: str) -> Object:
    def there() -> Object | None:
        pod = place.pod(prefix)
        return pod if status(pod, "file-sync").get("ready") else None

    return eventually(f"{prefix} is ready", there, 60)


def writer(claim: str) -> Object:
    """An application of its own, that writes on the claim as uid 1000."""
    one = {"name": "writer", "image": "registry.example.com/writer:1", "command": ["sleep", "3600"]}
    one |= {"securityContext": HARDENED, "volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    profile = {"seccompProfile": {"type": "RuntimeDefault"}, "runAsNonRoot": True, "runAsUser": 1000}
    spec = {"containers": [one], "terminationGracePeriodSeconds": 1, "automountServiceAccountToken": False}
    spec |= {"securityContext": profile | {"fsGroup": 1000, "fsGroupChangePolicy": "OnRootMismatch"}}
    spec |= {"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "writer"}, "spec": spec}


def test_helm_installs_tests_upgrades_and_leaves_the_record(place: Place, helm: str) -> None:
    folder = place.claim("uploads")
    private_files(folder)
    place.helm(helm, "install", "uploads", CHART, "--values", place.values()).fine()
    first = ready(place, "uploads-file-sync-service-0")
    place.mirrors(text(**{"a.txt": "first", "folder/b.txt": "second"}))

    said = place.helm(helm, "test", "uploads", "--logs")
    assert said.code == 0, said.said
    assert "s3_bucket" in said.out, said.said

    upgraded = place.values(podAnnotations={"again": "yes"})
    place.helm(helm, "upgrade", "uploads", CHART, "--values", upgraded).fine()
    assert place.codes(place.last(first)) == {"file-sync": 0}
    ready(place, "uploads-file-sync-service-0")
    (folder / "late.txt").write_text("after the upgrade")
    (folder / "late.txt").chmod(0o644)
    place.mirrors(digests(folder))

    place.helm(helm, "uninstall", "uploads").fine()
    claims = {one["metadata"]["name"] for one in place.api.list("persistentvolumeclaims", place.name)}
    assert claims == {"uploads", "file-sync-state-uploads-file-sync-service-0"}
    assert place.bucket() == digests(folder)


def test_an_application_that_comes_second_may_write(place: Place) -> None:
    """Where the claim was mounted as a read-only volume first, the kubelet gave the second pod no group."""
    folder = place.claim("uploads")
    values = place.values(podSecurityContext={"fsGroup": 1000}, securityContext={"runAsUser": 1000, "runAsGroup": 1000})
    place.helm("helm-4.2", "install", "uploads", CHART, "--values", values).fine()
    ready(place, "uploads-file-sync-service-0")
    place.apply(writer("uploads"))
    pod = place.pod("writer", "writer")
    place.sh(pod, "writer", "echo hello >/data/hello.txt")
    place.mirrors(text(**{"hello.txt": "hello\n"}))
    assert digests(folder) == place.bucket()


def test_an_upgrade_restores_what_kubectl_scale_has_changed(place: Place, helm: str) -> None:
    """As docs/SCALING.md has it: Helm 4 applies on the server, where kubectl owns the number after a scale."""
    place.claim("uploads")
    values = place.values(replicaCount=2, sharding={"enabled": True})
    place.helm(helm, "install", "uploads", CHART, "--values", values).fine()
    name = "uploads-file-sync-service"
    for number in (0, 1):
        ready(place, f"{name}-{number}")
    force = ("--force-conflicts",) if helm.startswith("helm-4") else ()
    for wrong in (1, 3):
        place.kubectl("scale", f"statefulset/{name}", f"--replicas={wrong}").fine()
        place.helm(helm, "upgrade", "uploads", CHART, "--values", values, *force).fine()
        assert place.api.get("statefulsets", place.name, name)["spec"]["replicas"] == 2
    assert not force or "`--force-conflicts`" in (ROOT / "docs/SCALING.md").read_text()


def test_names_that_look_like_numbers_install(place: Place) -> None:
    folder = place.claim("2024")
    (folder / "a.txt").write_text("a")
    values = place.values(
        source={"existingClaim": "2024"}, podLabels={"year": "2024"}, commonLabels={"exponent": "1e3"}
    )
    place.helm("helm-4.2", "install", "2024", CHART, "--values", values).fine()
    ready(place, "2024-file-sync-service-0")
    place.mirrors(text(**{"a.txt": "a"}))


def test_kustomize_installs_the_base_and_a_second_apply_changes_nothing(place: Place, kubectl: str) -> None:
    folder = place.claim("uploads")
    private_files(folder)
    overlay = place.example("base", [])
    place.kubectl("apply", "--kustomize", overlay, client=kubectl).fine()
    ready(place, "file-sync-service-0")
    place.mirrors(text(**{"a.txt": "first", "folder/b.txt": "second"}))
    again = place.kubectl("apply", "--kustomize", overlay, client=kubectl).fine()
    assert "configured" not in again and "created" not in again, again
    server = place.kubectl("apply", "--server-side", "--kustomize", overlay, client=kubectl)
    assert server.code == 0, server.said


def test_a_sidecar_without_its_restart_policy_is_refused(place: Place) -> None:
    """As an old webhook would leave it: what the docs say of it is what is seen."""
    plain = [{"op": "remove", "path": "/spec/template/spec/initContainers/0/restartPolicy"}]
    patch = {"target": {"kind": "Deployment", "name": "web"}, "patch": yaml.safe_dump(plain)}
    overlay = place.example("web", [patch, command("Deployment", "web", "sleep 3600")])
    said = place.kubectl("apply", "--kustomize", overlay)
    assert said.code != 0, said.said
    assert "may not be set for init containers without restartPolicy=Always" in said.err, said.said
    documented = (ROOT / "k8s/README.md").read_text()
    assert "may not be set for init containers without restartPolicy=Always" in documented


def test_every_example_is_accepted_by_the_server(place: Place) -> None:
    """Under `restricted`, with no warning."""
    for name in sorted(one.name for one in (ROOT / "k8s/examples").iterdir()):
        said = place.kubectl("apply", "--dry-run=server", "--kustomize", place.example(name, [], components=()))
        assert said.code == 0, said.said
        assert "Warning" not in said.err, said.said


def test_keys_reach_a_sidecar_by_the_component(place: Place) -> None:
    overlay = place.example("web", [command("Deployment", "web", "echo hello >/var/www/uploads/hello.txt; sleep 3600")])
    place.kubectl("apply", "--kustomize", overlay).fine()
    pod = place.pod("web")
    place.mirrors(text(**{"hello.txt": "hello\n"}))
    (sidecar,) = pod["spec"]["initContainers"]
    assert sidecar["envFrom"] == [{"secretRef": {"name": KEYS}}]


def upgrade(place: Place, helm: str, **values: object) -> Run:
    return place.helm(helm, "upgrade", "uploads", CHART, "--values", place.values(**values))


def test_what_kubernetes_cannot_change_is_refused_with_the_steps_that_work(place: Place, helm: str) -> None:
    """The steps are those of the message, as it says them; the record and the files stay."""
    folder = place.claim("uploads")
    (folder / "a.txt").write_text("a")
    place.helm(helm, "install", "uploads", CHART, "--values", place.values(state={"size": "1Gi"})).fine()
    ready(place, "uploads-file-sync-service-0")
    place.mirrors(text(**{"a.txt": "a"}))
    for values, said in (
        ({"state": {"annotations": {"a": "b"}}}, "state.annotations: StatefulSet uploads-file-sync-service cannot"),
        ({"state": {"accessModes": ["ReadWriteOnce"]}}, "state.accessModes: StatefulSet"),
        ({"state": {"storageClass": "other"}}, "state.storageClass: StatefulSet"),
        ({"state": {"type": "emptyDir"}}, "state: StatefulSet uploads-file-sync-service was installed with a claim"),
        ({"nameOverride": "x", "fullnameOverride": "uploads-file-sync-service"}, "nameOverride: the selector of"),
        ({"state": {"size": "2Gi"}}, "state.size: StatefulSet uploads-file-sync-service has 1Gi and cannot change it"),
    ):
        refused = upgrade(place, helm, **values)
        assert refused.code != 0 and said in refused.err, refused.said
    upgrade(place, helm, state={"size": "1024Mi"}).fine()

    words = " ".join(refused.err.split())
    for command_line in re.findall(r"kubectl --namespace \S+ ((?:delete|patch) .+?)(?:, which|\)|$)", words):
        # A local volume does not grow; what the step asks for is correct nevertheless.
        dry = ("--dry-run=server",) if command_line.startswith("patch") else ()
        place.kubectl(*shlex.split(command_line.rstrip("),")), *dry)
    upgrade(place, helm, state={"size": "2Gi"}).fine()
    stateful = place.api.get("statefulsets", place.name, "uploads-file-sync-service")
    assert stateful["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"] == "2Gi"
    again = ready(place, "uploads-file-sync-service-0")
    (folder / "b.txt").write_text("b")
    place.mirrors(text(**{"a.txt": "a", "b.txt": "b"}))
    assert status(again, "file-sync")["restartCount"] == 0

    place.kubectl("delete", "statefulset", "uploads-file-sync-service", "--cascade=orphan").fine()
    place.helm(helm, "rollback", "uploads", "1").fine()
    ready(place, "uploads-file-sync-service-0")


def test_another_mode_or_name_names_the_claim_that_is_left(place: Place, helm: str) -> None:
    place.claim("uploads")
    place.helm(helm, "install", "uploads", CHART, "--values", place.values()).fine()
    ready(place, "uploads-file-sync-service-0")
    changed = upgrade(place, helm, mode="deployment").fine()
    assert "WARNING file-sync-state-uploads-file-sync-service-0: a claim of this release" in changed, changed
    ready(place, "uploads-file-sync-service")
    assert "a claim of this release" not in upgrade(place, helm, mode="deployment").fine()
    smaller = upgrade(place, helm, mode="deployment", state={"size": "1Mi"})
    assert smaller.code != 0 and "state.size (1Gi): claim uploads-file-sync-service cannot" in smaller.err, smaller.said
    renamed = upgrade(place, helm, fullnameOverride="other").fine()
    assert "WARNING" in renamed and "uploads-file-sync-service: a claim of this release" in renamed, renamed
