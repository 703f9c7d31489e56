"""An SBOM is compared with the image, and does not depend on when it was written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from images.release.errors import ReleaseError
from images.release.packages import DEBIAN, PYTHON, Package
from images.release.sbom import SHOWN, check, packages, settle

ZLIB = Package(DEBIAN, "zlib1g", "1:1.2.13.dfsg-1")
YAML = Package(PYTHON, "ruamel-yaml", "0.18.17")


def document(*urls: str) -> dict[str, Any]:
    """The part of an SPDX document that is read."""
    return {
        "documentNamespace": "https://sbom.example/random",
        "creationInfo": {"created": "2026-01-02T03:04:05Z", "creators": ["Tool: syft"]},
        "packages": [
            {"name": "vmferry/disk", "SPDXID": "SPDXRef-root"},
            *({"name": "x", "externalRefs": [_cpe(), _purl(url)]} for url in urls),
        ],
    }


def _cpe() -> dict[str, str]:
    return {
        "referenceCategory": "SECURITY",
        "referenceType": "cpe23Type",
        "referenceLocator": "cpe:2.3:a:x@y",
    }


def _purl(url: str) -> dict[str, str]:
    return {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": url}


BOTH = (
    "pkg:deb/debian/zlib1g@1%3A1.2.13.dfsg-1?arch=amd64&distro=debian-12&upstream=zlib@1",
    "pkg:pypi/ruamel.yaml@0.18.17",
)


def test_packages_are_read_from_their_urls() -> None:
    assert packages(document(*BOTH)) == {ZLIB, YAML}


def test_a_complete_sbom_is_accepted(tmp_path: Path) -> None:
    file = tmp_path / "disk.spdx.json"
    file.write_text(json.dumps(document(*BOTH)))
    check(file, {ZLIB, YAML})


def test_a_package_that_the_sbom_lacks_is_named(tmp_path: Path) -> None:
    file = tmp_path / "disk.spdx.json"
    file.write_text(json.dumps(document(BOTH[0])))
    with pytest.raises(ReleaseError, match=r"lacks 1 packages of the image: pypi/ruamel-yaml 0\.18\.17"):
        check(file, {ZLIB, YAML})
    with pytest.raises(ReleaseError, match=r"zlib1g 1:1\.2\.13\.dfsg-2"):
        check(file, {ZLIB._replace(version="1:1.2.13.dfsg-2")})


def test_only_some_of_many_missing_packages_are_named(tmp_path: Path) -> None:
    file = tmp_path / "disk.spdx.json"
    file.write_text(json.dumps(document()))
    with pytest.raises(ReleaseError, match="lacks 99 packages") as caught:
        check(file, {Package(PYTHON, f"p{number}", "1") for number in range(99)})
    assert str(caught.value).count("pypi/") == SHOWN


def test_two_runs_of_the_program_give_one_sbom(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text(json.dumps(document(*BOTH)))
    later = document(*BOTH) | {"documentNamespace": "https://sbom.example/other"}
    later["creationInfo"]["created"] = "2027-01-02T03:04:05Z"
    second.write_text(json.dumps(later))
    for file in (first, second):
        settle(file, "sha256:aa", 1_700_000_000)
    assert first.read_bytes() == second.read_bytes()
    found = json.loads(first.read_text())
    assert found["creationInfo"] == {"created": "2023-11-14T22:13:20Z", "creators": ["Tool: syft"]}
    assert found["documentNamespace"].endswith("sha256:aa")


def test_sboms_of_two_images_have_different_namespaces(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a", "b")]
    for file in files:
        file.write_text(json.dumps(document(*BOTH)))
        settle(file, f"sha256:{file.name}", 1_700_000_000)
    assert len({json.loads(file.read_text())["documentNamespace"] for file in files}) == 2
