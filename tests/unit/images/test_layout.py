"""An OCI image layout is read as a container runtime sees the image, and packed the same way each time."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from images.release.errors import ReleaseError
from images.release.layout import pack, read, settle
from tests.unit.images import tiny

ALL = "abcdefgh"


def everything(_: str) -> bool:
    return True


def test_the_digest_is_that_of_the_manifest(tmp_path: Path) -> None:
    folder = tiny.write(tmp_path / "made", [{"etc/a": "1"}])
    image = read(folder)
    algorithm, _, value = image.digest.partition(":")
    manifest = (folder / "blobs" / algorithm / value).read_bytes()
    assert hashlib.sha256(manifest).hexdigest() == value
    assert json.loads(manifest)["schemaVersion"] == 2
    assert image.labels == {"one": "1"}


def test_a_higher_layer_replaces_and_deletes_files(tmp_path: Path) -> None:
    lower = {
        "etc/": "",
        "etc/a": "old",
        "etc/b": "b",
        "opt/x/c": "c",
        "opt/x/y/d": "d",
        "opt/xy": "e",
        "usr/f": "f",
    }
    upper = {"etc/a": "new", "etc/.wh.b": "", "opt/.wh.x": "", "usr/.wh..wh..opq": "", "./usr/g": "g"}
    image = read(tiny.write(tmp_path / "made", [lower, upper]))
    assert image.files(everything) == {"etc/a": b"new", "opt/xy": b"e", "usr/g": b"g"}


def test_only_wanted_files_are_returned(tmp_path: Path) -> None:
    image = read(tiny.write(tmp_path / "made", [{"etc/a": "1", "etc/b": "2"}]))
    assert image.files(lambda name: name == "etc/b") == {"etc/b": b"2"}


@pytest.mark.parametrize("which", ["manifest", "layer"])
def test_a_damaged_blob_is_refused(tmp_path: Path, which: str) -> None:
    folder = tiny.write(tmp_path / "made", [{"etc/a": "1"}])
    image = read(folder)
    name = image.digest.partition(":")[2] if which == "manifest" else image.layers[0].name
    path = folder / "blobs" / "sha256" / name
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ReleaseError, match=f"{name} is damaged"):
        read(folder)


def test_a_layout_with_two_images_is_refused(tmp_path: Path) -> None:
    folder = tiny.write(tmp_path / "made", [{"etc/a": "1"}])
    index = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps({"manifests": index["manifests"] * 2}))
    with pytest.raises(ReleaseError, match="2 images"):
        read(folder)


def with_history(folder: Path, when: str) -> Path:
    """An image whose configuration and manifest say when and from what a cached layer was built."""
    tiny.write(folder, [{"etc/a": "1"}])
    blobs = folder / "blobs" / "sha256"
    index = json.loads((folder / "index.json").read_text())
    manifest = json.loads((blobs / index["manifests"][0]["digest"].partition(":")[2]).read_text())
    config = json.loads((blobs / manifest["config"]["digest"].partition(":")[2]).read_text())
    config["history"] = [{"created": when, "created_by": "COPY"}]
    manifest["config"]["digest"] = store(blobs, config)
    manifest["annotations"] = {"base": when}
    index["manifests"][0]["digest"] = store(blobs, manifest)
    (folder / "index.json").write_text(json.dumps(index))
    return folder


def store(blobs: Path, document: object) -> str:
    content = json.dumps(document).encode()
    value = hashlib.sha256(content).hexdigest()
    (blobs / value).write_bytes(content)
    return f"sha256:{value}"


def test_an_image_does_not_depend_on_the_cache_of_its_builder(tmp_path: Path) -> None:
    folders = [with_history(tmp_path / when, when) for when in ("2026", "2027")]
    first, second = (read(folder) for folder in folders)
    assert first.digest != second.digest
    for folder in folders:
        settle(folder, {"one": "1"})
    settled = [read(folder) for folder in folders]
    assert settled[0].digest == settled[1].digest
    assert settled[0].files(everything) == first.files(everything)
    assert settled[0].labels == first.labels
    manifest = (folders[0] / "blobs" / settled[0].digest.replace(":", "/")).read_text()
    assert json.loads(manifest)["annotations"] == {"one": "1"}


def packed(folder: Path) -> bytes:
    stream = io.BytesIO()
    pack(folder, stream, 1_700_000_000)
    return stream.getvalue()


def test_an_archive_depends_only_on_names_and_contents(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, names in ((first, ALL), (second, reversed(ALL))):
        (folder / "sub").mkdir(parents=True)
        for name in names:
            (folder / "sub" / name).write_text(name)
    os.utime(second / "sub" / "a", (1, 1))
    (second / "sub" / "b").chmod(0o600)
    assert packed(first) == packed(second)
    (second / "sub" / "a").write_text("another")
    assert packed(first) != packed(second)


def test_an_archive_contains_every_file_with_the_given_time(tmp_path: Path) -> None:
    folder = tiny.write(tmp_path / "made", [{"etc/a": "1"}])
    with tarfile.open(fileobj=io.BytesIO(packed(folder))) as tar:
        found = {entry.name: entry.mtime for entry in tar}
    assert found.keys() == {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert set(found.values()) == {1_700_000_000}
