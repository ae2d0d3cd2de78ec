"""The API server as the tests see it: kubectl for what users do, HTTP for what the tests look at all the time."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import urllib3
from common import KUBECTLS, NODE, TOOLS, WORK, Run, eventually, run

Object = dict
GROUPS = {"pods": "/api/v1", "events": "/api/v1", "persistentvolumeclaims": "/api/v1", "persistentvolumes": "/api/v1"}
GROUPS |= {"namespaces": "/api/v1", "secrets": "/api/v1", "configmaps": "/api/v1", "nodes": "/api/v1"}
GROUPS |= dict.fromkeys(("deployments", "statefulsets", "replicasets"), "/apis/apps/v1")
GROUPS |= {"jobs": "/apis/batch/v1", "storageclasses": "/apis/storage.k8s.io/v1"}


class Api:
    """As the administrator."""

    def __init__(self) -> None:
        pki = WORK / "pki"
        self.config = WORK / "admin.kubeconfig"
        self.pool = urllib3.HTTPSConnectionPool(
            *(NODE, 6443),
            **{
                "ca_certs": str(pki / "ca.crt"),
                "cert_file": str(pki / "admin.crt"),
                "key_file": str(pki / "admin.key"),
            },
            **{"maxsize": 128, "retries": 3, "assert_hostname": False},
        )

    def kubectl(self, *arguments: object, client: str = "kubectl-1.36", stdin: str | None = None) -> Run:
        program = TOOLS / KUBECTLS[client] / "kubectl/kubectl"
        return run(program, "--kubeconfig", self.config, *arguments, stdin=stdin)

    def _path(self, kind: str, namespace: str | None, name: str = "") -> str:
        where = f"/namespaces/{namespace}" if namespace else ""
        return f"{GROUPS[kind]}{where}/{kind}{'/' + name if name else ''}"

    def ask(self, method: str, path: str, body: Object | None = None) -> Object:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        text = json.dumps(body) if body is not None else None
        answer = self.pool.request(method, path, body=text, headers=headers)
        return {"status": answer.status, "body": answer.json()}

    def list(self, kind: str, namespace: str | None = None) -> list[Object]:
        answer = self.ask("GET", self._path(kind, namespace))
        assert answer["status"] == 200, answer
        return answer["body"].get("items", [])

    def get(self, kind: str, namespace: str | None, name: str) -> Object | None:
        answer = self.ask("GET", self._path(kind, namespace, name))
        return answer["body"] if answer["status"] == 200 else None

    def make(self, kind: str, one: Object, namespace: str | None = None) -> Object:
        answer = self.ask("POST", self._path(kind, namespace), one)
        assert answer["status"] in (200, 201, 409), answer
        return answer["body"]

    def stream(self, kind: str, namespace: str):
        """A watch from now on; closing the answer ends it."""
        path = f"{self._path(kind, namespace)}?watch=1"
        return self.pool.request("GET", path, preload_content=False, timeout=urllib3.Timeout(connect=5, read=None))


@dataclass(frozen=True)
class Seen:
    """A change, and when it was seen."""

    at: float
    kind: str
    change: str
    one: Object


@dataclass
class Recorder:
    """Every state that pods and events of a namespace ever had: the last word of a pod that is gone is here."""

    api: Api
    namespace: str
    seen: list[Seen] = field(default_factory=list)
    began: float = field(default_factory=time.time)
    ended: bool = False

    def start(self) -> None:
        for kind in ("pods", "events"):
            first = self.api.stream(kind, self.namespace)
            threading.Thread(target=self._follow, args=(kind, first), daemon=True).start()

    def _follow(self, kind: str, answer) -> None:
        while not self.ended:
            with contextlib.suppress(urllib3.exceptions.HTTPError):
                rest = b""
                for chunk in answer.stream(64 * 1024, decode_content=False):
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in [] if self.ended else lines:
                        change = json.loads(line)
                        self.seen.append(Seen(time.time(), kind, change["type"], change["object"]))
            if not self.ended:
                # Begins with all there is: what was seen before is only seen again.
                answer = self.api.stream(kind, self.namespace)

    def stop(self) -> None:
        """The threads end with the next change, or with the tests: to close what another thread reads would block."""
        self.ended = True

    def pods(self, prefix: str = "") -> list[Object]:
        """The latest state of each pod, those that are gone as well, in the order they came."""
        latest: dict[str, Object] = {}
        for one in self.seen:
            if one.kind == "pods" and one.one["metadata"]["name"].startswith(prefix):
                latest[one.one["metadata"]["uid"]] = one.one
        return list(latest.values())

    def gone(self, uid: str) -> bool:
        return any(
            one.change == "DELETED" and one.kind == "pods" and one.one["metadata"]["uid"] == uid for one in self.seen
        )

    def events(self, reason: str) -> list[Object]:
        return [one.one for one in self.seen if one.kind == "events" and one.one.get("reason") == reason]


def status(pod: Object, container: str) -> Object:
    """What the pod says of one of its containers."""
    found = [
        one
        for kind in ("containerStatuses", "initContainerStatuses")
        for one in pod["status"].get(kind, [])
        if one["name"] == container
    ]
    return found[0] if found else {}


def exit_code(pod: Object, container: str) -> int | None:
    return status(pod, container).get("state", {}).get("terminated", {}).get("exitCode")


class Provisioner:
    """What a storage driver does: a claim that waits gets a local volume, a folder of the work directory."""

    CLASS = "local"

    def __init__(self, api: Api) -> None:
        self.api = api
        self.folders = WORK / "volumes"
        self.stopped = threading.Event()
        kind = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": self.CLASS}}
        kind["metadata"]["annotations"] = {"storageclass.kubernetes.io/is-default-class": "true"}
        kind |= {"provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "Immediate"}
        api.make("storageclasses", kind)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def folder(self, namespace: str, claim: str) -> Path:
        """Where the files of a claim are on the node."""
        found = eventually("the claim is bound", lambda: self.api.get("persistentvolumeclaims", namespace, claim), 30)
        return self.folders / found["metadata"]["uid"]

    def _run(self) -> None:
        known: set[str] = set()
        while not self.stopped.wait(0.3):
            with contextlib.suppress(urllib3.exceptions.HTTPError, AssertionError):
                for claim in self.api.list("persistentvolumeclaims"):
                    uid = claim["metadata"]["uid"]
                    if uid not in known and claim["status"].get("phase") == "Pending":
                        self._make(claim)
                        known.add(uid)

    def _make(self, claim: Object) -> None:
        uid = claim["metadata"]["uid"]
        folder = self.folders / uid
        folder.mkdir(parents=True, exist_ok=True)
        reference = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "uid": uid}
        reference |= {key: claim["metadata"][key] for key in ("name", "namespace")}
        here = {"key": "kubernetes.io/hostname", "operator": "In", "values": ["node1"]}
        spec = {
            "capacity": claim["spec"]["resources"]["requests"],
            "accessModes": claim["spec"]["accessModes"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": claim["spec"].get("storageClassName", self.CLASS),
            "claimRef": reference,
            "local": {"path": str(folder)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
        }
        volume = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": f"volume-{uid}"}, "spec": spec}
        self.api.make("persistentvolumes", volume)
