"""Images for a node without a registry: an OCI layout from a root file system, imported into containerd."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

from common import PROGRAMS, ROOT, TARGET, WORK, run

KIND = "application/vnd.oci.image"
SERVICE_ROOT = TARGET / "image"
# As the Dockerfile has it.
SERVICE = {
    "User": "65532:65532",
    "WorkingDir": "/etc/file-sync-service",
    "Entrypoint": ["/usr/local/bin/file-sync-service"],
    "Cmd": ["run"],
    "Env": ["PATH=/usr/local/bin:/usr/bin:/bin", "MIMALLOC_PURGE_DELAY=0"],
}
APPLETS = "sh cat chmod chown cp date dd echo env find id kill ln ls mkdir mv rm sed seq sha256sum sleep stat sync"
APPLETS += " tail test touch true wc wget"


def version() -> str:
    lines = (ROOT / "Cargo.toml").read_text().splitlines()
    return next(line.split('"')[1] for line in lines if line.startswith("version = "))


def load() -> None:
    """All that pods of these tests are made of, under the names that charts and manifests use."""
    assert (SERVICE_ROOT / "usr/local/bin/file-sync-service").exists(), "no image: make image-rootfs"
    names = [f"{registry}file-sync-service:{version()}" for registry in ("docker.io/library/", "registry.example.com/")]
    _import(names, _service(), SERVICE)
    programs = ["web:1", "documents:1", "report:1", "writer:1"]
    names = [f"registry.example.com/{one}" for one in programs]
    names.append("docker.io/library/busybox:1.37")
    _import(names, _busybox(), {"Env": ["PATH=/bin"], "Cmd": ["sh"]})
    pause = _layer(lambda archive: archive.add(PROGRAMS / "pause", "pause"))
    _import(["localhost/pause:1"], pause, {"Entrypoint": ["/pause"]})


def _service() -> bytes:
    def fill(archive: tarfile.TarFile) -> None:
        def owned(entry: tarfile.TarInfo) -> tarfile.TarInfo:
            own = 65532 if entry.name.startswith("var/lib/file-sync-service") else 0
            entry.uid = entry.gid = own
            return entry

        for folder in sorted(SERVICE_ROOT.iterdir()):
            archive.add(folder, folder.name, filter=owned)

    return _layer(fill)


def _busybox() -> bytes:
    def fill(archive: tarfile.TarFile) -> None:
        for name, mode in (("bin", 0o755), ("tmp", 0o1777)):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            archive.addfile(entry)
        archive.add(os.path.realpath("/bin/busybox"), "bin/busybox")
        for name in APPLETS.split():
            entry = tarfile.TarInfo(f"bin/{name}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(entry)

    return _layer(fill)


def _layer(fill) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        fill(archive)
    return buffer.getvalue()


def _import(names: list[str], layer: bytes, config: dict) -> None:
    blobs: dict[str, bytes] = {}

    def blob(data: bytes, kind: str) -> dict:
        digest = hashlib.sha256(data).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = data
        return {"mediaType": f"{KIND}.{kind}", "digest": f"sha256:{digest}", "size": len(data)}

    one = blob(layer, "layer.v1.tar")
    whole = {"architecture": "amd64", "os": "linux", "config": config}
    whole["rootfs"] = {"type": "layers", "diff_ids": [one["digest"]]}
    settings = blob(json.dumps(whole).encode(), "config.v1+json")
    manifest = {"schemaVersion": 2, "mediaType": f"{KIND}.manifest.v1+json", "config": settings, "layers": [one]}
    listed = blob(json.dumps(manifest).encode(), "manifest.v1+json")
    listed["annotations"] = {"io.containerd.image.name": names[0], "org.opencontainers.image.ref.name": names[0]}
    files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', **blobs}
    files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [listed]}).encode()
    path = WORK / "image.tar"
    _archive(path, files)
    run("ctr", "--namespace", "k8s.io", "images", "import", path).fine()
    path.unlink()
    for name in names[1:]:
        run("ctr", "--namespace", "k8s.io", "images", "tag", names[0], name).fine()


def _archive(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
