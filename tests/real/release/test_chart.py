"""The chart of a release, made and rendered by Helm."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest
from ruamel.yaml import YAML

from images.release.__main__ import CHART
from images.release.chart import package, targets, version
from images.release.programs import run
from tests.real.chart.test_chart import HELM, helm, without_helm

pytestmark = without_helm

DIGESTS: Final = {target: f"sha256:{number:064x}" for number, target in enumerate(targets(CHART), start=1)}
WHEN: Final = 1_700_000_000
_IMAGE: Final = re.compile(r"^\s*(?:- )?image: (\S+)$", re.MULTILINE)


def made(folder: Path) -> Path:
    folder.mkdir()
    archive = folder / f"vmferry-{version(CHART)}.tgz"
    (folder / "work").mkdir()
    package(str(HELM), CHART, DIGESTS, folder / "work", archive, WHEN)
    return archive


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("released") / "chart")


def test_every_pod_of_the_released_chart_has_an_image_with_a_digest(archive: Path) -> None:
    done = helm("template", "imports", str(archive), "--set", "images.registry=registry.example")
    assert done.returncode == 0, done.stderr
    images = [image.strip("\"'") for image in _IMAGE.findall(done.stdout)]
    assert set(images) == {
        f"registry.example/vmferry/{target}@{digest}" for target, digest in DIGESTS.items()
    }
    assert len(images) > len(DIGESTS), "the stages of several kinds of sources"


def test_values_of_the_released_chart_have_their_comments(archive: Path) -> None:
    values = run([str(HELM), "show", "values", str(archive)], "no values")
    assert YAML(typ="safe").load(values)["images"]["digests"] == DIGESTS
    assert "# A digest for each target" in values


def test_the_released_chart_passes_lint(archive: Path) -> None:
    done = helm("lint", "--strict", str(archive))
    assert done.returncode == 0, done.stdout


def test_the_same_chart_gives_the_same_archive(archive: Path, tmp_path: Path) -> None:
    assert made(tmp_path / "again").read_bytes() == archive.read_bytes()
