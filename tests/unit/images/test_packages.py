"""The packages in an image are found without the program that writes the SBOM."""

from __future__ import annotations

from pathlib import Path

import pytest

from images.release.errors import ReleaseError
from images.release.layout import read
from images.release.packages import DEBIAN, PYTHON, Package, extras, installed, python_version, required
from tests.unit.images import tiny
from tests.unit.images.tiny import distribution

ROOT = Path(__file__).parents[3]
CONTAINERFILE = (ROOT / "images" / "Containerfile").read_text()
LIBC = Package(DEBIAN, "libc6", "2.36-9+deb12u10")


def test_debian_packages_and_python_distributions_are_found(tmp_path: Path) -> None:
    base = {tiny.STATUS: f"{tiny.GONE}\n{tiny.LIBC}"}
    image = read(tiny.write(tmp_path / "made", [base, distribution("PyYAML", "6.0.3")]))
    assert installed(image) == {LIBC, Package(PYTHON, "pyyaml", "6.0.3")}
    assert python_version(image) == "3.11"


@pytest.mark.parametrize(
    ("files", "kind"),
    [({tiny.STATUS: tiny.LIBC}, "Python distribution"), (distribution("a", "1"), "Debian package")],
)
def test_an_image_without_packages_of_a_kind_is_refused(
    tmp_path: Path, files: dict[str, str], kind: str
) -> None:
    with pytest.raises(ReleaseError, match=f"no {kind}"):
        installed(read(tiny.write(tmp_path / "made", [files])))


def test_only_requirements_for_the_image_count(tmp_path: Path) -> None:
    text = (
        "# made by a tool\n"
        "ruamel-yaml==0.18.17 \\\n    --hash=sha256:00 \\\n    --hash=sha256:11\n    # via vmferry\n"
        "colorama==0.4.6 ; sys_platform == 'win32' \\\n    --hash=sha256:22\n"
        "tomli==2.4.0 ; python_full_version < '3.12' \\\n    --hash=sha256:33\n"
    )
    (tmp_path / "one.txt").write_text(text)
    ruamel, tomli = Package(PYTHON, "ruamel-yaml", "0.18.17"), Package(PYTHON, "tomli", "2.4.0")
    assert required([tmp_path / "one.txt"], "3.11") == {ruamel, tomli}
    assert required([tmp_path / "one.txt"], "3.13") == {ruamel}


def test_the_requirements_of_the_project_are_read() -> None:
    found = {package.name for package in required([ROOT / "requirements" / "controller.txt"], "3.11")}
    assert {"hera", "kubernetes"} <= found


@pytest.mark.parametrize(
    ("target", "wanted"), [("disk", {"disk"}), ("serve", {"serve", "target"}), ("target", {"target"})]
)
def test_extras_of_a_target_are_those_that_its_stages_install(target: str, wanted: set[str]) -> None:
    assert set(extras(CONTAINERFILE, target)) == wanted


def test_a_target_without_its_extra_is_refused() -> None:
    with pytest.raises(ReleaseError, match="with-floppy"):
        extras(CONTAINERFILE, "floppy")
