"""The timeline of a pod, as in docs/OPERATIONS.md: events, states of containers and the service's log, in order."""

from __future__ import annotations

import datetime
import json
import subprocess
from pathlib import Path

from api import Object, status
from common import KUBECTLS, TOOLS
from place import Place


class Timeline:
    """Follows the log of the sidecar from its first line; the rest the recorder has."""

    def __init__(self, place: Place, pod: Object) -> None:
        self.place, self.name = place, pod["metadata"]["name"]
        program = TOOLS / KUBECTLS["kubectl-1.36"] / "kubectl/kubectl"
        command = [str(program), "--kubeconfig", str(place.api.config), "--namespace", place.name, "logs", "--follow"]
        self.log = subprocess.Popen(
            [*command, self.name, "--container", "file-sync"], stdout=subprocess.PIPE, text=True
        )

    def write(self, path: Path) -> None:
        out, _ = self.log.communicate(timeout=60)
        entries = self._log(out) + self._seen()
        entries.sort(key=lambda one: one[0])
        began = entries[0][0]
        lines = dict.fromkeys(f"| {at - began:.1f} s | {who} | {what} |" for at, who, what in entries)
        path.write_text("\n".join(["| at | who | what |", "| --- | --- | --- |", *lines]) + "\n")

    @staticmethod
    def _log(out: str) -> list[tuple[float, str, str]]:
        found = []
        for line in out.splitlines():
            one = json.loads(line)
            at = datetime.datetime.fromisoformat(one["timestamp"]).timestamp()
            found.append((at, "log", f"`{one['event']}`: {one['message']}"))
        return found

    def _seen(self) -> list[tuple[float, str, str]]:
        found, before = [], {}
        for one in self.place.recorder.seen:
            if one.kind == "events" and one.one["involvedObject"]["name"] == self.name:
                found.append((one.at, "event", f"`{one.one['reason']}`: {one.one['message']}"))
            if one.kind == "pods" and one.one["metadata"]["name"] == self.name:
                for container in ("file-sync", "web"):
                    state = _state(status(one.one, container))
                    if before.get(container) != state:
                        before[container] = state
                        found.append((one.at, f"container `{container}`", state))
                if one.change == "DELETED":
                    found.append((one.at, "pod", "gone"))
        return found


def _state(said: Object) -> str:
    state, detail = next(iter(said.get("state", {"waiting": {}}).items()))
    if state == "terminated":
        return f"ended with {detail['exitCode']}"
    if state == "running":
        return "running, has started" if said.get("started") else "running"
    return f"waiting: {detail.get('reason', 'not scheduled')}"
