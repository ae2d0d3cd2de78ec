"""The status page in a browser: what a person sees first, and what a hostile name cannot do.

Needs Chromium (`E2E_CHROMIUM`, or on PATH). `E2E_SHOTS=DIRECTORY` keeps pictures of the states.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import Daemon, Proxy, eventually, free_ports
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = os.environ.get("E2E_CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
SHOTS = os.environ.get("E2E_SHOTS")
HOSTILE = {
    # As it is on disk, and as a person sees it.
    b"<img src=x onerror=alert(1)>.txt": "<img src=x onerror=alert(1)>.txt",
    b"<script>alert(2)<b>.txt": "<script>alert(2)<b>.txt",
    "invoice\u202efdp.exe".encode(): "invoice\\u{202e}fdp.exe",
    b"two\nlines.txt": "two\\nlines.txt",
    b"k" * 250: "k" * 250,
}

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium to open the page in (E2E_CHROMIUM)"),
    pytest.mark.parametrize("server", ["dev-s3"], indirect=True),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # Its sandbox does not start for root.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield chromium
        chromium.close()


Open = Callable[..., Page]


@pytest.fixture
def listening(daemon: Daemon) -> Daemon:
    """The daemon, not started, with both of its addresses."""
    admin, public = free_ports(2)
    daemon.env["FILE_SYNC__ADMIN_ADDRESS"] = f"127.0.0.1:{admin}"
    daemon.env["FILE_SYNC__LISTEN_ADDRESS"] = f"127.0.0.1:{public}"
    return daemon


@pytest.fixture
def visit(listening: Daemon, browser: Browser) -> Iterator[Open]:
    """Opens the page. In the end: nothing was asked elsewhere, and nothing was complained about."""
    contexts, complaints, asked = [], [], []

    def opened(address: str = "ADMIN", **options) -> Page:
        place = listening.env[f"FILE_SYNC__{address}_ADDRESS"]
        origin = f"http://{place}"
        eventually(f"the daemon listens on {place}", lambda: accepts(place), 30)
        context = browser.new_context(**{"viewport": {"width": 960, "height": 640}, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: asked.append((origin, request.url)))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
        page.goto(origin)
        return page

    yield opened
    for context in contexts:
        context.close()
    # A daemon that has ended refuses connections; the browser notes each of them.
    assert [text for text in complaints if "ERR_CONNECTION_REFUSED" not in text] == []
    elsewhere = [url for origin, url in asked if not url.startswith((f"{origin}/", "data:,"))]
    assert asked and elsewhere == []


def accepts(place: str) -> bool:
    host, _, port = place.rpartition(":")
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=5):
        return True
    return False


def sees(page: Page, start: str, seconds: float = 30) -> None:
    """Waits until the first line, the largest on the page, begins like this."""
    eventually(f"the page says {start!r}", lambda: page.inner_text("#state").startswith(start), seconds)
    assert page.title().startswith(start)


def keep(page: Page, name: str) -> None:
    if SHOTS:
        page.screenshot(path=Path(SHOTS) / f"{name}.png")


def files(daemon: Daemon, count: int, size: int = 1000) -> list[Path]:
    paths = [daemon.tree / f"photos/{index % 4}/img-{index:04}.jpg" for index in range(count)]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(size))
    return paths


def test_in_sync_then_an_outage_then_in_sync_without_a_reload(
    listening: Daemon, proxy: Proxy, visit: Open
) -> None:
    listening.endpoint = proxy.endpoint
    files(listening, 12)
    listening.start()
    page = visit()
    sees(page, "In sync: everything is in S3")
    assert page.get_attribute("#banner", "class") == "fine"
    assert "12 files" in page.inner_text("#now")
    keep(page, "page-in-sync")
    page.evaluate("window.opened = 'once'")

    proxy.refuse()
    (listening.tree / "late.txt").write_text("late")
    sees(page, "Not in sync: S3 unavailable")
    assert page.get_attribute("#banner", "class") == "bad"
    assert "1 change" in page.inner_text("#detail")
    assert "S3 unreachable: connection refused" in page.inner_text("#reasons")
    assert "late.txt" in page.inner_text("#queue")
    assert "failed" in page.inner_text("#recent")

    proxy.restore()
    sees(page, "In sync", 60)
    assert page.is_hidden("#queue-section") and page.is_hidden("#why")
    assert "late.txt" in page.inner_text("#recent")
    assert page.evaluate("window.opened") == "once", "it was loaded again"


def test_a_backlog_is_not_in_sync_and_its_speed_is_drawn(listening: Daemon, visit: Open) -> None:
    listening.env["FILE_SYNC__BANDWIDTH_LIMIT_MIB_PER_SECOND"] = "2"
    files(listening, 60, 1_500_000)
    listening.start()
    page = visit(color_scheme="dark")
    sees(page, "Not in sync yet")
    drawn = "[...document.querySelectorAll('#chart rect')].filter((bar) => +bar.getAttribute('height') > 0).length"
    eventually("three bars of uploads", lambda: page.evaluate(drawn) >= 3, 40)
    assert "MiB a second" in page.inner_text("#chart-note")
    assert page.get_attribute("#chart svg", "aria-label") in page.inner_text("#chart-note")
    assert "the oldest for" in page.inner_text("#detail")
    assert page.locator("#queue tr").count() == 20
    assert "the first 20 of" in page.inner_text("#queue-note")
    keep(page, "page-backlog")
    # What was sent before the page was opened is drawn at once.
    late = visit()
    late.wait_for_selector("#chart svg")
    assert late.evaluate(drawn) >= 3


def test_held_deletes_are_said_with_what_to_do(listening: Daemon, visit: Open) -> None:
    listening.env["FILE_SYNC__DELETE_LIMIT_COUNT"] = "5"
    listening.env["FILE_SYNC__DELETE_LIMIT_PERCENT"] = "10"
    paths = files(listening, 20)
    listening.start()
    page = visit()
    sees(page, "In sync")
    for path in paths[:15]:
        path.unlink()
    sees(page, "Not in sync: deletes wait for approval")
    eventually("all of them are counted", lambda: "15 objects" in page.inner_text("#detail"), 15)
    assert "file-sync-service deletes approve --expect 15" in page.inner_text("#detail")
    keep(page, "page-deletes-held")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_hostile_names_are_text_and_fit(listening: Daemon, visit: Open, scheme: str) -> None:
    tree = os.fsencode(listening.tree)
    for name in [*HOSTILE, b"\xff not text"]:
        Path(os.fsdecode(tree + b"/" + name)).write_text("hello")
    listening.start()
    page = visit(color_scheme=scheme, viewport={"width": 320, "height": 640})
    sees(page, "Not everything is in S3")
    said = page.text_content("#recent")
    assert [shown for shown in HOSTILE.values() if shown not in said] == []
    assert "\\xff not text" in page.text_content("#queue")
    assert "not valid UTF-8" in page.text_content("#queue")
    assert page.locator("img, main script, main b").count() == 0
    assert "\u202e" not in page.content()
    # Nothing has to be scrolled sideways on the narrowest telephone.
    page.click("summary")
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


def test_a_daemon_that_is_gone_is_not_taken_for_in_sync(listening: Daemon, visit: Open) -> None:
    listening.start()
    page = visit()
    sees(page, "In sync")
    listening.kill()
    sees(page, "Not known: the daemon does not answer")
    assert "The data below is of" in page.inner_text("#detail")
    assert page.get_attribute("#main", "class") == "stale"


def test_names_and_settings_are_on_the_admin_address_only(listening: Daemon, visit: Open) -> None:
    files(listening, 2)
    listening.start()
    page = visit()
    sees(page, "In sync")
    assert page.is_hidden("#settings")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    eventually("the settings are open", lambda: page.is_visible("#settings"), 5)
    rows = page.locator("#settings tr", has_text="watch_path").all_inner_texts()
    assert any("FILE_SYNC__WATCH_PATH" in row for row in rows)
    assert "img-0001.jpg" in page.inner_text("#recent")

    public = visit("LISTEN")
    sees(public, "In sync")
    assert public.is_hidden("#settings-section")
    assert "img-0001" not in public.content() and str(listening.tree) not in public.content()


CONTRAST = """() => {
  const light = (colour) => colour.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255)
    .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
  const back = light(getComputedStyle(document.body).backgroundColor);
  const ratio = (node) => {
    const front = light(getComputedStyle(node).color);
    return (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
  };
  const banner = document.getElementById("banner");
  const states = ["fine", "busy", "warn", "bad"].map((kind) => {
    banner.className = kind;
    return ratio(document.getElementById("state"));
  });
  return [...states, ...[...document.querySelectorAll("h2, dt, dd, th, small, .note")].map(ratio)];
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_can_be_read_in_dark_and_light(listening: Daemon, visit: Open, scheme: str) -> None:
    listening.start()
    page = visit(color_scheme=scheme)
    sees(page, "In sync")
    ratios = page.evaluate(CONTRAST)
    # WCAG 2.2 AA for text of any size.
    assert len(ratios) > 20 and min(ratios) >= 4.5, ratios


def test_a_failing_invalidation_is_shown(listening: Daemon, visit: Open) -> None:
    listening.env |= {
        "AWS_ENDPOINT_URL_CLOUDFRONT": f"http://127.0.0.1:{free_ports(1)[0]}",
        "FILE_SYNC__CLOUDFRONT_ENABLED": "true",
        "FILE_SYNC__CLOUDFRONT_DISTRIBUTION_ID": "E1",
        "FILE_SYNC__CLOUDFRONT_BATCH_SECONDS": "1",
        "FILE_SYNC__CLOUDFRONT_MONTHLY_PATH_LIMIT": "1",
        "FILE_SYNC__CLOUDFRONT_INVALIDATE_NEW": "true",
    }
    listening.start()
    page = visit()
    sees(page, "In sync: everything is in S3")
    assert "0 paths waiting, 0 of 1 this month" in page.inner_text("#now")
    (listening.tree / "new.txt").write_text("new")
    expected = ["1 path waiting, 1 of 1 this month", "refused: connection", "cloudfront_monthly_path_limit is reached"]
    eventually("the page shows it", lambda: all(text in page.inner_text("#now") for text in expected), 30)
