"""The SBOM of an image: SPDX 2.3 in JSON, written by syft and compared with the image."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from packaging.utils import canonicalize_name

from images.release.errors import ReleaseError
from images.release.packages import PYTHON, Package
from images.release.programs import run

SHOWN: Final = 10
"""Missing packages that a message names."""


def write(syft: str, layout: Path, name: str, version: str, into: Path) -> None:
    """Run syft over an OCI image layout. Raises ReleaseError if it fails."""
    argv = [syft, "scan", f"oci-dir:{layout}", "--quiet", "--output", f"spdx-json={into}"]
    argv += ["--source-name", name, "--source-version", version]
    run(argv, f"syft cannot read the image {name}", environment={"SYFT_CHECK_FOR_APP_UPDATE": "false"})


def settle(file: Path, digest: str, when: int) -> None:
    """Replace what differs at each run of syft: the time, and the random part of the document's name.

    `when` is in seconds since 1970. SPDX wants a URI that no other document has; the digest of the image
    gives it.
    """
    document = json.loads(file.read_text())
    document["creationInfo"]["created"] = f"{datetime.fromtimestamp(when, UTC):%Y-%m-%dT%H:%M:%SZ}"
    document["documentNamespace"] = f"urn:vmferry:sbom:{digest}"
    file.write_text(json.dumps(document, indent=1) + "\n")


def packages(document: Any) -> set[Package]:
    """The packages that an SPDX document names, by their package URLs."""
    return {package for entry in document["packages"] for package in _by_url(entry)}


def check(file: Path, wanted: Collection[Package]) -> None:
    """Raises ReleaseError if the SBOM lacks a package."""
    missing = sorted(set(wanted) - packages(json.loads(file.read_text())))
    if missing:
        shown = ", ".join(map(str, missing[:SHOWN])) + (" …" if len(missing) > SHOWN else "")
        raise ReleaseError(f"{file.name} lacks {len(missing)} packages of the image: {shown}")


def _by_url(entry: Any) -> Iterator[Package]:
    """pkg:TYPE/[NAMESPACE/]NAME@VERSION?QUALIFIERS, percent-encoded (package-url/purl-spec)."""
    for reference in entry.get("externalRefs", ()):
        if reference["referenceType"] == "purl":
            path, _, version = reference["referenceLocator"].partition("?")[0].rpartition("@")
            kind, *_, name = path.removeprefix("pkg:").split("/")
            name = unquote(name)
            yield Package(kind, canonicalize_name(name) if kind == PYTHON else name, unquote(version))
