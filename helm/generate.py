#!/usr/bin/env python3
"""Writes what in the charts follows from something else; `make charts` runs it.

- `values.schema.json`: types from the defaults in values.yaml, what the types cannot say from RULES below, and the
  service's own keys from docs/CONFIGURATION.md.
- The tables in the READMEs: from the comments in values.yaml.
- `_container.tpl` of the sidecar and the injection: a copy of the application chart's.
- The alert rules and the dashboard: copies of those in monitoring/.

`--check` writes nothing and fails where a file would change.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import yaml

HELM = Path(__file__).resolve().parent
ROOT = HELM.parent
APPLICATION = HELM / "file-sync-service"
SIDECAR = HELM / "file-sync-sidecar"
INJECTION = HELM / "file-sync-injection"

QUANTITY = {"type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?([EPTGMk]i?)?$"}
ABSOLUTE = {"type": "string", "pattern": "^/"}
TEXT_OR_NUMBER = {"type": ["string", "integer"]}
NAMED = {"type": "object", "required": ["name"]}
# What Kubernetes takes as text only, whatever it looks like: `--set-string podLabels.year=2024`.
TEXTS = {"additionalProperties": {"type": "string"}}
LABELS = [
    *("commonLabels", "podLabels", "nodeSelector", "source.coLocateWith"),
    *("annotations", "podAnnotations", "serviceAccount.annotations", "state.annotations"),
    *("podMonitor.labels", "serviceMonitor.labels", "prometheusRule.labels"),
    *("dashboards.labels", "dashboards.annotations"),
]

# Rules that do not follow from a default, by the path of the value.
RULES: dict[str, dict] = {
    "mode": {"enum": ["statefulset", "deployment", "daemonset"]},
    "replicaCount": {"minimum": 0, "maximum": 1024},
    "sharding.depth": {"minimum": 1, "maximum": 16},
    "fullnameOverride": {"maxLength": 52},
    "image.tag": TEXT_OR_NUMBER,
    "image.digest": {"pattern": "^(sha256:[0-9a-f]{64})?$"},
    "image.pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
    "imagePullSecrets": {"items": {"type": ["string", "object"]}},
    "global": {"additionalProperties": True},
    "source.mountPath": ABSOLUTE,
    "source.subPath": {"pattern": "^([^/].*)?$"},
    "state.type": {"enum": ["pvc", "emptyDir", "hostPath"]},
    "state.size": QUANTITY,
    "state.accessModes": {
        "items": {"enum": ["ReadWriteOncePod", "ReadWriteOnce", "ReadWriteMany"]},
        "minItems": 1,
    },
    "state.retention.whenDeleted": {"enum": ["Retain", "Delete"]},
    "state.retention.whenScaled": {"enum": ["Retain", "Delete"]},
    "state.survives": {"enum": ["yes", "no"]},
    "aws.roleArn": {"pattern": "^(arn:aws[a-z-]*:iam::[0-9]{12}:role/.+)?$"},
    "terminationGracePeriodSeconds": {"minimum": 10, "maximum": 86405},
    "openshift": {"enum": ["auto", "force", "disabled"]},
    "hostUsers": {"type": ["boolean", "null"]},
    "otel.endpoint": {"pattern": "^(https?://.+)?$"},
    "otel.protocol": {"enum": ["grpc", "http/protobuf"]},
    "otel.samplerArg": {"type": ["string", "number"]},
    "podDisruptionBudget.maxUnavailable": {"type": ["integer", "string"], "pattern": "^[0-9]+%$"},
    "networkPolicy.metricsFrom": {"items": {"type": "object"}},
    "networkPolicy.extraEgress": {"items": {"type": "object"}},
    "prometheusRule.disabled": {"items": {"type": "string"}},
    "extraEnv": {"items": NAMED},
    "extraEnvFrom": {"items": {"type": "object"}},
    "extraArgs": {"items": {"type": "string"}},
    "namespaceSelector": {"type": "object"},
    "prefix": {"pattern": "^[^/\\s](/?[^/\\s]+)*$"},
    "after": {"items": {"type": "string"}},
    "fsGroup": {"minimum": 0},
    "extraVolumes": {"items": NAMED},
    "extraVolumeMounts": {"items": {"type": "object", "required": ["name", "mountPath"]}},
    "extraInitContainers": {"items": NAMED},
    "extraContainers": {"items": NAMED},
    **dict.fromkeys(LABELS, TEXTS),
    "extraManifests": {"items": {"type": ["object", "string"]}},
}
# Kubernetes' own objects: the API server knows what may stand in them.
OPEN = {"namespaceSelector", "resources", "podSecurityContext", "securityContext", "updateStrategy", "dashboards.labels"}
# Sections of which a null takes away a single default; what is in `OPEN` is of this kind as well.
PROBES = {"probes.startup", "probes.liveness", "probes.readiness"}
# What the charts set themselves.
NOT_IN_CONFIG = {"watch_path", "state_dir"}


def service_keys() -> dict[str, dict]:
    """The service's keys, from the tables of the page that its tests keep true."""
    page = (ROOT / "docs/CONFIGURATION.md").read_text()
    page = page.split("<!-- keys: begin", 1)[1].split("<!-- keys: end", 1)[0]
    keys: dict[str, dict] = {}
    for name, value, default, meaning in re.findall(
        r"^\| `(\w+)` \| (.+?) \| (.+?) \| (?:yes)? ?\| (.+) \|$", page, re.M
    ):
        keys[name] = _service_type(value)
        if default == "`300`" and "0 stands for the default" in meaning:
            keys[name]["minimum"] = 0
    if "### Not yet" in page:
        for name in re.findall(r"`(\w+)`", page.split("### Not yet", 1)[1]):
            # Whatever it will be; the service of this version says that it is too early.
            keys[name] = {}
    assert "s3_bucket" in keys and len(keys) > 30, "the tables of docs/CONFIGURATION.md are not what they were"
    return {name: keys[name] for name in sorted(keys) if name not in NOT_IN_CONFIG}


def _service_type(value: str) -> dict:
    if value == "`true` or `false`":
        return {"type": "boolean"}
    if whole := re.fullmatch(r"[^,`]+, (\d+) to (\d+)", value):
        return {"type": "integer", "minimum": int(whole[1]), "maximum": int(whole[2])}
    if value.startswith("`"):
        words = re.findall(r"`([^`]+)`", value)
        # YAML reads them as truth values where they are not quoted.
        return {"enum": [*words, True, False] if {"yes", "no"} <= set(words) else words}
    if value in ("text", "path"):
        return {"type": "string"}
    return {"type": "array"} if value.startswith("list") else {}


def schema(values: dict) -> dict:
    """Draft 7: Helm 3 knows nothing later. `global` and `enabled` are what umbrella charts add."""
    root = _object(values, "")
    if "config" in values:
        root["properties"]["config"] = {
            "type": "object",
            "additionalProperties": False,
            "properties": service_keys(),
        }
    root["properties"].setdefault("global", {"type": "object"})
    root["properties"]["enabled"] = {"type": "boolean", "description": "for the condition of an umbrella chart"}
    root["patternProperties"] = {"^x-": {"description": "anchors for YAML"}}
    return {"$schema": "http://json-schema.org/draft-07/schema#", **root}


def _object(values: dict, path: str) -> dict:
    properties = {key: _value(value, f"{path}.{key}".lstrip(".")) for key, value in values.items()}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _value(value: object, path: str) -> dict:
    if isinstance(value, dict) and value and path not in OPEN:
        return {**_object(value, path), **RULES.get(path, {})}
    kinds = {bool: "boolean", int: "integer", str: "string", list: "array", dict: "object", type(None): "null"}
    return {"type": kinds[type(value)], **RULES.get(path, {})}


def table(text: str) -> str:
    """One row for each value with a `# -- ` comment, in their order."""
    defaults = yaml.safe_load(text)
    rows, comment, path = [], [], []
    for line in text.splitlines():
        if found := re.match(r"^ *# -- (.*)", line):
            comment = [found[1]]
        elif comment and (found := re.match(r"^ *# (.*)", line)):
            comment.append(found[1])
        elif found := re.match(r"^( *)([A-Za-z]\w*):", line):
            depth = len(found[1]) // 2
            path = [*path[:depth], found[2]]
            if comment:
                rows.append((".".join(path), _at(defaults, path), " ".join(comment)))
            comment = []
        else:
            comment = []
    lines = ["| value | default | meaning |", "| --- | --- | --- |"]
    for name, default, meaning in rows:
        shown = json.dumps(default) if not isinstance(default, str) else default
        shown = f"`{shown}`" if shown not in ("", "null") else "empty"
        lines.append(f"| `{name}` | {shown} | {meaning} |")
    return "\n".join(lines)


def _at(values: object, path: list[str]) -> object:
    for key in path:
        values = values[key]
    return values


def readme(chart: Path) -> str:
    page = (chart / "README.md").read_text()
    begin, end = "<!-- values: begin, generated from values.yaml -->", "<!-- values: end -->"
    before, rest = page.split(begin, 1)
    _, after = rest.split(end, 1)
    return f"{before}{begin}\n\n{table((chart / 'values.yaml').read_text())}\n\n{end}{after}"


DEFAULTS = """{{/*
The defaults of values.yaml, written by `make charts`, for values that were made with an older chart
(`helm upgrade --reuse-values`) or have a null in place of a section.
*/}}
{{- define "CHART.defaultValues" -}}
VALUES{{- end -}}

{{/* Puts into `into` what only `from` has. Below `path` a null may take away a default where Kubernetes has one. */}}
{{- define "CHART.fill" -}}
{{- range $key, $default := .from -}}
{{- $path := list $.path $key | compact | join "." -}}
{{- if or (not (hasKey $.into $key)) (kindIs "invalid" (index $.into $key)) -}}
{{- $_ := set $.into $key $default -}}
{{- else if and (kindIs "map" $default) (kindIs "map" (index $.into $key)) (not (has $path (list OPEN))) -}}
{{- include "CHART.fill" (dict "into" (index $.into $key) "from" $default "path" $path) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "CHART.defaults" -}}
{{- include "CHART.fill" (dict "into" .Values "from" (include "CHART.defaultValues" . | fromYaml) "path" "") -}}
{{- end -}}
"""


def defaults(chart: Path, values: dict) -> str:
    """A template with the values, for where Helm does not bring them."""
    shown = " ".join(f'"{path}"' for path in sorted(OPEN | PROBES))
    text = DEFAULTS.replace("VALUES", yaml.safe_dump(values)).replace("OPEN", shown)
    return text.replace("CHART", chart.name)


def outputs() -> dict[Path, str]:
    files: dict[Path, str] = {}
    for chart in (APPLICATION, SIDECAR, INJECTION):
        values = yaml.safe_load((chart / "values.yaml").read_text())
        files[chart / "values.schema.json"] = json.dumps(schema(values), indent=2) + "\n"
        files[chart / "README.md"] = readme(chart)
        files[chart / "templates/_defaults.tpl"] = defaults(chart, values)
    container = (APPLICATION / "templates/_container.tpl").read_text()
    for chart in (SIDECAR, INJECTION):
        copied = container.replace('"file-sync-service.', f'"{chart.name}.').replace(
            "The charts\nfile-sync-sidecar and file-sync-injection have copies of this file, which `make charts` writes.",
            "A copy\nof the one in the chart file-sync-service, which `make charts` writes.",
        )
        assert "A copy\n" in copied
        files[chart / "templates/_container.tpl"] = copied
    rules = (ROOT / "monitoring/alerts.yaml").read_text()
    rules = re.sub(r"\A(#.*\n)+", "# A copy of monitoring/alerts.yaml, which `make charts` writes.\n", rules)
    files[APPLICATION / "rules/file-sync-service.yaml"] = rules
    files[APPLICATION / "dashboards/file-sync-service.json"] = (ROOT / "monitoring/dashboard.json").read_text()
    return files


def main() -> int:
    check = "--check" in sys.argv[1:]
    stale = [path for path, text in outputs().items() if not path.exists() or path.read_text() != text]
    for path in stale:
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(outputs()[path])
        print(f"{'stale' if check else 'written'}: {path.relative_to(ROOT)}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
