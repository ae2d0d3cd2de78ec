"""A daemon that is asked while it runs: its status, its threads, what it holds of memory and of the disk."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from clients import Client, Job
from measure import Failed, cpu_seconds, memory_bytes, tail
from servers import free_ports

TIME_TO_ANSWER = 30
TIME_TO_START = 300
TIME_TO_STOP = 120
# Threads that do nothing but watch, by how their names begin.
WATCHERS = ("detect", "notify", "mounts")


def of_watching(cpu: dict[str, float]) -> float:
    """What threads that watch have of the CPU of all, by their names."""
    return sum(spent for name, spent in cpu.items() if name.startswith(WATCHERS))

# What control requests by TCP bring.
TOKEN = "for-measurements-on-loopback"


@dataclass
class Observed:
    """The running daemon, and where it answers."""

    process: subprocess.Popen[bytes]
    admin: str
    place: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def ask(self, path: str, method: str = "GET") -> bytes:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        request = urllib.request.Request(f"{self.admin}{path}", method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=TIME_TO_ANSWER) as answer:
            return answer.read()

    def status(self) -> dict:
        return json.loads(self.ask("/status"))

    def is_started(self) -> bool:
        with contextlib.suppress(OSError):
            self.ask("/startupz")
            return True
        return False

    def cpu(self) -> float:
        return cpu_seconds(self.pid)

    def memory(self) -> int:
        return memory_bytes(self.pid)

    def peak(self) -> int:
        """The most it held since its start, or since `forget_peak`."""
        return memory_bytes(self.pid, "VmHWM")

    def forget_peak(self) -> None:
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def threads(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/task").iterdir()))

    def cpu_of_threads(self) -> dict[str, float]:
        """CPU so far by the names of threads, without those that have ended."""
        used: dict[str, float] = {}
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            # A thread may end between the listing and the look.
            with contextlib.suppress(OSError):
                name = (task / "comm").read_text().strip()
                used[name] = used.get(name, 0) + cpu_seconds(f"{self.pid}/task/{task.name}")
        return used

    def state_bytes(self) -> int:
        """The record, its journal and what else lies in the directory of the state."""
        total = 0
        for path in (self.place / "state").rglob("*"):
            with contextlib.suppress(FileNotFoundError):
                total += path.lstat().st_size
        return total

    def until(self, what: str, holds: Callable[[], bool], seconds: float, step: float = 0.25) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            if self.process.poll() is not None:
                raise Failed(f"the daemon ended with {self.process.returncode}: {tail(self.place / 'log')}")
            if time.monotonic() > deadline:
                raise Failed(f"not in {seconds} s: {what}: {tail(self.place / 'log')}")
            time.sleep(step)


@contextlib.contextmanager
def running(client: Client, job: Job, **variables: str) -> Iterator[Observed]:
    """The daemon with the state that is in the job's place, once it says that it has started; stopped by
    SIGTERM."""
    port = free_ports(1)[0]
    job.place.mkdir(parents=True, exist_ok=True)
    log = job.place / "log"
    token = job.place / "token"
    token.write_text(TOKEN)
    address = {"FILE_SYNC__ADMIN_ADDRESS": f"127.0.0.1:{port}", "FILE_SYNC__ADMIN_TOKEN_FILE": str(token)}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(client.program), "run"],
            cwd=job.place,
            env=client.environment(job) | address | variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        daemon = Observed(process, f"http://127.0.0.1:{port}", job.place)
        daemon.until("it has started", daemon.is_started, TIME_TO_START, step=0.01)
        yield daemon
        if process.poll() is not None:
            raise Failed(f"the daemon ended with {process.returncode}: {tail(log)}")
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(TIME_TO_STOP)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
