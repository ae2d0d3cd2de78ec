"""The commands as an operator runs them: `kubectl exec` into the sidecar."""

from __future__ import annotations

import json

from api import Object
from common import Run
from place import Place, command, text

PROGRAM = "/usr/local/bin/file-sync-service"
CONFIG = "--config=/etc/file-sync-service/config.yml"


def ask(place: Place, pod: Object, *arguments: str) -> Run:
    name = pod["metadata"]["name"]
    return place.kubectl("exec", name, "--container", "file-sync", "--", PROGRAM, *arguments)


def test_every_command_works_by_exec(place: Place) -> None:
    script = "echo hello >/var/www/uploads/hello.txt; sleep 3600"
    place.kubectl("apply", "--kustomize", place.example("web", [command("Deployment", "web", script)])).fine()
    pod = place.pod("web")
    place.mirrors(text(**{"hello.txt": "hello\n"}))
    assert ask(place, pod, "flush", CONFIG).code == 0
    status = json.loads(ask(place, pod, "status", CONFIG, "--json").fine())
    assert status["state"] == "in-sync", status
    for arguments in (
        ("health",),
        ("check-config", CONFIG),
        ("plan", CONFIG),
        ("verify", CONFIG),
        ("queue", "list", CONFIG),
    ):
        said = ask(place, pod, *arguments)
        assert said.code == 0, said.said
