"""What a process costs, by the kernel's own accounts."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# Longer than anything here takes on a busy machine.
TIME_TO_END = 1800
MIB = 1024 * 1024


class Failed(Exception):
    """A program did not do what the benchmark measures."""


@dataclass(frozen=True)
class Cost:
    """A process from start to end. The memory is the largest of it and its children, and at least
    that of this program, which forked it."""

    cpu: float
    wall: float
    peak_bytes: int


def run(command: Sequence[str], env: Mapping[str, str], directory: Path, log: Path) -> Cost:
    """Runs it to its end, which has to be a good one."""
    with log.open("ab") as output:
        started = time.monotonic()
        process = subprocess.Popen(
            command, cwd=directory, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        # wait4 returns what this child used, and blocks: the alarm ends a child that hangs.
        previous = signal.signal(signal.SIGALRM, lambda *_: process.kill())
        signal.alarm(TIME_TO_END)
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            raise
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, previous)
        wall = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise Failed(f"{command[0]} ended with {process.returncode}: {tail(log)}")
    return Cost(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss * 1024)


def tail(log: Path, lines: int = 10) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def cpu_seconds(pid: int | str) -> float:
    """CPU of a running process so far, threads that have ended included; in steps of a clock tick. Of a
    single thread, if that is what is named."""
    # The name in parentheses may hold anything, spaces and parentheses too.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_bytes(pid: int, name: str = "VmRSS") -> int:
    """`VmRSS` is what it holds now, `VmHWM` the most it ever held."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise Failed(f"process {pid} has no {name}")
