"""Shards: their number changes under writes, and each file has one object."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from common import eventually
from place import CONFIG, Place, digests
from test_install import CHART, ready

DIRECTORIES = 12


class Writer:
    """An application on the node, with files in directories that belong to different shards."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        number = 0
        while not self.stopped.wait(0.1):
            number += 1
            place = self.folder / f"customer-{number % DIRECTORIES}"
            place.mkdir(exist_ok=True)
            (place / f"file-{number}").write_text(f"{number}")
            if number % 5 == 0:
                (self.folder / f"customer-{(number - 4) % DIRECTORIES}" / f"file-{number - 4}").unlink()

    def stop(self) -> None:
        self.stopped.set()
        self.thread.join()


@pytest.mark.full
def test_two_shards_become_three_and_two_again_under_writes(place: Place) -> None:
    folder = place.claim("uploads")
    writer = Writer(folder)
    seen = set()
    for step, count in enumerate((2, 3, 2)):
        # What a shard of the old number has sent last is found by the second listing.
        config = CONFIG | {"s3_prefix": place.name, "rescan_interval_seconds": 60}
        values = place.values(replicaCount=count, sharding={"enabled": True, "depth": 1}, config=config)
        place.helm(
            "helm-4.2", *(("install",) if step == 0 else ("upgrade",)), "uploads", CHART, "--values", values
        ).fine()

        def pods(count: int = count) -> list[str]:
            living = [one for one in place.api.list("pods", place.name) if "deletionTimestamp" not in one["metadata"]]
            counts = [_shards(one) for one in living]
            return [one["metadata"]["uid"] for one in living] if counts == [str(count)] * count else []

        uids = eventually(f"{count} pods that know it", pods, 180)
        assert seen.isdisjoint(uids)
        seen |= set(uids)
        for number in range(count):
            ready(place, f"uploads-file-sync-service-{number}")
    writer.stop()
    place.mirrors(digests(folder), 240)


def _shards(pod: dict) -> str:
    (container,) = pod["spec"]["containers"]
    return next(one["value"] for one in container["env"] if one["name"] == "FILE_SYNC__SHARD_COUNT")
