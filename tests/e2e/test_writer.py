"""Two daemons on one prefix: one of them deletes, the other says so and takes its place when it is gone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import PREFIX, Bucket, Daemon, Server, eventually

LEASE = f"{PREFIX}/.file-sync-service.lease"
SECONDS = 6


@pytest.fixture
def two(place: Path, bucket: Bucket, server: Server) -> Iterator[list[Daemon]]:
    some = [Daemon(place / name, bucket.name, server.endpoint, server.mirror) for name in ("one", "other")]
    for number, one in enumerate(some):
        one.place.mkdir()
        one.tree.mkdir(exist_ok=True)
        one.env["FILE_SYNC__S3_LEASE_SECONDS"] = str(SECONDS)
        (one.tree / "equal").write_text("equal")
        (one.tree / f"of {number}").write_text("its own")
    yield some
    for one in some:
        one.kill()


def has_logged(daemon: Daemon, event: str) -> bool:
    lines = daemon.log.read_text().splitlines() if daemon.log.exists() else []
    return any(json.loads(line).get("event") == event for line in lines)


@pytest.mark.parametrize("server", ["seaweedfs", "dev-s3"], indirect=True)
def test_one_of_two_deletes_and_the_other_follows_it(two: list[Daemon], bucket: Bucket) -> None:
    one, other = two
    one.start()
    eventually("the first holds the lease", lambda: has_logged(one, "lease.held"), 30)
    other.start()
    eventually("the second says so", lambda: has_logged(other, "lease.other"), 30)
    every = {f"{PREFIX}/{name}" for name in ("equal", "of 0", "of 1")}
    eventually("both have sent what they have", lambda: set(bucket.objects()) == every | {LEASE}, 30)

    (other.tree / "equal").unlink()
    eventually("it would delete", lambda: has_logged(other, "deletes.withheld"), 30)
    (one.tree / "of 0").unlink()
    left = every - {f"{PREFIX}/of 0"}
    eventually("the first deletes", lambda: set(bucket.objects()) == left | {LEASE}, 30)
    assert not has_logged(other, "lease.held")

    one.kill()
    eventually("the second follows", lambda: has_logged(other, "lease.held"), 10 * SECONDS)
    eventually("and deletes", lambda: set(bucket.objects()) == {f"{PREFIX}/of 1", LEASE}, 30)
    assert other.terminate(35) == 0
    assert set(bucket.objects()) == {f"{PREFIX}/of 1"}, "the lease is given up"
