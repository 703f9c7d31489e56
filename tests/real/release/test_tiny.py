"""A tiny image, built by buildah and read by syft: the same bytes each time, and a complete SBOM.

buildah is a Debian package (`tests/prepare.sh buildah`), syft is built by Go (`tests/prepare.sh syft`).
If one of them is missing, these tests are skipped with a message.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

import pytest

from images.release.__main__ import BIN
from images.release.build import Builder
from images.release.errors import ReleaseError
from images.release.layout import Image, read
from images.release.packages import PYTHON, Package, installed
from images.release.sbom import check, settle, write
from tests.unit.images import tiny

SYFT: Final = BIN / "syft"
WHEN: Final = 1_700_000_000
needs_buildah = pytest.mark.skipif(
    not shutil.which("buildah") or os.geteuid() != 0,
    reason="NO IMAGE BUILT: needs buildah, and root for its storage",
)
needs_syft = pytest.mark.skipif(not SYFT.exists(), reason="NO SBOM MADE: no syft; run tests/prepare.sh syft")
CONTAINERFILE: Final = """
ARG BASE
FROM scratch AS tiny
COPY rootfs /
USER 10001:10001
"""
FILES: Final = {
    tiny.STATUS: tiny.LIBC,
    "etc/os-release": "ID=debian\nVERSION_ID=12\nNAME=Debian\n",
    **tiny.distribution("ruamel.yaml", "0.18.17"),
}


@pytest.fixture
def builder(tmp_path: Path) -> Builder:
    """It builds a tiny Containerfile, in a storage of its own."""
    root = tmp_path / "project"
    for name, text in FILES.items():
        file = root / "rootfs" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (root / "images").mkdir()
    (root / "images" / "Containerfile").write_text(CONTAINERFILE)
    program = tmp_path / "buildah"
    folders = f"--root {tmp_path}/storage --runroot {tmp_path}/run --storage-driver vfs"
    program.write_text(f'#!/bin/sh\nexec buildah {folders} "$@"\n')
    program.chmod(0o755)
    base = "none@sha256:" + "0" * 64
    return Builder(str(program), root, base, "1.2.3", "abc", WHEN, ["--isolation=chroot", "--no-cache"])


def built(builder: Builder, layout: Path) -> Image:
    builder.build("tiny", layout)
    return read(layout)


@needs_buildah
def test_an_image_that_is_built_twice_has_one_digest(builder: Builder, tmp_path: Path) -> None:
    first = built(builder, tmp_path / "first")
    for path in (builder.root / "rootfs").rglob("*"):
        os.utime(path, (1, 1))
    assert built(builder, tmp_path / "second").digest == first.digest
    (builder.root / "rootfs" / "etc" / "os-release").write_text("ID=other\n")
    assert built(builder, tmp_path / "third").digest != first.digest


@needs_buildah
def test_an_image_names_its_version_commit_and_base(builder: Builder, tmp_path: Path) -> None:
    labels = built(builder, tmp_path / "made").labels
    prefix = "org.opencontainers.image"
    assert labels[f"{prefix}.version"] == "1.2.3"
    assert labels[f"{prefix}.revision"] == "abc"
    assert labels[f"{prefix}.base.digest"] == builder.base.partition("@")[2]


@needs_buildah
def test_a_failed_build_shows_the_end_of_its_output(builder: Builder, tmp_path: Path) -> None:
    (builder.root / "images" / "Containerfile").write_text("FROM scratch AS tiny\nCOPY nothing-like-this /\n")
    with pytest.raises(ReleaseError, match="nothing-like-this"):
        builder.build("tiny", tmp_path / "made")


@needs_syft
def test_the_sbom_of_syft_names_every_package(tmp_path: Path) -> None:
    layout = tiny.write(tmp_path / "made", [FILES])
    image = read(layout)
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    for file in (first, second):
        write(str(SYFT), layout, "vmferry/tiny", "1.2.3", file)
        settle(file, image.digest, WHEN)
    check(first, installed(image))
    assert first.read_bytes() == second.read_bytes()
    with pytest.raises(ReleaseError, match="pypi/absent 1"):
        check(first, {*installed(image), Package(PYTHON, "absent", "1")})


@needs_syft
def test_a_folder_that_is_no_image_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="syft cannot read the image vmferry/tiny"):
        write(str(SYFT), tmp_path, "vmferry/tiny", "1", tmp_path / "sbom.json")
