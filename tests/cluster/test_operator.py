"""Kinds of the Prometheus operator, with its CRDs in a real API server and without the operator."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from api import Api
from common import ROOT
from place import Place
from test_install import CHART, ready

CRDS = ROOT / "tests/packaging/crds"
KINDS = ("podmonitors", "prometheusrules", "servicemonitors")


@pytest.fixture(scope="module", autouse=True)
def crds(api: Api) -> Iterator[None]:
    """Applied on the server: what the client writes down of them would be too long for an annotation."""
    files = [word for kind in KINDS for word in ("--filename", CRDS / f"{kind}.yaml")]
    api.kubectl("apply", "--server-side", *files).fine()
    names = [f"crd/{kind}.monitoring.coreos.com" for kind in KINDS]
    api.kubectl("wait", "--for=condition=Established", "--timeout=60s", *names).fine()
    yield
    api.kubectl("delete", "--ignore-not-found", *names)


def names(place: Place, kind: str) -> list[str]:
    return place.kubectl("get", kind, "--output=name").fine().split()


@pytest.mark.parametrize("monitor", ["podMonitor", "serviceMonitor"])
def test_monitor_and_rules_of_the_chart_are_installed_and_go_again(place: Place, helm: str, monitor: str) -> None:
    place.claim("uploads")
    enabled = {one: {"enabled": True} for one in (monitor, "prometheusRule")}
    kinds = [f"{one.lower()}s" for one in enabled]
    done = place.helm(helm, "install", "uploads", CHART, "--values", place.values(**enabled))
    assert done.code == 0, done.said
    assert "unknown field" not in done.err, done.said
    ready(place, "uploads-file-sync-service-0")
    for kind in kinds:
        assert len(names(place, kind)) == 1, kind
    place.helm(helm, "upgrade", "uploads", CHART, "--values", place.values(**enabled)).fine()
    place.helm(helm, "uninstall", "uploads").fine()
    assert [names(place, kind) for kind in KINDS] == [[], [], []]


def test_the_component_is_accepted_with_every_field(place: Place, kubectl: str) -> None:
    overlay = place.example("base", [], components=("static-keys", "podmonitor"))
    place.claim("uploads")
    done = place.kubectl("apply", "--validate=strict", "--kustomize", overlay, client=kubectl)
    assert done.code == 0, done.said
    assert names(place, "podmonitors") == ["podmonitor.monitoring.coreos.com/file-sync"]
    again = place.kubectl("apply", "--kustomize", overlay, client=kubectl).fine()
    assert "podmonitor.monitoring.coreos.com/file-sync unchanged" in again
