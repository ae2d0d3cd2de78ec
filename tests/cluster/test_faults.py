"""What is wrong around the pod: it is seen where an operator looks, and cured without a loss."""

from __future__ import annotations

import json

import pytest
import yaml
from api import Object, status
from common import eventually, let_pass
from node import Node
from place import CONFIG, Place, command, digests, text
from test_install import CHART, ready

FOLDER = "/var/www/uploads"
NAME = "uploads-file-sync-service"
BUSY = f"""
trap 'exit 0' TERM
n=0
while true; do
    n=$((n+1))
    echo $n >{FOLDER}/.part && mv {FOLDER}/.part {FOLDER}/file-$n
    sleep 0.2
done
"""


def deploy(place: Place, script: str) -> None:
    place.kubectl("apply", "--kustomize", place.example("web", [command("Deployment", "web", script)])).fine()


def waiting(place: Place, container: str = "file-sync") -> Object:
    (pod,) = place.api.list("pods", place.name)
    return status(pod, container)


def test_a_store_that_is_away_at_the_start_delays_and_the_application_starts(place: Place) -> None:
    place.store.go_away()
    deploy(place, f"echo hello >{FOLDER}/hello.txt; sleep 3600")
    place.pod("web", "web")
    place.store.come_back()
    place.mirrors(text(**{"hello.txt": "hello\n"}))


def test_a_wrong_configuration_ends_with_78_and_says_why_in_the_status(place: Place) -> None:
    overlay = place.example("web", [command("Deployment", "web", "sleep 3600")])
    with (overlay / "config.yml").open("a") as file:
        file.write("s3_bukcet: x\n")
    place.kubectl("apply", "--kustomize", overlay).fine()

    def ended() -> Object | None:
        said = waiting(place) if place.api.list("pods", place.name) else {}
        return said.get("lastState", {}).get("terminated") or said.get("state", {}).get("terminated")

    last = eventually("the sidecar has ended", ended, 60)
    assert last["exitCode"] == 78
    assert "s3_bukcet: there is no such key" in last["message"]
    assert waiting(place, "web")["state"].get("waiting"), "the application does not start without it"


def test_a_configmap_that_is_missing_is_an_event_and_then_a_start(place: Place) -> None:
    folder = place.claim("uploads")
    (folder / "a.txt").write_text("a")
    overlay = place.example("base", [])
    rendered = place.kubectl("kustomize", overlay).fine()
    parts = rendered.split("---\n")
    config = next(one for one in parts if "kind: ConfigMap" in one)
    place.kubectl("apply", "--filename", "-", stdin="---\n".join(one for one in parts if one != config)).fine()
    eventually("an event says so", lambda: place.recorder.events("FailedMount"), 60)
    assert "configmap" in place.recorder.events("FailedMount")[0]["message"]
    place.kubectl("apply", "--filename", "-", stdin=config).fine()
    # The kubelet tries again with pauses of up to two minutes.
    place.pod("file-sync-service", seconds=180)
    place.mirrors(text(**{"a.txt": "a"}))


def release(place: Place, **more: object) -> None:
    # What cannot be sent is not waited for so long.
    values = place.values(terminationGracePeriodSeconds=20, **more)
    place.helm("helm-4.2", "upgrade", "--install", "uploads", CHART, "--values", values).fine()


def logged(place: Place, pod: Object, event: str) -> str:
    """The errors of these lines, once there are some."""
    lines = eventually(event, lambda: [one for one in place.log(pod) if one["event"] == event], 60)
    return " ".join(str(one.get("error.message")) for one in lines)


@pytest.mark.full
def test_a_bucket_that_does_not_exist_is_named_and_the_right_one_gets_everything(place: Place) -> None:
    folder = place.claim("uploads")
    (folder / "a").write_text("a")
    release(place, config=CONFIG | {"s3_prefix": place.name, "s3_bucket": "no-such-bucket"})
    pod = place.pod(f"{NAME}-0")
    assert "NoSuchBucket" in logged(place, pod, "s3.unavailable")
    (folder / "b").write_text("b")
    release(place)
    ready(place, f"{NAME}-0")
    place.mirrors(text(a="a", b="b"))
    assert place.codes(place.last(pod))["file-sync"] == 0


@pytest.mark.full
def test_without_credentials_it_says_so_and_goes_on_when_there_are_some(place: Place) -> None:
    folder = place.claim("uploads")
    (folder / "a").write_text("a")
    release(place, aws={"disableImds": True})
    pod = place.pod(f"{NAME}-0")
    assert logged(place, pod, "s3.unavailable")
    assert place.bucket() == {}
    assert status(place.pod(f"{NAME}-0"), "file-sync")["restartCount"] == 0
    release(place)
    ready(place, f"{NAME}-0")
    place.mirrors(text(a="a"))


def test_another_user_takes_over_the_record(place: Place) -> None:
    """As the docs advise where files are readable for their owner only."""
    folder = place.claim("uploads")
    (folder / "a.txt").write_text("a")
    overlay = place.example("base", [])
    place.kubectl("apply", "--kustomize", overlay).fine()
    first = place.pod("file-sync-service-0")
    place.mirrors(text(**{"a.txt": "a"}))
    spec = "/spec/template/spec"
    paths = [f"{spec}/securityContext/runAsUser", f"{spec}/containers/0/securityContext/runAsUser"]
    steps = json.dumps([{"op": "replace", "path": path, "value": 1000} for path in paths])
    place.kubectl("patch", "statefulset/file-sync-service", "--type=json", f"--patch={steps}").fine()
    assert place.codes(place.last(first)) == {"file-sync": 0}
    again = place.pod("file-sync-service-0")
    assert status(again, "file-sync")["restartCount"] == 0
    (folder / "b.txt").write_text("b")
    place.mirrors(text(**{"a.txt": "a", "b.txt": "b"}))
    # It watches, and has nothing to complain of but the tests' own store.
    complaints = {one["event"] for one in place.log(again) if one["severity"] != "INFO"}
    assert complaints == {"endpoint.plaintext"}


@pytest.mark.full
@pytest.mark.parametrize(("program", "seconds"), [("kubelet", 20), ("containerd", 20), ("containerd", 90)])
def test_the_node_s_own_programs_may_restart(place: Place, node: Node, program: str, seconds: int) -> None:
    deploy(place, BUSY)
    pod = place.pod("web")
    eventually("files arrive", lambda: len(place.bucket()) > 5, 60)
    node.end(program)
    let_pass(seconds)
    count = len(place.bucket())
    assert count > 20, "it goes on without"
    {"kubelet": node.start_kubelet, "containerd": node.start_containerd}[program]()
    eventually("more files arrive", lambda: len(place.bucket()) > count + 10, 60)
    place.kubectl("scale", "deployment/web", "--replicas=0").fine()
    last = place.last(pod, 120)
    assert place.codes(last) == {"file-sync": 0, "web": 0}
    assert status(last, "file-sync")["restartCount"] == 0
    found = place.bucket()
    assert found == text(**{f"file-{n}": f"{n}\n" for n in range(1, len(found) + 1)})


@pytest.mark.full
def test_a_pod_that_is_evicted_sends_what_it_has(place: Place) -> None:
    deploy(place, BUSY)
    pod = place.pod("web")
    eventually("files arrive", lambda: len(place.bucket()) > 5, 60)
    place.kubectl("scale", "deployment/web", "--replicas=0").fine()
    metadata = {"name": pod["metadata"]["name"], "namespace": place.name}
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
    place.api.ask("POST", f"/api/v1/namespaces/{place.name}/pods/{metadata['name']}/eviction", body)
    assert place.codes(place.last(pod)) == {"file-sync": 0, "web": 0}
    found = place.bucket()
    assert found == text(**{f"file-{n}": f"{n}\n" for n in range(1, len(found) + 1)})


@pytest.mark.full
def test_a_forced_delete_loses_only_what_was_on_the_pod_s_own_volume(place: Place) -> None:
    """With claims, the next pod sends the rest."""
    script = "trap 'exit 0' TERM; n=0; while true; do n=$((n+1)); echo $n >/var/lib/documents/file-$n; sleep 0.2; done"
    overlay = place.example("statefulset", [command("StatefulSet", "documents", script)])
    place.kubectl("apply", "--kustomize", overlay).fine()
    place.pod("documents-0")
    place.store.go_away()
    let_pass(3)
    place.kubectl("delete", "pod", "documents-0", "--grace-period=0", "--force").fine()
    place.store.come_back()
    place.pod("documents-0", seconds=120)
    place.kubectl("scale", "statefulset/documents", "--replicas=0").fine()
    eventually("all are gone", lambda: not place.api.list("pods", place.name), 150)
    volume = place.provisioner.folder(place.name, "data-documents-0")
    assert place.store.digests("documents/documents-0") == digests(volume)


@pytest.mark.full
def test_an_application_that_needs_too_much_memory_takes_nothing_with_it(place: Place) -> None:
    """The kernel ends it; the sidecar has a limit of its own."""
    hungry = f"echo before >{FOLDER}/before; sleep 3; x=0123456789abcdef; while true; do x=$x$x; done"
    patch = command("Deployment", "web", hungry)
    steps = yaml.safe_load(patch["patch"])
    limit = {"limits": {"memory": "32Mi"}, "requests": {"memory": "8Mi"}}
    steps.append({"op": "add", "path": "/spec/template/spec/containers/0/resources", "value": limit})
    place.kubectl("apply", "--kustomize", place.example("web", [patch | {"patch": yaml.safe_dump(steps)}])).fine()
    place.mirrors(text(before="before\n"))

    def killed() -> bool:
        said = waiting(place, "web")
        ends = [said.get(one, {}).get("terminated", {}) for one in ("state", "lastState")]
        return any(one.get("reason") == "OOMKilled" for one in ends)

    eventually("the kernel has ended it", killed, 90)
    assert waiting(place)["restartCount"] == 0
    assert place.bucket() == text(before="before\n")
