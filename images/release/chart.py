"""The packaged chart, which names every image by its digest."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from images.release.errors import ReleaseError
from images.release.layout import pack, unpack
from images.release.programs import run

_EMPTY: Final = "\n  digests: {}\n"
"""The line of values.yaml that a release replaces."""


def targets(chart: Path) -> list[str]:
    """The images that the chart can pin."""
    schema = json.loads((chart / "values.schema.json").read_text())
    return list(schema["properties"]["images"]["properties"]["digests"]["properties"])


def version(chart: Path) -> str:
    """The version of chart and images. Raises ReleaseError if the two differ."""
    text = (chart / "Chart.yaml").read_text()
    found = {
        word: re.findall(rf'^{word}: *"?([^"\s]+)"?$', text, re.MULTILINE)
        for word in ("version", "appVersion")
    }
    if found["version"] != found["appVersion"] or len(found["version"]) != 1:
        raise ReleaseError(
            f"version and appVersion of {chart / 'Chart.yaml'} differ: {found}; make them equal"
        )
    return str(found["version"][0])


def package(helm: str, chart: Path, digests: Mapping[str, str], work: Path, archive: Path, when: int) -> None:
    """Write the chart with these digests (by target) into an archive that depends only on its content.

    `work` is an empty folder; `when` is the time of the files, in seconds since 1970. Raises ReleaseError.
    """
    copy = work / chart.name
    shutil.copytree(chart, copy)
    values = copy / "values.yaml"
    values.write_text(pinned(values.read_text(), digests))
    run([helm, "lint", "--strict", str(copy)], "helm refuses the chart")
    run([helm, "package", str(copy), "--destination", str(work)], "helm cannot package the chart")
    (made,) = work.glob("*.tgz")
    with archive.open("wb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=when) as stream:
        pack(unpack(made, work / "unpacked"), stream, when)


def pinned(values: str, digests: Mapping[str, str]) -> str:
    """The text of values.yaml with these digests. Raises ReleaseError if it has no empty `digests`."""
    if values.count(_EMPTY) != 1:
        raise ReleaseError(
            f"charts/vmferry/values.yaml has no line `{_EMPTY.strip()}` for the digests; add it"
        )
    lines = "".join(f"    {target}: {digest}\n" for target, digest in sorted(digests.items()))
    return values.replace(_EMPTY, f"\n  digests:\n{lines}")
