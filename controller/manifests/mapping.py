"""The file of the option `--mapping`: one ImportMapping, for imports that name none."""

from __future__ import annotations

from pathlib import Path

from controller.manifests import read
from controller.manifests.read import InvalidManifestsError
from workflows.api.mapping import ImportMapping


def load(path: Path) -> ImportMapping:
    """The only ImportMapping of a file.

    Raises:
        InvalidManifestsError: with every fault, as `FILE:LINE: FIELD: WHAT`.
    """
    found = read.read([str(path)])
    mappings = list(found.import_mappings.values())
    if len(mappings) == 1:
        return mappings[0]
    names = ", ".join("/".join(key) for key in found.import_mappings) or "none"
    remedy = (
        "write one (kind ImportMapping)"
        if not mappings
        else "give them with -f, and name one in spec.importMapping of each import"
    )
    raise InvalidManifestsError(
        [f"{path}: --mapping needs exactly one ImportMapping, found: {names}; {remedy}"]
    )
