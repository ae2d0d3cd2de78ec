"""A namespace with what a test puts into it: workloads from the project's own charts and manifests."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from api import Api, Object, Provisioner, Recorder, exit_code, status
from common import HELMS, ROOT, TOOLS, Run, eventually, run
from store import BUCKET, ENDPOINT, KEY, REGION, SECRET, Store

LEVEL = {f"pod-security.kubernetes.io/{one}": "restricted" for one in ("enforce", "warn")}
KEYS = "file-sync-keys"
CONFIG = {"s3_bucket": BUCKET, "s3_endpoint_url": ENDPOINT, "s3_force_path_style": True, "s3_region": REGION}
# Outages of seconds are over in seconds.
CONFIG |= {"retry_interval_seconds": 2}


@dataclass
class Place:
    """The namespace, its prefix in the bucket, and all that was seen in it."""

    name: str
    api: Api
    provisioner: Provisioner
    store: Store
    folder: Path
    recorder: Recorder = field(init=False)

    def set_up(self) -> None:
        metadata = {"name": self.name, "labels": LEVEL}
        self.api.make("namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        keys = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": KEYS}, "stringData": keys}
        self.api.make("secrets", secret, self.name)
        self.recorder = Recorder(self.api, self.name)
        self.recorder.start()

    def remove(self) -> None:
        self.recorder.stop()
        self.api.kubectl("delete", "namespace", self.name, "--wait=false")
        for pod in self.api.list("pods", self.name):
            path = f"/api/v1/namespaces/{self.name}/pods/{pod['metadata']['name']}"
            self.api.ask("DELETE", path, {"gracePeriodSeconds": 0})

    # --- what users do

    def kubectl(self, *arguments: object, client: str = "kubectl-1.36", stdin: str | None = None) -> Run:
        return self.api.kubectl("--namespace", self.name, *arguments, client=client, stdin=stdin)

    def apply(self, *objects: Object) -> None:
        self.kubectl("apply", "--filename", "-", stdin=yaml.safe_dump_all(objects)).fine()

    def helm(self, version: str, *arguments: object) -> Run:
        homes = {f"HELM_{kind}_HOME": str(self.folder / kind) for kind in ("CACHE", "CONFIG", "DATA")}
        program = TOOLS / HELMS[version] / "helm/helm"
        cluster = ("--kubeconfig", self.api.config, "--namespace", self.name)
        return run(program, *arguments, *cluster, env=homes)

    def values(self, **more: object) -> Path:
        """For the application chart: the store of the tests, and a claim."""
        values = {"source": {"existingClaim": "uploads"}, "aws": {"existingSecret": KEYS}}
        values |= {"config": CONFIG | {"s3_prefix": self.name}, **more}
        path = self.folder / "values.json"
        path.write_text(json.dumps(values))
        return path

    def example(self, name: str, patches: list[Object], components: tuple[str, ...] = ("static-keys",)) -> Path:
        """An overlay of one of `k8s/`, as a user makes it: bucket, keys and the application's command are its own."""
        source = self.folder / "k8s"
        if name == "statefulset" and not source.exists():
            # Each pod has a prefix of its own, which is the same in every test.
            self.store.clear("documents")
        shutil.copytree(ROOT / "k8s", source, dirs_exist_ok=True)
        inner = source / ("base" if name == "base" else f"examples/{name}")
        config = yaml.safe_load((inner / "config.yml").read_text()) | CONFIG | {"s3_prefix": self.name}
        overlay = self.folder / "overlay"
        overlay.mkdir(exist_ok=True)
        (overlay / "config.yml").write_text(yaml.safe_dump(config))
        generated = "file-sync-service" if name in ("base", "efs", "shards") else "file-sync"
        kustomization = {
            "namespace": self.name,
            "resources": [f"../k8s/{inner.relative_to(source)}"],
            "components": [f"../k8s/components/{one}" for one in components],
            "configMapGenerator": [{"name": generated, "behavior": "replace", "files": ["config.yml"]}],
            "patches": patches,
        }
        (overlay / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        return overlay

    def claim(self, name: str, mode: str = "ReadWriteMany") -> Path:
        """A claim, and where its files lie on the node."""
        spec = {"accessModes": [mode], "resources": {"requests": {"storage": "1Gi"}}}
        self.apply({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec})
        folder = self.provisioner.folder(self.name, name)
        eventually("the volume is there", folder.is_dir, 30)
        return folder

    # --- what is seen

    def pod(self, prefix: str, container: str = "file-sync", seconds: float = 90) -> Object:
        """The newest pod of that name, once this container runs and has started."""

        def there() -> Object | None:
            living = [one for one in self.api.list("pods", self.name) if one["metadata"]["name"].startswith(prefix)]
            living = [one for one in living if "deletionTimestamp" not in one["metadata"]]
            for one in sorted(living, key=lambda each: each["metadata"]["creationTimestamp"], reverse=True):
                said = status(one, container)
                if said.get("started") and "running" in said.get("state", {}):
                    return one
            return None

        try:
            return eventually(f"{container} of {prefix} runs", there, seconds)
        except AssertionError as late:
            raise AssertionError(f"{late}\n{self.diagnosis()}") from None

    def last(self, pod: Object, seconds: float = 90) -> Object:
        """The last state of a pod that is to go away."""
        uid = pod["metadata"]["uid"]
        eventually(f"{pod['metadata']['name']} is gone", lambda: self.recorder.gone(uid), seconds)
        return next(one for one in self.recorder.pods() if one["metadata"]["uid"] == uid)

    def codes(self, pod: Object) -> dict[str, int | None]:
        spec = pod["spec"]
        return {one["name"]: exit_code(pod, one["name"]) for one in spec.get("initContainers", []) + spec["containers"]}

    def sh(self, pod: Object, container: str, script: str) -> str:
        name = pod["metadata"]["name"]
        return self.kubectl("exec", name, "--container", container, "--", "sh", "-ec", script).fine()

    def bucket(self) -> dict[str, str]:
        return self.store.digests(self.name)

    def mirrors(self, wanted: dict[str, str], seconds: float = 60) -> None:
        """The bucket holds these files with this content, and nothing else."""
        try:
            eventually("the bucket holds what the volume holds", lambda: self.bucket() == wanted, seconds)
        except AssertionError as late:
            found = self.bucket()
            differ = sorted(key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key))
            raise AssertionError(f"{late}: {differ[:20]}\n{self.diagnosis()}") from None

    def log(self, pod: Object, *more: str) -> list[Object]:
        """The service's own log."""
        text = self.kubectl("logs", pod["metadata"]["name"], "--container", "file-sync", *more).out
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def diagnosis(self) -> str:
        """Everything that an operator would read."""
        events = self.kubectl("get", "events", "--sort-by=.lastTimestamp").out
        pods = self.kubectl("get", "pods", "-o", "wide").out
        logs = [
            self.kubectl("logs", one["metadata"]["name"], "--all-containers", "--prefix", "--tail=30").out
            for one in self.api.list("pods", self.name)
        ]
        return "\n".join([pods, events, *logs])


def digests(folder: Path) -> dict[str, str]:
    """The digest of every file that must be mirrored, by its name."""
    files = [one for one in folder.rglob("*") if one.is_file() and not one.name.startswith(".")]
    return {str(one.relative_to(folder)): hashlib.sha256(one.read_bytes()).hexdigest() for one in files}


def text(**files: str) -> dict[str, str]:
    """The same of texts."""
    return {name: hashlib.sha256(body.encode()).hexdigest() for name, body in files.items()}


def pod_spec(kind: str, name: str, spec: Object) -> Object:
    """A strategic merge patch of the pods of a workload: lists are merged by the names in them."""
    whole = {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": {"template": {"spec": spec}}}
    return {"target": {"kind": kind, "name": name}, "patch": yaml.safe_dump(whole)}


def command(kind: str, name: str, script: str, container: int = 0) -> Object:
    """A patch: what the application of an example does."""
    value = json.dumps(["sh", "-c", script])
    where = f"/spec/template/spec/containers/{container}"
    steps = [{"op": "add", "path": f"{where}/command", "value": json.loads(value)}]
    return {"target": {"kind": kind, "name": name}, "patch": yaml.safe_dump(steps)}
