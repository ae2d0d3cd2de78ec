"""Everything rendered: Kubernetes knows every field, and `restricted` admits every pod."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import kubernetes_validate
import pytest
from kube import APPLICATION, EXAMPLES, K8S, TOOLS, VALUES, Helm, Object, documents, kustomize, pods, run
from restricted import violations

KUBERNETES = ["1.29", "1.31", "1.33", "1.35", "1.36", "1.37"]
# Kinds of the Prometheus operator: Kubernetes' own schemas know nothing of them.
OPERATOR = "monitoring.coreos.com/v1"
MODELS = TOOLS / "models/node_modules"
STRICT = "--strict --skipLibCheck --noEmitOnError --module nodenext --target es2022 --outDir out"


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
            if one["apiVersion"] == OPERATOR:
                continue
            try:
                kubernetes_validate.validate(one, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                pytest.fail(f"{where}, {one['kind']} {one['metadata']['name']}: {error.message} at {error.path}")
            checked += 1
    assert checked > 50


def _misfits(objects: list[Object], place: Path) -> str:
    """What the operator's types say of these, which know every field, and its validators, which know what is in it."""
    kinds = sorted({one["kind"] for one in objects})
    module = f"@kubernetes-models/prometheus-operator/{OPERATOR}"
    lines = [f'import {{ {kind}, I{kind} }} from "{module}/{kind}";' for kind in kinds]
    for number, one in enumerate(objects):
        lines.append(f"const one{number}: I{one['kind']} = {json.dumps(one)};")
        lines.append(f"new {one['kind']}(one{number}).validate();")
    place.mkdir()
    (place / "node_modules").symlink_to(MODELS)
    (place / "all.mts").write_text("\n".join(lines))
    checked = run(MODELS / "typescript/bin/tsc", *STRICT.split(), "all.mts", cwd=place)
    if checked.code == 0:
        checked = run("node", "out/all.mjs", cwd=place)
    return checked.said if checked.code else ""


@pytest.fixture
def models() -> None:
    if not (MODELS / "typescript/bin/tsc").exists() or not shutil.which("node"):
        pytest.skip("kinds of the Prometheus operator: no node, or tests/packaging/tools could not fetch their types")


def test_the_prometheus_operator_knows_every_field(
    rendered: dict[str, list[Object]], models: None, tmp_path: Path
) -> None:
    objects = [one for objects in rendered.values() for one in objects if one["apiVersion"] == OPERATOR]
    objects += documents((K8S / "components/podmonitor/podmonitor.yaml").read_text())
    assert {one["kind"] for one in objects} == {"PodMonitor", "PrometheusRule", "ServiceMonitor"}
    assert _misfits(objects, tmp_path / "all") == ""


def test_what_the_operator_does_not_know_is_seen(models: None, tmp_path: Path) -> None:
    """A check that admits everything would pass as well."""
    endpoint = {"port": "http"}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "podMetricsEndpoints": [endpoint]}
    good = {"apiVersion": OPERATOR, "kind": "PodMonitor", "metadata": {"name": "x"}, "spec": spec}
    assert _misfits([good], tmp_path / "good") == ""
    for number, (bad, said) in enumerate(
        [
            ({"podMetricsEndpoint": []}, "podMetricsEndpoint"),
            ({"selector": {"matchLabel": {}}}, "matchLabel"),
            ({"podMetricsEndpoints": [endpoint | {"intervall": "30s"}]}, "intervall"),
            ({"podMetricsEndpoints": [endpoint | {"interval": 30}]}, "not assignable to type"),
            ({"podMetricsEndpoints": [endpoint | {"interval": "soon"}]}, "must match pattern"),
        ]
    ):
        assert said in _misfits([good | {"spec": spec | bad}], tmp_path / str(number)), bad


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
