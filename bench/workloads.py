"""What is measured: the programs side by side, and what only a daemon does."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import clients
import servers
from clients import Client, Job
from far import Authority, FarS3
from measure import MIB, Cost, Failed, cpu_seconds, memory_bytes, run, tail
from servers import Counts, DevS3, Weed

Server = servers.Server | FarS3
# What kinds of servers at a distance begin with; then come the milliseconds there and back.
FAR = "far-"

PREFIX = "bench"
SMALL_BYTES = 4096
FILES_IN_DIRECTORY = 100
# A file that is found, not seen being closed, is sent when its last change is so old; with a margin.
SECONDS_TO_REST = 6
# How long nothing may change for a daemon to be done.
SECONDS_OF_QUIET = 3
TIME_TO_FINISH = 900


@dataclass(frozen=True)
class Run:
    """One run of one program."""

    client: str
    cost: Cost
    counts: Counts


@dataclass(frozen=True)
class Stage:
    """The programs, and where they do it."""

    work: Path
    ours: Client
    peers: list[Client]
    dev_s3: Path
    weed: Path
    # Where there is one, the servers of a distance speak TLS.
    tls: Authority | None = None

    @property
    def all(self) -> list[Client]:
        return [self.ours, *self.peers]

    def path(self, name: str) -> Path:
        return self.work / name

    @contextmanager
    def server(self, kind: str, port: int = 0) -> Iterator[Server]:
        """A new one of its `kind`, which is gone afterwards with all it holds. A record is bound to where
        its bucket is: ours can have a port that stays. `far-30` is 30 ms there and back."""
        directory = self.path(f"server-{kind}")
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        if kind == "seaweedfs":
            server: Server = Weed(self.weed, directory)
        elif kind.startswith(FAR):
            server = FarS3(self.dev_s3, directory, int(kind.removeprefix(FAR)), self.tls)
        else:
            server = DevS3(self.dev_s3, directory, discard=kind == "discard", port=port)
        try:
            yield server
        finally:
            server.stop()
            shutil.rmtree(directory, ignore_errors=True)


# --- trees --------------------------------------------------------------------------------------


def small_files(root: Path, files: int, seed: int = 1) -> None:
    """So many files of 4 KiB that no store could take for each other."""
    chance = random.Random(seed)
    for number in range(files):
        directory = root / f"directory-{number // FILES_IN_DIRECTORY:05}"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"file-{number:06}.dat").write_bytes(chance.randbytes(SMALL_BYTES))


def large_files(root: Path, files: int, mib: int) -> None:
    root.mkdir(parents=True, exist_ok=True)
    block = random.Random(mib).randbytes(MIB)
    for number in range(files):
        with (root / f"large-{number:02}.bin").open("wb") as file:
            for count in range(mib):
                # Every block another one, without the price of making it.
                file.write(count.to_bytes(8, "big") + block[8:])


def rest() -> None:
    time.sleep(SECONDS_TO_REST)


# --- side by side -------------------------------------------------------------------------------


def upload(stage: Stage, client: Client, server: Server, tree: Path, again: bool = False) -> Run:
    """One program brings the tree into the bucket, for the first time or `again`."""
    place = stage.path(f"place-{client.name}")
    bundle = server.bundle if isinstance(server, FarS3) else None
    job = Job(tree, f"{PREFIX}/{client.name}", server.endpoint, place, bundle)
    if not again:
        clients.prepare(job)
    before = server.counts()
    cost = run(client.command(job, again), client.environment(job), place, place / "log")
    return Run(client.name, cost, servers.since(before, server.counts()))


def side_by_side(stage: Stage, kind: str, tree: Path, number: int, again: bool = False) -> list[list[Run]]:
    """Every program once, one after another, in an order that turns with every round; and once more
    with nothing changed, if `again`."""
    turn = number % len(stage.all)
    rounds: list[list[Run]] = [[], []] if again else [[]]
    for client in stage.all[turn:] + stage.all[:turn]:
        # A server of its own: neither its memory nor the disk is any fuller for the last one.
        with stage.server(kind) as server:
            for twice, runs in enumerate(rounds):
                runs.append(upload(stage, client, server, tree, again=twice == 1))
    return rounds


# --- what only a mirror does --------------------------------------------------------------------


def deletion(stage: Stage, files: int) -> Counts:
    """All files but one are deleted between two runs of `once`: the requests of the second."""
    tree = stage.path("deleted")
    small_files(tree, files)
    (tree / "stays.txt").write_text("An empty directory deletes nothing.")
    rest()
    ours = replace(stage.ours, variables={"FILE_SYNC__DELETE_LIMIT_COUNT": "1000000"})
    with stage.server("dev-s3") as server:
        upload(stage, ours, server, tree)
        for directory in sorted(tree.glob("directory-*")):
            shutil.rmtree(directory)
        counts = upload(stage, ours, server, tree, again=True).counts
    shutil.rmtree(tree)
    return counts


@contextmanager
def daemon(stage: Stage, server: Server, tree: Path, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """The daemon, running; stopped by SIGTERM."""
    job = Job(tree, PREFIX, server.endpoint, stage.path("place-daemon"))
    clients.prepare(job)
    log = job.place / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(stage.ours.program), "run"],
            cwd=job.place,
            env=stage.ours.environment(job) | variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
        if process.poll() is not None:
            raise Failed(f"the daemon ended with {process.returncode}: {tail(log)}")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(TIME_TO_FINISH)


def until(what: str, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIME_TO_FINISH
    while not holds():
        if time.monotonic() > deadline:
            raise Failed(f"never: {what}")
        time.sleep(0.25)


def until_quiet(server: Server) -> Counts:
    """Waits until no request has come for a while, and returns all that came."""
    counts, since = server.counts(), time.monotonic()
    while time.monotonic() - since < SECONDS_OF_QUIET:
        time.sleep(0.25)
        if (now := server.counts()) != counts:
            counts, since = now, time.monotonic()
    return counts


def sent(counts: Counts, *operations: str) -> int:
    return sum(counts[name].requests for name in operations if name in counts)


def rename(stage: Stage, files: int) -> Counts:
    """A folder gets another name while the daemon runs: the requests from then on."""
    tree = stage.path("renamed")
    small_files(tree / "folder", files)
    with stage.server("dev-s3") as server:
        with daemon(stage, server, tree, FILE_SYNC__OPEN_FILE_QUIET_SECONDS="1"):
            until("all files are in S3", lambda: sent(server.counts(), "PutObject") >= files)
            before = until_quiet(server)
            (tree / "folder").rename(tree / "another")
            until("something follows", lambda: server.counts() != before)
            counts = servers.since(before, until_quiet(server))
    shutil.rmtree(tree)
    return counts


@dataclass(frozen=True)
class Idle:
    """A daemon with nothing to do."""

    seconds: float
    cpu: float
    memory_bytes: int
    peak_bytes: int
    requests: int


def idle(stage: Stage, files: int, seconds: int) -> Idle:
    tree = stage.path("idle")
    small_files(tree, files)
    with stage.server("dev-s3") as server:
        with daemon(stage, server, tree, FILE_SYNC__OPEN_FILE_QUIET_SECONDS="1") as process:
            until("all files are in S3", lambda: sent(server.counts(), "PutObject") >= files)
            before = until_quiet(server)
            cpu, started = cpu_seconds(process.pid), time.monotonic()
            time.sleep(seconds)
            measured = Idle(
                time.monotonic() - started,
                cpu_seconds(process.pid) - cpu,
                memory_bytes(process.pid),
                memory_bytes(process.pid, "VmHWM"),
                servers.requests(servers.since(before, server.counts())),
            )
    shutil.rmtree(tree)
    return measured


def memory(stage: Stage, large: int, mib: int, files: int) -> tuple[Run, Run]:
    """Large and small files together, `once` to a server that is no brake, and again unchanged."""
    tree = stage.path("together")
    small_files(tree / "small", files)
    (tree / "large").mkdir()
    for number in range(large):
        # Without blocks on the disk: what is measured is memory.
        path = tree / "large" / f"large-{number:02}.bin"
        path.touch()
        os.truncate(path, mib * MIB)
    rest()
    with stage.server("discard") as server:
        first = upload(stage, stage.ours, server, tree)
        again = upload(stage, stage.ours, server, tree, again=True)
    shutil.rmtree(tree)
    return first, again
