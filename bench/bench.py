"""Compares file-sync-service with rclone, s5cmd and aws-cli, and writes docs/PERFORMANCE.md.

One run, the same trees, the same servers, one program after another, every round in another order:
what else the machine does hits all of them. CPU seconds are the figure to trust on a busy machine.
"""

from __future__ import annotations

import argparse
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from statistics import median

import clients
import page
import report
import servers
import workloads
from clients import OURS
from far import authority
from measure import MIB, Failed
from page import Target, verdict
from workloads import Stage, sent

ROOT = page.ROOT
TRANSFER_MEMORY_MIB = 128
LATENCY = "latency"


def parser() -> argparse.ArgumentParser:
    made = page.arguments(__doc__, "target/bench", "emptied, and filled with trees")
    made.add_argument("--only", nargs="*", default=[], choices=list(PARTS), help="these parts, and no page")
    made.add_argument("--no-peers", action="store_true", help="ours alone")
    made.add_argument("--rounds", type=int, default=3, help="of the comparisons")
    made.add_argument("--files", type=int, default=10_000, help="small files")
    made.add_argument("--mib", type=int, default=1024, help="size of the large file")
    made.add_argument("--renamed", type=int, default=5_000, help="files in the renamed folder")
    made.add_argument("--idle-seconds", type=int, default=60, help="how long nothing happens")
    made.add_argument("--latency-files", type=int, default=200, help="files from close to S3")
    made.add_argument("--far-files", type=int, default=3_000, help="small files over TLS and a distance")
    made.add_argument("--far-mib", type=int, default=256, help="size of the large file over TLS and a distance")
    made.add_argument("--memory-large", type=int, default=16, help="large files at once, of --memory-mib")
    made.add_argument("--memory-mib", type=int, default=128, help="size of a large file")
    made.add_argument("--memory-small", type=int, default=20_000, help="small files at once")
    return made


def main() -> int:
    options = parser().parse_args()
    # A time limit around the run ends it by SIGTERM; servers and daemons have to go with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Every command runs in a directory of its own.
    work = options.work.resolve()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    programs = options.programs.resolve()
    missing = [name for name in (OURS, "dev-s3", "distance-proxy", LATENCY) if not (programs / name).is_file()]
    if missing:
        # Rather now than after a quarter of an hour.
        print(f"bench: {programs} has no {', '.join(missing)}: cargo build --release --workspace --bins", file=sys.stderr)
        return 1
    peers = [] if options.no_peers else clients.peers()
    weed = Path(sys.executable).parent / "weed"
    stage = Stage(work, clients.ours(programs / OURS), peers, programs / "dev-s3", weed)
    sections, targets = [], []
    try:
        for name, part in PARTS.items():
            if options.only and name not in options.only:
                continue
            print(f"== {name}", flush=True)
            text, reached = part(stage, options)
            print(text, flush=True)
            sections.append(text)
            targets += reached
    except Failed as failed:
        print(f"bench: {failed}", file=sys.stderr)
        return 1
    overview = report.table(("work", "target", "measured", ""), targets)
    print(f"== targets\n{overview}")
    if not options.only:
        said = [surroundings(stage, options), "### Targets", overview, *sections]
        page.write(options.output, "bench", "\n\n".join(said))
    shutil.rmtree(work)
    return 0


def surroundings(stage: Stage, options: argparse.Namespace) -> str:
    """The command, the machine and the versions."""
    versions = {client.name: page.first_line(str(client.program), *client.version) for client in stage.all}
    versions["SeaweedFS"] = page.first_line(str(stage.weed), "version")
    return page.surroundings("bench", f"in {options.rounds} rounds", options, versions)


Result = tuple[str, list[Target]]


def to_best(rounds: report.Rounds, value, limit: float, peer: str | None = None) -> tuple[str, str]:
    """Ours as a share of the best of the others, or of the one named: figure and verdict."""
    peer = peer or report.best(rounds, OURS, value)
    shares = report.ratios(rounds, OURS, peer, value)
    return f"{report.spread(shares)} × {peer}", verdict(median(shares) <= limit)


def small(stage: Stage, options: argparse.Namespace) -> Result:
    tree = stage.path("small")
    workloads.small_files(tree, options.files)
    workloads.rest()
    discard, first, again = [], [], []
    for number in range(options.rounds):
        discard += workloads.side_by_side(stage, "discard", tree, number)
        one, two = workloads.side_by_side(stage, "seaweedfs", tree, number, again=True)
        first.append(one)
        again.append(two)
    shutil.rmtree(tree)
    parts, targets = [f"### {options.files} files of 4 KiB"], []
    for where, rounds in (("a server that does nothing", discard), ("SeaweedFS", first)):
        parts += [f"To {where}:", report.side_by_side(rounds, OURS, options.files, "file")]
        if stage.peers:
            work = f"`once`, {options.files} files of 4 KiB, {where}"
            targets.append((work, "CPU ≤ 0.5 × s5cmd", *to_best(rounds, report.cpu, 0.5, "s5cmd")))
            targets.append((work, "wall ≤ the best", *to_best(rounds, report.wall, 1)))
    parts += ["The same again with nothing changed, SeaweedFS:", report.side_by_side(again, OURS, options.files, "file")]
    requests = max(servers.requests(run.counts) for run in report.of(again, OURS))
    work = f"nothing changed, {options.files} files, restart"
    targets.append((work, "0 S3 requests", str(requests), verdict(requests == 0)))
    if stage.peers:
        targets.append((work, "CPU ≤ 0.1 × the best", *to_best(again, report.cpu, 0.1)))
    return "\n\n".join(parts), targets


def large(stage: Stage, options: argparse.Namespace) -> Result:
    tree = stage.path("large")
    workloads.large_files(tree, 1, options.mib)
    workloads.rest()
    parts, targets = [f"### One file of {options.mib} MiB"], []
    for kind, where in (("discard", "a server that does nothing"), ("seaweedfs", "SeaweedFS")):
        rounds = []
        for number in range(options.rounds):
            rounds += workloads.side_by_side(stage, kind, tree, number)
        parts += [f"To {where}:", report.side_by_side(rounds, OURS, options.mib, "MiB")]
        work = f"one file of {options.mib} MiB, {where}"
        if stage.peers:
            targets.append((work, "CPU ≤ 0.5 × the best", *to_best(rounds, report.cpu, 0.5)))
            targets.append((work, "wall ≤ the best", *to_best(rounds, report.wall, 1)))
        peak = max(run.cost.peak_bytes for run in report.of(rounds, OURS)) / MIB
        limit = TRANSFER_MEMORY_MIB + 40
        targets.append((work, f"memory ≤ {limit} MiB", f"{peak:.0f} MiB", verdict(peak <= limit)))
    shutil.rmtree(tree)
    return "\n\n".join(parts), targets


ROUND_TRIPS_MS = (0, 30, 100)


def distant(stage: Stage, options: argparse.Namespace) -> Result:
    """TLS, and servers that are not on loopback."""
    place = stage.path("authority")
    place.mkdir()
    peers = [] if options.no_peers else clients.far_peers()
    stage = replace(stage, peers=peers, tls=authority(place))
    parts, targets = [], []
    small, large = stage.path("far-small"), stage.path("far-large")
    workloads.small_files(small, options.far_files)
    workloads.large_files(large, 1, options.far_mib)
    workloads.rest()
    works = [(small, f"{options.far_files} files of 4 KiB", options.far_files, "file", trip) for trip in ROUND_TRIPS_MS]
    works += [(large, f"one file of {options.far_mib} MiB", options.far_mib, "MiB", trip) for trip in (0, 30)]
    for tree, what, count, unit, trip in works:
        rounds: list[list[workloads.Run]] = []
        for number in range(options.rounds):
            rounds += workloads.side_by_side(stage, f"{workloads.FAR}{trip}", tree, number)
        work = f"{what}, TLS, {trip} ms"
        parts += [f"### {work}", report.side_by_side(rounds, OURS, count, unit)]
        if not peers:
            continue
        if trip:
            targets.append((work, "wall ≤ 0.8 × the best", *to_best(rounds, report.wall, 0.8)))
        else:
            if tree == small:
                targets.append((work, "CPU ≤ 0.5 × s5cmd", *to_best(rounds, report.cpu, 0.5, "s5cmd")))
            targets.append((work, "CPU ≤ 1 × awscrt", *to_best(rounds, report.cpu, 1, "awscrt")))
    shutil.rmtree(small)
    shutil.rmtree(large)
    return "\n\n".join(parts), targets


def deletion(stage: Stage, options: argparse.Namespace) -> Result:
    counts = workloads.deletion(stage, options.files)
    requests = sent(counts, "DeleteObject", "DeleteObjects")
    most = -(-options.files // 1000) + 1
    text = f"### {options.files} files deleted\n\n{listed(counts)}"
    target = (f"{options.files} files deleted", f"at most {most} delete requests", str(requests))
    return text, [(*target, verdict(0 < requests <= most))]


def rename(stage: Stage, options: argparse.Namespace) -> Result:
    counts = workloads.rename(stage, options.renamed)
    content = sum(counts[name].body_bytes for name in ("PutObject", "UploadPart") if name in counts)
    copies = sent(counts, "CopyObject")
    text = f"### A folder of {options.renamed} files renamed while the daemon runs\n\n{listed(counts)}"
    target = (f"folder of {options.renamed} files renamed", "0 bytes of content sent", f"{content}, {copies} copies")
    return text, [(*target, verdict(content == 0 and copies >= options.renamed))]


def listed(counts: servers.Counts) -> str:
    rows = [(name, str(count.requests), str(count.body_bytes)) for name, count in sorted(counts.items())]
    return report.table(("operation", "requests", "bytes of bodies"), rows)


def idle(stage: Stage, options: argparse.Namespace) -> Result:
    measured = workloads.idle(stage, 100, options.idle_seconds)
    share = measured.cpu / measured.seconds * 100
    resident, peak = measured.memory_bytes / MIB, measured.peak_bytes / MIB
    text = (
        f"### Idle for {measured.seconds:.0f} s, 100 files\n\n"
        f"{measured.cpu * 1000:.0f} ms of CPU in steps of 10 ({measured.cpu / measured.seconds * 3600:.2f} s an hour), "
        f"{measured.requests} requests, {resident:.1f} MiB resident, {peak:.1f} MiB at most since the start.\n"
        "The comparison of tree and record each hour comes on top: see the unchanged restart."
    )
    return text, [
        ("idle", "0 S3 requests", str(measured.requests), verdict(measured.requests == 0)),
        ("idle", "CPU < 0.3 % of a core", f"{share:.3f} %", verdict(share < 0.3)),
        ("idle", "memory < 30 MiB", f"{resident:.1f} MiB", verdict(resident < 30)),
    ]


def latency(stage: Stage, options: argparse.Namespace) -> Result:
    program = stage.dev_s3.with_name(LATENCY)
    command = [program, "--daemon", stage.ours.program, "--files", str(options.latency_files)]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    if said.returncode != 0:
        raise Failed(f"latency ended with {said.returncode}: {said.stderr}")
    ratio = re.search(r"median to median: ([0-9.]+)", said.stdout)
    if not ratio:
        raise Failed(f"latency printed no ratio: {said.stdout}")
    text = f"### From the close of a file to its object\n\n```text\n{said.stdout.strip()}\n```"
    target = ("closed file → visible, `debounce_milliseconds: 0`", "median ≤ 2 × a bare PUT", f"{ratio[1]} ×")
    return text, [(*target, verdict(float(ratio[1]) <= 2))]


def memory(stage: Stage, options: argparse.Namespace) -> Result:
    large, files = options.memory_large, options.memory_small
    first, again = workloads.memory(stage, large, options.memory_mib, files)
    peak = first.cost.peak_bytes / MIB
    limit = TRANSFER_MEMORY_MIB + 64
    what = f"{large} files of {options.memory_mib} MiB and {files} small ones together"
    rows = [
        (
            name,
            f"{run.cost.peak_bytes / MIB:.0f}",
            f"{run.cost.cpu:.2f}",
            f"{run.cost.wall:.2f}",
            str(servers.requests(run.counts)),
        )
        for name, run in (("sent for the first time", first), ("nothing changed", again))
    ]
    table = report.table(("`once`", "peak MiB", "CPU s", "wall s", "requests"), rows)
    text = f"### {what}\n\nTo a server that does nothing:\n\n{table}"
    return text, [(what, f"memory ≤ {limit} MiB", f"{peak:.0f} MiB", verdict(peak <= limit))]


PARTS = {
    "small": small,
    "large": large,
    "far": distant,
    "deletion": deletion,
    "rename": rename,
    "idle": idle,
    "latency": latency,
    "memory": memory,
}

if __name__ == "__main__":
    sys.exit(main())
