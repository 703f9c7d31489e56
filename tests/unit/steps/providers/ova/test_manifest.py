"""Manifests in every spelling in use: listed files are checked, unreadable manifests are refused."""

from __future__ import annotations

import hashlib
import random
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from steps.model.contract import Exit
from steps.model.machine import Machine
from steps.model.plan import DiskFormat
from steps.providers import connect
from steps.providers.ova import names
from tests.provider_contract import ignore
from tests.unit.steps.disk.server import Behaviour
from tests.unit.steps.providers.ova.conftest import MakeAccess, Refused
from tests.unit.steps.providers.ova.make import build_files
from tests.unit.steps.providers.ova.site import Page, Site

DISK = "web-disk1.vmdk"
Content = dict[str, bytes]


def hexed(algorithm: str, content: bytes) -> str:
    return hashlib.new(algorithm, content).hexdigest()


def lines(form: str, algorithm: str) -> Callable[[Content], bytes]:
    """A manifest with a line of this form for each file."""

    def write(files: Content) -> bytes:
        made = (form.format(n=name, h=hexed(algorithm, content)) for name, content in files.items())
        return "".join(f"{line}\n" for line in made).encode()

    return write


def encoded(encoding: str) -> Callable[[Content], bytes]:
    def write(files: Content) -> bytes:
        text = lines("SHA256({n})= {h}", "sha256")(files).decode()
        return ("\ufeff" * encoding.endswith("+") + text.replace("\n", "\r\n")).encode(encoding.rstrip("+"))

    return write


def both(first: str, second: str) -> Callable[[Content], bytes]:
    def write(files: Content) -> bytes:
        return b"".join(lines(f"{one}({{n}})= {{h}}", one.lower())(files) for one in (first, second))

    return write


SPELLINGS: dict[str, Callable[[Content], bytes]] = {
    "openssl-3": lines("SHA2-256({n})= {h}", "sha256"),
    "openssl-3-512": lines("SHA2-512({n})= {h}", "sha512"),
    "lower-case": lines("sha256({n})= {h}", "sha256"),
    "hyphen": lines("SHA-256({n})= {h}", "sha256"),
    "bsd": lines("SHA256 ({n}) = {h}", "sha256"),
    "sha256sum": lines("{h}  {n}", "sha256"),
    "sha1sum-binary": lines("{h} *{n}", "sha1"),
    "md5-only": lines("MD5({n})= {h}", "md5"),
    "sha384": lines("SHA384({n})= {h}", "sha384"),
    "sha3": lines("SHA3-256({n})= {h}", "sha3_256"),
    "truncated-512": lines("SHA2-512/256({n})= {h}", "sha512_256"),
    "blake": lines("BLAKE2b512({n})= {h}", "blake2b"),
    "utf-8-mark": encoded("utf-8+"),
    "utf-16-le-mark": encoded("utf-16-le+"),
    "utf-16-be-mark": encoded("utf-16-be+"),
    "utf-16-le": encoded("utf-16-le"),
    "weak-first": both("SHA1", "SHA256"),
    "strong-first": both("SHA512", "MD5"),
    "and-an-unknown-one": lambda files: (
        lines("STREEBOG({n})= {h}", "sha256")(files) + lines("SHA1({n})= {h}", "sha1")(files)
    ),
    "comment": lambda files: b"# made by hand\n\n" + lines("SHA1({n})= {h}", "sha1")(files),
}


def imported(
    tmp_path: Path, access: MakeAccess, files: Content, *, tar: bool = True
) -> tuple[Machine, bytes]:
    """The VM and the bytes of its first disk."""
    made = build_files([], manifest=None)
    made.contents = files
    place = tmp_path / ("m.ova" if tar else "package")
    if tar:
        made.pack(place, "ustar")
    else:
        made.write(place)
    with connect(access(place)) as source:
        machine = source.describe("web", None)
        landed = source.export(machine, machine.disks[0], tmp_path / "out", DiskFormat.RAW, ignore)
    return machine, landed.path.read_bytes()


def package(
    raws: list[Path], manifest: Callable[[Content], bytes], *, good: bool, name: str = "web.mf"
) -> Content:
    """The files of a package with a manifest, whose digest of the disk is wrong unless `good`."""
    files = build_files(raws[:1], manifest=None).contents
    listed = files if good else {**files, DISK: files[DISK] + b"x"}
    return {**files, name: manifest(listed)}


def codes(machine: Machine) -> set[str]:
    return {one.code for one in machine.concerns}


@pytest.mark.parametrize("good", [True, False], ids=["right", "wrong"])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_is_read(
    tmp_path: Path, raws: list[Path], access: MakeAccess, refused: Refused, spelling: str, good: bool
) -> None:
    files = package(raws, SPELLINGS[spelling], good=good)
    if good:
        machine, content = imported(tmp_path, access, files)
        assert content == raws[0].read_bytes()
        assert not codes(machine) & {"manifest-missing", "manifest-entry"}
    else:
        error = refused(lambda: imported(tmp_path, access, files))
        assert (error.code, DISK in str(error)) == (Exit.CORRUPT, True)


def test_the_strongest_digest_decides(
    tmp_path: Path, raws: list[Path], access: MakeAccess, refused: Refused
) -> None:
    """It is possible to forge a file with the MD5 or SHA-1 of another one."""
    strong = lines("SHA256({n})= {h}", "sha256")
    weak = lines("SHA1({n})= {h}", "sha1")
    files = package(raws, weak, good=True)
    files["web.mf"] += strong({DISK: b"what was meant"})
    assert refused(lambda: imported(tmp_path, access, files)).code is Exit.CORRUPT


@pytest.mark.parametrize("tar", [True, False], ids=["tar", "folder"])
@pytest.mark.parametrize("name", ["WEB.MF", "web.MF", "Web.mf", "before-it-was-renamed.mf"])
def test_a_manifest_with_another_name_is_used(
    tmp_path: Path, raws: list[Path], access: MakeAccess, refused: Refused, name: str, tar: bool
) -> None:
    files = package(raws, SPELLINGS["bsd"], good=False, name=name)
    error = refused(lambda: imported(tmp_path, access, files, tar=tar))
    assert (error.code, DISK in str(error)) == (Exit.CORRUPT, True)


def test_a_manifest_in_capitals_on_a_server_is_used(
    raws: list[Path], access: MakeAccess, refused: Refused, tmp_path: Path
) -> None:
    files = package(raws, SPELLINGS["bsd"], good=False, name="web.MF")
    pages = {f"/p/{name}": Page(Behaviour(content)) for name, content in files.items()}
    with Site(pages) as site, connect(access(site.base + "/p/web.ovf")) as source:
        machine = source.describe("web", None)
        assert "manifest-missing" not in codes(machine)
        error = refused(
            lambda: source.export(machine, machine.disks[0], tmp_path / "out", DiskFormat.RAW, ignore)
        )
    assert error.code is Exit.CORRUPT


def test_several_manifests_of_other_names_are_refused(
    tmp_path: Path, raws: list[Path], access: MakeAccess, refused: Refused
) -> None:
    files = package(raws, SPELLINGS["bsd"], good=True, name="one.mf")
    files["two.mf"] = files["one.mf"]
    error = refused(lambda: imported(tmp_path, access, files))
    assert (error.code, "one.mf, two.mf" in str(error)) == (Exit.AMBIGUOUS, True)


def test_the_manifest_of_another_package_is_ignored(
    tmp_path: Path, raws: list[Path], access: MakeAccess
) -> None:
    folder = tmp_path / "package"
    made = build_files(raws[:1], manifest=None)
    made.write(folder)
    (folder / "other.ovf").write_text("<Envelope/>")
    (folder / "other.mf").write_text(f"SHA1(other.ovf)= {'0' * 40}\n")
    with connect(access(folder / "web.ovf")) as source:
        assert "manifest-missing" in codes(source.describe("web", None))


@pytest.mark.parametrize(
    ("href", "listed"),
    [
        ("my%20disk.vmdk", "my disk.vmdk"),
        ("my disk.vmdk", "my%20disk.vmdk"),
        ("disk.vmdk", "DISK.VMDK"),
        ("gr%C3%B6%C3%9Fe.vmdk", "größe.vmdk"),
        (unicodedata.normalize("NFC", "größe.vmdk"), unicodedata.normalize("NFD", "größe.vmdk")),
        ("disk.vmdk", "./disk.vmdk"),
    ],
    ids=["encoded-there", "encoded-here", "capitals", "encoded-letters", "letters-taken-apart", "folder"],
)
def test_a_file_with_two_spellings_of_its_name_is_checked(
    tmp_path: Path, raws: list[Path], access: MakeAccess, refused: Refused, href: str, listed: str
) -> None:
    """The archive's name is that of the descriptor, or that of the manifest."""
    files = build_files(raws[:1], manifest=None).contents
    disk = files.pop(DISK)
    files["web.ovf"] = files["web.ovf"].replace(DISK.encode(), href.encode())
    for number, name in enumerate({href, listed}):
        for good in (True, False):
            folder = tmp_path / f"{number}-{good}"
            folder.mkdir()
            digest = hexed("sha256", disk if good else disk + b"x")
            text = f"SHA256({listed})= {digest}\nSHA256(web.ovf)= {hexed('sha256', files['web.ovf'])}\n"
            whole = {**files, name: disk, "web.mf": text.encode()}
            if good:
                machine, content = imported(folder, access, whole)
                assert content == raws[0].read_bytes()
                assert "manifest-entry" not in codes(machine)
            else:
                error = refused(lambda: imported(folder, access, whole))  # noqa: B023 - called at once
                assert error.code is Exit.CORRUPT


def test_the_exact_name_precedes_another_spelling(
    tmp_path: Path, raws: list[Path], access: MakeAccess
) -> None:
    files = build_files(raws[:1], manifest=None).contents
    disk = files.pop(DISK)
    files["web.ovf"] = files["web.ovf"].replace(DISK.encode(), b"a%20disk.vmdk")
    decoy = build_files(raws[1:], manifest=None).contents[DISK]
    both = {**files, "a disk.vmdk": decoy, "a%20disk.vmdk": disk}
    assert imported(tmp_path, access, both)[1] == raws[0].read_bytes()


def test_names_that_differ_only_in_case_are_ambiguous(refused: Refused) -> None:
    assert names.find("disk", ["Disk", "disk"], "m.ova") == "disk"
    assert names.find("a b", ["A B", "a%20b"], "m.ova") == "a%20b"
    error = refused(lambda: names.find("DISK", ["Disk", "disk"], "m.ova"))
    assert error.code is Exit.AMBIGUOUS


@pytest.mark.parametrize(
    ("manifest", "code", "words"),
    [
        (lines("STREEBOG({n})= {h}", "sha256"), Exit.UNSUPPORTED, "STREEBOG"),
        (lambda _: b"", Exit.CORRUPT, "empty"),
        (lambda _: b"\xef\xbb\xbf\r\n", Exit.CORRUPT, "empty"),
        (lines("SHA256(build/{n}/x)= {h}", "sha256"), Exit.CORRUPT, "build/"),
        (lines("SHA256({n}-)= {h}", "sha256"), Exit.CORRUPT, "not in the package"),
        (lines("SHA256 of {n} is {h}", "sha256"), Exit.CORRUPT, "its line 1 has an unknown form"),
        (lambda _: b"\xff\xfeS\x00H\x00", Exit.CORRUPT, "its line 1 has an unknown form"),
        (lambda _: b"\xff\xfeS\x00H\x00A", Exit.CORRUPT, "not text"),
    ],
    ids=["algorithm", "empty", "mark-only", "folder", "other-name", "words", "no-line", "cut"],
)
def test_an_unreadable_manifest_is_refused_before_any_copy(
    tmp_path: Path,
    raws: list[Path],
    access: MakeAccess,
    refused: Refused,
    manifest: Callable[[Content], bytes],
    code: Exit,
    words: str,
) -> None:
    made = build_files([], manifest=None)
    made.contents = package(raws, manifest, good=True)
    made.pack(tmp_path / "m.ova", "ustar")
    with connect(access(tmp_path / "m.ova")) as source:
        error = refused(lambda: source.describe("web", None))
    assert (error.code, words in str(error)) == (code, True), str(error)


def test_the_digest_of_a_whole_split_file_is_checked(
    tmp_path: Path, raws: list[Path], access: MakeAccess, refused: Refused
) -> None:
    files = build_files(raws[:1], manifest=None, chunk=100_000).contents
    whole = b"".join(content for name, content in files.items() if name.startswith(DISK))
    for good in (True, False):
        digest = hexed("sha256", whole if good else whole + b"x")
        folder = tmp_path / str(good)
        folder.mkdir()
        descriptor = hexed("sha256", files["web.ovf"])
        text = f"SHA256({DISK})= {digest}\nSHA256(web.ovf)= {descriptor}\n"
        listed = {**files, "web.mf": text.encode()}
        if good:
            machine, content = imported(folder, access, listed)
            assert (content, "manifest-entry" in codes(machine)) == (raws[0].read_bytes(), False)
        else:
            assert refused(lambda: imported(folder, access, listed)).code is Exit.CORRUPT  # noqa: B023


@pytest.mark.parametrize("sized", [True, False])
def test_a_part_that_is_not_in_the_manifest_is_reported(
    tmp_path: Path, raws: list[Path], access: MakeAccess, sized: bool
) -> None:
    files = build_files(raws[:1], manifest=None, chunk=100_000).contents
    if not sized:
        files["web.ovf"] = re.sub(rb'ovf:size="\d+"', b"", files["web.ovf"])
    pieces = sorted(name for name in files if name.startswith(DISK))
    for left_out in (pieces[0], pieces[-1], "web.ovf"):
        listed = [f"SHA256({name})= {hexed('sha256', files[name])}" for name in files if name != left_out]
        folder = tmp_path / left_out
        folder.mkdir()
        machine, _ = imported(folder, access, {**files, "web.mf": "\n".join(listed).encode()})
        (concern_text,) = [one.message for one in machine.concerns if one.code == "manifest-entry"]
        assert left_out in concern_text


def test_a_manifest_after_the_disks_covers_the_descriptor_too(
    tmp_path: Path, raws: list[Path], access: MakeAccess, refused: Refused
) -> None:
    """Without Range the reader does not get that far before the export."""
    big = tmp_path / "big.raw"
    big.write_bytes(random.Random(1).randbytes(3 << 20))
    files = build_files([big], "virtualbox")
    files.contents["web.ovf"] = files.contents["web.ovf"].replace(b"<Name>web<", b"<Name>sly<")
    files.pack(tmp_path / "m.ova", "ustar")
    how = Behaviour((tmp_path / "m.ova").read_bytes(), ranges=False)
    with Site({"/m.ova": Page(how)}) as site, connect(access(site.base + "/m.ova")) as source:
        machine = source.describe("web", None)
        out = tmp_path / "out.raw"
        error = refused(lambda: source.export(machine, machine.disks[0], out, DiskFormat.RAW, ignore))
    assert (error.code, "web.ovf" in str(error)) == (Exit.CORRUPT, True), str(error)


def test_an_html_page_is_not_a_manifest(raws: list[Path], access: MakeAccess) -> None:
    """Some servers answer 200 and a page for a missing file."""
    files = build_files(raws[:1], manifest=None).contents
    page = Page(Behaviour(b"<!DOCTYPE html><html>no such file</html>"))
    pages = {f"/p/{name}": Page(Behaviour(content)) for name, content in files.items()}
    site = Site({**pages, "/p/web.mf": page, "/p/web.cert": page})
    with site, connect(access(site.base + "/p/web.ovf")) as source:
        found = codes(source.describe("web", None))
    assert "manifest-missing" in found
    assert "signature" not in found
