"""A release has a base image with a digest, and a chart with the digests of the images."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from images.release.__main__ import CHART, main
from images.release.build import check_base
from images.release.chart import pinned, targets, version
from images.release.errors import ReleaseError

DIGEST = "sha256:" + "a" * 64
VALUES = (CHART / "values.yaml").read_text()


@pytest.mark.parametrize(
    "base", [f"debian@{DIGEST}", f"debian:12-slim@{DIGEST}", f"mirror.example:5000/debian@{DIGEST}"]
)
def test_a_base_with_a_digest_is_accepted(base: str) -> None:
    check_base(base)


@pytest.mark.parametrize(
    "base",
    ["", "debian", "debian:12-slim", "debian@sha256:abc", f"debian@{DIGEST}0", f"@{DIGEST}", f"a b@{DIGEST}"],
)
def test_a_base_without_a_digest_is_refused(base: str) -> None:
    with pytest.raises(ReleaseError, match="has no digest"):
        check_base(base)


def test_a_release_without_a_base_digest_makes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--base", "debian:12-slim", "--into", str(tmp_path / "dist")]) == 1
    assert "debian:12-slim has no digest" in capsys.readouterr().err
    assert not (tmp_path / "dist").exists()


def test_every_image_of_the_containerfile_is_released() -> None:
    built = (CHART.parents[1] / "images" / "Containerfile").read_text()
    stages = set(re.findall(r"^FROM python AS (\w+)$", built, re.MULTILINE))
    assert set(targets(CHART)) == stages - {"builder", "appliance"}


def test_the_values_of_a_release_differ_only_in_their_digests() -> None:
    digests = {target: f"sha256:{number:064x}" for number, target in enumerate(targets(CHART))}
    found = YAML(typ="safe").load(pinned(VALUES, digests))
    assert found["images"].pop("digests") == digests
    before = YAML(typ="safe").load(VALUES)
    assert before["images"].pop("digests") == {}
    assert found == before


def test_values_that_already_have_digests_are_refused() -> None:
    with pytest.raises(ReleaseError, match="digests"):
        pinned(pinned(VALUES, {"disk": DIGEST}), {"disk": DIGEST})


def test_chart_images_and_code_have_one_version(tmp_path: Path) -> None:
    project = tomllib.loads((CHART.parents[1] / "pyproject.toml").read_text())["project"]
    assert version(CHART) == project["version"]
    (tmp_path / "Chart.yaml").write_text('apiVersion: v2\nversion: 1.0.0\nappVersion: "1.0.1"\n')
    with pytest.raises(ReleaseError, match="differ"):
        version(tmp_path)
