"""Lines over time, one below the other, as SVG that reads on light and dark pages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 720, 110
LEFT, RIGHT, TOP, GAP = 70, 15, 30, 26
STYLE = (
    "text{font:11px sans-serif;fill:#24292f}path{fill:none;stroke:#0969da;stroke-width:1.3}"
    "line{stroke:#d0d7de}rect.page{fill:#fff}rect.away{fill:#ffebe9}"
)


@dataclass(frozen=True)
class Row:
    title: str
    values: Sequence[float]


def spans(times: Sequence[float], marked: Sequence[bool]) -> list[tuple[float, float]]:
    """From where to where something was marked."""
    found: list[tuple[float, float]] = []
    for at, one in zip(times, marked, strict=True):
        if one and found and found[-1][1] == math.inf:
            continue
        if one:
            found.append((at, math.inf))
        elif found and found[-1][1] == math.inf:
            found[-1] = (found[-1][0], at)
    return [(start, min(end, times[-1])) for start, end in found]


def above(value: float) -> float:
    """A round figure that is no less."""
    if value <= 0:
        return 1
    step = 10 ** math.floor(math.log10(value))
    return next(times * step for times in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if times * step >= value)


def svg(
    title: str, unit: str, times: Sequence[float], rows: Sequence[Row], shaded: Sequence[tuple[float, float]]
) -> str:
    full = TOP + len(rows) * (HEIGHT + GAP) + 20
    wide = WIDTH - LEFT - RIGHT
    last = max(times[-1], 1e-9)

    def x(at: float) -> str:
        return f"{LEFT + wide * at / last:.1f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {full}" role="img">',
        f"<title>{title}</title><style>{STYLE}</style>",
        f'<rect class="page" width="{WIDTH}" height="{full}"/>',
        f'<text x="{LEFT}" y="16" font-weight="bold">{title}</text>',
    ]
    for number, row in enumerate(rows):
        top, most = TOP + number * (HEIGHT + GAP) + GAP / 2, above(max(row.values))
        bottom = top + HEIGHT
        for start, end in shaded:
            width = wide * (end - start) / last
            parts.append(f'<rect class="away" x="{x(start)}" y="{top}" width="{width:.1f}" height="{HEIGHT}"/>')
        for part in (0, 0.5, 1):
            y = bottom - HEIGHT * part
            parts.append(f'<line x1="{LEFT}" y1="{y}" x2="{WIDTH - RIGHT}" y2="{y}"/>')
            parts.append(f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{most * part:g}</text>')
        points = (f"{x(at)} {bottom - HEIGHT * value / most:.1f}" for at, value in zip(times, row.values, strict=True))
        parts.append(f'<text x="{LEFT}" y="{top - 4}">{row.title}</text><path d="M{"L".join(points)}"/>')
    step = above(last / 8)
    for count in range(int(last / step) + 1):
        at = f'x="{x(count * step)}" y="{full - 8}" text-anchor="middle"'
        parts.append(f"<text {at}>{count * step:g}{f' {unit}' if count == 0 else ''}</text>")
    return "\n".join([*parts, "</svg>", ""])
