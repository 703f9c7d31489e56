"""How Longhorn and CDI find out what they downloaded: they look at its bytes, and nobody names a format.

containerized-data-importer v1.64: pkg/image/filefmt.go, pkg/importer/format-readers.go (magics, archives),
pkg/image/qemu.go (checkIfURLIsValid); longhorn-engine: pkg/backingfile/backingfile.go (OpenBackingFile).
qemu-img runs without a format, as there: a header decides which other files it reads.
"""

from __future__ import annotations

import gzip
import json
import lzma
import shutil
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

HEAD: Final = 512
"""MaxExpectedHdrSize."""
QCOW2: Final = b"QFI\xfb"
_ARCHIVES: Final[dict[bytes, Callable[[Path], BinaryIO]]] = {
    b"\x1f\x8b": lambda file: cast("BinaryIO", gzip.GzipFile(file)),
    b"\xfd7zXZ\0": lambda file: cast("BinaryIO", lzma.LZMAFile(file)),  # noqa: SIM115 - the caller does
}
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
CDI_FORMATS: Final = ("raw", "qcow2", "vmdk", "vdi", "vpc", "vhdx")
LONGHORN_FORMATS: Final = ("raw", "qcow2")


class FormatError(Exception):
    """The program refuses what it takes the bytes for; the text is the program's."""


def unpack(file: Path) -> None:
    """Unpack what begins like an archive, layer by layer, each kind once, as CDI's readers do."""
    left = dict(_ARCHIVES)
    while True:
        with file.open("rb") as source:
            head = source.read(HEAD)
        if head.startswith(_ZSTD):
            raise FormatError("Unable to transfer source data to scratch space: magic number mismatch")
        magic = next((magic for magic in left if head.startswith(magic)), None)
        if magic is None or head.startswith(QCOW2):
            return
        _unpack(file, left.pop(magic))


def _unpack(file: Path, opened: Callable[[Path], BinaryIO]) -> None:
    content = file.with_name(file.name + ".content")
    try:
        with opened(file) as source, content.open("wb") as target:
            shutil.copyfileobj(source, target)
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        content.unlink(missing_ok=True)
        raise FormatError(f"Unable to transfer source data to scratch space: {error}") from None
    content.replace(file)


def validate(file: Path, available: int) -> dict[str, Any]:
    """CDI's check of an image for a volume of `available` bytes."""
    found = info(file)
    if found["format"] not in CDI_FORMATS:
        raise FormatError(f"Invalid format {found['format']} for image {file}")
    backing = found.get("backing-filename")
    if backing and not Path(backing).exists():
        raise FormatError(f"Image {file} is invalid because it has invalid backing file {backing}")
    if found["virtual-size"] > available:
        size = found["virtual-size"]
        raise FormatError(
            f"virtual image size {size} is larger than the reported available storage {available}"
        )
    return found


def open_backing_file(file: Path) -> str:
    """The format in which Longhorn's engine reads a backing image when a volume is attached."""
    found = str(info(file)["format"])
    if found not in LONGHORN_FORMATS:
        raise FormatError(f"format {found} of the backing file {file} is not supported")
    return found


def info(file: Path) -> dict[str, Any]:
    argv = ["qemu-img", "info", "--output=json", "-U", str(file)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise FormatError(" ".join(done.stderr.split()))
    found: dict[str, Any] = json.loads(done.stdout)
    return found
