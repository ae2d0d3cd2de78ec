"""Values as people write them: texts that look like something else, and values that an older chart knew."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path

import pytest
import yaml
from kube import APPLICATION, ROOT, SIDECAR, Helm, Object, of, pods

# What YAML takes for something else where it is not quoted.
HOSTILE = ["2024", "1e3", "true", "null", "~", "0x1F", "on"]
WORD = "plainword"
MINIMAL = {"config": {"s3_bucket": "example"}, "source": {"existingClaim": "uploads"}}


class Loader(yaml.SafeLoader):
    """YAML as Helm and Kubernetes read it: a number may have an exponent and no point."""


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("+-0123456789")
)
Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^[yYnN]$"), list("yYnN"))


def read(text: str) -> list[Object]:
    found = [one for one in yaml.load_all(text, Loader) if one]
    for one in found:
        for name, value in one.get("data", {}).items():
            if name == "config.yml":
                one["data"][name] = yaml.load(value, Loader)
    return sorted(found, key=lambda one: (one["kind"], one["metadata"]["name"].startswith("example")))


def replaced(value: object, word: str) -> object:
    if isinstance(value, dict):
        return {replaced(key, word): replaced(one, word) for key, one in value.items() if key[:9] != "checksum/"}
    if isinstance(value, list):
        return [replaced(one, word) for one in value]
    return value.replace(WORD, word) if isinstance(value, str) else value


def rendered(helm: Helm, chart: Path, values: Object, place: Path, release: str = "example") -> list[Object]:
    (place / "values.yaml").write_text(json.dumps(values))
    name = release if release != WORD else WORD
    done = helm("template", name, chart, "--namespace", name, "--values", place / "values.yaml")
    assert done.code == 0, done.said
    return read(done.out)


def everything(word: str) -> list[Object]:
    """Every value that is a text of one's own, spread over installations that may have them together."""
    common = {
        "nameOverride": word,
        "commonLabels": {"label": word},
        "image": {"registry": word, "repository": word, "tag": word},
        "imagePullSecrets": [word],
        "podLabels": {"other": word},
        "podAnnotations": {"note": word},
        "annotations": {"note": word},
        "nodeSelector": {"disk": word},
        "priorityClassName": word,
        "runtimeClassName": word,
        "schedulerName": word,
        "extraEnv": [{"name": "OTHER", "value": word}],
    }
    first = {
        "source": {"existingClaim": word, "subPath": word, "coLocateWith": {"app": word}},
        "state": {"storageClass": word, "annotations": {"note": word}},
        "config": {"s3_bucket": "b", "s3_prefix": word},
        "aws": {"region": word, "existingSecret": word, "accessKeyIdKey": word, "secretAccessKeyKey": word},
        "serviceAccount": {"name": word, "annotations": {"note": word}},
        "otel": {
            "endpoint": "http://collector:4317",
            **{key: word for key in ("headersSecret", "headersKey", "sampler", "samplerArg")},
        },
        "podMonitor": {"enabled": True, "interval": word, "labels": {"release": word}},
        "dashboards": {"enabled": True, "namespace": word, "labels": {"folder": word}},
        "networkPolicy": {"enabled": True},
        "podDisruptionBudget": {"enabled": True},
    }
    second = {
        "mode": "deployment",
        "fullnameOverride": word,
        "source": {"existingClaim": "uploads"},
        "state": {"existingClaim": word},
        "existingConfigMap": word,
        "serviceAccount": {"create": False, "name": word},
        "serviceMonitor": {"enabled": True, "interval": word, "labels": {"release": word}},
        "prometheusRule": {"enabled": True, "labels": {"release": word}},
    }
    return [common | first, common | second]


@pytest.mark.parametrize("word", HOSTILE)
def test_a_text_stays_a_text_whatever_it_looks_like(helm: Helm, place: Path, word: str) -> None:
    for plain, hostile in zip(everything(WORD), everything(word), strict=True):
        wanted = replaced(rendered(helm, APPLICATION, plain, place), word)
        assert replaced(rendered(helm, APPLICATION, hostile, place), word) == wanted


@pytest.mark.parametrize("word", ["2024", "1e3", "0x1f", "on", "true"])
def test_release_and_namespace_may_look_like_a_number(newest: Helm, place: Path, word: str) -> None:
    wanted = replaced(rendered(newest, APPLICATION, MINIMAL, place, release=WORD), word)
    assert replaced(rendered(newest, APPLICATION, MINIMAL, place, release=word), word) == wanted


def side(word: str) -> Object:
    return {
        "image": {"registry": word, "repository": word, "tag": word},
        "source": {"volumeName": word, "subPath": word},
        "state": {"volumeName": word, "subPath": word},
        "config": {"s3_bucket": "b", "s3_prefix": word},
        "aws": {"region": word, "existingSecret": word, "accessKeyIdKey": word, "secretAccessKeyKey": word},
        "otel": {
            "endpoint": "http://collector:4317",
            **{key: word for key in ("headersSecret", "headersKey", "sampler", "samplerArg")},
        },
    }


@pytest.mark.parametrize("word", HOSTILE)
def test_the_sidecar_s_texts_stay_texts(newest: Helm, place: Path, word: str) -> None:
    def one(values: Object) -> object:
        done = newest.consume(place, values={"file-sync-sidecar": values})
        assert done.code == 0, done.said
        return replaced(read(done.out), word)

    assert one(side(word)) == replaced(one(side(WORD)), word)


def test_every_text_of_the_values_is_among_those_tried() -> None:
    """A new value has to be added above, or to be of a fixed set."""
    fixed = {"mode", "pullPolicy", "mountPath", "type", "size", "hostPath", "whenDeleted", "whenScaled", "roleArn"}
    fixed |= {"openshift", "endpoint", "protocol", "digest", "imageRegistry", "grafana_dashboard"}
    fixed |= {"fsGroupChangePolicy", "survives"}
    for chart, tried in ((APPLICATION, everything(WORD)), (SIDECAR, [side(WORD), {"existingConfigMap": WORD}])):
        missing = set(texts(yaml.safe_load((chart / "values.yaml").read_text())))
        missing -= {path for one in tried for path in texts(one)}
        assert {path for path in missing if path[-1] not in fixed and path[0] not in ("resources",)} == set()


def texts(values: Object, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for key, value in values.items():
        if isinstance(value, dict):
            found += texts(value, (*path, key))
        elif isinstance(value, str):
            found.append((*path, key))
    return found


# Kubernetes' own objects: a null there takes away one default.
OBJECTS = ("resources", "podSecurityContext", "securityContext", "updateStrategy", "config", "probes", "labels")


def nulls(values: Object, deep: bool) -> Object:
    return {
        key: nulls(value, deep) if deep and isinstance(value, dict) and value and key not in OBJECTS else None
        for key, value in values.items()
    }


@pytest.mark.parametrize("deep", [False, True], ids=["sections", "values"])
def test_values_without_what_the_chart_has_learned_since_mean_the_defaults(helm: Helm, place: Path, deep: bool) -> None:
    """As `helm upgrade --reuse-values` from a chart that did not know them: there Helm brings no defaults."""
    values = yaml.safe_load((APPLICATION / "values.yaml").read_text())
    without = nulls(values, deep)
    without["config"] = MINIMAL["config"]
    without["source"] = (without["source"] or {}) | MINIMAL["source"]
    wanted = rendered(helm, APPLICATION, MINIMAL, place)
    assert rendered(helm, APPLICATION, without, place) == wanted


def test_a_configuration_of_one_s_own_beside_config_null(helm: Helm, place: Path) -> None:
    values = {"config": None, "existingConfigMap": "mine", "source": {"existingClaim": "uploads"}}
    (pod,) = pods(of(rendered(helm, APPLICATION, values, place), "StatefulSet"))
    assert pod["spec"]["volumes"][0]["configMap"]["name"] == "mine"


def test_a_null_still_takes_away_a_default_of_kubernetes_own(newest: Helm, place: Path) -> None:
    values = copy.deepcopy(MINIMAL) | {"podSecurityContext": {"fsGroup": None}, "resources": {"limits": None}}
    (pod,) = pods(of(rendered(newest, APPLICATION, values, place), "StatefulSet"))
    assert "fsGroup" not in pod["spec"]["securityContext"]
    assert "limits" not in pod["spec"]["containers"][0]["resources"]


def test_the_sidecar_s_sections_may_be_null(newest: Helm, place: Path) -> None:
    minimal = {"source": {"volumeName": "data"}, "config": {"s3_bucket": "b"}}
    values = yaml.safe_load((SIDECAR / "values.yaml").read_text())
    without = nulls(values, deep=False) | minimal
    wanted = newest.consumer(place, values={"file-sync-sidecar": minimal})
    assert newest.consumer(place, values={"file-sync-sidecar": without}) == wanted


def test_an_alias_of_the_sidecar_is_refused_in_words(helm: Helm, place: Path) -> None:
    """Beside a block that was left over from before."""
    chart = place / "helm/file-sync-sidecar/examples/web/Chart.yaml"
    first = helm.consume(place)
    assert first.code == 0, first.said
    text = yaml.safe_load((ROOT / "helm/file-sync-sidecar/examples/web/Chart.yaml").read_text())
    text["dependencies"][0]["alias"] = "uploads"
    chart.write_text(yaml.safe_dump(text))
    folder = chart.parent
    assert helm("dependency", "update", folder).code == 0
    done = helm("template", "example", folder)
    assert done.code != 0 and "without an alias; there are: uploads" in done.err, done.said
