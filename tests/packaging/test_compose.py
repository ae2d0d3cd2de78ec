"""compose.yaml as it stands, with stand-ins for the images that registries would have."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from engine import BIN, BUSYBOX, COMPOSE, SERVICE, STORE, Engine, eventually, free_port
from kube import ROOT, Run, run
from pod import objects, store_client

PROFILES = ("--profile", "local", "--profile", "observability")


def described(env: dict[str, str] | None = None) -> dict:
    done = run(COMPOSE, *PROFILES, "config", "--format", "json", cwd=ROOT, env=env)
    assert done.code == 0, done.said
    return json.loads(done.out)


def test_it_is_right_in_all_profiles_and_hardened() -> None:
    services = described()["services"]
    assert set(services) == {"app", "file-sync", "data", "s3", "prometheus", "jaeger"}
    for name in ("app", "file-sync", "data"):
        assert services[name]["read_only"] is True, name
        assert services[name]["cap_drop"] == ["ALL"], name
    for name, one in services.items():
        assert "no-new-privileges:true" in one["security_opt"], name
        assert int(one["mem_limit"]) > 0 and one["pids_limit"] > 0, name
        for port in one.get("ports", []):
            assert port["host_ip"] == "127.0.0.1", name
    service = services["file-sync"]
    assert service["user"] == "65532:65532"
    drain = int(service["environment"]["FILE_SYNC__SHUTDOWN_TIMEOUT_SECONDS"])
    assert service["stop_grace_period"] == "1m30s" and drain <= 85
    (data,) = [one for one in service["volumes"] if one["target"] == "/data"]
    assert data["read_only"] is True
    assert service["healthcheck"]["test"] == ["CMD", "/usr/local/bin/file-sync-service", "health"]


def test_an_environment_file_that_is_missing_is_an_error() -> None:
    done = run(COMPOSE, "config", "-q", cwd=ROOT, env={"FILE_SYNC_ENV": "no-such-file.env"})
    assert done.code != 0
    assert "no-such-file.env" in done.said


def test_the_example_for_aws_brings_no_store_of_this_machine(place: Path) -> None:
    env = (ROOT / "contrib/compose/aws.env.example").read_text()
    (place / "aws.env").write_text(env)
    settings = described({"FILE_SYNC_ENV": str(place / "aws.env")})["services"]["file-sync"]["environment"]
    assert "FILE_SYNC__S3_ENDPOINT_URL" not in settings
    assert "AWS_ACCESS_KEY_ID" not in settings
    assert settings["FILE_SYNC__S3_BUCKET"] == "your-bucket"


# What compose-lint says and is meant so: the rule, of which services (none: of all), and why.
MEANT = {
    "CL-0026": (set(), "no limit of CPU: what waits is sent as fast as it goes"),
    "CL-0019": (set(), "the digest is for the user who deploys it"),
    "CL-0020": ({"file-sync", "s3"}, "the keys of a store on this machine, which are in no other"),
    "CL-0018": ({"data"}, "gives a new volume away, and ends"),
    "CL-0006": ({"s3"}, "a foreign image, on this machine alone"),
}


def test_the_linter_finds_nothing_that_is_not_meant() -> None:
    done = run(BIN / "compose-lint", "check", "--format", "json", "compose.yaml", cwd=ROOT)
    said = json.loads(done.out)
    assert said["errors"] == []
    found = {(one["rule_id"], one["service"]) for one in said["findings"] if one["severity"] != "low"}
    unmeant = {(rule, of) for rule, of in found if rule not in MEANT or (MEANT[rule][0] and of not in MEANT[rule][0])}
    assert unmeant == set()
    assert {rule for rule, _ in found} == set(MEANT), "what is not found needs no reason any more"


class Project:
    """`docker compose --profile local`, under a name of its own."""

    def __init__(self, engine: Engine, place: Path, healthy: bool) -> None:
        self.engine = engine
        self.name = f"file-sync-test-{free_port()}"
        self.port = free_port()
        # The application writes as fast as it can.
        script = "n=0; while true; do n=$$((n+1)); echo $$n > /data/f.tmp; mv /data/f.tmp /data/$$n; sleep 0.01; done"
        override: dict = {"services": {"app": {"command": ["sh", "-c", script]}}}
        if not healthy:
            # A version of the service without the command: what runs is taken for healthy.
            test = ["CMD", "/usr/local/bin/file-sync-service", "--version"]
            override["services"]["file-sync"] = {"healthcheck": {"test": test, "interval": "1s"}}
        self.override = place / "override.yaml"
        self.override.write_text(yaml.safe_dump(override))
        self.s3 = store_client(self.port)

    def __call__(self, *arguments: str) -> Run:
        files = ("-f", ROOT / "compose.yaml", "-f", self.override, "-p", self.name, "--profile", "local")
        env = {"FILE_SYNC_IMAGE": SERVICE, "APP_IMAGE": BUSYBOX, "S3_IMAGE": STORE, "S3_PORT": str(self.port)}
        done = self.engine.compose(*files, *arguments, env=env)
        assert done.code == 0 or arguments[0] == "down", done.said
        return done

    def volume(self, script: str) -> str:
        """The files as the application sees them, while it is stopped."""
        mount = ("--volume", f"{self.name}_data:/data:ro")
        return self.engine("run", "--rm", "--network", "none", *mount, BUSYBOX, "sh", "-ec", script)


@pytest.fixture
def project(engine: Engine, place: Path, commands: str) -> Iterator[Project]:
    one = Project(engine, place, healthy=bool(re.search(r"^\s+health\b", commands, re.M)))
    try:
        yield one
    finally:
        one("down", "--volumes", "--timeout", "5")


def test_a_file_of_the_application_is_in_the_bucket_and_stopping_under_load_loses_nothing(project: Project) -> None:
    project("up", "--detach", "--no-build")
    eventually("files of the application in the bucket", lambda: len(objects(project.s3)) > 20, 90)

    # The application first, then the service: in the order that depends_on says.
    project("stop", "app", "file-sync")
    stopped = project("ps", "--all", "--format", "json", "file-sync").out
    assert json.loads(stopped.splitlines()[0])["ExitCode"] == 0
    wanted = {f"app/{name}" for name in project.volume("ls /data").split() if name != "f.tmp"}
    assert len(wanted) > 20

    project("start", "file-sync")
    try:
        eventually("every file is there", lambda: set(objects(project.s3)) == wanted, 90)
    except AssertionError as late:
        missing = wanted - set(objects(project.s3))
        raise AssertionError(f"{late}: {len(missing)} of {len(wanted)} missing") from None
    for key in sorted(wanted)[:5]:
        body = project.s3.get_object(Bucket="uploads", Key=key)["Body"].read()
        assert body.decode() == key.removeprefix("app/") + "\n"
