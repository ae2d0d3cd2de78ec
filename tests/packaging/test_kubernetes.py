"""Everything rendered: Kubernetes knows every field, and `restricted` admits every pod."""

from __future__ import annotations

from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from kube import EXAMPLES, K8S, OPERATOR, Object, documents, of, pods
from restricted import violations

KUBERNETES = ["1.29", "1.31", "1.33", "1.35", "1.36", "1.37"]
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


def test_no_rollout_has_two_writers_on_one_prefix(rendered: dict[str, list[Object]]) -> None:
    """The pods of a Deployment have one prefix. A rolling update would start the next one beside the one that ends."""
    deployments = [(where, one) for where, objects in rendered.items() for one in of(objects, "Deployment")]
    assert len(deployments) >= 4
    for where, one in deployments:
        assert one["spec"].get("strategy") == {"type": "Recreate"}, where


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


def test_read_only_is_the_mount_and_never_the_volume(rendered: dict[str, list[Object]]) -> None:
    """On a volume that is read-only the kubelet applies no fsGroup, and then no user may read it."""
    for where, objects in rendered.items():
        for pod in pods(objects):
            for one in pod["spec"].get("volumes", []):
                assert "readOnly" not in one.get("persistentVolumeClaim", {}), where


def test_every_field_that_the_server_fills_in_is_written_down(rendered: dict[str, list[Object]]) -> None:
    """A second apply would call it a change, or a conflict."""
    for where, objects in rendered.items():
        for pod in pods(objects):
            for one in pod["spec"]["containers"] + pod["spec"].get("initContainers", []):
                sources = [variable["valueFrom"] for variable in one.get("env", []) if "valueFrom" in variable]
                fields = [source["fieldRef"] for source in sources if "fieldRef" in source]
                assert all(field["apiVersion"] == "v1" for field in fields), where
        if not where.startswith("chart"):
            for one in of(objects, "StatefulSet"):
                for claim in one["spec"]["volumeClaimTemplates"]:
                    assert claim["kind"] == "PersistentVolumeClaim", where
                    assert claim["spec"]["volumeMode"] == "Filesystem", where
                    assert claim["status"] == {"phase": "Pending"}, where


def test_removing_an_example_leaves_the_files(rendered: dict[str, list[Object]]) -> None:
    """`kubectl delete -k` deletes what the example makes."""
    for where, objects in rendered.items():
        assert where.startswith("chart") or not of(objects, "PersistentVolumeClaim"), where


def test_each_manifest_says_in_which_region_the_bucket_is(rendered: dict[str, list[Object]]) -> None:
    """Nothing but IRSA brings one, and without it nothing is sent."""
    for where, objects in rendered.items():
        for one in [] if "chart" in where else of(objects, "ConfigMap"):
            assert "s3_region" in yaml.safe_load(one["data"]["config.yml"]), where


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_each_example_says_how_it_is_installed_on_an_empty_cluster(example: Path) -> None:
    page = (example / "kustomization.yaml").read_text()
    namespace = yaml.safe_load(page)["namespace"]
    wanted = [f"create namespace {namespace}", f"apply --kustomize k8s/examples/{example.name}"]
    if (example / "claim.yaml").exists():
        wanted.insert(1, f"apply --namespace {namespace} --filename k8s/examples/{example.name}/claim.yaml")
    assert [line for line in page.splitlines() if line.startswith("#   kubectl")] == [f"#   kubectl {one}" for one in wanted]


def test_a_job_of_the_examples_ends_some_day(rendered: dict[str, list[Object]]) -> None:
    jobs = [one for objects in rendered.values() for one in of(objects, "Job")]
    assert jobs
    assert all(one["spec"]["activeDeadlineSeconds"] for one in jobs)


def test_the_tree_of_manifests_is_all_used() -> None:
    """A component that no kustomization builds is an untested one."""
    used = {component for one in EXAMPLES for component in _components(one)}
    alone = {"sidecar-classic", "pod-identity", "static-keys", "podmonitor"}
    assert {path.name for path in (K8S / "components").iterdir()} == used | alone


def _components(folder: Path) -> set[str]:
    (one,) = documents((folder / "kustomization.yaml").read_text())
    return {Path(path).name for path in one.get("components", [])}
