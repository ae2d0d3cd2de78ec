"""Runs a command against a SeaweedFS of its own: `with_seaweedfs.py DIRECTORY COMMAND...`

The command gets `--endpoint URL` as its last arguments and the credentials in the environment; there is a
bucket `mirror`. The server and its data in DIRECTORY are gone when the command ends.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from harness import ADMIN, REGION, Weed

BUCKET = "mirror"


def main(directory: Path, command: list[str]) -> int:
    # Ctrl-C and SIGTERM are for the command, which ends in order; then the server ends too.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    weed = Weed(directory)
    try:
        weed.make_bucket(BUCKET)
        credentials = {"AWS_ACCESS_KEY_ID": ADMIN.name, "AWS_SECRET_ACCESS_KEY": ADMIN.secret, "AWS_REGION": REGION}
        child = subprocess.Popen([*command, "--endpoint", weed.endpoint], env=os.environ | credentials)
        signal.signal(signal.SIGTERM, lambda *_: child.terminate())
        return child.wait()
    finally:
        weed.stop()
        shutil.rmtree(directory)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) / f"weed-{os.getpid()}", sys.argv[2:]))
