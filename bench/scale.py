"""What one instance costs with a million files in a hundred thousand directories; writes docs/PERFORMANCE.md.

Costs that grow with the tree are given as a ratio to `find`, which has to look at every file as well,
over the same tree in the same round: what else the machine does hits both.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import clients
import load
import page
import report
import servers
import trees
from clients import OURS, Job
from measure import MIB, Cost, Failed, run
from observed import Observed, of_watching, running
from page import Target, verdict
from report import spread
from workloads import Run, Stage, rest, until_quiet, upload

FIND = ("find", ".", "-printf", "%p %s %T@\n")
SHARDS = 3
# The kernel wants a watch for each directory, and some are others'.
WATCHES_BESIDE = 1_000
COMPARED = 10_000
TIME_TO_COMPARE = 1800
SECONDS_AT_REST = 5
TICK = 0.01


def parser() -> argparse.ArgumentParser:
    made = page.arguments(__doc__, "target/scale", "for trees, states and logs")
    made.add_argument("--only", nargs="*", default=[], choices=list(PARTS), help="these parts, and no page")
    made.add_argument("--keep", action="store_true", help="keep trees and states, and use those that are there")
    made.add_argument("--rounds", type=int, default=3, help="of what is compared with find")
    made.add_argument("--files", type=int, default=1_000_000, help="files in the tree")
    made.add_argument("--directories", type=int, default=100_000, help="directories they lie in")
    made.add_argument("--burst-files", type=int, default=100_000, help="files that are written over")
    made.add_argument("--burst-rate", type=int, default=10_000, help="changes a second")
    made.add_argument("--burst-seconds", type=int, default=60, help="for so long")
    made.add_argument("--outage-seconds", type=int, default=120, help="S3 is away so long once all files wait")
    made.add_argument("--outage-rate", type=int, default=500, help="changes a second meanwhile")
    return made


@dataclass(frozen=True)
class Scene:
    """The tree of a run, and where its state is."""

    stage: Stage
    options: argparse.Namespace
    tree: Path
    # All of them, the root included.
    directories: int
    # Of the server: a record is bound to it.
    port: int
    # What it took to send all files, once that was done.
    sent: list[Run] = field(default_factory=list)

    @property
    def title(self) -> str:
        return f"{self.options.files} files in {self.directories} directories"

    def server(self, keeps: bool = False) -> AbstractContextManager[servers.Server]:
        return self.stage.server("keeping" if keeps else "discard", self.port)

    def job(self, name: str, endpoint: str) -> Job:
        return Job(self.tree, f"scale/{name}", endpoint, self.stage.path(f"place-{name}"))


Result = tuple[str, list[Target]]


def main() -> int:
    options = parser().parse_args()
    # A time limit around the run ends it by SIGTERM; servers and daemons have to go with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    work, programs = options.work.resolve(), options.programs.resolve()
    if not options.keep:
        shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    stage = Stage(work, clients.ours(programs / OURS), [], programs / "dev-s3", work)
    sections, targets = [], []
    try:
        scene = Scene(stage, options, *tree_of(work / "tree", options.files, options.directories))
        enough_watches(scene.directories)
        for name, part in PARTS.items():
            if options.only and name not in options.only:
                continue
            print(f"== {name}", flush=True)
            text, reached = part(scene)
            print(text, flush=True)
            sections.append(text)
            targets += reached
    except Failed as failed:
        print(f"bench-scale: {failed}", file=sys.stderr)
        return 1
    overview = report.table(("work", "target", "measured", ""), targets)
    print(f"== targets\n{overview}")
    if not options.only:
        versions = {OURS: page.first_line(str(stage.ours.program), "--version")}
        said = page.surroundings("bench-scale", f"in {options.rounds} rounds", options, versions)
        page.write(options.output, "bench-scale", "\n\n".join([said, "#### Targets", overview, *sections]))
    if not options.keep:
        shutil.rmtree(work)
    return 0


def tree_of(tree: Path, files: int, count: int) -> tuple[Path, int, int]:
    """Makes the tree, or takes the one that an earlier run has kept, with the port of its states."""
    made = tree.with_suffix(".json")
    if made.exists() and (kept := json.loads(made.read_text()))[:2] == [files, count]:
        return tree, kept[2], kept[3]
    shutil.rmtree(tree, ignore_errors=True)
    directories, port = trees.make(tree, files, count), servers.free_ports(1)[0]
    made.write_text(json.dumps([files, count, directories, port]))
    rest()
    return tree, directories, port


def enough_watches(directories: int) -> None:
    limit = Path("/proc/sys/fs/inotify/max_user_watches")
    if int(limit.read_text()) < directories + WATCHES_BESIDE:
        raise Failed(f"{directories} directories need more watches: sysctl fs.inotify.max_user_watches=1048576")


def find(scene: Scene) -> Cost:
    """The measure: it lists every directory, looks at every file, and says what it saw."""
    return run(FIND, {"PATH": os.environ["PATH"]}, scene.tree, Path(os.devnull))


def to_find(ours: list[float], theirs: list[float]) -> list[float]:
    return [mine / max(other, TICK) for mine, other in zip(ours, theirs, strict=True)]


# --- the first time -----------------------------------------------------------------------------


def first(scene: Scene) -> Result:
    """All files to an S3 that does nothing, and in the same run the ten thousand that others are compared
    with, on both sides of it."""
    few = scene.stage.path("few")
    count = min(COMPARED, scene.options.files)
    trees.make(few, count, max(1, count * scene.options.directories // scene.options.files))
    rest()
    ours, smaller = scene.stage.ours, []
    with scene.server() as server:
        smaller += [upload(scene.stage, ours, server, few).cost.cpu / count for _ in range(3)]
        run_of = send_all(scene, server)
        smaller += [upload(scene.stage, ours, server, few).cost.cpu / count for _ in range(3)]
    shutil.rmtree(few)
    each = run_of.cost.cpu / scene.options.files
    ratio = each / median(smaller)
    rows = [
        (str(scene.options.files), f"{run_of.cost.cpu:.1f}", f"{each * 1000:.3f}", f"{run_of.cost.wall:.1f}")
        + (f"{run_of.cost.peak_bytes / MIB:.0f}", str(servers.requests(run_of.counts))),
        (str(count), f"{median(smaller) * count:.2f}", f"{median(smaller) * 1000:.3f}", "", "", ""),
    ]
    head = ("files", "CPU s", "CPU ms a file", "wall s", "peak MiB", "requests")
    text = f"#### Sent for the first time\n\n`once` to a server that does nothing:\n\n{report.table(head, rows)}"
    what = f"CPU a file ≤ that of {count} files"
    return text, [(f"{scene.title}: sent for the first time", what, f"{ratio:.2f} ×", verdict(ratio <= 1.0))]


def send_all(scene: Scene, server: servers.Server) -> Run:
    """`once` on an empty state, which is kept for the other parts."""
    job, ours = scene.job("all", server.endpoint), scene.stage.ours
    clients.prepare(job)
    before = server.counts()
    cost = run(ours.command(job, False), ours.environment(job), job.place, job.place / "log")
    scene.sent.append(Run(OURS, cost, servers.since(before, server.counts())))
    # A million lines without a reader.
    (job.place / "log").unlink()
    return scene.sent[-1]


def with_state(scene: Scene, server: servers.Server) -> Job:
    """A place whose record knows of every file."""
    job = scene.job("all", server.endpoint)
    if not (job.place / "state").exists():
        send_all(scene, server)
    return job


# --- nothing changed ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Started:
    """A daemon that was started on a state that has every file, and then asked for a scan."""

    ready: float
    watched: float
    # Of that, what watching took: the rest compares, and lists the bucket where that is due.
    watching: float
    compared: float
    rescan: float
    directories: int
    at_rest: int
    growth: int
    requests: int


def unchanged(scene: Scene) -> Result:
    """Found by a restart and by the hourly comparison: the daemon, `once`, and find, in every round."""
    theirs, once, started = [], [], []
    with scene.server() as server:
        job = with_state(scene, server)
        # The first look at a tree is the disk's; every round has a warm one.
        find(scene)
        for _ in range(scene.options.rounds):
            theirs.append(find(scene).cpu)
            before = server.counts()
            command, environment = scene.stage.ours.command(job, True), scene.stage.ours.environment(job)
            once.append(run(command, environment, job.place, job.place / "once.log"))
            started.append(start(scene, job, server, before))
    pure = to_find([one.rescan for one in started], theirs)
    ready = to_find([one.watched for one in started], theirs)
    requests, growth = max(one.requests for one in started), max(one.growth for one in started) / MIB
    at_rest = max(one.at_rest for one in started) / MIB
    watched = min(one.directories for one in started)
    work = f"{scene.title}: nothing changed"
    targets = [
        (work, "comparison: CPU ≤ 0.8 × find", f"{spread(pure)} ×", verdict(median(pure) <= 0.8)),
        (work, "comparison: memory grows by ≤ 32 MiB", f"{growth:.1f} MiB", verdict(growth <= 32)),
        (work, "start to all watches: CPU ≤ 1.5 × find", f"{spread(ready)} ×", verdict(median(ready) <= 1.5)),
        (work, f"{scene.directories} directories watched", str(watched), verdict(watched >= scene.directories)),
        (work, "0 S3 requests", str(requests), verdict(requests == 0)),
        (work, "memory at rest ≤ 120 MiB", f"{at_rest:.1f} MiB", verdict(at_rest <= 120)),
    ]
    return format_unchanged(theirs, once, started), targets


def format_unchanged(theirs: list[float], once: list[Cost], started: list[Started]) -> str:
    rows = [("`find -printf '%p %s %T@'`", spread(theirs), "1", "")]
    for what, used, memory in (
        ("the hourly comparison", [one.rescan for one in started], [one.growth for one in started]),
        ("start to `/startupz`", [one.ready for one in started], []),
        ("… to all directories watched", [one.watched for one in started], []),
        ("… to the end of the first comparison", [one.compared for one in started], [one.at_rest for one in started]),
        ("`once`", [one.cpu for one in once], [one.peak_bytes for one in once]),
    ):
        shown = f"{max(memory) / MIB:.1f}" if memory else ""
        rows.append((what, spread(used), spread(to_find(used, theirs)), shown))
    head = ("", "CPU s", "to find", "MiB")
    words = "The last column is how much a comparison adds, what is held at rest, and the peak of `once`."
    return f"#### Nothing changed\n\n{report.table(head, rows)}\n\n{words}"


def start(scene: Scene, job: Job, server: servers.Server, before: servers.Counts, **variables: str) -> Started:
    with running(scene.stage.ours, job, **variables) as daemon:
        ready = daemon.cpu()
        daemon.until("all is watched", lambda: daemon.status()["watch"]["complete"], TIME_TO_COMPARE, step=0.01)
        watched, watching = daemon.cpu(), of_watching(daemon.cpu_of_threads())
        directories = daemon.status()["watch"]["watched_directories"]
        await_comparison(daemon, None)
        compared = daemon.cpu()
        # A shard lists the bucket beside the rest.
        until_quiet(server)
        time.sleep(SECONDS_AT_REST)
        at_rest = daemon.memory()
        daemon.forget_peak()
        began, last = daemon.cpu(), daemon.status()["comparison"]["last"]
        daemon.ask("/-/rescan", "POST")
        await_comparison(daemon, last)
        rescan, growth = daemon.cpu() - began, max(0, daemon.peak() - at_rest)
        requests = servers.requests(servers.since(before, server.counts()))
    return Started(ready, watched, watching, compared, rescan, directories, at_rest, growth, requests)


def await_comparison(daemon: Observed, last: dict | None) -> None:
    """Waits for the end of one that is not the `last`."""

    def ended() -> bool:
        now = daemon.status()["comparison"]
        return not now["running"] and now["last"] != last

    daemon.until("a comparison ends", ended, TIME_TO_COMPARE)


# --- shards -------------------------------------------------------------------------------------


def shards(scene: Scene) -> Result:
    """One of three instances that share the tree, beside the only one. A shard lists the bucket at its start,
    and has to find there what it has sent."""
    with scene.server(keeps=True) as server:
        asked = scene.job("shard", server.endpoint)
        clients.prepare(asked)
        of_one = {"FILE_SYNC__SHARD_INDEX": "0", "FILE_SYNC__SHARD_COUNT": str(SHARDS)}
        environment = scene.stage.ours.environment(asked) | of_one
        try:
            run([str(scene.stage.ours.program), "check-config"], environment, asked.place, asked.place / "log")
        except Failed:
            return "#### Shared by three\n\nNot measured: this version knows no shards.", []
        run([str(scene.stage.ours.program), "once"], environment, asked.place, asked.place / "log")
        job, walks, watches, starts, counts = with_state(scene, server), [], [], [], []
        for _ in range(scene.options.rounds):
            before = server.counts()
            single = start(scene, job, server, before)
            shared = start(scene, asked, server, before, **of_one)
            # Of a small tree it may be less than the kernel's clock shows.
            walks.append(shared.rescan / max(single.rescan, TICK))
            watches.append(shared.watching / max(single.watching, TICK))
            starts.append(shared.watched / max(single.watched, TICK))
            counts.append(shared.directories)
    rows = [
        ("CPU of a comparison", spread(walks)),
        ("CPU of watching, from the start to all watches", spread(watches)),
        ("CPU of everything meanwhile, a part of its listing included", spread(starts)),
        ("watches", f"{max(counts)} of {scene.directories}"),
    ]
    text = f"#### Shared by three\n\n{report.table((f'one of {SHARDS}', 'to the only one'), rows)}"
    work = f"{scene.title}: one shard of {SHARDS}"
    return text, [
        (work, "walk: CPU ≤ 0.4 × the only one", f"{spread(walks)} ×", verdict(median(walks) <= 0.4)),
        (work, "watch: CPU ≤ 0.4 × the only one", f"{spread(watches)} ×", verdict(median(watches) <= 0.4)),
    ]


# --- under load ---------------------------------------------------------------------------------


def burst(scene: Scene) -> Result:
    return load.burst(scene.stage, scene.options)


def outage(scene: Scene) -> Result:
    if not scene.sent:
        with scene.server() as server:
            send_all(scene, server)
    pace = scene.options.files / scene.sent[-1].cost.wall
    return load.outage(scene.stage, scene.options, scene.tree, pace)


PARTS = {"first": first, "unchanged": unchanged, "shards": shards, "burst": burst, "outage": outage}

if __name__ == "__main__":
    sys.exit(main())
