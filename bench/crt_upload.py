"""Uploads a directory with AWS' own C runtime: `crt_upload.py TREE BUCKET PREFIX`.

Credentials, region, endpoint and AWS_CA_BUNDLE come from the environment. Over plain HTTP the runtime
signs no bodies ("unsigned payload"), which is less work than the other programs have.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from urllib.parse import quote, urlsplit

from awscrt.auth import AwsCredentialsProvider, AwsSignedBodyValue, AwsSigningAlgorithm, AwsSigningConfig
from awscrt.http import HttpHeaders, HttpRequest
from awscrt.io import ClientBootstrap, ClientTlsContext, DefaultHostResolver, EventLoopGroup, TlsContextOptions
from awscrt.s3 import S3Client, S3RequestTlsMode, S3RequestType

# Requests that wait in the runtime at once: it runs as many of them as it thinks right.
REQUESTS_MAX = 512
THROUGHPUT_GBPS = 10.0


def client() -> S3Client:
    group = EventLoopGroup()
    bootstrap = ClientBootstrap(group, DefaultHostResolver(group))
    credentials = AwsCredentialsProvider.new_static(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])
    secure = urlsplit(os.environ["AWS_ENDPOINT_URL_S3"]).scheme == "https"
    connection = None
    if secure:
        options = TlsContextOptions()
        options.override_default_trust_store_from_path(ca_filepath=os.environ["AWS_CA_BUNDLE"])
        connection = ClientTlsContext(options).new_connection_options()
        connection.set_server_name("127.0.0.1")
    region = os.environ["AWS_REGION"]
    signing = AwsSigningConfig(
        algorithm=AwsSigningAlgorithm.V4,
        credentials_provider=credentials,
        region=region,
        service="s3",
        signed_body_value=AwsSignedBodyValue.UNSIGNED_PAYLOAD,
    )
    return S3Client(
        bootstrap=bootstrap,
        region=region,
        tls_mode=S3RequestTlsMode.ENABLED if secure else S3RequestTlsMode.DISABLED,
        tls_connection_options=connection,
        signing_config=signing,
        throughput_target_gbps=THROUGHPUT_GBPS,
    )


def main() -> int:
    tree, bucket, prefix = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    host = urlsplit(os.environ["AWS_ENDPOINT_URL_S3"]).netloc
    s3 = client()
    waiting: set[Future[None]] = set()
    for path in (path for path in tree.rglob("*") if path.is_file()):
        if len(waiting) >= REQUESTS_MAX:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for one in done:
                one.result()
        length = path.stat().st_size
        headers = HttpHeaders([("host", host), ("content-length", str(length))])
        key = quote(f"/{bucket}/{prefix}/{path.relative_to(tree)}")
        request = HttpRequest("PUT", key, headers)
        made = s3.make_request(request=request, type=S3RequestType.PUT_OBJECT, send_filepath=str(path))
        waiting.add(made.finished_future)
    for one in waiting:
        one.result()
    return 0


if __name__ == "__main__":
    sys.exit(main())
