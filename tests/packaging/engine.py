"""A container engine of the tests' own, and the images that the registries would have.

One that answers is used as it is. Where none does and we are root, Debian's is started with everything it keeps
in the work directory. It is reached through its socket and ended by its process id.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from kube import ROOT, Run, run

T = TypeVar("T")
BIN = Path(sys.executable).parent
# The program itself: the script in front of it ends with 0 whatever happens.
COMPOSE = Path(str(importlib.util.find_spec("compose").origin)).with_name("docker-compose")
PATIENCE = float(os.environ.get("E2E_PATIENCE", "1"))
PROFILE = os.environ.get("PACKAGING_PROFILE", "dev")

SERVICE, BUSYBOX, STORE = "file-sync-test/service:1", "file-sync-test/busybox:1", "file-sync-test/store:1"
KEY, SECRET = "local", "local-secret"
APPLETS = ("sh", "cat", "chown", "date", "dd", "find", "ls", "mkdir", "mv", "rm", "sha256sum", "sleep", "test", "touch")


class Unavailable(Exception):
    """Why there is no engine here."""


def eventually(what: str, probe: Callable[[], T], seconds: float, poll: float = 0.25) -> T:
    """The first true answer; fails loudly when there is none in time."""
    deadline = time.monotonic() + seconds * PATIENCE
    while not (answer := probe()):
        assert time.monotonic() < deadline, f"after {seconds * PATIENCE:.0f} s still not: {what}"
        time.sleep(poll)
    return answer


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Engine:
    """docker, pointed at one engine."""

    def __init__(self, client: str, host: str | None) -> None:
        self.client = client
        self.env = {"DOCKER_BUILDKIT": "1", **({"DOCKER_HOST": host} if host else {})}

    def __call__(self, *arguments: object) -> str:
        done = self.ask(*arguments)
        assert done.code == 0, f"docker {' '.join(map(str, arguments))}\n{done.said}"
        return done.out.strip()

    def ask(self, *arguments: object) -> Run:
        return run(self.client, *arguments, env=self.env)

    def compose(self, *arguments: object, env: dict[str, str]) -> Run:
        return run(COMPOSE, *arguments, cwd=ROOT, env={**self.env, **env})

    def inspect(self, name: str) -> dict:
        return json.loads(self("inspect", name))[0]

    def load(self, name: str, archive: bytes) -> None:
        """An image from a file system."""
        command = [self.client, "import", "-", name]
        subprocess.run(command, input=archive, env={**os.environ, **self.env}, check=True, capture_output=True)


def client() -> str | None:
    """One that builds with BuildKit: with the plugin, or old enough (Debian's) to do it by itself."""
    found = [str(path) for path in (shutil.which("docker"), Path("/usr/bin/docker")) if path and Path(path).exists()]
    for one in found:
        if run(one, "buildx", "version").code == 0 or "version 20." in run(one, "--version").out:
            return one
    return None


@contextlib.contextmanager
def started(work: Path) -> Iterator[Engine]:
    docker = client()
    if docker and run(docker, "info").code == 0:
        yield Engine(docker, None)
        return
    server = shutil.which("dockerd", path=f"{os.environ['PATH']}:/usr/sbin")
    if server is None:
        raise Unavailable("no Docker engine: none answers, and Debian's docker.io is not installed")
    if os.geteuid() != 0:
        raise Unavailable("no Docker engine: none answers, and only root can start one")
    if docker is None:
        raise Unavailable("no Docker client that builds with BuildKit")
    host = f"unix://{work}/docker.sock"
    arguments = ["-H", host, "--data-root", work / "data", "--exec-root", work / "exec", "-p", work / "pid"]
    arguments += ["--bridge", "none", "--default-address-pool", "base=172.30.0.0/16,size=24"]
    with (work / "dockerd.log").open("wb") as log:
        process = subprocess.Popen([server, *map(str, arguments)], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        engine = Engine(docker, host)

        def answers() -> bool:
            if process.poll() is not None:
                raise Unavailable(f"no Docker engine: dockerd ended, {_last_line(work / 'dockerd.log')}")
            return engine.ask("info").code == 0

        eventually("dockerd answers", answers, 60)
        yield engine
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        # dockerd leaves its own network namespace mounted, and then nothing here could be removed.
        for one in (work / "exec/netns").glob("*"):
            run("umount", one)


def _last_line(path: Path) -> str:
    return (path.read_text(errors="replace").splitlines() or ["it said nothing"])[-1]


def filesystem(files: dict[str, Path], links: dict[str, str] | None = None, folders: tuple[str, ...] = ()) -> bytes:
    """A tar of programs, links to them, and directories for everybody."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in folders:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777
            archive.addfile(entry)
        for name, path in files.items():
            archive.add(path.resolve(), name)
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)
    return buffer.getvalue()


def images(engine: Engine) -> None:
    """The service from the Dockerfile, and stand-ins for what compose.yaml would pull."""
    if not (ROOT / "target/image/usr/local/bin/file-sync-service").exists():
        raise Unavailable("no program for the image: make image-rootfs")
    # The network is for building from sources only.
    options = ("--build-arg", "ROOTFS=prebuilt", "--build-arg", "REVISION=test", "--network", "none")
    engine("build", "--quiet", *options, "--tag", SERVICE, ROOT)
    busybox = Path("/bin/busybox")
    if not busybox.exists() or b"/ld-linux" in busybox.read_bytes():
        raise Unavailable("no image for the application: Debian's busybox-static is not installed")
    links = {f"bin/{name}": "busybox" for name in APPLETS}
    engine.load(BUSYBOX, filesystem({"bin/busybox": busybox}, links, ("tmp",)))
    engine.load(STORE, filesystem({"usr/bin/weed": BIN / "weed"}, folders=("tmp", "store")))
