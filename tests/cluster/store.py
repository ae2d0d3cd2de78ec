"""The S3 of these tests: in memory, on the node's address, so that pods reach it; it can go away and come back."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from common import NODE, TARGET, WORK, eventually

BUCKET, KEY, SECRET, REGION = "mirror", "AKIDEVELOPMENT", "development-only-secret", "us-east-1"
# As the documentation writes it.
DOCUMENTED = "your-bucket"
PORT = 9000
ENDPOINT = f"http://{NODE}:{PORT}"
PROGRAM = Path(os.environ.get("E2E_PROGRAMS", TARGET / "debug")) / "dev-s3"


class Store:
    """The process, and the bucket as the tests read it: never through the service."""

    def __init__(self) -> None:
        self.log = (WORK / "dev-s3.log").open("ab")
        command = [
            str(PROGRAM),
            "--listen",
            f"{NODE}:{PORT}",
            *("--bucket", BUCKET, "--bucket", DOCUMENTED),
            "--latest",
        ]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        once = Config(
            s3={"addressing_style": "path"}, connect_timeout=2, read_timeout=10, retries={"total_max_attempts": 1}
        )
        keys = {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET}
        self.s3 = boto3.client("s3", endpoint_url=ENDPOINT, region_name=REGION, config=once, **keys)
        eventually("the store answers", self.answers, 30)

    def answers(self) -> bool:
        assert self.process.poll() is None, f"dev-s3 ended with {self.process.returncode}"
        try:
            self.s3.head_bucket(Bucket=BUCKET)
        except (BotoCoreError, ClientError):
            return False
        return True

    def go_away(self) -> None:
        self.process.send_signal(signal.SIGUSR2)
        eventually("the store is away", lambda: not self.answers(), 10, poll=0.05)

    def come_back(self) -> None:
        self.process.send_signal(signal.SIGUSR2)
        eventually("the store is back", self.answers, 10, poll=0.05)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)

    def keys(self, prefix: str, bucket: str = BUCKET) -> list[str]:
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/")
        return [one["Key"] for page in pages for one in page.get("Contents", [])]

    def clear(self, prefix: str) -> None:
        for key in self.keys(prefix):
            self.s3.delete_object(Bucket=BUCKET, Key=key)

    def digests(self, prefix: str) -> dict[str, str]:
        """The digest of every object, by its name below the prefix; one that is deleted meanwhile is not among them."""
        found = {}
        for key in self.keys(prefix):
            with contextlib.suppress(self.s3.exceptions.NoSuchKey):
                body = self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
                found[key.removeprefix(f"{prefix}/")] = hashlib.sha256(body).hexdigest()
        return found

    def text(self, prefix: str, name: str) -> str:
        return self.s3.get_object(Bucket=BUCKET, Key=f"{prefix}/{name}")["Body"].read().decode()
