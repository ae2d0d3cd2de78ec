"""The policies of injection on a real API server: what they add, where, and what is refused with which sentence."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
import yaml
from api import Api, Object, status
from common import HELMS, ROOT, TOOLS, Run, eventually, run
from place import CONFIG, Place, text

CHART = ROOT / "helm/file-sync-injection"
NAME = "file-sync-injection"
IMAGE = "registry.example.com/file-sync-service:0.1.0"
LABEL = "file-sync-service/inject"
HARDENED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
PROFILE = {"seccompProfile": {"type": "RuntimeDefault"}, "runAsNonRoot": True, "runAsUser": 1000}
KINDS = ["Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"]


@pytest.fixture(scope="module")
def release(api: Api, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    """Helm, for the whole cluster."""
    homes = {f"HELM_{kind}_HOME": str(tmp_path_factory.mktemp(kind)) for kind in ("CACHE", "CONFIG", "DATA")}

    def helm(*arguments: object) -> Run:
        program = TOOLS / HELMS["helm-4.2"] / "helm/helm"
        return run(program, *arguments, "--kubeconfig", api.config, "--namespace", "kube-system", env=homes)

    return helm


@pytest.fixture(scope="module", autouse=True)
def policies(api: Api, release: Callable[..., Run]) -> Iterator[None]:
    """By the chart; test_documents.py applies the manifest."""
    release("install", NAME, CHART).fine()
    # The API server reads policies from a cache of its own.
    probe = yaml.safe_dump(pod({LABEL: "perhaps"}))

    def applied() -> bool:
        return "neither" in api.kubectl("create", "--dry-run=server", "--filename", "-", stdin=probe).err

    eventually("the policies apply", applied, 60)
    yield
    release("uninstall", NAME).fine()


@pytest.fixture
def ready(place: Place) -> Place:
    """A place with its settings."""
    settings(place)
    annotate(place, image=IMAGE).fine()
    return place


def settings(place: Place) -> None:
    data = {"config.yml": yaml.safe_dump(CONFIG)}
    place.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME}, "data": data})


def annotate(place: Place, **annotations: str) -> Run:
    words = [f"file-sync-service/{key}={value}" for key, value in annotations.items()]
    return place.kubectl("annotate", "--overwrite", f"namespace/{place.name}", *words)


def template(labels: Object, script: str = "sleep 3600", **annotations: str) -> Object:
    notes = {f"file-sync-service/{key}": value for key, value in annotations.items()}
    one = {"name": "web", "image": "registry.example.com/web:1", "command": ["sh", "-c", script]}
    one |= {"securityContext": HARDENED, "volumeMounts": [{"name": "data", "mountPath": "/uploads"}]}
    spec = {"containers": [one], "securityContext": PROFILE, "automountServiceAccountToken": False}
    spec |= {"volumes": [{"name": "data", "emptyDir": {}}]}
    return {"metadata": {"labels": {"app": "web"} | labels, "annotations": notes}, "spec": spec}


def pod(labels: Object | None = None, script: str = "sleep 3600", **annotations: str) -> Object:
    one = template(labels or {LABEL: "true"}, script, **annotations)
    one["metadata"]["name"] = "web"
    return {"apiVersion": "v1", "kind": "Pod", **one}


def workload(kind: str, inner: Object, **more: object) -> Object:
    version = "batch/v1" if kind in ("Job", "CronJob") else "apps/v1"
    spec: Object = {"template": inner, **more}
    if kind == "StatefulSet":
        spec["serviceName"] = "web"
    if kind in ("Job", "CronJob"):
        inner["spec"]["restartPolicy"] = "Never"
        del inner["metadata"]["labels"]["app"]
    else:
        spec["selector"] = {"matchLabels": {"app": "web"}}
    if kind == "CronJob":
        spec = {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": spec}}
    return {"apiVersion": version, "kind": kind, "metadata": {"name": "web"}, "spec": spec}


def create(place: Place, one: Object, *more: str) -> Run:
    # A controller makes it for a new namespace; until then a pod is refused.
    account = ("get", "serviceaccount/default", "--ignore-not-found", "--output=name")
    eventually("the account is there", lambda: place.kubectl(*account).out, 30)
    return place.kubectl("create", "--filename", "-", *more, stdin=yaml.safe_dump(one))


def seen(place: Place, one: Object) -> Object:
    """As the API server would store it."""
    return json.loads(create(place, one, "--dry-run=server", "--output=json").fine())


def sidecar(one: Object) -> Object:
    (found,) = [each for each in one["spec"]["initContainers"] if each["name"] == "file-sync"]
    return found


def variables(one: Object) -> dict[str, str | None]:
    return {each["name"]: each.get("value") for each in sidecar(one)["env"]}


def names(one: Object) -> list[str]:
    return [each["name"] for each in one["spec"]["initContainers"]]


def test_a_labelled_pod_is_mirrored_and_its_last_file_too(ready: Place) -> None:
    """Under `restricted`, as a user who runs kubectl."""
    script = "trap 'echo last >/uploads/last; exit 0' TERM; echo first >/uploads/first; while true; do sleep 0.2; done"
    create(ready, pod(script=script, prefix=f"{ready.name}")).fine()
    one = ready.pod("web", "web")
    ready.mirrors(text(first="first\n"))
    ready.kubectl("delete", "pod/web", "--wait=false").fine()
    last = ready.last(one)
    assert ready.codes(last) == {"file-sync": 0, "web": 0}
    assert status(last, "file-sync")["restartCount"] == 0
    assert ready.bucket() == text(first="first\n", last="last\n")


def test_the_container_is_that_of_the_manifests(ready: Place) -> None:
    """Compared as the API server stores both."""
    ours = seen(ready, pod())
    manifest = [one for one in yaml.safe_load_all((ROOT / "k8s/sidecar/deployment.yaml").read_text())]
    (deployment,) = [one for one in manifest if one["kind"] == "Deployment"]
    del deployment["spec"]["template"]["metadata"]["annotations"]
    theirs = seen(ready, deployment)["spec"]["template"]
    mine, other = sidecar(ours), sidecar(theirs)
    added = ["FILE_SYNC__WATCH_PATH", "FILE_SYNC__STATE_DIR", "FILE_SYNC__SHUTDOWN_TIMEOUT_SECONDS"]
    added += ["FILE_SYNC__STATE_SURVIVES", "FILE_SYNC__S3_PREFIX"]
    assert [one["name"] for one in mine["env"][len(other["env"]) :]] == added
    mine["env"] = mine["env"][: len(other["env"])]
    assert mine.pop("envFrom") == [{"secretRef": {"name": "file-sync-keys", "optional": True}}]
    assert mine.pop("image").endswith(other.pop("image"))
    mounts = [one for one in mine["volumeMounts"] if "serviceaccount" not in one["mountPath"]]
    assert mounts == other["volumeMounts"]
    del mine["volumeMounts"], other["volumeMounts"]
    assert mine == other
    keys = ("file-sync-config", "file-sync-state")
    volumes = [{one["name"]: one for one in each["spec"]["volumes"]} for each in (ours, theirs)]
    assert volumes[0][keys[1]] == volumes[1][keys[1]]
    assert volumes[0][keys[0]]["configMap"] == volumes[1][keys[0]]["configMap"] | {"name": NAME}
    for key in ("terminationGracePeriodSeconds",):
        assert ours["spec"][key] == theirs["spec"][key]
    for key in ("fsGroup", "fsGroupChangePolicy"):
        assert ours["spec"]["securityContext"][key] == theirs["spec"]["securityContext"][key]


def test_every_kind_of_workload_gets_it(ready: Place) -> None:
    script = "echo hello >/uploads/hello"
    for kind in KINDS:
        create(ready, workload(kind, template({LABEL: "true"})), "--dry-run=server").fine()
    create(ready, workload("Job", template({LABEL: "true"}, script, prefix=ready.name))).fine()
    eventually("the Job is complete", lambda: _complete(ready), 120)
    assert ready.bucket() == text(hello="hello\n")
    deployment = workload(
        "Deployment", template({LABEL: "true"}, script + "; sleep 3600"), strategy={"type": "Recreate"}
    )
    create(ready, deployment).fine()
    one = eventually("the Deployment's pod is there", lambda: _replica(ready), 60)
    assert variables(one)["FILE_SYNC__S3_PREFIX"] == "$(POD_NAMESPACE)/$(POD_NAME)"
    key = f"{one['metadata']['name']}/hello"
    eventually("its prefix is its own", lambda: key in ready.bucket(), 60)


def _replica(place: Place) -> Object | None:
    pods = place.api.list("pods", place.name)
    kinds = {one["metadata"]["name"]: one["metadata"]["ownerReferences"][0]["kind"] for one in pods}
    return next((one for one in pods if kinds[one["metadata"]["name"]] == "ReplicaSet"), None)


def _complete(place: Place) -> bool:
    job = place.api.get("jobs", place.name, "web")
    return any(one["type"] == "Complete" for one in job["status"].get("conditions", []))


def test_kubectl_run_gets_it_too(ready: Place) -> None:
    spec = template({})["spec"]
    spec["containers"][0]["name"] = "web"
    said = ready.kubectl(
        *("run", "web", "--image=registry.example.com/web:1", f"--labels={LABEL}=true", "--dry-run=server"),
        *("--output=json", f"--overrides={json.dumps({'spec': spec})}"),
    )
    assert names(json.loads(said.fine())) == ["file-sync"]


def test_the_api_server_has_no_complaint_of_the_expressions(api: Api) -> None:
    """Those that it checks against the types of pods and workloads."""
    path = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"

    def checked() -> list[Object]:
        found = [one for one in api.ask("GET", path)["body"]["items"] if one["metadata"]["name"].startswith(NAME)]
        assert len(found) == 4
        return [one for one in found if "typeChecking" in one.get("status", {})] if found else []

    found = eventually("the types are checked", lambda: len(checked()) == 4 and checked(), 60)
    assert [one["status"]["typeChecking"] for one in found] == [{}] * 4


def test_without_the_label_nothing_happens(ready: Place) -> None:
    for labels in ({"app": "web"}, {LABEL: "false"}):
        assert "initContainers" not in seen(ready, pod(labels))["spec"]


def test_a_pod_that_has_it_is_left_alone(ready: Place) -> None:
    """A copied manifest, or a component of kustomize; the classic one too."""
    first = seen(ready, pod())
    again = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": first["spec"]}
    again["metadata"] |= {key: first["metadata"][key] for key in ("labels", "annotations") if key in first["metadata"]}
    assert seen(ready, again)["spec"] == first["spec"]
    classic = pod()
    classic["spec"]["containers"].append(
        {"name": "file-sync", "image": IMAGE, "securityContext": HARDENED, "volumeMounts": []}
    )
    assert "initContainers" not in seen(ready, classic)["spec"]


def test_it_is_first_but_after_what_has_to_be_before_it(ready: Place) -> None:
    def behind(*others: str, **annotations: str) -> list[str]:
        one = pod(**annotations)
        each = {"image": "registry.example.com/web:1", "securityContext": HARDENED}
        one["spec"]["initContainers"] = [{"name": name, **each} for name in others]
        return names(seen(ready, one))

    assert behind() == ["file-sync"]
    assert behind("prepare") == ["file-sync", "prepare"]
    assert behind("istio-proxy", "prepare") == ["istio-proxy", "file-sync", "prepare"]
    assert behind("a", "restore", "b", after="restore") == ["a", "restore", "file-sync", "b"]
    assert behind("a", "restore", "b", after="a, restore") == ["a", "restore", "file-sync", "b"]
    assert behind("istio-proxy", after="") == ["file-sync", "istio-proxy"]
    # A webhook that comes later put the proxy behind it.
    assert behind("file-sync", "a", "linkerd-proxy", "b") == ["a", "linkerd-proxy", "file-sync", "b"]
    annotate(ready, after="prepare").fine()
    eventually("the namespace's applies", lambda: behind("prepare") == ["prepare", "file-sync"], 30)
    assert behind("prepare", after="") == ["file-sync", "prepare"]


def test_what_the_pod_says_is_kept(ready: Place) -> None:
    one = pod(bucket="another-bucket", prefix="a/$(POD_NAME)")
    one["spec"]["terminationGracePeriodSeconds"] = 300
    one["spec"]["securityContext"] = PROFILE | {"fsGroup": 7}
    one["spec"]["volumes"].append({"name": "file-sync-state", "persistentVolumeClaim": {"claimName": "state"}})
    found = seen(ready, one)
    said = variables(found)
    assert found["spec"]["terminationGracePeriodSeconds"] == 300
    assert said["FILE_SYNC__SHUTDOWN_TIMEOUT_SECONDS"] == "295"
    assert said["FILE_SYNC__S3_BUCKET"] == "another-bucket"
    assert said["FILE_SYNC__S3_PREFIX"] == "a/$(POD_NAME)"
    assert said["FILE_SYNC__STATE_SURVIVES"] == "yes"
    assert found["spec"]["securityContext"]["fsGroup"] == 7
    assert "fsGroupChangePolicy" not in found["spec"]["securityContext"]
    (state,) = [each for each in found["spec"]["volumes"] if each["name"] == "file-sync-state"]
    assert "persistentVolumeClaim" in state


def test_users_need_no_permission_for_the_configmap(ready: Place) -> None:
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "pods"}}
    role["rules"] = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["create", "get"]}]
    ready.apply(role)
    ready.kubectl("create", "rolebinding", "pods", "--role=pods", "--user=someone").fine()
    refused = ready.kubectl("get", "configmaps", "--as=someone")
    assert "forbidden" in refused.err, refused.said
    made = create(ready, pod(), "--dry-run=server", "--output=json", "--as=someone").fine()
    assert sidecar(json.loads(made))["image"] == IMAGE


REFUSED = [
    ({LABEL: "yes"}, {}, 'label file-sync-service/inject: yes is neither "true" nor "false"'),
    (None, {"volumes": "x"}, "annotation file-sync-service/volumes: unknown; the annotations are"),
    (None, {"volume": "uploads"}, "annotation file-sync-service/volume: the pod has no volume uploads; it has data"),
    (None, {"bucket": "My_Bucket"}, "annotation file-sync-service/bucket: My_Bucket is not a valid bucket name"),
    (None, {"prefix": "/uploads"}, "annotation file-sync-service/prefix: /uploads must not start with a slash"),
]


@pytest.mark.parametrize(("labels", "annotations", "sentence"), REFUSED, ids=lambda one: str(one)[:30])
def test_what_cannot_work_is_refused_with_the_reason(
    ready: Place, labels: Object | None, annotations: dict[str, str], sentence: str
) -> None:
    """Pods and templates of every kind, and nothing else is said."""
    ones = [pod(labels, **annotations)]
    ones += [workload(kind, template(labels or {LABEL: "true"}, **annotations)) for kind in KINDS]
    for one in ones:
        said = create(ready, one, "--dry-run=server")
        assert said.code != 0 and sentence in said.err, (one["kind"], said.said)
        assert "no such key" not in said.err and "expression" not in said.err, said.said


def test_several_pods_never_share_a_prefix(ready: Place) -> None:
    def said(kind: str, prefix: str, **more: object) -> Run:
        return create(ready, workload(kind, template({LABEL: "true"}, prefix=prefix), **more), "--dry-run=server")

    shared = "several pods would share uploads; add $(POD_NAME)"
    assert shared in said("Deployment", "uploads", replicas=2).err
    assert shared in said("StatefulSet", "uploads", replicas=2).err
    assert shared in said("DaemonSet", "uploads").err
    assert shared in said("Job", "uploads", parallelism=2).err
    said("Deployment", "uploads/$(POD_NAME)", replicas=2).fine()
    said("DaemonSet", "uploads/$(NODE_NAME)").fine()
    rolls = "Warning: Validation failed for ValidatingAdmissionPolicy 'file-sync-injection-rollouts'"
    warned = said("Deployment", "uploads")
    assert warned.code == 0 and rolls in warned.err, warned.said
    assert "in a rolling update two pods share uploads; set strategy: {type: Recreate}" in warned.err
    for one in (
        said("Deployment", "uploads", strategy={"type": "Recreate"}),
        said("Deployment", "uploads/$(POD_NAME)"),
    ):
        assert one.code == 0 and "Warning" not in one.err, one.said


def test_the_annotations_of_the_namespace_are_the_defaults_of_its_pods(ready: Place) -> None:
    annotate(ready, image=f"{IMAGE}-other", volume="files", bucket="another-bucket", prefix="a/$(POD_NAME)").fine()
    one = pod()
    one["spec"]["volumes"].append({"name": "files", "emptyDir": {}})
    eventually("they apply", lambda: sidecar(seen(ready, one))["image"] == f"{IMAGE}-other", 30)
    found = seen(ready, one)
    said = variables(found)
    assert (said["FILE_SYNC__S3_BUCKET"], said["FILE_SYNC__S3_PREFIX"]) == ("another-bucket", "a/$(POD_NAME)")
    assert "files" in [each["name"] for each in sidecar(found)["volumeMounts"]]
    one["metadata"]["annotations"] = {"file-sync-service/bucket": "own-bucket", "file-sync-service/volume": "data"}
    said = variables(seen(ready, one))
    assert (said["FILE_SYNC__S3_BUCKET"], said["FILE_SYNC__S3_PREFIX"]) == ("own-bucket", "a/$(POD_NAME)")


WRONG = [
    (
        {"imgae": "x"},
        "file-sync-service/imgae: unknown; a namespace has file-sync-service/image, volume, bucket, prefix",
    ),
    ({"bucket": "My_Bucket"}, "annotation file-sync-service/bucket: My_Bucket is not a valid bucket name"),
    ({"prefix": "a//b"}, "annotation file-sync-service/prefix: a//b must not start with a slash, or contain //"),
]


@pytest.mark.parametrize(("wrong", "sentence"), WRONG, ids=lambda one: str(one)[:30])
def test_a_wrong_annotation_of_a_namespace_is_refused(place: Place, wrong: dict[str, str], sentence: str) -> None:
    refused = annotate(place, **wrong)
    assert refused.code != 0 and sentence in refused.err, refused.said


def test_a_namespace_without_its_configmap_is_an_event_and_then_a_start(place: Place) -> None:
    annotate(place, image=IMAGE).fine()
    deployment = workload("Deployment", template({LABEL: "true"}), strategy={"type": "Recreate"})
    create(place, deployment).fine()
    failed = eventually("an event says so", lambda: place.recorder.events("FailedMount"), 60)
    assert f'configmap "{NAME}" not found' in failed[0]["message"]
    settings(place)
    # The kubelet tries again with pauses of up to two minutes.
    place.pod("web", seconds=180)


def test_policies_that_were_removed_and_installed_again_work(ready: Place, release: Callable[..., Run]) -> None:
    """A ConfigMap as their parameter would not be seen any more: kubernetes/kubernetes#130887."""
    release("uninstall", NAME).fine()
    eventually("nothing is added", lambda: "initContainers" not in seen(ready, pod())["spec"], 60)
    release("install", NAME, CHART).fine()
    eventually("it is added again", lambda: names_or_none(seen(ready, pod())) == ["file-sync"], 60)
    annotate(ready, image=f"{IMAGE}-later").fine()
    eventually("a later annotation too", lambda: sidecar(seen(ready, pod()))["image"] == f"{IMAGE}-later", 30)


def names_or_none(one: Object) -> list[str]:
    return names(one) if "initContainers" in one["spec"] else []
