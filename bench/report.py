"""Medians, ranges and ratios, as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

import servers
from measure import MIB
from workloads import Run

Rounds = Sequence[Sequence[Run]]


def spread(values: Sequence[float], digits: int = 2) -> str:
    """The median, and the range if there is one."""
    shown = f"{median(values):.{digits}f}"
    if len(values) == 1:
        return shown
    return f"{shown} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def of(rounds: Rounds, client: str) -> list[Run]:
    """The runs of one program, round by round."""
    return [run for one in rounds for run in one if run.client == client]


def ratios(rounds: Rounds, client: str, peer: str, value: Callable[[Run], float]) -> list[float]:
    """Of one program to another, within each round: what the machine did besides hits both."""
    pairs = zip(of(rounds, client), of(rounds, peer), strict=True)
    return [value(mine) / max(value(theirs), 1e-9) for mine, theirs in pairs]


def cpu(run: Run) -> float:
    return run.cost.cpu


def wall(run: Run) -> float:
    return run.cost.wall


def best(rounds: Rounds, ours: str, value: Callable[[Run], float]) -> str:
    """The program besides ours with the lowest median."""
    names = {run.client for one in rounds for run in one} - {ours}
    return min(sorted(names), key=lambda name: median(value(run) for run in of(rounds, name)))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def side_by_side(rounds: Rounds, ours: str, count: int, unit: str) -> str:
    """Each program's costs, and ours as a share of each."""
    head = ["program", "CPU s", f"CPU ms a {unit}", "wall s", "peak MiB", "requests"]
    head += ["CPU of ours to it", "wall of ours to it"]
    rows = []
    for client in [run.client for run in sorted(rounds[0], key=lambda run: run.client != ours)]:
        runs = of(rounds, client)
        row = [
            client,
            spread([cpu(run) for run in runs]),
            f"{median(cpu(run) for run in runs) * 1000 / count:.3f}",
            spread([wall(run) for run in runs]),
            f"{max(run.cost.peak_bytes for run in runs) / MIB:.0f}",
            f"{median(servers.requests(run.counts) for run in runs):.0f}",
        ]
        if client == ours:
            row += ["1", "1"]
        else:
            row += [spread(ratios(rounds, ours, client, value)) for value in (cpu, wall)]
        rows.append(row)
    return table(head, rows)
