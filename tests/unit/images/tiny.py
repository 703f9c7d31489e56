"""A tiny image as an OCI image layout, with files that are given as text."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

STATUS: Final = "var/lib/dpkg/status"
PACKAGES: Final = "opt/vmferry/lib/python3.11/site-packages"
LIBC: Final = "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36-9+deb12u10\n"
GONE: Final = "Package: old\nStatus: deinstall ok config-files\nVersion: 1\n"


def distribution(name: str, version: str) -> dict[str, str]:
    folder = f"{PACKAGES}/{name.replace('-', '_')}-{version}.dist-info"
    return {f"{folder}/METADATA": f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n\nwords: 1\n"}


def layer(files: Mapping[str, str]) -> bytes:
    """A compressed tar file. A name that ends with `/` is a folder."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
    return gzip.compress(stream.getvalue(), mtime=0)


def write(folder: Path, layers: Sequence[Mapping[str, str]]) -> Path:
    """Write a layout of one image with these layers, the lowest one first."""
    (folder / "blobs" / "sha256").mkdir(parents=True)
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    made = [_blob(folder, layer(files), "application/vnd.oci.image.layer.v1.tar+gzip") for files in layers]
    config = {"architecture": "amd64", "os": "linux", "config": {"Labels": {"one": "1"}}}
    manifest = {
        "schemaVersion": 2,
        "config": _blob(folder, json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json"),
        "layers": made,
    }
    named = _blob(folder, json.dumps(manifest).encode(), "application/vnd.oci.image.manifest.v1+json")
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [named]}))
    return folder


def _blob(folder: Path, content: bytes, media: str) -> dict[str, Any]:
    value = hashlib.sha256(content).hexdigest()
    (folder / "blobs" / "sha256" / value).write_bytes(content)
    return {"mediaType": media, "digest": f"sha256:{value}", "size": len(content)}
