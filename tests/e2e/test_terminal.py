"""What commands look like on a terminal: they fit, colours are for those who want them, and long work shows how far it is."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios

import pytest
from harness import DAEMON, PATIENCE, Daemon, eventually, free_ports

# What the store is makes no difference here.
pytestmark = pytest.mark.parametrize("server", ["dev-s3"], indirect=True)

COLUMNS = 60
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# What takes a line of the progress away.
TAKEN_AWAY = "\r\x1b[K"
PROGRESS = re.compile(r"\r\x1b\[K[^\r\n\x1b]*")


def on_a_terminal(daemon: Daemon, *arguments: str, **env: str) -> tuple[int, str]:
    """Runs a command whose three streams are a terminal of 60 columns, and answers all it wrote."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    process = subprocess.Popen(
        [str(DAEMON), *arguments],
        cwd=daemon.place,
        env=daemon.environment() | {"TERM": "xterm"} | env,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    written = b""
    try:
        while piece := os.read(ours, 65536):
            written += piece
    except OSError:
        # The other end is closed.
        pass
    os.close(ours)
    # The terminal's own end of lines.
    return process.wait(60 * PATIENCE), written.decode().replace("\r\n", "\n")


def lines(written: str) -> list[str]:
    """What stays on the terminal, without colours."""
    return [COLOUR.sub("", line.rpartition(TAKEN_AWAY)[2]) for line in written.removesuffix("\n").split("\n")]


def fill(daemon: Daemon, count: int) -> None:
    folder = daemon.tree / "a folder with a long name" / "and another one below it"
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / f"file number {number:04} \u6f22\u5b57.txt").write_text("x" * number)


def test_a_plan_fits_and_is_coloured_only_for_those_who_want_it(daemon: Daemon) -> None:
    fill(daemon, 30)
    code, written = on_a_terminal(daemon, "plan")
    assert code == 0 and "\x1b[32mupload\x1b[0m" in written
    printed = lines(written)
    assert len([line for line in printed if line.startswith("upload ")]) == 30
    wide = str.maketrans({"\u6f22": "xx", "\u5b57": "xx"})
    assert max(len(line.translate(wide)) for line in printed[:-1]) <= COLUMNS
    assert all("0029" in line or "\u2026" in line for line in printed[:-1]), "the end of a name distinguishes it"
    code, written = on_a_terminal(daemon, "plan", NO_COLOR="1")
    assert code == 0 and not COLOUR.search(written)
    assert not COLOUR.search(subprocess.run(
        [str(DAEMON), "plan"], cwd=daemon.place, env=daemon.environment(), capture_output=True, text=True, check=True
    ).stdout)


def test_once_plan_and_verify_show_how_far_they_are(daemon: Daemon) -> None:
    fill(daemon, 3000)
    assert "files compared" in on_a_terminal(daemon, "plan")[1]
    code, written = on_a_terminal(daemon, "once")
    shown = PROGRESS.findall(written)
    assert code == 0 and len([line for line in shown if "of 3000 files in S3" in line]) > 1, shown[-3:]
    assert max(len(line) for line in shown) <= COLUMNS + len("\r\x1b[K")
    # Lines of the log stand by themselves.
    assert all(re.match(r"\d\d:\d\d:\d\d\.\d{3} ", line) for line in lines(written)), lines(written)[:3]
    code, written = on_a_terminal(daemon, "verify", "--checksum")
    assert code == 0 and "objects listed" in written
    assert lines(written) == ["equal: 3000 files, 3000 objects"]


def test_the_status_and_the_queue_fit(daemon: Daemon) -> None:
    (admin,) = free_ports(1)
    daemon.env |= {"FILE_SYNC__ADMIN_ADDRESS": f"127.0.0.1:{admin}", "FILE_SYNC__WATCH_PATH": str(daemon.tree)}
    fill(daemon, 3)
    (daemon.tree / os.fsdecode(b"a name that is no text \xff" + b"y" * 200)).write_text("x")
    daemon.start()
    eventually("it is in sync", lambda: on_a_terminal(daemon, "status")[1].find("partly") > 0, 30)
    for command in (["status"], ["queue", "list"]):
        code, written = on_a_terminal(daemon, *command)
        assert code == 0 and COLOUR.search(written), written
        assert max(len(line) for line in lines(written)) <= COLUMNS, written
        assert not COLOUR.search(on_a_terminal(daemon, *command, NO_COLOR="1")[1])
    assert daemon.terminate(35) == 0
