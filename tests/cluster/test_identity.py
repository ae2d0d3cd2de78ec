"""IRSA on a real node: the kubelet mounts a token of 600 s, and an STS of the tests checks it with the API server.

The webhook of EKS only adds what the chart's values add here: a projected token and three variables.
"""

from __future__ import annotations

import datetime
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from api import Api, Object, status
from common import NODE, eventually
from place import Place, text
from store import KEY, SECRET
from test_install import CHART, ready

pytestmark = pytest.mark.full

NAME = "uploads-file-sync-service"
AUDIENCE = "sts.amazonaws.com"
ROLE = "arn:aws:iam::123456789012:role/uploads"
FOLDER = "/var/run/secrets/eks.amazonaws.com/serviceaccount"
# Renewed in the last quarter of its life.
SESSION_SECONDS = 20


@dataclass
class TokenService:
    """AssumeRoleWithWebIdentity for service accounts of the cluster, with the keys of the store."""

    api: Api
    refuses: bool = False
    subjects: list[str] = field(default_factory=list)

    def start(self) -> None:
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.0"

            def do_POST(self) -> None:  # noqa: N802, the library's name
                query = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                code, body = service.answer(query)
                self.send_response(code)
                self.send_header("Content-Type", "text/xml")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self.server = ThreadingHTTPServer((NODE, 0), Handler)
        self.endpoint = f"http://{NODE}:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def answer(self, query: dict[str, list[str]]) -> tuple[int, str]:
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview"}
        review["spec"] = {"token": query["WebIdentityToken"][0], "audiences": [AUDIENCE]}
        said = self.api.ask("POST", "/apis/authentication.k8s.io/v1/tokenreviews", review)["body"]["status"]
        if self.refuses or not said.get("authenticated"):
            error = "<Error><Type>Sender</Type><Code>AccessDenied</Code><Message>not trusted</Message></Error>"
            return 403, f"<ErrorResponse>{error}<RequestId>1</RequestId></ErrorResponse>"
        self.subjects.append(said["user"]["username"])
        end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=SESSION_SECONDS)
        keys = f"<AccessKeyId>{KEY}</AccessKeyId><SecretAccessKey>{SECRET}</SecretAccessKey>"
        keys += f"<SessionToken>session</SessionToken><Expiration>{end:%Y-%m-%dT%H:%M:%SZ}</Expiration>"
        user = f"<AssumedRoleUser><Arn>{ROLE}</Arn><AssumedRoleId>A:b</AssumedRoleId></AssumedRoleUser>"
        result = f"<AssumeRoleWithWebIdentityResult><Credentials>{keys}</Credentials>{user}"
        space = 'xmlns="https://sts.amazonaws.com/doc/2011-06-15/"'
        answer = f"<AssumeRoleWithWebIdentityResponse {space}>{result}</AssumeRoleWithWebIdentityResult>"
        return 200, f"{answer}</AssumeRoleWithWebIdentityResponse>"


@pytest.fixture
def sts(api: Api) -> Iterator[TokenService]:
    one = TokenService(api)
    one.start()
    yield one
    one.stop()


def install(place: Place, sts: TokenService, token: bool = True) -> tuple[Path, Object]:
    folder = place.claim("uploads")
    (folder / "a").write_text("a")
    variables = {"AWS_ROLE_ARN": ROLE, "AWS_WEB_IDENTITY_TOKEN_FILE": f"{FOLDER}/token"}
    variables["AWS_ENDPOINT_URL_STS"] = sts.endpoint
    source = {"serviceAccountToken": {"audience": AUDIENCE, "expirationSeconds": 600, "path": "token"}}
    volume = {"name": "aws-iam-token", "projected": {"defaultMode": 0o440, "sources": [source]}}
    mount = {"name": "aws-iam-token", "mountPath": FOLDER, "readOnly": True}
    values = place.values(
        aws={"disableImds": True},
        extraEnv=[{"name": name, "value": value} for name, value in variables.items()],
        extraVolumes=[volume] if token else [],
        extraVolumeMounts=[mount] if token else [],
    )
    place.helm("helm-4.2", "install", "uploads", CHART, "--values", values).fine()
    return folder, place.pod(f"{NAME}-0")


def events(place: Place, pod: Object, event: str) -> list[Object]:
    return [one for one in place.log(pod) if one["event"] == event]


def test_a_role_that_is_refused_and_allowed_again_only_delays(place: Place, sts: TokenService) -> None:
    sts.refuses = True
    folder, pod = install(place, sts)
    (failed, *_) = eventually("it says so", lambda: events(place, pod, "credentials.renewal_failed"), 60)
    assert "not trusted" in failed["error.message"], failed
    assert place.bucket() == {}
    sts.refuses = False
    place.mirrors(text(a="a"), 120)
    assert set(sts.subjects) == {f"system:serviceaccount:{place.name}:{NAME}"}

    sts.refuses = True
    count = len(events(place, pod, "credentials.renewal_failed"))

    def again() -> bool:
        return len(events(place, pod, "credentials.renewal_failed")) > count

    eventually("the session is not renewed", again, 90)
    (folder / "b").write_text("b")
    sts.refuses = False
    place.mirrors(text(a="a", b="b"), 180)
    now = ready(place, f"{NAME}-0")
    assert now["metadata"]["uid"] == pod["metadata"]["uid"]
    assert status(now, "file-sync")["restartCount"] == 0


def test_a_token_that_is_missing_is_named_and_the_chain_ends_there(place: Place, sts: TokenService) -> None:
    _, pod = install(place, sts, token=False)
    (failed, *_) = eventually("it says so", lambda: events(place, pod, "credentials.renewal_failed"), 60)
    assert f"{FOLDER}/token" in failed["error.message"], failed
    now = place.pod(f"{NAME}-0")
    assert status(now, "file-sync")["restartCount"] == 0
    assert place.bucket() == {} and sts.subjects == []
