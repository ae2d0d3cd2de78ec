"""Links of the documentation lead to files and headings that exist, and its language is plain."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

from kube import ROOT
from scripts import load

FENCE = re.compile(r"^(`{3,}|~{3,}).*?^\1`*\s*$", re.M | re.S)
CODE_SPAN = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.S)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def _pages() -> list[Path]:
    return [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("helm/*/README.md"),
        *ROOT.glob("k8s/**/*.md"),
        *ROOT.glob("deploy/**/*.md"),
    ]


def _anchors(page: Path) -> set[str]:
    """The anchors that GitHub generates: lower case, punctuation removed, spaces to hyphens, repeats numbered."""
    headings = load(ROOT / "contrib/site/headings.py")
    anchors: set[str] = set()
    for heading in re.findall(r"^#+ +(.+?)\s*$", FENCE.sub("", page.read_text()), re.M):
        slug = headings.anchor(heading, "-")
        count = 0
        anchor = slug
        while anchor in anchors:
            count += 1
            anchor = f"{slug}-{count}"
        anchors.add(anchor)
    return anchors


def test_every_relative_link_leads_to_a_file_and_a_heading_that_exist() -> None:
    broken = []
    links = 0
    for page in _pages():
        text = CODE_SPAN.sub("", FENCE.sub("", page.read_text()))
        for target in LINK.findall(text):
            if re.match(r"[a-z]+:", target):
                continue
            links += 1
            name, _, anchor = target.partition("#")
            file = (page.parent / name) if name else page
            if not file.exists():
                broken.append(f"{page.relative_to(ROOT)}: {target}: no such file")
            elif anchor and anchor not in _anchors(file):
                broken.append(f"{page.relative_to(ROOT)}: {target}: no such heading")
    assert links > 100, "the pages have links"
    assert not broken, "\n".join(broken)


def test_every_event_of_the_log_that_a_page_names_exists() -> None:
    """`source.unavailable` and the like: a reader searches the log for it."""
    logged = {
        event
        for path in ROOT.glob("src/**/*.rs")
        if "tests" not in path.parts and path.name != "tests.rs"
        # Events, and the fields beside them.
        for event in re.findall(r'(?:"|\b)([a-z0-9_]+\.[a-z0-9_]+)(?:"| = )', path.read_text())
    }
    rooms = {event.partition(".")[0] for event in logged}
    missing = []
    for page in ("TROUBLESHOOTING", "OPERATIONS", "RESTORE", "SCALING", "CLOUDFRONT"):
        for name in re.findall(r"`([a-z0-9_]+\.[a-z0-9_]+)`", (ROOT / f"docs/{page}.md").read_text()):
            if name.partition(".")[0] in rooms and name not in logged:
                missing.append(f"{page}: {name}")
    assert len(logged) > 50
    assert not missing, missing


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md" or not page.exists():
            continue
        reached.add(page)
        links = LINK.findall(FENCE.sub("", page.read_text()))
        local = [link.partition("#")[0] for link in links if not re.match(r"[a-z]+:", link)]
        waiting += [(page.parent / link).resolve() for link in local]
    missing = sorted(str(page.relative_to(ROOT)) for page in set(_pages()) - reached)
    assert not missing, missing


def test_the_comparison_has_the_figures_of_the_last_measurement() -> None:
    comparison = " ".join((ROOT / "docs/COMPARISON.md").read_text().split())
    performance = (ROOT / "docs/PERFORMANCE.md").read_text()
    (run,) = re.findall(r"bench: begin.*?\n\n(Measured on \S+ at \w+)", performance, re.S)[:1]
    assert run.lower() in comparison, f"`make bench` wrote new figures ({run}): copy them to docs/COMPARISON.md"
    rows = re.sub(r" \([^)]*\)", "", performance)
    for seconds in re.findall(r"([\d.]+) s CPU", comparison):
        assert f"| {seconds} |" in rows, f"{seconds} s of CPU is not in docs/PERFORMANCE.md"


def _measures() -> ModuleType:
    """contrib/language-measures, which is a program without a suffix."""
    return load(ROOT / "contrib/language-measures")


def test_the_documentation_has_no_idioms() -> None:
    """What is generated from the source between two marks does not count."""
    measures = _measures().measure_prose(_pages(), generated=False)
    assert measures.words > 10_000
    assert not measures.places, "\n".join(measures.places)


def test_the_list_of_idioms_is_applied(tmp_path: Path) -> None:
    module = _measures()
    page = tmp_path / "page.md"
    page.write_text("Nobody looks\non; the daemon is told. `nobody`\n```\nsomebody\n```\nAn heirloom tells nothing.\n")
    assert module.measure_prose([page]).idioms == {"nobody": 1, "looks on": 1, "is told": 1, "tells": 1}
    source = tmp_path / "source.rs"
    source.write_text('//! Somebody\nfn nobody() { let x = "whoever"; }\n// It looks\n// on.\n')
    assert module.measure_prose([source]).idioms == {"somebody": 1, "whoever": 1, "looks on": 1}


def test_the_readme_fits_a_short_visit() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 150, f"README.md has {len(lines)} lines; details belong in docs/"
    assert "make demo" in "\n".join(lines) and "make test" in "\n".join(lines)
