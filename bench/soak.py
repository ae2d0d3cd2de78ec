"""A release daemon under mixed load for half an hour, with an S3 that fails now and then: whether memory,
descriptors, threads and the state stay what they are, and whether bucket and tree are equal in the end.

Writes docs/images/soak.svg and its part of docs/PERFORMANCE.md.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import clients
import page
import plot
import report
import trees
from clients import OURS, Job
from measure import MIB, Failed
from observed import Observed, running
from page import ROOT, Target, verdict
from servers import DevS3
from workloads import rest

SAMPLE_SECONDS = 2
# What a figure may do between the second quarter and the last, and be called flat.
FLAT = 1.1
TIME_TO_SETTLE = 600
FILES_IN_DIRECTORY = 100
# A burst: so many files at once.
BURST = 1_000
LARGE = 4
WRITE_BYTES = 1024 * 1024


def parser() -> argparse.ArgumentParser:
    made = page.arguments(__doc__, "target/soak", "emptied, and filled with a tree")
    made.add_argument("--plot", type=Path, default=ROOT / "docs/images/soak.svg", help="where it is drawn")
    made.add_argument("--seconds", type=int, default=1800, help="how long there is load")
    made.add_argument("--files", type=int, default=20_000, help="files at the start, and about as many all the time")
    made.add_argument("--rate", type=int, default=60, help="changes a second")
    made.add_argument("--large-mib", type=int, default=32, help="size of a large file, one of which is written a minute")
    made.add_argument("--faults", type=int, default=2, help="per cent of the requests that go wrong")
    made.add_argument("--every", type=int, default=300, help="seconds from one outage and burst to the next")
    made.add_argument("--outage", type=int, default=20, help="seconds of an outage")
    made.add_argument("--seed", type=int, default=1, help="of the changes")
    return made


# --- the load -----------------------------------------------------------------------------------


@dataclass
class Load:
    """The user who works in the tree, at an even pace, until stopped."""

    root: Path
    options: argparse.Namespace
    done: dict[str, int] = field(default_factory=dict)
    failure: BaseException | None = None

    def __post_init__(self) -> None:
        self.chance = random.Random(self.options.seed)
        self.files = [Path(path.decode()) for path in trees.paths(self.root)]
        self.stopped, self.number = threading.Event(), len(self.files)
        self.thread = threading.Thread(target=self._work)

    def stop(self) -> None:
        self.stopped.set()
        self.thread.join()
        if self.failure:
            raise Failed(f"the load ended: {self.failure!r}")

    def _work(self) -> None:
        try:
            began, made, large, burst = time.monotonic(), 0, 0, 1
            while not self.stopped.wait(0.01):
                elapsed = time.monotonic() - began
                while made < elapsed * self.options.rate:
                    self._change()
                    made += 1
                if elapsed >= large * 60:
                    self._large(large % LARGE)
                    large += 1
                if elapsed >= (burst - 0.5) * self.options.every:
                    self._burst()
                    burst += 1
        except BaseException as failure:
            self.failure = failure

    def _change(self) -> None:
        kind = self._kind()
        self.done[kind] = self.done.get(kind, 0) + 1
        at = self.chance.randrange(len(self.files))
        path = self.files[at]
        if kind == "created":
            self.number += 1
            directory = self.root / f"new-{self.number // FILES_IN_DIRECTORY:06}"
            directory.mkdir(exist_ok=True)
            self.files.append(directory / f"file-{self.number:08}.dat")
            self.files[-1].write_bytes(self.chance.randbytes(self.chance.randrange(1, 32 * 1024)))
        elif kind == "written over":
            path.write_bytes(self.chance.randbytes(self.chance.randrange(1, 32 * 1024)))
        elif kind == "appended to":
            with path.open("ab") as file:
                file.write(self.chance.randbytes(200))
        elif kind == "renamed":
            self.number += 1
            self.files[at] = path.with_name(f"renamed-{self.number:08}.dat")
            path.rename(self.files[at])
        else:
            path.unlink()
            self.files[at] = self.files[-1]
            self.files.pop()

    def _kind(self) -> str:
        # About as many files all the time.
        if len(self.files) > self.options.files * 1.05:
            return "deleted"
        kinds = ("created", "written over", "appended to", "renamed", "deleted")
        return self.chance.choices(kinds, (20, 35, 20, 10, 15))[0]

    def _large(self, number: int) -> None:
        self.done["large"] = self.done.get("large", 0) + 1
        with (self.root / f"large-{number}.bin").open("wb") as file:
            for _ in range(self.options.large_mib):
                file.write(self.chance.randbytes(WRITE_BYTES))

    def _burst(self) -> None:
        count = min(BURST, len(self.files))
        self.done["in bursts"] = self.done.get("in bursts", 0) + count
        for path in self.chance.sample(self.files, count):
            path.write_bytes(self.chance.randbytes(1024))


# --- what is looked at --------------------------------------------------------------------------


@dataclass
class Sample:
    seconds: float
    away: bool
    memory: float
    descriptors: int
    threads: int
    state: float
    pending: int


def observe(daemon: Observed, server: DevS3, load: Load, options: argparse.Namespace) -> list[Sample]:
    """Takes samples while there is load, and has S3 go away now and then."""
    samples: list[Sample] = []
    began, outages, away = time.monotonic(), 1, False
    while (elapsed := time.monotonic() - began) < options.seconds and load.thread.is_alive():
        since = elapsed - outages * options.every
        if not away and since >= 0:
            server.switch()
            away = True
        elif away and since >= options.outage:
            server.switch()
            away, outages = False, outages + 1
        pending = daemon.status()["pending"]["files"]
        figures = daemon.memory() / MIB, daemon.descriptors(), daemon.threads(), daemon.state_bytes() / MIB
        samples.append(Sample(elapsed, away, *figures, pending))
        time.sleep(SAMPLE_SECONDS)
    if away:
        server.switch()
    return samples


def differences(root: Path, server: DevS3, prefix: str) -> list[str]:
    """Byte for byte: by the entity tag where it is the content's, and else by reading the object back."""
    wanted, there = trees.etags(root, prefix), server.objects(f"{prefix}/")
    found = [f"too much: {key}" for key in there.keys() - wanted.keys()]
    for key, file in wanted.items():
        if key not in there:
            found.append(f"missing: {key}")
        elif there[key] != file and server.read(key) != (root / key.removeprefix(f"{prefix}/")).read_bytes():
            found.append(f"other: {key}")
    return found


def flat(name: str, unit: str, values: list[float], least: float) -> Target:
    quarter = max(1, len(values) // 4)
    second, last = median(values[quarter : 2 * quarter] or values), median(values[-quarter:])
    shown = f"{second:.1f} → {last:.1f} {unit}, {min(values):.1f} to {max(values):.1f} in all".replace("  ", " ")
    target = f"last quarter ≤ {FLAT} × second"
    return name, target, shown, verdict(last <= FLAT * second or last <= second + least)


# --- the run ------------------------------------------------------------------------------------


def main() -> int:
    options = parser().parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    work, programs = options.work.resolve(), options.programs.resolve()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    ours, tree = clients.ours(programs / OURS), work / "tree"
    trees.make(tree, options.files, max(1, options.files // FILES_IN_DIRECTORY))
    rest()
    server = DevS3(programs / "dev-s3", work, discard=False, faults=options.faults)
    try:
        samples, load, behind, found = soak(ours, server, tree, work, options)
    except Failed as failed:
        print(f"soak: {failed}", file=sys.stderr)
        return 1
    finally:
        server.stop()
    text, good = listed(samples, load, behind, found, options)
    print(text)
    versions = {OURS: page.first_line(str(ours.program), "--version")}
    said = page.surroundings("soak", "in one run", options, versions)
    options.plot.write_text(drawn(samples))
    page.write(options.output, "soak", f"{said}\n\n{text}\n\n![Half an hour of mixed load](images/soak.svg)")
    if good:
        shutil.rmtree(work)
    return 0 if good else 1


def soak(
    ours: clients.Client, server: DevS3, tree: Path, work: Path, options: argparse.Namespace
) -> tuple[list[Sample], Load, float, list[str]]:
    job = Job(tree, "soak", server.endpoint, work / "place")
    # Deletes pile up while S3 is away: the guard against mass deletion is no part of this.
    with running(ours, job, FILE_SYNC__DELETE_LIMIT_COUNT="1000000") as daemon:

        def is_done() -> bool:
            status = daemon.status()
            return status["in_sync"] and status["pending"]["settling"] == 0

        daemon.until("the first files are in S3", is_done, TIME_TO_SETTLE, step=1)
        load = Load(tree, options)
        load.thread.start()
        try:
            samples = observe(daemon, server, load, options)
        finally:
            load.stop()
        began = time.monotonic()
        daemon.until("everything is in S3", is_done, TIME_TO_SETTLE, step=1)
        behind = time.monotonic() - began
    return samples, load, behind, differences(tree, server, "soak")


def listed(
    samples: list[Sample], load: Load, behind: float, found: list[str], options: argparse.Namespace
) -> tuple[str, bool]:
    targets = [
        ("bucket and tree", "equal in the end", f"{len(found)} differences", verdict(not found)),
        flat("memory", "MiB", [one.memory for one in samples], 4),
        flat("descriptors", "", [float(one.descriptors) for one in samples], 8),
        flat("threads", "", [float(one.threads) for one in samples], 4),
        flat("state", "MiB", [one.state for one in samples], 1),
    ]
    changes = ", ".join(f"{count} {kind}" for kind, count in sorted(load.done.items()))
    outages = sum(now.away and not before.away for before, now in zip(samples, samples[1:], strict=False))
    words = (
        f"{samples[-1].seconds / 60:.0f} minutes; {changes}; {outages} outages of {options.outage} s, "
        f"{options.faults} % of all other requests gone wrong; at most {max(one.pending for one in samples)} files waited, "
        f"and {behind:.0f} s after the last change none."
    )
    if found:
        words += "\n\n" + "\n".join(found[:20])
    reached = all(target[3] == verdict(True) for target in targets)
    return f"{words}\n\n{report.table(('', 'target', 'measured', ''), targets)}", reached


def drawn(samples: list[Sample]) -> str:
    minutes = [one.seconds / 60 for one in samples]
    shaded = plot.spans(minutes, [one.away for one in samples])
    rows = [
        plot.Row("memory, MiB", [one.memory for one in samples]),
        plot.Row("descriptors", [float(one.descriptors) for one in samples]),
        plot.Row("threads", [float(one.threads) for one in samples]),
        plot.Row("state, MiB", [one.state for one in samples]),
        plot.Row("files waiting", [float(one.pending) for one in samples]),
    ]
    return plot.svg("file-sync-service under mixed load; shaded: S3 is away", "minutes", minutes, rows, shaded)


if __name__ == "__main__":
    sys.exit(main())
