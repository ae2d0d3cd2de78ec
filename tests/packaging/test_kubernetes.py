"""Everything rendered: Kubernetes knows every field, and `restricted` admits every pod."""

from __future__ import annotations

from pathlib import Path

import kubernetes_validate
import pytest
from kube import APPLICATION, EXAMPLES, K8S, VALUES, Helm, Object, documents, kustomize, pods
from restricted import violations

KUBERNETES = ["1.29", "1.31", "1.33", "1.35", "1.36", "1.37"]


@pytest.fixture(scope="module")
def rendered(newest: Helm, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Object]]:
    """Every way the project can be installed."""
    everything = {f"chart, {one.stem}": newest.template(APPLICATION, "--values", one) for one in VALUES}
    everything["sidecar chart"] = newest.consumer(tmp_path_factory.mktemp("consumer"))
    everything["sidecar manifest"] = documents((K8S / "sidecar/deployment.yaml").read_text())
    for one in [K8S / "base", *EXAMPLES]:
        everything[f"kustomize, {one.name}"] = kustomize("kustomize-5.8", one)
    return everything


@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_knows_every_field(rendered: dict[str, list[Object]], version: str) -> None:
    checked = 0
    for where, objects in rendered.items():
        for one in objects:
            if "monitoring.coreos.com" in one["apiVersion"]:
                continue
            try:
                kubernetes_validate.validate(one, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                pytest.fail(f"{where}, {one['kind']} {one['metadata']['name']}: {error.message} at {error.path}")
            checked += 1
    assert checked > 50


def test_restricted_admits_every_pod_but_those_with_a_directory_of_the_node(
    rendered: dict[str, list[Object]],
) -> None:
    for where, objects in rendered.items():
        found = [what for pod in pods(objects) for what in violations(pod)]
        if where == "chart, daemonset-values":
            assert found == ["volume source: hostPath", "volume file-sync-state: hostPath"]
        else:
            assert found == [], where


def test_the_check_itself_sees_what_is_wrong() -> None:
    """A check that admits everything would pass as well."""
    bad = {
        "spec": {
            "hostNetwork": True,
            "volumes": [{"name": "v", "hostPath": {}}],
            "initContainers": [{"name": "init", "lifecycle": {}}],
            "containers": [{"name": "main", "securityContext": {"runAsUser": 0, "runAsNonRoot": True}}],
        }
    }
    found = violations(bad)
    assert "hostNetwork is set" in found
    assert "volume v: hostPath" in found
    assert "init: lifecycle on a plain init container" in found
    for one in ("init", "main"):
        for what in ("allowPrivilegeEscalation is not false", "capabilities", "may run as root", "seccompProfile"):
            assert f"{one}: {what}" in found


def test_no_pod_gets_a_token_or_the_variables_of_services(rendered: dict[str, list[Object]]) -> None:
    for where, objects in rendered.items():
        for pod in pods(objects):
            assert pod["spec"].get("automountServiceAccountToken") is False, where
            assert pod["spec"].get("enableServiceLinks") is False, where


def test_no_image_but_ours_and_the_application_is_needed(rendered: dict[str, list[Object]]) -> None:
    for where, objects in rendered.items():
        for pod in pods(objects):
            for one in pod["spec"]["containers"] + pod["spec"].get("initContainers", []):
                ours = "file-sync-service" in one["image"]
                assert ours or one["image"].startswith("registry.example.com/"), (where, one["image"])


def test_the_files_are_only_read(rendered: dict[str, list[Object]]) -> None:
    seen = 0
    for where, objects in rendered.items():
        for pod in pods(objects):
            for one in pod["spec"]["containers"] + pod["spec"].get("initContainers", []):
                if one["name"] != "file-sync":
                    continue
                (mount,) = [mount for mount in one["volumeMounts"] if mount["mountPath"] == "/data"]
                assert mount["readOnly"] is True, where
                seen += 1
    assert seen >= len(rendered)


def test_the_tree_of_manifests_is_all_used() -> None:
    """A component that no kustomization builds is one that nobody has seen work."""
    used = {component for one in EXAMPLES for component in _components(one)}
    alone = {"sidecar-classic", "pod-identity", "static-keys", "podmonitor"}
    assert {path.name for path in (K8S / "components").iterdir()} == used | alone


def _components(folder: Path) -> set[str]:
    (one,) = documents((folder / "kustomization.yaml").read_text())
    return {Path(path).name for path in one.get("components", [])}
