"""An image as an OCI image layout: its digests, the files inside, and its archive.

The format: opencontainers/image-spec, image-layout.md, manifest.md and layer.md.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from gzip import GzipFile
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final

from images.release.errors import ReleaseError

_BLOCK: Final = 1 << 20
_WHITEOUT: Final = ".wh."
_OPAQUE: Final = ".wh..wh..opq"

Json = dict[str, Any]


@dataclass(frozen=True)
class Image:
    """The only image of a layout, after all its digests were checked."""

    digest: str
    """Of the manifest, such as `sha256:…`: the digest by which a node pulls the image."""
    layers: Sequence[Path]
    """The layers as compressed tar files, the lowest one first."""
    labels: dict[str, str]

    def files(self, wanted: Callable[[str], bool]) -> dict[str, bytes]:
        """The wanted regular files of the image by their names, such as `etc/os-release`.

        A file that a higher layer replaces or deletes counts as that layer leaves it.
        """
        found: dict[str, bytes] = {}
        for layer in self.layers:
            names, added = _read_layer(layer, wanted)
            _remove(found, names)
            found |= added
        return found


def read(layout: Path) -> Image:
    """The image of a layout. Raises ReleaseError if it has not exactly one, or if a blob is damaged."""
    entries = _parse((layout / "index.json").read_bytes(), layout)["manifests"]
    if len(entries) != 1:
        raise ReleaseError(
            f"{layout} has {len(entries)} images, not one; delete the folder and build the image again"
        )
    digest = str(entries[0]["digest"])
    manifest = _parse(blob(layout, digest).read_bytes(), layout)
    config = _parse(blob(layout, manifest["config"]["digest"]).read_bytes(), layout)
    layers = [blob(layout, layer["digest"]) for layer in manifest["layers"]]
    return Image(digest, layers, dict((config.get("config") or {}).get("Labels") or {}))


def settle(layout: Path, annotations: Mapping[str, str]) -> None:
    """Remove what depends on the builder's cache, and set the annotations of the manifest.

    A builder that takes a layer from its cache writes the time and the base of the build that made the layer:
    into the history, which is optional, and into the annotations. The layers stay as they are.
    """
    index = _parse((layout / "index.json").read_bytes(), layout)
    (entry,) = index["manifests"]
    manifest = _parse(_take(layout, entry["digest"]), layout)
    config = _parse(_take(layout, manifest["config"]["digest"]), layout)
    config.pop("history", None)
    manifest["config"] |= _put(layout, config)
    manifest["annotations"] = dict(annotations)
    index["manifests"] = [entry | _put(layout, manifest)]
    (layout / "index.json").write_bytes(_encode(index))


def blob(layout: Path, digest: str) -> Path:
    """The file of a blob. Raises ReleaseError if its content does not have that digest."""
    algorithm, _, value = digest.partition(":")
    path = layout / "blobs" / algorithm / value
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            found.update(block)
    if digest != f"sha256:{found.hexdigest()}":
        raise ReleaseError(f"{path} is damaged: its digest is not {digest}; build the image again")
    return path


def pack(folder: Path, stream: BinaryIO | GzipFile, when: int) -> None:
    """Write the files of a folder as a tar file that depends only on their names and contents.

    `when` is the time of every file, in seconds since 1970.
    """
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = tarfile.TarInfo(str(path.relative_to(folder)))
            entry.size, entry.mtime, entry.mode = path.stat().st_size, when, 0o644
            with path.open("rb") as file:
                tar.addfile(entry, file)


def unpack(archive: Path, folder: Path) -> Path:
    """Write the files of a tar file, which may be compressed, into a folder, and return the folder.

    For archives that this program made: their names are trusted.
    """
    with tarfile.open(archive) as tar:
        for entry in tar:
            if content := tar.extractfile(entry):
                path = folder / entry.name
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as file:
                    shutil.copyfileobj(content, file, _BLOCK)
    return folder


def _take(layout: Path, digest: str) -> bytes:
    """The content of a blob, which is deleted."""
    path = blob(layout, digest)
    content = path.read_bytes()
    path.unlink()
    return content


def _put(layout: Path, document: Json) -> Json:
    """Store a document as a blob; the parts of its descriptor that depend on the content."""
    content = _encode(document)
    value = hashlib.sha256(content).hexdigest()
    (layout / "blobs" / "sha256" / value).write_bytes(content)
    return {"digest": f"sha256:{value}", "size": len(content)}


def _encode(document: Json) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _parse(text: bytes, layout: Path) -> Json:
    try:
        document: Json = json.loads(text)
    except ValueError as error:
        raise ReleaseError(f"{layout} is no OCI image layout: {error}; build the image again") from error
    return document


def _read_layer(layer: Path, wanted: Callable[[str], bool]) -> tuple[list[str], dict[str, bytes]]:
    """The names of all entries of a layer, and the wanted files."""
    names: list[str] = []
    found: dict[str, bytes] = {}
    with tarfile.open(layer, "r|*") as tar:
        for entry in tar:
            name = str(PurePosixPath(entry.name.removeprefix("./")))
            names.append(name)
            is_file = entry.isfile() and not PurePosixPath(name).name.startswith(_WHITEOUT)
            if is_file and wanted(name) and (file := tar.extractfile(entry)):
                found[name] = file.read()
    return names, found


def _remove(found: dict[str, bytes], names: Sequence[str]) -> None:
    """Remove the files that a layer with these names deletes or replaces."""
    for name in names:
        found.pop(name, None)
        path = PurePosixPath(name)
        if path.name == _OPAQUE:
            _remove_below(found, path.parent)
        elif path.name.startswith(_WHITEOUT):
            deleted = path.parent / path.name.removeprefix(_WHITEOUT)
            found.pop(str(deleted), None)
            _remove_below(found, deleted)


def _remove_below(found: dict[str, bytes], folder: PurePosixPath) -> None:
    for name in [name for name in found if folder in PurePosixPath(name).parents]:
        del found[name]
