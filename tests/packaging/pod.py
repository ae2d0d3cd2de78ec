"""What a pod is, for an engine without Kubernetes: a store, a volume, a state, and the service between them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from engine import BUSYBOX, KEY, SECRET, SERVICE, STORE, Engine, eventually

HARDENED = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges:true")


def store_client(port: int):
    return boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="us-east-1",
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
        config=Config(
            s3={"addressing_style": "path"},
            connect_timeout=5,
            read_timeout=5,
            retries={"total_max_attempts": 1},
        ),
    )


def objects(s3) -> dict[str, tuple[str, str]]:
    """Key to what would change if it were sent again."""
    try:
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket="uploads")
        return {
            one["Key"]: (one["ETag"], str(one["LastModified"])) for page in pages for one in page.get("Contents", [])
        }
    except (BotoCoreError, ClientError):
        return {}


def takes_an_object(s3) -> bool:
    """It answers before it has a place for them."""
    try:
        s3.put_object(Bucket="uploads", Key="ready", Body=b"ready")
        s3.delete_object(Bucket="uploads", Key="ready")
    except (BotoCoreError, ClientError):
        return False
    return True


@dataclass
class Pod:
    """A store, a volume and a state, and the service between them, on a network of their own."""

    engine: Engine
    name: str
    port: int
    containers: list[str] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)

    def set_up(self) -> None:
        self.engine("network", "create", self.name)
        for volume in ("data", "state"):
            self.engine("volume", "create", f"{self.name}-{volume}")
        self.shell("chown 1000:1000 /data", user="0", options=("--cap-add", "CHOWN"))
        self.start_store()
        self.s3 = store_client(self.port)
        eventually("the store takes an object", lambda: takes_an_object(self.s3), 60)

    def start_store(self) -> None:
        options = ("--network", self.name, "--network-alias", "s3", "--publish", f"127.0.0.1:{self.port}:8333")
        keys = ("--env", f"AWS_ACCESS_KEY_ID={KEY}", "--env", f"AWS_SECRET_ACCESS_KEY={SECRET}")
        mini = ("mini", "-dir=/store", "-ip=s3", "-ip.bind=0.0.0.0", "-bucket=uploads")
        self.engine("run", "--detach", "--name", f"{self.name}-s3", *options, *keys, "--entrypoint", "weed", STORE, *mini)
        self.containers.append(f"{self.name}-s3")

    @property
    def service(self) -> str:
        return f"{self.name}-service"

    def start(self, *options: str) -> str:
        """The service, as Kubernetes would run it."""
        values = {
            "FILE_SYNC__WATCH_PATH": "/data",
            "FILE_SYNC__S3_BUCKET": "uploads",
            "FILE_SYNC__S3_ENDPOINT_URL": "http://s3:8333",
            "FILE_SYNC__S3_FORCE_PATH_STYLE": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_EC2_METADATA_DISABLED": "true",
            **self.settings,
        }
        variables = [part for name, value in values.items() for part in ("--env", f"{name}={value}")]
        volumes = ("--volume", f"{self.name}-data:/data:ro", "--volume", f"{self.name}-state:/var/lib/file-sync-service")
        self.engine(
            *("run", "--detach", "--name", self.service, "--network", self.name),
            *(*HARDENED, *volumes, *variables, *options, SERVICE),
        )
        self.containers.append(self.service)
        return self.service

    def shell(self, script: str, user: str = "1000", options: tuple[str, ...] = ()) -> str:
        """What the application does."""
        volume = ("--volume", f"{self.name}-data:/data")
        arguments = ("run", "--rm", "--network", "none", "--user", user, *HARDENED, *options, *volume)
        return self.engine(*arguments, BUSYBOX, "sh", "-ec", script)

    def volume(self) -> dict[str, str]:
        """The digest of every file."""
        lines = self.shell("cd /data; find . -type f -exec sha256sum {} +").splitlines()
        return {name.strip().removeprefix("./"): digest for digest, name in (line.split(" ", 1) for line in lines)}

    def bucket(self) -> dict[str, str]:
        """The digest of every object."""
        found = {}
        for key in objects(self.s3):
            body = self.s3.get_object(Bucket="uploads", Key=key)["Body"].read()
            found[key] = hashlib.sha256(body).hexdigest()
        return found

    def state(self) -> dict:
        return self.engine.inspect(self.service)["State"]

    def log(self) -> str:
        return self.engine.ask("logs", "--tail", "20", self.service).said

    def wait_for(self, count: int, seconds: float = 60) -> dict[str, tuple[str, str]]:
        def there() -> dict[str, tuple[str, str]]:
            assert self.state()["Running"], self.log()
            found = objects(self.s3)
            return found if len(found) == count else {}

        try:
            return eventually(f"{count} objects", there, seconds)
        except AssertionError as late:
            raise AssertionError(f"{late}: {len(objects(self.s3))}\n{self.log()}") from None

    def remove(self) -> None:
        self.engine.ask("rm", "--force", "--volumes", *self.containers)
        self.engine.ask("volume", "rm", f"{self.name}-data", f"{self.name}-state")
        self.engine.ask("network", "rm", self.name)
