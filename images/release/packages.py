"""The packages in an image, read without the program that writes the SBOM: the two can be compared."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from email.parser import HeaderParser
from pathlib import Path
from typing import Final, NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from images.release.errors import ReleaseError
from images.release.layout import Image

DEBIAN: Final = "deb"
PYTHON: Final = "pypi"
_STATUS: Final = "var/lib/dpkg/status"
_METADATA: Final = re.compile(r"(?:.*/)?lib/python(\d+\.\d+)/site-packages/[^/]+\.dist-info/METADATA")
_STAGE: Final = re.compile(r"^FROM (\S+) AS (\S+)\n(.*?)(?=^FROM |\Z)", re.MULTILINE | re.DOTALL)
_EXTRA: Final = re.compile(r"^RUN install-extra (\S+)$", re.MULTILINE)


class Package(NamedTuple):
    """A package; `kind` is a type of package URLs (DEBIAN or PYTHON)."""

    kind: str
    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name} {self.version}"


def installed(image: Image) -> set[Package]:
    """Every Debian package and Python distribution of the image.

    Raises ReleaseError if it has none of a kind.
    """
    files = image.files(lambda name: name == _STATUS or bool(_METADATA.fullmatch(name)))
    debian = set(_debian(files.pop(_STATUS, b"").decode()))
    python = {_distribution(text.decode()) for text in files.values()}
    for kind, found in (("Debian package", debian), ("Python distribution", python)):
        if not found:
            raise ReleaseError(f"the image has no {kind}: its SBOM cannot be checked; look at its base image")
    return debian | python


def python_version(image: Image) -> str:
    """The version of the image's Python, such as `3.11`.

    Raises ReleaseError if the image has not exactly one.
    """
    files = image.files(lambda name: bool(_METADATA.fullmatch(name)))
    found = {match[1] for match in map(_METADATA.fullmatch, files) if match}
    if len(found) != 1:
        raise ReleaseError(
            f"the image has packages for {len(found)} versions of Python; look at its base image"
        )
    return found.pop()


def extras(containerfile: str, target: str) -> list[str]:
    """The extras (names of requirements/*.txt) that a target of the Containerfile installs."""
    stages = {name: (base, body) for base, name, body in _STAGE.findall(containerfile)}
    found: list[str] = []
    stage = f"with-{target}"
    while stage in stages:
        stage, body = stages[stage]
        found += _EXTRA.findall(body)
    if target not in found:
        raise ReleaseError(
            f"images/Containerfile has no stage with-{target} that installs the extra {target}"
        )
    return found


def required(files: Iterable[Path], python: str) -> set[Package]:
    """The pinned packages of requirements files that apply to Linux and that version of Python (`3.11`)."""
    environment = {
        "implementation_name": "cpython",
        "os_name": "posix",
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": "linux",
    }
    return {package for file in files for package in _pinned(file.read_text(), environment)}


def _pinned(text: str, environment: Mapping[str, str]) -> Iterator[Package]:
    lines = text.replace("\\\n", " ").splitlines()
    for line in lines:
        wanted = line.partition(" --hash")[0].partition("#")[0].strip()
        if not wanted:
            continue
        requirement = Requirement(wanted)
        if requirement.marker is None or requirement.marker.evaluate(dict(environment)):
            version = str(requirement.specifier).removeprefix("==")
            yield Package(PYTHON, canonicalize_name(requirement.name), version)


def _debian(status: str) -> Iterator[Package]:
    for paragraph in status.split("\n\n"):
        fields = HeaderParser().parsestr(paragraph.strip("\n"))
        if (fields["Status"] or "").endswith(" installed"):
            yield Package(DEBIAN, str(fields["Package"]), str(fields["Version"]))


def _distribution(metadata: str) -> Package:
    fields = HeaderParser().parsestr(metadata)
    return Package(PYTHON, canonicalize_name(str(fields["Name"])), str(fields["Version"]))
