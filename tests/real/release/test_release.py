"""A whole release, with the lab's Debian as base: `make e2e` builds it, in minutes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from ruamel.yaml import YAML

from images.release.__main__ import BIN, CHART, CHECKSUMS, ROOT
from images.release.build import Builder
from images.release.chart import targets, version
from images.release.commit import commit
from images.release.layout import read, unpack
from images.release.packages import DEBIAN, PYTHON
from images.release.sbom import packages

LAB: Final = ROOT / "tests" / "real" / "lab"
BUILDAH: Final = LAB / "buildah"
BASE: Final = "lab.local/debian:12"
SECONDS: Final = 3600
VERSION: Final = version(CHART)
TARGETS: Final = targets(CHART)

pytestmark = [
    pytest.mark.lab,
    pytest.mark.timeout(SECONDS),
    pytest.mark.skipif(
        not os.environ.get("VMFERRY_E2E"), reason="NOT RUN HERE: it builds images; run `make e2e`"
    ),
    pytest.mark.skipif(
        not (BIN / "syft").exists(), reason="NO SBOM MADE: no syft; run tests/prepare.sh syft"
    ),
]


def command(*argv: str | Path) -> str:
    done = subprocess.run(
        [str(word) for word in argv], cwd=ROOT, check=False, capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def base() -> str:
    """The lab's Debian by its digest."""
    digest = command(BUILDAH, "inspect", "--type", "image", "--format", "{{.FromImageDigest}}", BASE).strip()
    return f"{BASE.partition(':')[0]}@{digest}"


@pytest.fixture(scope="module")
def released(base: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    into = tmp_path_factory.mktemp("release")
    program = (sys.executable, "-m", "images.release")
    command(*program, "--draft", "--buildah", BUILDAH, "--base", base, "--into", into)
    return into / f"vmferry-{VERSION}"


@pytest.fixture(scope="module")
def digests(released: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The digest of the image in each archive, after all blobs were checked."""
    found = {}
    for target in TARGETS:
        folder = tmp_path_factory.mktemp(target)
        found[target] = read(unpack(released / f"vmferry-{target}-{VERSION}.oci.tar", folder)).digest
        shutil.rmtree(folder)
    return found


def test_the_chart_names_the_images_of_the_archives(released: Path, digests: dict[str, str]) -> None:
    values = command(BIN / "helm", "show", "values", released / f"vmferry-{VERSION}.tgz")
    assert YAML(typ="safe").load(values)["images"]["digests"] == digests


def test_checksums_are_those_of_all_files(released: Path) -> None:
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", CHECKSUMS], cwd=released, check=True)
    listed = {line.split("  ")[1] for line in (released / CHECKSUMS).read_text().splitlines()}
    assert listed == {path.name for path in released.iterdir()} - {CHECKSUMS}


@pytest.mark.parametrize(
    ("target", "wanted"),
    [
        ("serve", (DEBIAN, "nginx-light")),
        ("disk", (DEBIAN, "qemu-utils")),
        ("vmware", (PYTHON, "pyvmomi")),
        ("controller", (PYTHON, "hera")),
        ("openstack", (PYTHON, "vmferry")),
        ("ovirt", (PYTHON, "tzlocal")),
    ],
)
def test_an_sbom_names_what_the_image_is_for(released: Path, target: str, wanted: tuple[str, str]) -> None:
    document = json.loads((released / f"vmferry-{target}-{VERSION}.spdx.json").read_text())
    found = packages(document)
    assert wanted in {(package.kind, package.name) for package in found}
    assert (DEBIAN, "libc6") in {(package.kind, package.name) for package in found}


def test_an_image_that_is_built_again_without_a_cache_has_the_same_digest(
    digests: dict[str, str], base: str, tmp_path: Path
) -> None:
    revision, when = commit(ROOT, draft=True)
    builder = Builder(str(BUILDAH), ROOT, base, VERSION, revision, when, ["--no-cache"])
    builder.build("disk", tmp_path / "disk")
    assert read(tmp_path / "disk").digest == digests["disk"]
