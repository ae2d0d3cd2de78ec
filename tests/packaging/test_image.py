"""The image as an engine runs it: who it is, what it may do, how it ends, and that it goes on."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from engine import PROFILE, SERVICE, Engine, eventually
from kube import versions
from pod import HARDENED, Pod, objects

MIB = 1024 * 1024


def test_the_image_has_labels_and_an_unprivileged_user(engine: Engine) -> None:
    config = engine.inspect(SERVICE)["Config"]
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == ["/usr/local/bin/file-sync-service"]
    assert config["Cmd"] == ["run"]
    assert config["StopSignal"] == "SIGTERM"
    assert config["Healthcheck"]["Test"] == ["CMD", "/usr/local/bin/file-sync-service", "health"]
    assert list(config["ExposedPorts"]) == ["9187/tcp"]
    assert config["Volumes"] is None
    variables = dict(one.split("=", 1) for one in config["Env"])
    assert set(variables) == {"PATH", "MIMALLOC_PURGE_DELAY"}
    assert variables["MIMALLOC_PURGE_DELAY"] == "0"
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in config["Labels"].items()}
    assert labels["version"] == versions()["Cargo.toml"]
    assert labels["licenses"] == "Apache-2.0"
    assert labels["revision"] == "test"
    assert {"title", "description", "created", "base.name"} <= labels.keys()


def test_the_image_is_small_and_holds_no_shell(engine: Engine) -> None:
    said = engine.ask("run", "--rm", "--network", "none", "--entrypoint", "/bin/sh", SERVICE, "-c", "true")
    assert said.code != 0 and "no such file" in said.said
    version = engine("run", "--rm", "--network", "none", *HARDENED, SERVICE, "--version")
    assert version == f"file-sync-service {versions()['Cargo.toml']}"
    if PROFILE != "release":
        pytest.skip(f"the image's size: it holds a {PROFILE} build (make packaging IMAGE_PROFILE=release)")
    assert engine.inspect(SERVICE)["Size"] < 30 * MIB


def test_the_process_has_no_rights_and_finds_the_store_by_name(pod: Pod) -> None:
    pod.shell("echo hello > /data/hello.txt; mkdir /data/folder; echo deep > /data/folder/deep.txt")
    pod.start()
    assert set(pod.wait_for(2)) == {"hello.txt", "folder/deep.txt"}
    assert pod.s3.get_object(Bucket="uploads", Key="hello.txt")["Body"].read() == b"hello\n"

    process = Path("/proc") / str(pod.state()["Pid"])
    if not process.exists():
        pytest.skip("rights of the process: the engine runs on another machine")
    status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines() if ":\t" in line)
    assert status["Uid"].split() == ["65532"] * 4
    assert status["Gid"].split() == ["65532"] * 4
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[kind], 16) == 0, kind
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    mounts = [line.split() for line in (process / "mounts").read_text().splitlines()]
    options = {mount[1]: mount[3].split(",") for mount in mounts}
    assert "ro" in options["/"] and "ro" in options["/data"]
    assert "rw" in options["/var/lib/file-sync-service"]


def test_sigterm_ends_it_with_0_and_everything_is_there(pod: Pod) -> None:
    pod.settings["FILE_SYNC__SHUTDOWN_TIMEOUT_SECONDS"] = "30"
    pod.start()
    pod.shell("echo first > /data/first")
    pod.wait_for(1)
    pod.shell("for n in 1 2 3 4 5 6 7 8 9; do echo $n > /data/late-$n; done")
    asked = time.monotonic()
    pod.engine("stop", "--time", "40", pod.service)
    assert time.monotonic() - asked < 35
    assert pod.state()["ExitCode"] == 0, pod.log()
    assert len(objects(pod.s3)) == 10


def test_after_sigkill_it_goes_on_from_its_volume(pod: Pod) -> None:
    pod.shell("mkdir /data/a; for n in $(seq 1 200); do echo $n > /data/a/$n; done".replace("$(seq 1 200)", _numbers(200)))
    pod.start()
    before = pod.wait_for(200)
    pod.engine("kill", "--signal", "KILL", pod.service)
    eventually("it is dead", lambda: not pod.state()["Running"], 10)
    pod.shell("echo new > /data/new; rm /data/a/7; mv /data/a/8 /data/a/moved")

    pod.engine("start", pod.service)
    wanted = set(before) - {"a/7", "a/8"} | {"new", "a/moved"}
    eventually("the changes of meanwhile", lambda: set(objects(pod.s3)) == wanted, 60)
    after = objects(pod.s3)
    assert {key for key in before.keys() & after.keys() if before[key] != after[key]} == set(), "sent again"


def _numbers(count: int) -> str:
    return " ".join(map(str, range(1, count + 1)))


def test_a_store_that_is_away_only_delays(pod: Pod) -> None:
    """Its name does not even resolve meanwhile."""
    pod.settings["FILE_SYNC__RETRY_INTERVAL_SECONDS"] = "2"
    pod.engine("stop", "--time", "1", f"{pod.name}-s3")
    pod.start()
    pod.shell("echo patient > /data/patient")

    def has_logged() -> bool:
        records = [json.loads(line) for line in pod.log().splitlines() if line.startswith("{")]
        return any(one["severity"] == "WARN" for one in records)

    eventually("it says that S3 is away", has_logged, 30)
    assert pod.state()["Running"]
    pod.engine("start", f"{pod.name}-s3")
    pod.wait_for(1)


def test_health_turns_healthy_without_a_shell(pod: Pod, commands: str) -> None:
    if not re.search(r"^\s+health\b", commands, re.M):
        pytest.skip("health: this version of the service does not have the command yet")
    pod.start("--health-interval", "1s", "--health-start-period", "0s")
    eventually("healthy", lambda: pod.state()["Health"]["Status"] == "healthy", 30)


def test_a_wrong_configuration_ends_with_78_and_says_why(engine: Engine) -> None:
    done = engine.ask("run", "--rm", "--network", "none", *HARDENED, "--env", "FILE_SYNC__S3_BUKCET=x", SERVICE)
    assert done.code == 78
    assert "s3_bukcet: there is no such key" in done.said


def test_a_state_that_cannot_be_written_ends_with_73(engine: Engine) -> None:
    """A volume of another user, as a bind mount without the right owner would be."""
    settings = ("--env", "FILE_SYNC__S3_BUCKET=uploads", "--env", "FILE_SYNC__WATCH_PATH=/data")
    foreign = ("--tmpfs", "/var/lib/file-sync-service:mode=0700,uid=0")
    done = engine.ask("run", "--rm", "--network", "none", *HARDENED, *foreign, *settings, SERVICE)
    assert done.code == 73, done.said
