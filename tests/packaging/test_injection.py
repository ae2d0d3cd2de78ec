"""The policies of injection: they carry the container of charts and manifests, and are what the chart renders."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import kubernetes_validate
import pytest
from kube import INJECTION, K8S, Helm, Object, container, documents, of, pods

POLICIES = K8S / "injection/policies.yaml"
HEAD = "# Written by `make packaging UPDATE_GOLDEN=1` from the chart helm/file-sync-injection and its defaults.\n"
NEW_ENOUGH = ("--kube-version", "1.36.0")


def policies(helm: Helm, *arguments: object) -> list[Object]:
    return helm.template(INJECTION, *NEW_ENOUGH, *arguments)


def expression(objects: list[Object]) -> str:
    (policy,) = of(objects, "MutatingAdmissionPolicy")
    (mutation,) = policy["spec"]["mutations"]
    return mutation["jsonPatch"]["expression"]


class Reader:
    """Reads a value of the generated expression: objects, lists and texts. Anything else is `(an expression)`."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def skip(self, pattern: str = r"\s*") -> str:
        found = re.compile(pattern).match(self.text, self.at)
        assert found, f"{pattern} at {self.text[self.at : self.at + 60]!r}"
        self.at = found.end()
        return found[0]

    def value(self) -> object:
        self.skip()
        rest = self.text[self.at :]
        if re.match(r"(Object[\w.]*)?\{", rest):
            self.skip(r"[\w.]*\{\s*")
            return self.fields()
        if rest.startswith("["):
            self.skip(r"\[\s*")
            found = []
            while not self.text.startswith("]", self.at):
                found.append(self.value())
                self.skip(r"\s*,?\s*")
            self.skip(r"\]")
            # `[…] + (condition ? [] : […])`: what is always there.
            self.skip(r"( \+ \([^\n]*\[(?:[^][]|\n)*\]\))?")
            return found
        if plain := re.match(r'"(?:[^"\\]|\\.)*"(?=\s*[,\]}])|\d+|true|false', rest):
            self.at += len(plain[0])
            return json.loads(plain[0])
        self.skip(r"[^,\n]+")
        return "(an expression)"

    def fields(self) -> Object:
        found = {}
        while not self.text.startswith("}", self.at):
            name = self.skip(r'"?\w+"?').strip('"')
            self.skip(r": ")
            found[name] = self.value()
            self.skip(r"\s*,?\s*")
        self.skip(r"\}")
        return found


def injected(objects: list[Object]) -> Object:
    text = expression(objects)
    return Reader(text[text.index("Object.spec.initContainers{") :]).value()


def test_the_policies_carry_the_container_of_charts_and_manifests(newest: Helm, place: Path) -> None:
    ours = injected(policies(newest))
    theirs = container(pods(newest.consumer(place))[0])
    manifest = container(pods(documents((K8S / "sidecar/deployment.yaml").read_text()))[0])
    own = [one for one in ours.pop("env") if not one["name"].startswith("FILE_SYNC__")]
    for one in (theirs, manifest):
        assert own == one.pop("env")
        different = {key for key in one.keys() | ours.keys() if one.get(key) != ours.get(key)}
        # The pod and its namespace say which image and which volume, and may have a Secret with keys.
        assert different == {"image", "envFrom", "volumeMounts"}
        mounts = [
            {**mount, "name": "(an expression)"} for mount in one["volumeMounts"] if mount["mountPath"] == "/data"
        ]
        rest = [mount for mount in one["volumeMounts"] if mount["mountPath"] != "/data"]
        assert ours["volumeMounts"] == rest + mounts


def test_values_reach_the_container(newest: Helm) -> None:
    more = ("--set", "resources.limits.memory=1Gi", "--set", "aws.region=eu-central-1", "--set", "fsGroup=0")
    objects = policies(
        newest, *more, "--set", "image.registry=registry.example.com", "--set", "probes.startup.enabled=false"
    )
    one = injected(objects)
    assert one["resources"]["limits"] == {"memory": "1Gi"}
    assert {"name": "AWS_REGION", "value": "eu-central-1"} in one["env"]
    assert "startupProbe" not in one
    assert '"registry.example.com/file-sync-service:' in expression(objects)
    assert "fsGroup" not in expression(objects)
    assert "fsGroup" in expression(policies(newest))
    assert "fsGroup" not in expression(policies(newest, "--set", "openshift=force"))


def test_a_binding_applies_to_the_namespaces_of_the_value(newest: Helm) -> None:
    objects = policies(newest, "--set-string", "namespaceSelector.matchLabels.mirrored=2024")
    bindings = [one for one in objects if one["kind"].endswith("PolicyBinding")]
    assert len(bindings) == 5
    for one in bindings:
        assert one["spec"]["matchResources"] == {"namespaceSelector": {"matchLabels": {"mirrored": "2024"}}}


def test_the_manifests_are_what_the_chart_renders(helm: Helm) -> None:
    done = helm("template", "file-sync-injection", INJECTION, *NEW_ENOUGH)
    assert done.code == 0, done.said
    rendered = HEAD + re.sub(r"^---\n# Source: .*\n", "---\n", done.out, flags=re.M)
    if os.environ.get("UPDATE_GOLDEN"):
        POLICIES.write_text(rendered)
    assert documents(POLICIES.read_text()) == documents(rendered), "make packaging UPDATE_GOLDEN=1"


def test_the_chart_lints_and_kubernetes_knows_every_field(helm: Helm) -> None:
    done = helm("lint", "--strict", INJECTION, *NEW_ENOUGH)
    assert done.code == 0, done.said
    objects = policies(helm)
    assert len(objects) == 10
    for one in objects:
        kubernetes_validate.validate(one, "1.36", strict=True)


def test_a_cluster_without_these_policies_is_named(newest: Helm) -> None:
    done = newest("template", "example", INJECTION, "--kube-version", "1.35.0")
    assert done.code != 0 and "requires kubeVersion: >=1.36.0" in done.err, done.said


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ("prefix=/uploads", "prefix"),
        ("fsGroup=-1", "fsGroup"),
        ("image.name=x", "name"),
        ("terminationGracePeriodSeconds=3", "terminationGracePeriodSeconds"),
        ("resources.limits.memory=100Mi", "resources.limits.memory"),
        ("config.s3_bucket=b", "config"),
    ],
)
def test_wrong_values_are_refused_with_a_reason(newest: Helm, wrong: str, named: str) -> None:
    done = newest("template", "example", INJECTION, *NEW_ENOUGH, "--set", wrong)
    assert done.code != 0 and named in done.err, done.said
