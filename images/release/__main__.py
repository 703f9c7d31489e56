"""Makes a release: `python -m images.release --base NAME@sha256:DIGEST`."""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from images.release import chart, layout, packages, sbom
from images.release.build import Builder, check_base
from images.release.commit import commit
from images.release.errors import ReleaseError

ROOT: Final = Path(__file__).parents[2]
CHART: Final = ROOT / "charts" / "vmferry"
BIN: Final = ROOT / ".cache" / "bin"
CHECKSUMS: Final = "CHECKSUMS"


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    try:
        _release(options)
    except ReleaseError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m images.release", description=__doc__)
    parser.add_argument("--base", required=True, help="the base image, as NAME@sha256:DIGEST")
    parser.add_argument("--into", type=Path, default=ROOT / "dist", help="folder of releases (default: dist)")
    parser.add_argument(
        "--draft", action="store_true", help="accept a tree with changes that are not committed"
    )
    parser.add_argument("--buildah", default="buildah", help="the program that builds (default: buildah)")
    parser.add_argument("--helm", default=_program("helm"), help="default: that of tests/prepare.sh helm")
    parser.add_argument("--syft", default=_program("syft"), help="default: that of tests/prepare.sh syft")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        help="an option of `buildah build`, such as --option=--no-cache",
    )
    return parser


def _program(name: str) -> str:
    return str(BIN / name) if (BIN / name).exists() else name


def _release(options: argparse.Namespace) -> None:
    check_base(options.base)
    revision, when = commit(ROOT, draft=options.draft)
    version = chart.version(CHART)
    builder = Builder(options.buildah, ROOT, options.base, version, revision, when, options.option)
    folder = options.into / f"vmferry-{version}"
    if folder.exists():
        raise ReleaseError(f"{folder} exists; delete it, or choose another folder with --into")
    options.into.mkdir(parents=True, exist_ok=True)
    # A release that fails leaves no folder that looks like one.
    with tempfile.TemporaryDirectory(dir=options.into) as work:
        made = Path(work) / "made"
        made.mkdir()
        digests = {
            target: _image(builder, target, options.syft, Path(work) / target, made)
            for target in chart.targets(CHART)
        }
        (Path(work) / "chart").mkdir()
        archive = made / f"vmferry-{version}.tgz"
        chart.package(options.helm, CHART, digests, Path(work) / "chart", archive, when)
        _say(f"{archive.name}")
        _write_checksums(made)
        made.rename(folder)
    _say(f"the release is in {folder}; check it with: sha256sum --check {CHECKSUMS}")


def _image(builder: Builder, target: str, syft: str, work: Path, made: Path) -> str:
    """Build one image and its SBOM into `made`; the digest of the image."""
    name = f"vmferry-{target}-{builder.version}"
    builder.build(target, work)
    image = layout.read(work)
    with (made / f"{name}.oci.tar").open("wb") as stream:
        layout.pack(work, stream, builder.when)
    document = made / f"{name}.spdx.json"
    sbom.write(syft, work, f"vmferry/{target}", builder.version, document)
    sbom.settle(document, image.digest, builder.when)
    sbom.check(document, packages.installed(image) | _required(target, packages.python_version(image)))
    shutil.rmtree(work)
    _say(f"{name}: {image.digest}")
    return image.digest


def _required(target: str, python: str) -> set[packages.Package]:
    extras = packages.extras((ROOT / "images" / "Containerfile").read_text(), target)
    return packages.required((ROOT / "requirements" / f"{extra}.txt" for extra in extras), python)


def _write_checksums(folder: Path) -> None:
    """In the format of sha256sum."""
    lines = []
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.name}\n")
    (folder / CHECKSUMS).write_text("".join(lines))


def _say(text: str) -> None:
    sys.stdout.write(f"release: {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
