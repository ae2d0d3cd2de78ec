"""The application chart: what it renders, and that both majors of Helm render the same."""

from __future__ import annotations

import copy
import os
import re
from pathlib import Path

import pytest
import yaml
from kube import APPLICATION, DAEMON, ROOT, VALUES, Helm, container, of, pods, run

GOLDEN = Path(__file__).parent / "golden"
MINIMAL = ("--set", "config.s3_bucket=example", "--set", "source.existingClaim=uploads")


def normal(objects: list[dict]) -> str:
    """Rendered objects without what changes with every version, in an order of their own."""
    objects = copy.deepcopy(objects)
    text = yaml.safe_dump_all(sorted(objects, key=lambda one: (one["kind"], one["metadata"]["name"])))
    version = r"(helm.sh/chart: \S+-|app.kubernetes.io/version: |file-sync-service:)[0-9.]+\b"
    text = re.sub(version, r"\1VERSION", text)
    return re.sub(r"(checksum/\S+:) [0-9a-f]{64}", r"\1 HASH", text)


def test_the_defaults_lint(helm: Helm) -> None:
    done = helm("lint", "--strict", APPLICATION)
    assert done.code == 0, done.said


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
def test_every_way_to_install_it_lints_and_renders_what_was_reviewed(helm: Helm, values: Path) -> None:
    done = helm("lint", "--strict", APPLICATION, "--values", values)
    assert done.code == 0, done.said
    rendered = normal(helm.template(APPLICATION, "--values", values))
    golden = GOLDEN / f"{values.stem.removesuffix('-values')}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(rendered)
    assert golden.read_text() == rendered, "look at it, then: make packaging UPDATE_GOLDEN=1"


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
def test_the_service_understands_the_configuration(newest: Helm, values: Path, place: Path) -> None:
    objects = newest.template(APPLICATION, "--values", values)
    maps = [one for one in of(objects, "ConfigMap") if "config.yml" in one.get("data", {})]
    if not maps:
        assert "existingConfigMap" in values.read_text()
        return
    text = maps[0]["data"]["config.yml"]
    config = yaml.safe_load(text)
    (place / "config.yml").write_text(text)
    done = run(DAEMON, "check-config", "--config", place / "config.yml", cwd=place)
    assert done.code == 0, done.said
    workloads = of(objects, "StatefulSet") + of(objects, "Deployment") + of(objects, "DaemonSet")
    (pod,) = pods(workloads)
    assert config["shutdown_timeout_seconds"] + 5 <= pod["spec"]["terminationGracePeriodSeconds"]
    mounts = {one["mountPath"] for one in container(pod)["volumeMounts"]}
    assert {config["watch_path"], config["state_dir"]} <= mounts


def test_what_cannot_be_changed_later_holds_nothing_that_changes(newest: Helm) -> None:
    arguments = (*MINIMAL, "--set", "commonLabels.team=x", "--set", "image.tag=9")
    spec = of(newest.template(APPLICATION, *arguments), "StatefulSet")[0]["spec"]
    stable = {"app.kubernetes.io/name": "file-sync-service", "app.kubernetes.io/instance": "example"}
    assert spec["selector"]["matchLabels"] == stable
    assert spec["volumeClaimTemplates"][0]["metadata"] == {"name": "file-sync-state", "labels": stable}
    assert spec["serviceName"] == "example-file-sync-service"
    assert spec["podManagementPolicy"] == "Parallel"


@pytest.mark.parametrize("arguments", [(), ("--set", f"fullnameOverride={'n' * 52}")])
def test_names_leave_room_for_what_kubernetes_adds(newest: Helm, arguments: tuple[str, ...]) -> None:
    for one in newest.template(APPLICATION, *MINIMAL, *arguments, release="r" * 53):
        if one["kind"] != "Pod":
            assert len(one["metadata"]["name"]) <= 52, one["metadata"]["name"]
        for value in one["metadata"].get("labels", {}).values():
            assert len(value) <= 63


def test_a_change_of_the_configuration_restarts_the_pods_unless_disabled(newest: Helm) -> None:
    def checksum(*arguments: str) -> str | None:
        pod = pods(of(newest.template(APPLICATION, *MINIMAL, *arguments), "StatefulSet"))[0]
        return pod["metadata"]["annotations"].get("checksum/config")

    assert checksum() != checksum("--set", "config.s3_prefix=other")
    assert checksum("--set", "rollOnConfigChange=false") is None


def test_no_variable_stands_twice(newest: Helm) -> None:
    for values in VALUES:
        for pod in pods(newest.template(APPLICATION, "--values", values)):
            for one in pod["spec"]["containers"]:
                names = [variable["name"] for variable in one.get("env", [])]
                assert len(names) == len(set(names)), (values.name, names)


def test_a_service_named_like_the_prefix_cannot_reach_the_configuration(place: Path) -> None:
    """What Kubernetes would set for a Service named file-sync."""
    env = {"FILE_SYNC_PORT": "tcp://10.0.0.1:80", "FILE_SYNC_SERVICE_HOST": "10.0.0.1"}
    env |= {"FILE_SYNC__WATCH_PATH": "/data", "FILE_SYNC__S3_BUCKET": "example", "FILE_SYNC__STATE_DIR": ""}
    done = run(DAEMON, "check-config", cwd=place, env=env)
    assert done.code == 0, done.said


def test_an_umbrella_chart_may_bring_its_own_keys(helm: Helm, place: Path) -> None:
    (place / "Chart.yaml").write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v2",
                "name": "umbrella",
                "version": "1.0.0",
                "dependencies": [
                    {
                        "name": "file-sync-service",
                        "alias": "uploads",
                        "version": "*",
                        "repository": f"file://{APPLICATION}",
                        "condition": "uploads.enabled",
                    }
                ],
            }
        )
    )
    values = {
        "global": {"imageRegistry": "mirror.example.com", "other": "value"},
        "uploads": {"enabled": True, "x-anchor": 1, "config": {"s3_bucket": "b"}, "source": {"existingClaim": "c"}},
    }
    (place / "values.yaml").write_text(yaml.safe_dump(values))
    built = helm("dependency", "build", place)
    assert built.code == 0, built.said
    objects = helm.template(place)
    image = container(pods(of(objects, "StatefulSet"))[0])["image"]
    assert image.startswith("mirror.example.com/file-sync-service:")
    assert not of(helm.template(place, "--set", "uploads.enabled=false"), "StatefulSet")


def test_the_test_s_pod_has_what_the_workload_s_has(newest: Helm) -> None:
    settings = ("extraEnv[0].name=OTHER", "extraEnv[0].value=x", "extraEnvFrom[0].secretRef.name=more")
    settings += ("sharding.enabled=true", "replicaCount=3")
    objects = newest.template(APPLICATION, *MINIMAL, *(part for one in settings for part in ("--set", one)))
    (test,), (pod,) = of(objects, "Pod"), pods(of(objects, "StatefulSet"))
    (ours,) = test["spec"]["containers"]
    assert ours["env"] == container(pod)["env"]
    assert ours["envFrom"] == container(pod)["envFrom"]
    # The index comes from this label, which only a StatefulSet puts there.
    assert test["metadata"]["labels"]["apps.kubernetes.io/pod-index"] == "0"
    # Helm 3 asks for the log after it has removed what succeeded.
    assert test["metadata"]["annotations"]["helm.sh/hook-delete-policy"] == "before-hook-creation"


def test_without_a_listener_there_is_no_port(newest: Helm) -> None:
    probes = [f"probes.{one}.enabled=false" for one in ("startup", "liveness", "readiness")]
    settings = ["config.listen_address=off", "networkPolicy.enabled=true", *probes]
    objects = newest.template(APPLICATION, *MINIMAL, *(part for one in settings for part in ("--set", one)))
    ours = container(pods(of(objects, "StatefulSet"))[0])
    assert not ours.keys() & {"ports", "startupProbe", "livenessProbe", "readinessProbe"}
    (service,), (policy,) = of(objects, "Service"), of(objects, "NetworkPolicy")
    assert "ports" not in service["spec"] and policy["spec"]["ingress"] == []


def test_without_an_admin_address_prestop_has_the_socket(newest: Helm) -> None:
    """The hook finds the socket by the state directory, and no probe asks the admin address."""
    whole = container(pods(of(newest.template(APPLICATION, *MINIMAL), "StatefulSet"))[0])
    off = newest.template(APPLICATION, *MINIMAL, "--set", "config.admin_address=off")
    ours = container(pods(of(off, "StatefulSet"))[0])
    for part in ("lifecycle", "ports", "startupProbe", "livenessProbe", "readinessProbe"):
        assert ours[part] == whole[part], part
    assert "prestop" in ours["lifecycle"]["preStop"]["exec"]["command"]


def test_a_spread_without_a_selector_counts_the_pods_of_the_release(newest: Helm) -> None:
    own = ("--set", "topologySpreadConstraints[0].maxSkew=1", "--set", "topologySpreadConstraints[1].maxSkew=2")
    own += ("--set", "topologySpreadConstraints[1].labelSelector.matchLabels.app=mine")
    (one,) = of(newest.template(APPLICATION, *MINIMAL, *own), "StatefulSet")
    first, second = pods([one])[0]["spec"]["topologySpreadConstraints"]
    assert first == {"maxSkew": 1, "labelSelector": one["spec"]["selector"]}
    assert second == {"maxSkew": 2, "labelSelector": {"matchLabels": {"app": "mine"}}}


def test_the_notes_warn_of_what_will_hurt(newest: Helm) -> None:
    def notes(*arguments: str) -> str:
        done = newest("install", "example", APPLICATION, "--dry-run=client", *MINIMAL, *arguments)
        assert done.code == 0, done.said
        return done.out.partition("NOTES:")[2]

    plain = notes()
    assert "no credentials are set up here" in plain
    assert "config.s3_prefix is empty" in plain
    assert "image.registry is empty" in plain
    good = ("--set", "aws.podIdentity=true", "--set", "config.s3_prefix=p", "--set", "image.registry=r.example.com")
    assert "WARNING" not in notes(*good)
    assert "emptyDir" in notes(*good, "--set", "state.type=emptyDir")
    assert "s3://example/p/NODE." in notes(*good, "--set", "mode=daemonset", "--set", "state.type=emptyDir")
    assert "privileged" in notes(
        *good, "--set", "source.existingClaim=", "--set", "source.volume.hostPath.path=/srv"
    )
