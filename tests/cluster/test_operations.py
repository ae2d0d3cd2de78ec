"""What an administrator does while it runs: drains, changes of a ConfigMap or Secret, looks at its addresses."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from collections.abc import Iterator

import pytest
import urllib3
import yaml
from api import Object, status
from common import KUBECTLS, PATIENCE, TOOLS, eventually
from place import CONFIG, Place, command, text
from store import KEY, SECRET
from test_install import CHART, ready

NAME = "uploads-file-sync-service"
LAST = """
trap 'echo last >/var/www/uploads/last; exit 0' TERM
echo first >/var/www/uploads/first
while true; do sleep 0.2; done
"""


@pytest.fixture
def cordoned(place: Place) -> Iterator[None]:
    """Drained or not, the node takes pods again."""
    yield
    place.kubectl("uncordon", "node1").fine()


def drain(place: Place, selector: str, seconds: int):
    """Of this test's pods alone: nothing else may leave the only node."""
    options = ("--ignore-daemonsets", "--delete-emptydir-data", f"--timeout={seconds}s")
    return place.kubectl("drain", "node1", *options, f"--pod-selector={selector}")


def budget(place: Place, unavailable: int) -> None:
    spec = {"maxUnavailable": unavailable, "selector": {"matchLabels": {"app": "web"}}}
    place.apply({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"}, "spec": spec})


def test_a_drain_waits_for_the_budget_and_loses_nothing(place: Place, cordoned: None) -> None:
    place.kubectl("apply", "--kustomize", place.example("web", [command("Deployment", "web", LAST)])).fine()
    pod = place.pod("web", "web")
    place.mirrors(text(first="first\n"))
    budget(place, 0)
    refused = eventually("the budget holds", lambda: (said := drain(place, "app=web", 8)).code and said, 60)
    assert "would violate the pod's disruption budget" in refused.said
    assert "deletionTimestamp" not in place.pod("web", "web")["metadata"]
    budget(place, 1)
    done = drain(place, "app=web", 120)
    assert done.code == 0, done.said
    last = place.last(pod)
    assert place.codes(last) == {"file-sync": 0, "web": 0}
    assert place.bucket() == text(first="first\n", last="last\n")


def test_the_chart_s_budget_lets_a_drain_pass_and_the_next_pod_goes_on(place: Place, cordoned: None) -> None:
    folder = place.claim("uploads")
    (folder / "a").write_text("a")
    values = place.values(podDisruptionBudget={"enabled": True})
    place.helm("helm-4.2", "install", "uploads", CHART, "--values", values).fine()
    first = ready(place, f"{NAME}-0")
    place.mirrors(text(a="a"))
    done = drain(place, "app.kubernetes.io/instance=uploads", 120)
    assert done.code == 0, done.said
    assert place.codes(place.last(first)) == {"file-sync": 0}
    (folder / "b").write_text("while it was away")
    place.kubectl("uncordon", "node1").fine()
    ready(place, f"{NAME}-0")
    place.mirrors(text(a="a", b="while it was away"))


def events(place: Place, pod: Object) -> list[str]:
    return [one["event"] for one in place.log(pod)]


@pytest.mark.full
def test_a_configmap_is_applied_without_a_restart_and_a_wrong_one_changes_nothing(place: Place) -> None:
    folder = place.claim("uploads")
    (folder / "a").write_text("a")

    def configure(**more: object) -> None:
        config = CONFIG | {"s3_prefix": place.name} | more
        values = place.values(rollOnConfigChange=False, config=config)
        place.helm("helm-4.2", "upgrade", "--install", "uploads", CHART, "--values", values).fine()

    configure()
    pod = ready(place, f"{NAME}-0")
    place.mirrors(text(a="a"))
    configure(ignore=["*.skipped"])
    # The kubelet replaces the file after a minute or so.
    eventually("it is applied", lambda: "config.reloaded" in events(place, pod), 180, poll=1)
    (folder / "b.skipped").write_text("b")
    (folder / "c").write_text("c")
    place.mirrors(text(a="a", c="c"))
    configure(ignore=["*.skipped"], s3_prefix=f"{place.name}-other")
    eventually("a restart is asked for", lambda: "config.reload_refused" in events(place, pod), 180, poll=1)
    configure(ignore=["*.skipped"], multipart_part_size_mib=300)
    eventually("the wrong one is named", lambda: "config.invalid" in events(place, pod), 180, poll=1)
    (folder / "d").write_text("d")
    place.mirrors(text(a="a", c="c", d="d"))
    assert not place.store.keys(f"{place.name}-other")
    now = ready(place, f"{NAME}-0")
    assert now["metadata"]["uid"] == pod["metadata"]["uid"]
    assert status(now, "file-sync")["restartCount"] == 0


def profile(place: Place, key: str, secret: str) -> None:
    body = f"[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n"
    metadata = {"name": "profile"}
    place.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"credentials": body}})


@pytest.mark.full
def test_a_secret_is_rotated_without_a_restart(place: Place) -> None:
    """Keys in a mounted file: those that expire stop the uploads, and the new ones resume them."""
    folder = place.claim("uploads")
    profile(place, "AKIEXPIRED", "no-longer-valid")
    mount = {"name": "profile", "mountPath": "/aws", "readOnly": True}
    values = place.values(
        aws={"disableImds": True},
        extraVolumes=[{"name": "profile", "secret": {"secretName": "profile"}}],
        extraVolumeMounts=[mount],
        extraEnv=[{"name": "AWS_SHARED_CREDENTIALS_FILE", "value": "/aws/credentials"}],
    )
    (folder / "a").write_text("a")
    place.helm("helm-4.2", "install", "uploads", CHART, "--values", values).fine()
    pod = place.pod(f"{NAME}-0")
    eventually("S3 refuses the keys", lambda: "s3.unavailable" in events(place, pod), 60)
    assert place.bucket() == {}
    profile(place, KEY, SECRET)
    # The kubelet replaces the file after a minute or so; refused keys are read again within a minute.
    place.mirrors(text(a="a"), seconds=240)
    now = ready(place, f"{NAME}-0")
    assert now["metadata"]["uid"] == pod["metadata"]["uid"]
    assert status(now, "file-sync")["restartCount"] == 0


def test_keys_in_variables_are_rotated_by_a_restart(place: Place) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "file-sync-keys"}}
    wrong = {"AWS_ACCESS_KEY_ID": "AKIEXPIRED", "AWS_SECRET_ACCESS_KEY": "no-longer-valid"}
    right = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    place.apply(secret | {"stringData": wrong})
    folder = place.claim("uploads")
    (folder / "a").write_text("a")
    place.helm("helm-4.2", "install", "uploads", CHART, "--values", place.values()).fine()
    pod = place.pod(f"{NAME}-0")
    eventually("S3 refuses the keys", lambda: "s3.unavailable" in events(place, pod), 60)
    place.apply(secret | {"stringData": right})
    place.kubectl("rollout", "restart", f"statefulset/{NAME}").fine()
    ready(place, f"{NAME}-0")
    place.mirrors(text(a="a"))


@contextlib.contextmanager
def forwarded(place: Place, pod: Object, *ports: int) -> Iterator[dict[int, int]]:
    """Ports of this machine that `kubectl port-forward` has chosen, by those of the pod."""
    program = TOOLS / KUBECTLS["kubectl-1.36"] / "kubectl/kubectl"
    cluster = ["--kubeconfig", str(place.api.config), "--namespace", place.name]
    words = [str(program), *cluster, "port-forward", pod["metadata"]["name"], *(f":{port}" for port in ports)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        found: dict[int, int] = {}
        try:
            while len(found) < len(ports):
                line = process.stdout.readline()
                assert line, "port-forward has ended"
                if said := re.match(r"Forwarding from 127\.0\.0\.1:(\d+) -> (\d+)", line):
                    found[int(said[2])] = int(said[1])
            yield found
        finally:
            process.terminate()


def test_both_addresses_answer_through_port_forward(place: Place) -> None:
    """The one of probes and metrics, and the page, which listens on the loopback address of the pod."""
    script = "echo hello >/var/www/uploads/hello.txt; sleep 3600"
    place.kubectl("apply", "--kustomize", place.example("web", [command("Deployment", "web", script)])).fine()
    pod = place.pod("web", "web")
    place.mirrors(text(**{"hello.txt": "hello\n"}))
    http = urllib3.PoolManager(timeout=10 * PATIENCE, retries=False)
    with forwarded(place, pod, 9187, 9188) as at:
        metrics = http.request("GET", f"http://127.0.0.1:{at[9187]}/metrics")
        assert metrics.status == 200 and b"file_sync_" in metrics.data
        assert http.request("GET", f"http://127.0.0.1:{at[9187]}/readyz").status == 200
        page = http.request("GET", f"http://127.0.0.1:{at[9188]}/")
        assert page.status == 200 and page.headers["Content-Type"].startswith("text/html")
        assert http.request("POST", f"http://127.0.0.1:{at[9188]}/-/flush?timeout=30s").status == 200

        def state() -> str:
            return json.loads(http.request("GET", f"http://127.0.0.1:{at[9188]}/status").data)["state"]

        # What is published follows the flush by a moment.
        eventually("the status is in sync", lambda: state() == "in-sync", 30)
        # Control is for the socket, and for those with a token.
        assert http.request("POST", f"http://127.0.0.1:{at[9188]}/-/rescan").status in (401, 403, 404)


@pytest.mark.full
def test_a_cronjob_brings_each_result_and_no_run_hangs(place: Place) -> None:
    """The Job of the example, every minute: a run is complete only when its result is there."""
    overlay = place.example("job", [])
    parts = list(yaml.safe_load_all(place.kubectl("kustomize", overlay).fine()))
    (job,) = [one for one in parts if one["kind"] == "Job"]
    parts.remove(job)
    spec = job["spec"]
    container = spec["template"]["spec"]["containers"][0]
    container["args"] = ["echo result >/results/$HOSTNAME"]
    pods = {"jobTemplate": {"spec": spec}, "schedule": "* * * * *", "concurrencyPolicy": "Forbid"}
    metadata = {"name": "report", "namespace": place.name}
    place.apply(*parts, {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": metadata, "spec": pods})

    def complete() -> list[Object]:
        jobs = place.api.list("jobs", place.name)
        return [one for one in jobs if one["status"].get("succeeded") == 1 and one["status"].get("completionTime")]

    eventually("two runs are complete", lambda: len(complete()) >= 2, 240, poll=1)
    place.kubectl("patch", "cronjob/report", "--patch", '{"spec": {"suspend": true}}').fine()
    eventually("no run is left", lambda: len(complete()) == len(place.api.list("jobs", place.name)), 120)
    pods = place.recorder.pods("report")
    assert len(pods) == len(complete())
    assert all(place.codes(one) == {"file-sync": 0, "report": 0} for one in pods)
    assert place.bucket() == text(**{one["metadata"]["name"]: "result\n" for one in pods})
