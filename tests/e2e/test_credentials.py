"""Who the daemon is: IRSA against an STS in this process' reach, EKS Pod Identity against a small handler.

STS is moto's, behind a server of ours that counts, can be switched off, and shortens the sessions. The keys it gives
away are the store's own, so that the store really checks every signature.
"""

from __future__ import annotations

import datetime
import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from harness import PREFIX, Bucket, Daemon, Mirror, eventually, let_pass
from moto.server import ThreadedMotoServer

# SeaweedFS knows no sessions but those of its own STS; this one checks signatures and takes any session.
pytestmark = pytest.mark.parametrize("server", ["dev-s3"], indirect=True)

ROLE = "arn:aws:iam::123456789012:role/uploads"
# Renewed in the last quarter of its life.
SHORT_SECONDS = 20
LONG_SECONDS = 3600
STAMP = "%Y-%m-%dT%H:%M:%SZ"


def in_seconds(seconds: int) -> str:
    moment = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)
    return moment.strftime(STAMP)


@dataclass
class Issuer:
    """A server on loopback that gives away the store's keys, and remembers who asked with what."""

    key: str
    secret: str
    seconds: int = LONG_SECONDS
    refuses: str | None = None
    tokens: list[str] = field(default_factory=list)
    sessions: list[str] = field(default_factory=list)

    def start(self) -> None:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            # HTTP/1.0: no connection stays open, over which it would go on answering when it is stopped.
            protocol_version = "HTTP/1.0"

            def do_GET(self) -> None:
                self._answer(*issuer.get(self.headers.get("Authorization", "")))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                self._answer(*issuer.post(parse_qs(body)))

            def _answer(self, status: int, kind: str, body: str) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: object) -> None:
                """Nothing: pytest shows what matters."""

        self.server = ThreadingHTTPServer(("127.0.0.1", getattr(self, "port", 0)), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """From now on connections are refused."""
        self.server.shutdown()
        self.server.server_close()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, token: str) -> tuple[int, str, str]:
        """The agent of EKS Pod Identity."""
        self.tokens.append(token)
        if self.refuses:
            return 400, "application/json", json.dumps({"code": self.refuses, "message": "as the test says"})
        keys = {"AccessKeyId": self.key, "SecretAccessKey": self.secret, "Token": "session"}
        return 200, "application/json", json.dumps({**keys, "Expiration": in_seconds(self.seconds)})

    def post(self, query: dict[str, list[str]]) -> tuple[int, str, str]:
        """AssumeRoleWithWebIdentity: moto's answer, with the store's keys and the end that the test wants."""
        token, session = query["WebIdentityToken"][0], query["RoleSessionName"][0]
        self.tokens.append(token)
        self.sessions.append(session)
        if self.refuses:
            error = f"<Error><Type>Sender</Type><Code>{self.refuses}</Code><Message>as the test says</Message></Error>"
            return 400, "text/xml", f"<ErrorResponse>{error}<RequestId>1</RequestId></ErrorResponse>"
        answer = moto_says(query["RoleArn"][0], session, token)
        for name, value in (
            ("AccessKeyId", self.key),
            ("SecretAccessKey", self.secret),
            ("Expiration", in_seconds(self.seconds)),
        ):
            answer, changed = re.subn(f"<{name}>[^<]*<", f"<{name}>{value}<", answer)
            assert changed == 1, answer
        return 200, "text/xml", answer


MOTO: ThreadedMotoServer | None = None


def moto_says(role: str, session: str, token: str) -> str:
    """The raw answer of moto's STS."""
    assert MOTO is not None
    host, port = MOTO.get_host_and_port()
    sts = boto3.client(
        "sts", endpoint_url=f"http://{host}:{port}", region_name="us-east-1", config=Config(signature_version=UNSIGNED)
    )
    raw: list[str] = []
    sts.meta.events.register("before-parse.sts", lambda response_dict, **_: raw.append(response_dict["body"].decode()))
    sts.assume_role_with_web_identity(RoleArn=role, RoleSessionName=session, WebIdentityToken=token)
    return raw[0]


@pytest.fixture(scope="module", autouse=True)
def moto() -> Iterator[None]:
    global MOTO
    MOTO = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    MOTO.start()
    yield
    MOTO.stop()
    MOTO = None


@pytest.fixture
def issuer(server: object) -> Iterator[Issuer]:
    one = Issuer(server.mirror.name, server.mirror.secret)
    one.start()
    yield one
    one.stop()


def without_keys(daemon: Daemon) -> None:
    daemon.env |= {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}


@pytest.fixture
def token(daemon: Daemon) -> Path:
    """A projected token, as the kubelet mounts it: a link to a directory that is swapped."""
    path = daemon.place / "token/token"
    path.parent.mkdir()
    rotate(path, "first-token")
    return path


def rotate(path: Path, content: str) -> None:
    """What the kubelet does: a new directory, and one rename."""
    generation = path.parent / f"..{content}"
    generation.mkdir()
    (generation / "token").write_text(content)
    swap = path.parent / "..data_tmp"
    swap.symlink_to(generation.name)
    swap.rename(path.parent / "..data")
    if not path.is_symlink():
        path.symlink_to("..data/token")


@pytest.fixture
def irsa(daemon: Daemon, issuer: Issuer, token: Path) -> Issuer:
    """What the webhook of EKS sets."""
    without_keys(daemon)
    daemon.env |= {
        "AWS_ROLE_ARN": ROLE,
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(token),
        "AWS_ROLE_SESSION_NAME": "uploads-0",
        "AWS_ENDPOINT_URL_STS": issuer.endpoint,
    }
    return issuer


@pytest.fixture
def mirror(bucket: Bucket, daemon: Daemon) -> Mirror:
    return Mirror(bucket, lambda: {path.name: path for path in daemon.tree.iterdir()})


def logged(daemon: Daemon) -> str:
    return "".join(path.read_text() for path in daemon.place.glob("daemon-*.log"))


def assert_no_secret_is_logged(daemon: Daemon, issuer: Issuer) -> None:
    text = logged(daemon)
    assert text, "nothing was logged at all"
    for secret in {issuer.secret, *issuer.tokens}:
        assert secret.removeprefix("Bearer ") not in text


def test_a_role_from_a_token_file_is_enough(irsa: Issuer, daemon: Daemon, mirror: Mirror) -> None:
    (daemon.tree / "a").write_text("a")
    daemon.env["RUST_LOG"] = "debug"
    daemon.start()
    mirror.wait_until_equal(daemon, 30)
    assert irsa.tokens[0] == "first-token"
    assert set(irsa.sessions) == {"uploads-0"}
    assert daemon.terminate(35) == 0
    assert_no_secret_is_logged(daemon, irsa)


def test_sessions_that_expire_and_tokens_that_rotate_need_nothing(
    irsa: Issuer, daemon: Daemon, mirror: Mirror, token: Path
) -> None:
    irsa.seconds = SHORT_SECONDS
    daemon.start()
    for number in range(3):
        rotate(token, f"token-{number}")
        asked = len(irsa.tokens)
        let_pass(SHORT_SECONDS / 4)

        def renewed(number: int = number, asked: int = asked) -> bool:
            (daemon.tree / f"file-{number}").write_text(str(time.monotonic_ns()))
            return f"token-{number}" in irsa.tokens[asked:]

        eventually("the new token was shown to STS", renewed, SHORT_SECONDS * 2, poll=1)
        mirror.wait_until_equal(daemon, 30)
    assert daemon.terminate(35) == 0
    assert_no_secret_is_logged(daemon, irsa)


def test_sts_that_is_away_only_delays(irsa: Issuer, daemon: Daemon, mirror: Mirror) -> None:
    irsa.stop()
    daemon.start()
    (daemon.tree / "patient").write_text("patient")
    eventually("it says that it cannot send", lambda: "credentials.renewal_failed" in logged(daemon), 60)
    eventually("it waits", lambda: daemon.waiting() == 1, 30)
    daemon.assert_running()
    irsa.start()
    mirror.wait_until_equal(daemon, 60)


def test_sts_that_goes_away_during_a_session_only_delays(irsa: Issuer, daemon: Daemon, mirror: Mirror) -> None:
    irsa.seconds = SHORT_SECONDS
    daemon.start()
    (daemon.tree / "before").write_text("before")
    mirror.wait_until_equal(daemon, 30)
    irsa.stop()
    let_pass(SHORT_SECONDS)
    (daemon.tree / "during").write_text("during")
    eventually("it waits", lambda: daemon.waiting() == 1, 30)
    let_pass(5)
    daemon.assert_running()
    irsa.start()
    mirror.wait_until_equal(daemon, 60)


@pytest.mark.parametrize("code", ["InvalidIdentityToken", "AccessDenied", "ExpiredTokenException"])
def test_a_role_that_is_refused_waits_until_it_is_granted(
    irsa: Issuer, daemon: Daemon, mirror: Mirror, code: str
) -> None:
    irsa.refuses = code
    daemon.start()
    (daemon.tree / "refused").write_text("refused")
    eventually("the log says what STS said", lambda: code in logged(daemon), 60)
    daemon.assert_running()
    irsa.refuses = None
    mirror.wait_until_equal(daemon, 60)
    assert_no_secret_is_logged(daemon, irsa)


def test_a_token_file_that_is_missing_is_named_and_waited_for(
    irsa: Issuer, daemon: Daemon, mirror: Mirror, token: Path
) -> None:
    token.unlink()
    daemon.start()
    (daemon.tree / "early").write_text("early")
    eventually("it waits", lambda: '"WARN"' in logged(daemon), 60)
    daemon.assert_running()
    token.symlink_to("..data/token")
    mirror.wait_until_equal(daemon, 60)


def test_a_broken_role_never_falls_back_to_other_credentials(
    irsa: Issuer, daemon: Daemon, bucket: Bucket, token: Path
) -> None:
    """A way that is configured and fails is an error, not a reason to use another identity."""
    other = Issuer(irsa.key, irsa.secret)
    other.start()
    try:
        daemon.env |= {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{other.endpoint}/v1/credentials",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": "other",
        }
        irsa.refuses = "AccessDenied"
        daemon.start()
        (daemon.tree / "file").write_text("file")
        eventually("STS was asked again", lambda: len(irsa.tokens) > 2, 60)
        assert other.tokens == []
        assert bucket.objects(PREFIX) == {}
    finally:
        other.stop()


@pytest.fixture
def pod_identity(daemon: Daemon, issuer: Issuer, token: Path) -> Issuer:
    """What EKS sets for Pod Identity."""
    without_keys(daemon)
    daemon.env |= {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{issuer.endpoint}/v1/credentials",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(token),
    }
    return issuer


def test_pod_identity_is_enough_and_survives_rotation(
    pod_identity: Issuer, daemon: Daemon, mirror: Mirror, token: Path
) -> None:
    pod_identity.seconds = SHORT_SECONDS
    (daemon.tree / "a").write_text("a")
    daemon.start()
    mirror.wait_until_equal(daemon, 30)
    assert pod_identity.tokens[0] == "first-token"
    rotate(token, "second-token")

    def renewed() -> bool:
        (daemon.tree / "b").write_text(str(time.monotonic_ns()))
        return "second-token" in pod_identity.tokens

    eventually("the new token was shown to the agent", renewed, SHORT_SECONDS * 2, poll=1)
    mirror.wait_until_equal(daemon, 30)
    assert daemon.terminate(35) == 0
    assert_no_secret_is_logged(daemon, pod_identity)


def test_an_agent_of_pod_identity_that_refuses_only_delays(
    pod_identity: Issuer, daemon: Daemon, mirror: Mirror
) -> None:
    pod_identity.refuses = "AccessDeniedException"
    (daemon.tree / "a").write_text("a")
    daemon.start()
    eventually("it waits", lambda: '"WARN"' in logged(daemon), 60)
    daemon.assert_running()
    pod_identity.refuses = None
    mirror.wait_until_equal(daemon, 60)
