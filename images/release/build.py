"""The images, built by buildah.

The same commit, base and Debian packages give the same digests.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from images.release.errors import ReleaseError
from images.release.layout import settle
from images.release.programs import run

_BASE: Final = re.compile(r"[^\s@]+@sha256:[0-9a-f]{64}")
_LABEL: Final = "org.opencontainers.image"


@dataclass(frozen=True)
class Builder:
    """How images are built. `base` names a digest, `when` is in seconds since 1970."""

    program: str
    """buildah, or a program with the same arguments."""
    root: Path
    """The build context, with images/Containerfile."""
    base: str
    version: str
    revision: str
    when: int
    options: Sequence[str] = field(default=())
    """More options of `buildah build`."""

    def build(self, target: str, layout: Path) -> None:
        """Build an image and write it as an OCI image layout. Raises ReleaseError."""
        name = f"localhost/vmferry-release/{target}:{self.version}"
        arguments = {"BASE": self.base, "SOURCE_DATE_EPOCH": str(self.when)}
        self._run(
            *("build", "--quiet", "--format", "oci", "--layers", "--timestamp", str(self.when)),
            "--identity-label=false",
            *(f"--build-arg={key}={value}" for key, value in arguments.items()),
            *(f"--label={_LABEL}.{key}={value}" for key, value in self._labels().items()),
            *("--target", target, "--tag", name, "--file", str(self.root / "images" / "Containerfile")),
            *(*self.options, str(self.root)),
        )
        self._run("push", "--quiet", "--format", "oci", name, f"oci:{layout}:{self.version}")
        settle(layout, {f"{_LABEL}.{key}": value for key, value in self._labels().items()})

    def _labels(self) -> Mapping[str, str]:
        name, _, digest = self.base.partition("@")
        return {
            "title": "vmferry",
            "version": self.version,
            "revision": self.revision,
            "licenses": "Apache-2.0",
            "base.name": name,
            "base.digest": digest,
        }

    def _run(self, *arguments: str) -> None:
        run([self.program, *arguments], f"buildah cannot {arguments[0]} the image")


def check_base(base: str) -> None:
    """Raises ReleaseError unless the base image is given by its digest."""
    if not _BASE.fullmatch(base):
        raise ReleaseError(
            f"the base image {base or '(none)'} has no digest: a tag can name another image tomorrow. Give "
            "NAME@sha256:DIGEST of a Debian image; `skopeo inspect docker://NAME:TAG` prints the digest"
        )
