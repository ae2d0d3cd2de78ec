"""The end of a daemon against a store in trouble: what is there, how long it took, what was said.

With E2E_LONG=1, because the longest grace is two minutes. Prints the table of docs/OPERATIONS.md.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from harness import LONG, PATIENCE, PROGRAMS, Bucket, Daemon, DevS3, Mirror, Proxy, eventually, free_ports, let_pass

pytestmark = pytest.mark.skipif(not LONG, reason="takes several minutes: E2E_LONG=1")

FILES = 100
GRACES = [5, 30, 120]
# What an end takes beside the drain.
MARGIN_SECONDS = 3 * PATIENCE
# Ends under way at once: most of them wait.
AT_ONCE = 4
# A port that is free is free for one of them.
PORTS = threading.Lock()


@dataclass(frozen=True)
class Trouble:
    """What is wrong with the store from just before the signal on."""

    name: str
    # Away or silent for so long; nothing means for good.
    away: bool = False
    silent: bool = False
    seconds: float | None = None
    # Arguments of `fault-proxy --fault`.
    faults: tuple[str, ...] = ()


TROUBLES = [
    Trouble("away for 1 s", away=True, seconds=1),
    Trouble("away for 6 s", away=True, seconds=6),
    Trouble("away for 20 s", away=True, seconds=20),
    Trouble("away for good", away=True),
    Trouble("1 % of the requests fail (500)", faults=("500=1",)),
    Trouble("5 % of the requests fail (500)", faults=("500=5",)),
    Trouble("30 % of the requests fail (500)", faults=("500=30",)),
    Trouble("10 % of the requests are throttled (503 SlowDown)", faults=("slow-down=10",)),
    Trouble("all requests are throttled (503 SlowDown)", faults=("slow-down=100",)),
    Trouble("hangs for 6 s", silent=True, seconds=6),
    Trouble("hangs for good", silent=True),
]


@dataclass(frozen=True)
class Cell:
    """How one end went."""

    there: int
    took: float
    code: int

    def __str__(self) -> str:
        return f"{self.there} / {self.took:.1f} s / {self.code}"


class Stage:
    """A daemon at rest, with a way to its own store that can be put into trouble."""

    def __init__(self, place: Path, grace: int) -> None:
        with PORTS:
            self.server = DevS3(place / "server")
            self.proxy = Proxy(self.server.port)
        self.bucket = Bucket(self.server, "mirror")
        self.faulty: subprocess.Popen[bytes] | None = None
        self.daemon = Daemon(place, "mirror", self.proxy.endpoint, self.server.mirror)
        self.daemon.tree.mkdir()
        # As on an emptyDir: 0 means that everything is there.
        self.daemon.env |= {
            "FILE_SYNC__SHUTDOWN_TIMEOUT_SECONDS": str(grace),
            "FILE_SYNC__STATE_SURVIVES": "no",
        }
        self.mirror = Mirror(self.bucket, lambda: {one.name: one for one in self.daemon.tree.iterdir()})
        (self.daemon.tree / "first").write_text("first")
        self.daemon.start()
        self.mirror.wait_until_equal(self.daemon, 60)

    def begin(self, trouble: Trouble) -> None:
        """The trouble begins, files are written, and the signal comes."""
        if trouble.faults:
            with PORTS:
                self.lead_through_faults(trouble.faults)
        elif trouble.away:
            self.proxy.refuse()
        elif trouble.silent:
            self.proxy.fall_silent()
        for number in range(FILES):
            (self.daemon.tree / f"{number:03}").write_bytes(number.to_bytes(2) * 2048)
        assert self.daemon.process is not None
        self.daemon.process.send_signal(signal.SIGTERM)
        if trouble.seconds is not None:
            back = threading.Timer(trouble.seconds, self.proxy.restore)
            back.daemon = True
            back.start()

    def lead_through_faults(self, faults: tuple[str, ...]) -> None:
        port = free_ports(1)[0]
        words = [word for fault in faults for word in ("--fault", fault)]
        upstream = f"http://127.0.0.1:{self.server.port}"
        self.faulty = subprocess.Popen(
            [str(PROGRAMS / "fault-proxy"), "--upstream", upstream, "--listen", f"127.0.0.1:{port}", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        eventually("the faulty way is there", lambda: _listens(port), 20)
        self.lead_to(port)

    def lead_to(self, port: int) -> None:
        """Requests go there from now on; connections of before break."""
        self.proxy.target = port
        self.proxy.refuse()
        self.proxy.restore()

    def there(self) -> int:
        return len(self.bucket.objects()) - 1

    def close(self) -> None:
        self.daemon.kill()
        self.proxy.stop()
        if self.faulty is not None:
            self.faulty.terminate()
            self.faulty.wait()
        self.server.stop()


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@contextlib.contextmanager
def stage(place: Path, grace: int) -> Iterator[Stage]:
    place.mkdir(parents=True)
    one = Stage(place, grace)
    try:
        yield one
    finally:
        one.close()


def _ended(place: Path, trouble: Trouble, grace: int) -> Cell:
    with stage(place, grace) as one:
        one.begin(trouble)
        began = time.monotonic()
        code = one.daemon.wait(grace + 30)
        return Cell(one.there(), time.monotonic() - began, code)


def test_a_shutdown_uses_its_time_and_reports_what_is_left(place: Path) -> None:
    cells: dict[tuple[str, int], Cell] = {}
    jobs = [(trouble, grace) for grace in reversed(GRACES) for trouble in TROUBLES]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        places = [place / f"cell-{number}" for number in range(len(jobs))]
        ended = pool.map(lambda job: _ended(job[1], *job[0]), zip(jobs, places, strict=True))
        for (trouble, grace), cell in zip(jobs, ended, strict=True):
            cells[trouble.name, grace] = cell
    print(f"\n| the store | {' | '.join(f'{grace} s' for grace in GRACES)} |")
    print("| --- |" + " --- |" * len(GRACES))
    for trouble in TROUBLES:
        print(f"| {trouble.name} | {' | '.join(str(cells[trouble.name, grace]) for grace in GRACES)} |")
    for (name, grace), cell in cells.items():
        shown = f"{name}, {grace} s: {cell}"
        assert cell.code == (0 if cell.there == FILES else 75), shown
        assert cell.took <= grace + MARGIN_SECONDS, shown
        if cell.there < FILES:
            assert cell.took >= grace - 1, f"it gave up early: {shown}"


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda one: one.name)
def test_killed_in_its_end_it_goes_on_from_its_state(place: Path, trouble: Trouble) -> None:
    with stage(place / "stage", 60) as one:
        one.begin(trouble)
        let_pass(1)
        one.daemon.kill()
        one.lead_to(one.server.port)
        one.daemon.start()
        one.mirror.wait_until_equal(one.daemon, 60)
