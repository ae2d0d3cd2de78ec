"""Jobs: what was written before their end is in the bucket, and the sidecar does not keep them alive."""

from __future__ import annotations

import yaml
from api import Object
from common import eventually, let_pass
from place import Place, text

FLUSH = "wget -qO- --post-data= 'http://127.0.0.1:9188/-/flush?timeout=300s'"


def start(place: Place, script: str, retries: int = 0) -> None:
    steps = [
        {"op": "replace", "path": "/spec/template/spec/containers/0/args", "value": [script]},
        {"op": "replace", "path": "/spec/backoffLimit", "value": retries},
    ]
    patch = {"target": {"kind": "Job", "name": "report"}, "patch": yaml.safe_dump(steps)}
    place.kubectl("apply", "--kustomize", place.example("job", [patch])).fine()


def condition(place: Place) -> str | None:
    """How the Job ended, once it has."""
    job = place.api.get("jobs", place.name, "report")
    found = [one["type"] for one in job["status"].get("conditions", []) if one["status"] == "True"]
    return next((one for one in found if one in ("Complete", "Failed")), None)


def ended(place: Place) -> tuple[str, Object]:
    how = eventually("the Job has ended", lambda: condition(place), 120)
    (pod,) = place.recorder.pods("report")
    return how, pod


def test_a_result_that_is_written_while_the_store_is_away_is_there_when_the_job_is_complete(place: Place) -> None:
    start(
        place,
        f"echo early >/results/early; while ! test -e /tmp/go; do sleep 0.2; done; echo result >/results/r; {FLUSH}",
    )
    place.mirrors(text(early="early\n"))
    pod = place.pod("report")
    place.store.go_away()
    place.sh(pod, "report", "touch /tmp/go")
    let_pass(6)
    assert condition(place) is None, "it waits for the store"
    place.store.come_back()
    how, pod = ended(place)
    assert how == "Complete"
    assert place.bucket() == text(early="early\n", r="result\n")
    assert place.codes(pod) == {"file-sync": 0, "report": 0}


def test_a_job_that_does_not_ask_is_complete_and_its_result_there(place: Place) -> None:
    """The sidecar gets SIGTERM after the last container, and drains."""
    start(place, "echo result >/results/r")
    how, pod = ended(place)
    assert how == "Complete"
    assert place.bucket() == text(r="result\n")
    assert place.codes(pod) == {"file-sync": 0, "report": 0}


def test_a_job_that_fails_is_failed_and_what_it_wrote_is_there(place: Place) -> None:
    start(place, "echo partly >/results/partly; sleep 1; exit 3")
    how, pod = ended(place)
    assert how == "Failed"
    assert place.bucket() == text(partly="partly\n")
    assert place.codes(pod) == {"file-sync": 0, "report": 3}


def test_a_job_over_its_deadline_fails_and_what_it_wrote_is_there(place: Place) -> None:
    start(
        place,
        "trap 'echo last >/results/last; exit 1' TERM; echo early >/results/early; while true; do sleep 0.2; done",
    )
    place.mirrors(text(early="early\n"))
    place.kubectl("patch", "job/report", "--patch", '{"spec": {"activeDeadlineSeconds": 1}}').fine()
    how, pod = ended(place)
    assert how == "Failed"
    last = place.last(pod)
    assert place.codes(last) == {"file-sync": 0, "report": 1}
    assert place.bucket() == text(early="early\n", last="last\n")
