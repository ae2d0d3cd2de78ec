"""The sidecar is the same container, whether Helm, kustomize or a text editor put it there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from kube import APPLICATION, EXAMPLES, K8S, SIDECAR, Helm, Object, container, documents, kustomize, of, pods
from restricted import violations

OVERLAY = """
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [{resources}]
components: [{components}]
{more}
"""


def relative(place: Path, target: Path) -> str:
    """kustomize takes no absolute paths."""
    return str(Path(*[".."] * (len(place.parts) - 1)) / target.relative_to("/"))


def overlay(place: Path, base: Path, *components: str, more: str = "") -> list[Object]:
    names = ", ".join(relative(place, K8S / "components" / one) for one in components)
    text = OVERLAY.format(resources=relative(place, base), components=names, more=more)
    (place / "kustomization.yaml").write_text(text)
    return kustomize("kustomize-5.8", place)


def plain(one: Object) -> Object:
    """Without what an installation chooses: where the image comes from."""
    image = one["image"].rpartition("/")[2]
    return {**one, "image": image}


def test_every_packaging_gives_the_same_sidecar(newest: Helm, place: Path, kustomizer: str) -> None:
    ours = plain(container(pods(newest.consumer(place))[0]))
    manifest = documents((K8S / "sidecar/deployment.yaml").read_text())
    assert plain(container(pods(manifest)[0])) == ours
    for example in ("web", "job"):
        assert plain(container(pods(kustomize(kustomizer, K8S / "examples" / example))[0])) == ours


def test_the_classic_sidecar_is_the_same_but_for_its_place(newest: Helm, place: Path) -> None:
    ours = plain(container(pods(newest.consumer(place / "chart"))[0]))
    work = place / "overlay"
    work.mkdir()
    (work / "workload.yaml").write_text((K8S / "examples/web/workload.yaml").read_text())
    more = "configMapGenerator: [{name: file-sync, literals: [config.yml=x]}]"
    classic = overlay(work, work / "workload.yaml", "sidecar-classic", more=more)
    (pod,) = pods(classic)
    assert "initContainers" not in pod["spec"]
    assert {**plain(container(pod)), "restartPolicy": "Always"} == ours


def test_the_application_chart_gives_the_same_container_but_for_what_a_sidecar_is(newest: Helm, place: Path) -> None:
    side = container(pods(newest.consumer(place))[0])
    chart = newest.template(APPLICATION, "--set", "config.s3_bucket=b", "--set", "source.existingClaim=c")
    alone = container(pods(of(chart, "StatefulSet"))[0])
    different = {key for key in side.keys() | alone.keys() if side.get(key) != alone.get(key)}
    # The volume's name differs in volumeMounts; readiness belongs to the application's pod.
    assert different == {"restartPolicy", "resources", "readinessProbe", "volumeMounts"}


def test_the_base_is_what_the_chart_installs(newest: Helm) -> None:
    chart = newest.template(
        APPLICATION,
        *("--set", "config.s3_bucket=your-bucket", "--set", "config.s3_prefix=uploads"),
        *("--set", "config.s3_region=eu-central-1"),
        *("--set", "source.existingClaim=uploads"),
        release="file-sync-service",
    )
    base = kustomize("kustomize-5.8", K8S / "base")
    (theirs,), (ours,) = of(chart, "StatefulSet"), of(base, "StatefulSet")
    assert container(pods([ours])[0]) == container(pods([theirs])[0])
    for key in ("securityContext", "terminationGracePeriodSeconds", "enableServiceLinks"):
        assert pods([ours])[0]["spec"][key] == pods([theirs])[0]["spec"][key]
    for key in ("podManagementPolicy", "persistentVolumeClaimRetentionPolicy", "updateStrategy", "serviceName"):
        assert ours["spec"][key] == theirs["spec"][key]
    configs = [yaml.safe_load(of(one, "ConfigMap")[0]["data"]["config.yml"]) for one in (chart, base)]
    assert configs[0] == configs[1]


def test_the_example_of_shards_is_what_the_chart_makes_of_three(newest: Helm) -> None:
    sharded = ("--set", "replicaCount=3", "--set", "sharding.enabled=true")
    minimal = ("--set", "config.s3_bucket=b", "--set", "source.existingClaim=uploads")
    (chart,) = of(newest.template(APPLICATION, *minimal, *sharded), "StatefulSet")
    (example,) = of(kustomize("kustomize-5.8", K8S / "examples/shards"), "StatefulSet")
    assert chart["spec"]["replicas"] == example["spec"]["replicas"] == 3
    env = [{one["name"]: one for one in container(pods([each])[0])["env"]} for each in (chart, example)]
    assert env[0] == env[1]
    assert env[0]["FILE_SYNC__SHARD_COUNT"]["value"] == "3"
    index = env[0]["FILE_SYNC__SHARD_INDEX"]["valueFrom"]["fieldRef"]["fieldPath"]
    assert index == "metadata.labels['apps.kubernetes.io/pod-index']"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_kustomize_puts_the_sidecar_first_and_restarts_on_a_new_configuration(kustomizer: str, example: Path) -> None:
    objects = kustomize(kustomizer, example)
    (pod,) = pods(objects)
    (config,) = of(objects, "ConfigMap")
    mounted = [one["configMap"]["name"] for one in pod["spec"]["volumes"] if "configMap" in one]
    assert mounted == [config["metadata"]["name"]]
    assert config["metadata"]["name"].rpartition("-")[0] in ("file-sync", "file-sync-service"), "a hash is behind it"
    if example.name not in ("efs", "shards"):
        assert pod["spec"]["initContainers"][0]["name"] == "file-sync"
    names = [one["name"] for one in container(pod)["env"]]
    assert len(names) == len(set(names))


def test_an_init_container_that_is_there_stays_behind_the_sidecar(place: Path) -> None:
    (workload,) = of(documents((K8S / "examples/web/workload.yaml").read_text()), "Deployment")
    workload["spec"]["template"]["spec"]["initContainers"] = [{"name": "prepare", "image": "registry.example.com/p:1"}]
    (place / "workload.yaml").write_text(yaml.safe_dump(workload))
    more = "configMapGenerator: [{name: file-sync, literals: [config.yml=x]}]"
    (pod,) = pods(overlay(place, place / "workload.yaml", "sidecar", more=more))
    assert [one["name"] for one in pod["spec"]["initContainers"]] == ["file-sync", "prepare"]


@pytest.mark.parametrize("component", ["irsa", "pod-identity", "static-keys", "podmonitor", "networkpolicy"])
def test_each_component_changes_what_it_says(place: Path, component: str) -> None:
    objects = overlay(place, K8S / "base", component)
    annotations = of(objects, "ServiceAccount")[0]["metadata"].get("annotations", {})
    env_from = container(pods(of(objects, "StatefulSet"))[0]).get("envFrom", [])
    kinds = {one["kind"] for one in objects}
    assert ("eks.amazonaws.com/role-arn" in annotations) == (component == "irsa")
    assert ("file-sync-service/credentials" in annotations) == (component == "pod-identity")
    assert bool(env_from) == (component == "static-keys")
    assert ("PodMonitor" in kinds) == (component == "podmonitor")
    assert ("NetworkPolicy" in kinds) == (component == "networkpolicy")


@pytest.mark.parametrize("component", ["irsa", "pod-identity", "static-keys", "podmonitor", "networkpolicy"])
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_no_component_does_nothing_beside_an_example(place: Path, example: Path, component: str) -> None:
    if component in (example / "kustomization.yaml").read_text():
        return
    before, after = kustomize("kustomize-5.8", example), overlay(place, example, component)
    assert after != before
    (pod,) = pods(after)
    assert bool(container(pod).get("envFrom")) == (component == "static-keys")


def test_static_keys_reach_the_classic_sidecar(place: Path) -> None:
    (place / "workload.yaml").write_text((K8S / "examples/web/workload.yaml").read_text())
    more = "configMapGenerator: [{name: file-sync, literals: [config.yml=x]}]"
    (pod,) = pods(overlay(place, place / "workload.yaml", "sidecar-classic", "static-keys", more=more))
    assert container(pod)["envFrom"] == [{"secretRef": {"name": "file-sync-keys"}}]
    assert "initContainers" not in pod["spec"]


def test_what_iam_and_the_volume_need_is_asked_of_the_pod_of_the_example(newest: Helm, place: Path) -> None:
    (pod,) = pods(newest.consumer(place))
    assert pod["spec"]["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"
    assert [one["name"] for one in pod["spec"]["initContainers"]] == ["file-sync"]
    assert pod["metadata"]["annotations"]["checksum/file-sync"]


def test_the_sidecar_takes_a_configuration_and_a_state_of_the_chart_s_own(newest: Helm, place: Path) -> None:
    own = {"existingConfigMap": "mine", "source": {"volumeName": "data"}, "state": {"volumeName": "data"}}
    objects = newest.consumer(place, values={"file-sync-sidecar": own})
    assert not of(objects, "ConfigMap")
    (pod,) = pods(objects)
    volumes = {one["name"]: one for one in pod["spec"]["volumes"]}
    assert volumes["file-sync-config"]["configMap"]["name"] == "mine"
    assert "file-sync-state" not in volumes
    (state,) = [one for one in container(pod)["volumeMounts"] if one["mountPath"] == "/var/lib/file-sync-service"]
    assert state["name"] == "data"


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ("source.volumeName=", "source.volumeName is required"),
        ("config.s3_bucket=", "config.s3_bucket is required"),
        ("config.s3_bukcet=x", "s3_bukcet"),
        ("terminationGracePeriodSeconds=3", "terminationGracePeriodSeconds"),
        ("config.shutdown_timeout_seconds=118", "do not fit into terminationGracePeriodSeconds"),
        ("resources.limits.memory=100Mi", "resources.limits.memory"),
        ("existingConfigMap=mine", "existingConfigMap and config"),
        ("replicaCount=2", "replicaCount"),
    ],
)
def test_wrong_values_of_the_sidecar_are_refused_with_a_reason(
    newest: Helm, place: Path, wrong: str, named: str
) -> None:
    done = newest.consume(place, "--set", f"file-sync-sidecar.{wrong}")
    assert done.code != 0 and named in done.err, done.said


def test_the_library_s_readme_is_a_pod_that_restricted_admits(newest: Helm, place: Path) -> None:
    """The blocks of the page, put together as it says."""
    blocks = re.findall(r"```yaml\n(.*?)```", (SIDECAR / "README.md").read_text(), re.S)
    dependency, values, pod, config = blocks
    chart = place / "web"
    (chart / "templates").mkdir(parents=True)
    chart_yaml = "apiVersion: v2\nname: web\nversion: 1.0.0\n" + dependency.replace("../file-sync-sidecar", str(SIDECAR))
    (chart / "Chart.yaml").write_text(chart_yaml)
    (chart / "values.yaml").write_text(values)
    (chart / "templates/pod.yaml").write_text(f"apiVersion: v1\nkind: Pod\n{pod}")
    (chart / "templates/file-sync.yaml").write_text(config)
    built = newest("dependency", "build", chart)
    assert built.code == 0, built.said
    objects = newest.template(chart)
    assert {one["kind"] for one in objects} == {"ConfigMap", "Pod"}
    (one,) = of(objects, "Pod")
    assert violations(one) == []
    assert one["spec"]["automountServiceAccountToken"] is False
    names = {volume["name"] for volume in one["spec"]["volumes"]}
    assert {mount["name"] for mount in container(one)["volumeMounts"]} == names
