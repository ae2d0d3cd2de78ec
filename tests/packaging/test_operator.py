"""Kinds of the Prometheus operator, checked against its CRDs as an API server with strict validation would."""

from __future__ import annotations

import re

import pytest
import yaml
from jsonschema import Draft202012Validator
from kube import K8S, OPERATOR, ROOT, Object, documents, of

CRDS = ROOT / "tests/packaging/crds"


def strict(schema: Object) -> Object:
    """The same schema, that refuses unknown fields instead of ignoring them."""
    made = dict(schema)
    if "properties" in schema:
        made["properties"] = {name: strict(one) for name, one in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            made["additionalProperties"] = False
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            made[key] = strict(schema[key])
    return made


def validators() -> dict[str, Draft202012Validator]:
    found = {}
    for path in sorted(CRDS.glob("*.yaml")):
        spec = yaml.safe_load(path.read_text())["spec"]
        (version,) = [one for one in spec["versions"] if f"{spec['group']}/{one['name']}" == OPERATOR]
        found[spec["names"]["kind"]] = Draft202012Validator(strict(version["schema"]["openAPIV3Schema"]))
    return found


KINDS = validators()


def problems(one: Object) -> str:
    return "; ".join(f"{error.json_path}: {error.message}" for error in KINDS[one["kind"]].iter_errors(one))


def test_the_prometheus_operator_knows_every_field(rendered: dict[str, list[Object]]) -> None:
    objects = [one for objects in rendered.values() for one in objects if one["apiVersion"] == OPERATOR]
    objects += documents((K8S / "components/podmonitor/podmonitor.yaml").read_text())
    assert {one["kind"] for one in objects} == {"PodMonitor", "PrometheusRule", "ServiceMonitor"} == set(KINDS)
    for one in objects:
        assert problems(one) == "", one


def test_the_rules_of_the_chart_are_those_of_the_repository(rendered: dict[str, list[Object]]) -> None:
    written = yaml.safe_load((ROOT / "monitoring/alerts.yaml").read_text())["groups"]
    (rule,) = of(rendered["chart, monitoring-values"], "PrometheusRule")
    assert rule["spec"]["groups"] == written


ENDPOINT = {"port": "http"}
MONITOR = {"selector": {"matchLabels": {"a": "b"}}, "podMetricsEndpoints": [ENDPOINT]}
ALERT = {"alert": "A", "expr": "up == 0"}


@pytest.mark.parametrize(
    ("kind", "spec", "said"),
    [
        ("PodMonitor", MONITOR | {"podMetricsEndpoint": []}, "'podMetricsEndpoint' was unexpected"),
        ("PodMonitor", MONITOR | {"selector": {"matchLabel": {}}}, "'matchLabel' was unexpected"),
        ("PodMonitor", MONITOR | {"podMetricsEndpoints": [ENDPOINT | {"intervall": "30s"}]}, "'intervall' was unexpected"),
        ("PodMonitor", MONITOR | {"podMetricsEndpoints": [ENDPOINT | {"interval": 30}]}, "30 is not of type 'string'"),
        ("PodMonitor", MONITOR | {"podMetricsEndpoints": [ENDPOINT | {"interval": "soon"}]}, "'soon' does not match"),
        ("ServiceMonitor", {"endpoints": [ENDPOINT]}, "'selector' is a required property"),
        ("PrometheusRule", {"groups": [{"name": "a", "rules": [ALERT | {"for": "soon"}]}]}, "'soon' does not match"),
        ("PrometheusRule", {"groups": [{"rules": [ALERT]}]}, "'name' is a required property"),
    ],
)
def test_what_the_operator_does_not_know_is_seen(kind: str, spec: Object, said: str) -> None:
    """A check that admits everything would pass as well."""
    assert said in problems({"apiVersion": OPERATOR, "kind": kind, "metadata": {"name": "x"}, "spec": spec})


def test_the_crds_are_of_the_versions_in_their_module() -> None:
    """Else a new version is in go.mod, and `tests/packaging/crds/generate` was not run."""
    modules = (CRDS / "go.mod").read_text()
    for path in CRDS.glob("*.yaml"):
        header = re.findall(r"^# (\S+) (v\S+)$", path.read_text(), re.M)
        assert len(header) == 2, path
        for module, version in header:
            assert f"{module} {version}" in modules, path
