"""The names of an import's volumes: a result document of `admit`, read by later stages. Pure."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from typing import Annotated, Final, Literal

from pydantic import Field

from steps.model.document import Document
from steps.model.machine import DiskId

VOLUMES: Final = "volumes.json"
"""The document's file in the request."""
LONGEST: Final = 63
"""Characters of a volume's name. Kubernetes allows a claim 253, and 63 to a value of a label."""
_HASH: Final = 6

VolumeName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]


class Volumes(Document):
    """The names that an import's volumes get at the target."""

    version: Literal["1"] = "1"
    vm: str = ""
    """Name of the VM that the names were chosen for."""
    names: dict[DiskId, VolumeName] = Field(default_factory=dict)
    """By disk. The volume of a disk without a name is named like its image.

    Runs of versions that chose no names work so. They keep those names through an upgrade.
    """


def volume_name(vm: str, disk: DiskId) -> str:
    """`VM-disk-N`, if that is short enough; else the VM's name is cut and gets a hash."""
    name = f"{vm}-{disk}"
    return name if len(name) <= LONGEST else _cut(vm, f"{_digest(vm)}-{disk}")


def volume_names(vm: str, disk: DiskId, run: str) -> Iterator[str]:
    """Names for a volume, best first: the plain one, then names with a short hash that differs by run."""
    yield volume_name(vm, disk)
    for number in itertools.count():
        yield _cut(volume_name(vm, disk), _digest(f"{run}/{disk}/{number}"))


def with_digest(name: str, digest: str) -> str:
    """The name of a further volume with other bytes, next to the one called `name`."""
    return _cut(name, digest[:_HASH])


def _cut(text: str, suffix: str) -> str:
    return f"{text[: LONGEST - len(suffix) - 1].rstrip('-')}-{suffix}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH]
