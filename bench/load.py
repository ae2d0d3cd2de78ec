"""One instance under load: bursts of changes, and an S3 that is away while everything waits."""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path
from statistics import median

import clients
import report
import servers
import trees
from clients import Job
from measure import MIB
from observed import Observed, of_watching, running
from page import Target, verdict
from servers import DevS3, free_ports
from workloads import Stage, rest, sent, upload

SAMPLE_SECONDS = 1
TIME_TO_SETTLE = 1800
# What memory may do between the second quarter of a load and the last, and be called flat.
FLAT = 1.1


def waiting(daemon: Observed) -> int:
    return daemon.status()["pending"]["files"]


def is_done(daemon: Observed) -> bool:
    status = daemon.status()
    return status["in_sync"] and status["pending"]["files"] == 0 and status["pending"]["settling"] == 0


def flatness(samples: list[float]) -> float:
    """The last quarter to the second: the first is the start."""
    quarter = max(1, len(samples) // 4)
    return median(samples[-quarter:]) / median(samples[quarter : 2 * quarter] or samples)


# --- ten thousand changes a second --------------------------------------------------------------


def burst(stage: Stage, options: argparse.Namespace) -> tuple[str, list[Target]]:
    """Files are written over and over, faster than they can be sent: each is sent again as it is then."""
    tree = stage.path("burst")
    shutil.rmtree(tree, ignore_errors=True)
    trees.make(tree, options.burst_files, max(1, options.burst_files // 100))
    rest()
    with stage.server("dev-s3") as server:
        assert isinstance(server, DevS3)
        job = Job(tree, "burst", server.endpoint, stage.path("place-burst"))
        first = upload(stage, stage.ours, server, tree)
        each = first.cost.cpu / options.burst_files
        clients.prepare(job)
        with running(stage.ours, job) as daemon:
            daemon.until("all files are in S3", lambda: is_done(daemon), TIME_TO_SETTLE)
            shown, lost = under_burst(daemon, server, tree, options, each)
    shutil.rmtree(tree)
    return shown, lost


def under_burst(
    daemon: Observed, server: DevS3, tree: Path, options: argparse.Namespace, each: float
) -> tuple[str, list[Target]]:
    writer = trees.rewrite(tree, options.burst_rate, options.burst_seconds)
    assert writer.stdout is not None
    writer.stdout.readline()
    before, cpu, threads, began = server.counts(), daemon.cpu(), daemon.cpu_of_threads(), time.monotonic()
    held: list[float] = []
    while writer.poll() is None:
        held.append(daemon.memory())
        time.sleep(SAMPLE_SECONDS)
    seconds = time.monotonic() - began
    written = int(writer.stdout.read())
    used, uploads = daemon.cpu() - cpu, sent(servers.since(before, server.counts()), "PutObject")
    by_name = {name: now - threads.get(name, 0) for name, now in daemon.cpu_of_threads().items()}
    daemon.until("all changes are in S3", lambda: is_done(daemon), TIME_TO_SETTLE)
    behind, watch = time.monotonic() - began - seconds, daemon.status()["watch"]
    wanted, there = trees.etags(tree, "burst"), server.objects("burst/")
    lost = sum(there.get(key) != value for key, value in wanted.items()) + len(there.keys() - wanted.keys())
    beside = (used - uploads * each) / seconds
    watcher = of_watching(by_name) / seconds
    grown = flatness(held)
    work = f"{options.burst_rate} changes a second for {options.burst_seconds} s, {options.burst_files} files"
    rows = [
        ("changes made", f"{written}, {written / seconds:.0f} a second"),
        ("uploads meanwhile", f"{uploads}, {uploads / seconds:.0f} a second"),
        ("after the last change everything was in S3 in", f"{behind:.1f} s"),
        ("kernel queues that overflowed", str(watch["overflows"])),
        ("CPU of the daemon", f"{used / seconds * 100:.0f} % of a core"),
        *((f"… of threads `{name}`", f"{spent / seconds * 100:.1f} %") for name, spent in sorted(by_name.items())),
        (f"CPU of that many uploads by `once` ({each * 1000:.3f} ms each)", f"{uploads * each / seconds * 100:.0f} %"),
        ("memory at the start, at most and at the end", f"{listed(held)} MiB"),
    ]
    if written < 0.9 * options.burst_rate * options.burst_seconds:
        work += f" (the writer managed {written / seconds:.0f})"
    targets = [
        (work, "nothing lost", f"{lost} of {len(wanted)} objects differ", verdict(lost == 0)),
        (work, "watcher ≤ 25 % of a core", f"{watcher * 100:.1f} %", verdict(watcher <= 0.25)),
        (work, "all but the uploads ≤ 25 % of a core", f"{beside * 100:.0f} %", verdict(beside <= 0.25)),
        (work, f"memory, last quarter ≤ {FLAT} × second", f"{grown:.2f} ×", verdict(grown <= FLAT)),
    ]
    return f"#### A burst\n\n{report.table(('', work), rows)}", targets


def listed(held: list[float]) -> str:
    return ", ".join(f"{one / MIB:.0f}" for one in (held[0], max(held), held[-1]))


# --- everything waits ---------------------------------------------------------------------------


def outage(stage: Stage, options: argparse.Namespace, tree: Path, pace: float) -> tuple[str, list[Target]]:
    """S3 is away from the start, until every file waits and for some time more; then it comes back."""
    port = free_ports(1)[0]
    job = Job(tree, "outage", f"http://127.0.0.1:{port}", stage.path("place-outage"))
    clients.prepare(job)
    with running(stage.ours, job) as daemon:
        began = time.monotonic()
        daemon.until("all files wait", lambda: waiting(daemon) >= options.files, TIME_TO_SETTLE, step=1)
        queued, cpu = time.monotonic() - began, daemon.cpu()
        state = [float(daemon.state_bytes())]
        writer = trees.rewrite(tree, options.outage_rate, options.outage_seconds)
        held: list[float] = []
        while writer.poll() is None:
            held.append(daemon.memory())
            state.append(daemon.state_bytes())
            time.sleep(SAMPLE_SECONDS)
        away = daemon.cpu() - cpu
        drained, resumed, uploads = drain(stage, daemon, port)
        peak, left = daemon.peak(), float(daemon.state_bytes())
    rate = uploads / max(drained - resumed, 0.01)
    work = f"{options.files} files wait, S3 away for {options.outage_seconds} s of {options.outage_rate} changes a second"
    rows = [
        ("until all files wait", f"{queued:.0f} s, {cpu:.1f} s of CPU, {cpu / options.files * 1000:.3f} ms a file"),
        ("CPU while S3 is away", f"{away / options.outage_seconds * 100:.1f} % of a core"),
        ("memory at the start, at most and at the end of the outage", f"{listed(held)} MiB"),
        ("memory at most, the return of S3 included", f"{peak / MIB:.0f} MiB"),
        ("state when all wait, at most, and when all is sent", f"{listed([state[0], *state[1:], left])} MiB"),
        ("from the return of S3 to the first upload", f"{resumed:.1f} s"),
        ("uploads then", f"{rate:.0f} a second; `once` sends {pace:.0f}"),
    ]
    grown = flatness(state)
    targets = [
        (work, "memory ≤ 200 MiB", f"{peak / MIB:.0f} MiB", verdict(peak <= 200 * MIB)),
        (work, f"state, last quarter ≤ {FLAT} × second", f"{grown:.2f} ×", verdict(grown <= FLAT)),
        (work, "then sent at ≥ 0.8 × the pace of `once`", f"{rate / pace:.2f} ×", verdict(rate >= 0.8 * pace)),
    ]
    return f"#### Everything waits\n\n{report.table(('', ''), rows)}", targets


def drain(stage: Stage, daemon: Observed, port: int) -> tuple[float, float, int]:
    """Seconds from the return of S3 to the last upload and to the first, and how many there were."""
    directory = stage.path("server-outage")
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    server, began, resumed = DevS3(stage.dev_s3, directory, discard=True, port=port), time.monotonic(), 0.0

    def done() -> bool:
        nonlocal resumed
        if not resumed and sent(server.counts(), "PutObject"):
            resumed = time.monotonic() - began
        return waiting(daemon) == 0

    try:
        daemon.until("all files are sent", done, TIME_TO_SETTLE, step=0.1)
        return time.monotonic() - began, resumed, sent(server.counts(), "PutObject")
    finally:
        server.stop()
