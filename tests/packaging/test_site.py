"""The documentation as a site: every page is in it, and a broken link stops the build."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from kube import ROOT
from scripts import load

BUILD = ROOT / "contrib/site/build"
# What a page loads by itself, other than links to follow.
LOADED = re.compile(r"""<(?:script|img|iframe|source)[^>]+src=["'](?:https?:)?//|<link[^>]+href=["'](?:https?:)?//""")


def build(program: Path, target: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, program, target], capture_output=True, text=True, check=False, timeout=300
    )


def pages() -> list[Path]:
    return [page.relative_to(ROOT) for page in load(BUILD).pages()]


def copy_of_the_pages(target: Path) -> Path:
    """What the build reads, to change; the program in it."""
    shutil.copytree(ROOT / "contrib/site", target / "contrib/site")
    for folder in ("docs", "helm", "k8s", "deploy"):
        shutil.copytree(ROOT / folder, target / folder)
    for page in ROOT.glob("*.md"):
        shutil.copyfile(page, target / page.name)
    return target / "contrib/site/build"


def test_every_page_is_on_the_site_and_loads_nothing_from_another_host(tmp_path: Path) -> None:
    done = build(BUILD, tmp_path)
    assert done.returncode == 0, done.stderr
    html = tmp_path / "html"
    missing = []
    for page in pages():
        folder = page.parent if page.name == "README.md" else page.with_suffix("")
        if not (html / folder / "index.html").is_file():
            missing.append(str(page))
    assert not missing
    assert "A daemon that mirrors a directory" in (html / "index.html").read_text()
    foreign = [str(one) for one in html.rglob("*.html") if LOADED.search(one.read_text())]
    assert not foreign
    assert (html / "docs/images/page-backlog.png").is_file()
    assert (html / "github/workflows/ci.yml").is_file(), "files that pages link to come along"


def test_a_broken_link_stops_the_build(tmp_path: Path) -> None:
    program = copy_of_the_pages(tmp_path / "copy")
    page = tmp_path / "copy/docs/SCALING.md"
    page.write_text(page.read_text() + "\n[no such page](MISSING.md) and [no such heading](SEMANTICS.md#missing)\n")
    done = build(program, tmp_path / "site")
    assert done.returncode != 0
    assert "MISSING.md" in done.stderr and "#missing" in done.stderr, done.stderr


def test_a_page_without_a_place_in_the_navigation_stops_the_build(tmp_path: Path) -> None:
    program = copy_of_the_pages(tmp_path / "copy")
    (tmp_path / "copy/docs/NEW.md").write_text("# New\n")
    done = build(program, tmp_path / "site")
    assert done.returncode != 0
    assert "NEW.md" in done.stderr, done.stderr
