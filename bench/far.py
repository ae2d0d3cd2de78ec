"""Distance and TLS between the clients and the server: what users have, and loopback has not."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from measure import Failed, tail
from servers import Counts, DevS3

TIME_TO_STOP = 30
# The certificates are made for one run.
DAYS_VALID = "2"


@dataclass(frozen=True)
class Authority:
    """A certificate authority made for this run, and a server's certificate of it."""

    bundle: Path
    certificate: Path
    key: Path


def authority(directory: Path) -> Authority:
    """Makes both by openssl, in a directory that is there."""
    made = Authority(directory / "ca.pem", directory / "server.pem", directory / "server.key")
    ca_key, request, names = directory / "ca.key", directory / "server.csr", directory / "names"
    names.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=critical,CA:FALSE\n")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    commands = (
        ("req", "-x509", *curve, "-keyout", ca_key, "-out", made.bundle, "-days", DAYS_VALID, "-subj", "/CN=bench"),
        ("req", *curve, "-keyout", made.key, "-out", request, "-subj", "/CN=127.0.0.1"),
        ("x509", "-req", "-in", request, "-CA", made.bundle, "-CAkey", ca_key, "-CAcreateserial")
        + ("-out", made.certificate, "-days", DAYS_VALID, "-extfile", names),
    )
    for command in commands:
        said = subprocess.run(["openssl", *map(str, command)], capture_output=True, text=True, check=False)
        if said.returncode != 0:
            raise Failed(f"openssl {command[0]} ended with {said.returncode}: {said.stderr}")
    return made


class FarS3:
    """The S3 in memory that does nothing, so many milliseconds away, over TLS where there is an authority."""

    def __init__(self, dev_s3: Path, directory: Path, round_trip_ms: int, tls: Authority | None) -> None:
        self.server = DevS3(dev_s3, directory, discard=True)
        self.bundle = tls.bundle if tls else None
        self.log = directory / "distance-proxy.log"
        upstream = self.server.endpoint.removeprefix("http://")
        command = [str(dev_s3.with_name("distance-proxy")), "--upstream", upstream]
        command += ["--round-trip-ms", str(round_trip_ms)]
        if tls:
            command += ["--tls-cert", str(tls.certificate), "--tls-key", str(tls.key)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self.process.stdout is not None
        address = self.process.stdout.readline().strip()
        if not address:
            self.server.stop()
            raise Failed(f"the distance proxy ended: {tail(self.log)}")
        self.endpoint = f"{'https' if tls else 'http'}://{address}"

    def counts(self) -> Counts:
        return self.server.counts()

    def stop(self) -> None:
        self.process.terminate()
        self.process.communicate(timeout=TIME_TO_STOP)
        self.server.stop()
