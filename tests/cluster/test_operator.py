"""Kinds of the Prometheus operator, with its CRDs in a real API server and without the operator."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from api import Api
from common import ROOT
from place import Place

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


def test_the_component_is_accepted_with_every_field(place: Place, kubectl: str) -> None:
    overlay = place.example("base", [], components=("static-keys", "podmonitor"))
    place.claim("uploads")
    done = place.kubectl("apply", "--validate=strict", "--kustomize", overlay, client=kubectl)
    assert done.code == 0, done.said
    assert names(place, "podmonitors") == ["podmonitor.monitoring.coreos.com/file-sync"]
    again = place.kubectl("apply", "--kustomize", overlay, client=kubectl).fine()
    assert "podmonitor.monitoring.coreos.com/file-sync unchanged" in again
