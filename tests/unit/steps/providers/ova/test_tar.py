"""Members of tars as Python's tarfile and GNU tar write them, and malicious tars."""

from __future__ import annotations

import contextlib
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from steps.model.contract import Exit, StepError
from steps.providers.ova import source_file
from steps.providers.ova.address import Address
from steps.providers.ova.reader import FileReader
from steps.providers.ova.source_file import HttpSettings
from steps.providers.ova.tar import Member, Tar
from steps.runtime.stop import Stop
from tests.unit.steps.providers.ova.conftest import Refused

LONG = "x" * 90 + "/" + "y" * 120 + "/disk.vmdk"
UNICODE = "Größe-диск.vmdk"


def members(path: Path) -> dict[str, Member]:
    with contextlib.closing(
        FileReader(source_file.locate(Address.parse(str(path)), HttpSettings()), Stop())
    ) as reader:
        tar = Tar(reader)
        assert tar.find(lambda name: name == "no such file") is None
        return dict(tar._members)


def content(path: Path, member: Member) -> bytes:
    return path.read_bytes()[member.offset : member.offset + member.length]


def written(path: Path, *files: tarfile.TarInfo, layout: int = tarfile.USTAR_FORMAT) -> Path:
    with tarfile.open(path, "w", format=layout) as tar:
        for file in files:
            tar.addfile(file, io.BytesIO(b"c" * file.size) if file.isreg() else None)
    return path


def info(name: str, size: int = 0, **more: object) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.size = size
    for key, value in more.items():
        setattr(made, key, value)
    return made


@pytest.mark.parametrize("layout", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT], ids=["pax", "gnu"])
def test_long_and_foreign_names_and_all_sizes_are_read(tmp_path: Path, layout: int) -> None:
    names = {"m.ovf": 700, UNICODE: 0, LONG: 512, "last.mf": 5}
    path = written(tmp_path / "t", *(info(name, size) for name, size in names.items()), layout=layout)
    found = members(path)
    assert {name: member.length for name, member in found.items()} == names
    assert all(content(path, member) == b"c" * member.length for member in found.values())


@pytest.mark.parametrize("between", [b"K", b"g"], ids=["link name", "pax defaults"])
def test_a_long_name_belongs_to_the_next_file_not_to_the_next_record(tmp_path: Path, between: bytes) -> None:
    """GNU's tar.h and pax: a record before a file describes that file, whatever comes between them."""
    record = info("record", 12, type=between).tobuf(tarfile.GNU_FORMAT) + b"12 comment=\n".ljust(512, b"\0")
    file = info(LONG, 5).tobuf(tarfile.GNU_FORMAT)
    path = tmp_path / "t"
    path.write_bytes(file[:-512] + record + file[-512:] + b"disk!".ljust(512, b"\0") + bytes(1024))
    found = members(path)
    assert list(found) == [LONG]
    assert content(path, found[LONG]) == b"disk!"


def test_a_name_in_two_fields_is_read(tmp_path: Path) -> None:
    name = "x" * 90 + "/" + "y" * 90 + ".vmdk"
    path = written(tmp_path / "t", info(name, 3))
    assert list(members(path)) == [name]


def test_a_member_of_more_than_eight_gib_is_read(tmp_path: Path) -> None:
    """GNU's base 256 and pax: 9 GiB, for which a sparse file uses no disk space."""
    size = 9 << 30
    for layout in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        path = tmp_path / f"t{layout}"
        header = info("big.vmdk", size)
        with path.open("wb") as file:
            file.write(header.tobuf(layout))
            start = file.tell()
            file.seek(start + size)
            file.write(info("m.ovf", 0).tobuf(layout) + bytes(1024))
        assert list(members(path).values()) == [
            Member("big.vmdk", start, size),
            Member("m.ovf", start + size + len(info("m.ovf").tobuf(layout)), 0),
        ]


def test_folders_are_ignored_and_the_end_needs_no_zeros(tmp_path: Path) -> None:
    path = written(tmp_path / "t", info("./", type=tarfile.DIRTYPE), info("./m.ovf", 5))
    path.write_bytes(path.read_bytes()[:1536])
    assert list(members(path)) == ["m.ovf"]


def gap(path: Path) -> None:
    """A block of zeros before the second member, at which some readers stop and some do not."""
    data = path.read_bytes()
    path.write_bytes(data[:1024] + bytes(512) + data[1024:])


def broken_sum(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[124] ^= 1
    path.write_bytes(data)


def second(change: Callable[[bytearray], None]) -> Callable[[Path], None]:
    """Damage the second member's header and correct its checksum."""

    def act(path: Path) -> None:
        data = bytearray(path.read_bytes())
        header = data[1024:1536]
        change(header)
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        data[1024:1536] = header
        path.write_bytes(data)

    return act


def field(start: int, text: bytes) -> Callable[[Path], None]:
    return second(lambda header: header.__setitem__(slice(start, start + len(text)), text))


@pytest.mark.parametrize(
    ("damage", "code", "words"),
    [
        (broken_sum, Exit.INVALID, "is not an OVA"),
        (gap, Exit.CORRUPT, "files follow it"),
        (lambda path: path.write_bytes(path.read_bytes()[:1700]), Exit.CORRUPT, "is truncated"),
        (field(0, b"../m.vmdk"), Exit.UNSUPPORTED, "points outside"),
        (field(0, b"/etc/passwd"), Exit.UNSUPPORTED, "points outside"),
        (field(0, b"a/../../b"), Exit.UNSUPPORTED, "points outside"),
        (field(0, b"a\x1b[31mb\0"), Exit.UNSUPPORTED, "is not a valid file name"),
        (field(0, b"m.ovf\0"), Exit.CORRUPT, "twice"),
        (field(156, b"1"), Exit.UNSUPPORTED, "a link"),
        (field(156, b"2"), Exit.UNSUPPORTED, "a symbolic link"),
        (field(156, b"3"), Exit.UNSUPPORTED, "a device"),
        (field(156, b"S"), Exit.UNSUPPORTED, "a sparse file"),
        (field(156, b"Z"), Exit.UNSUPPORTED, "unknown kind"),
        (field(156, b"x"), Exit.CORRUPT, "pax record is damaged"),
        (field(156, b"L"), Exit.CORRUPT, None),
        (field(124, b"77777777777"), Exit.CORRUPT, "truncated"),
        (field(124, b"-1         "), Exit.CORRUPT, "its size"),
        (field(124, b"\x80" + b"\xff" * 11), Exit.CORRUPT, "truncated"),
        (field(124, b"\xff" * 12), Exit.CORRUPT, "its size"),
        (lambda path: path.write_bytes(b""), Exit.INVALID, "it is empty"),
        (lambda path: path.write_bytes(bytes(4096)), Exit.INVALID, "it is empty"),
        (lambda path: path.write_bytes(b"\x1f\x8b" + bytes(600)), Exit.INVALID, "gzip"),
        (lambda path: path.write_bytes(b"<html><body>Log in"), Exit.INVALID, "web page"),
        (lambda path: path.write_bytes(b"KDMV" + bytes(600)), Exit.INVALID, "VMDK"),
        (lambda path: path.write_bytes(b"PK\3\4" + bytes(600)), Exit.INVALID, "zip"),
    ],
)
def test_a_damaged_or_unsupported_tar_is_refused(
    tmp_path: Path, refused: Refused, damage: Callable[[Path], object], code: Exit, words: str | None
) -> None:
    path = written(tmp_path / "t.ova", info("m.ovf", 300), info("disk.vmdk", 700))
    damage(path)
    if words is None:  # the file of a long name of 'c's is missing: the archive just ends
        assert list(members(path)) == ["m.ovf"]
        return
    error = refused(lambda: members(path))
    assert (error.code, words in str(error)) == (code, True), str(error)


@pytest.mark.parametrize("key", ["size=-1", "size=1e3", "GNU.sparse.major=1", "path=../out"])
def test_an_invalid_pax_record_is_refused(tmp_path: Path, refused: Refused, key: str) -> None:
    name, value = key.split("=")
    path = written(tmp_path / "t", info("m.ovf", 5, pax_headers={name: value}), layout=tarfile.PAX_FORMAT)
    assert refused(lambda: members(path)).code in (Exit.CORRUPT, Exit.UNSUPPORTED)


@pytest.mark.parametrize("value", [b"10 path=x\n", b"10 size=5\n"])
def test_pax_defaults_for_name_or_size_are_refused(tmp_path: Path, refused: Refused, value: bytes) -> None:
    record = info("record", len(value), type=tarfile.XGLTYPE).tobuf(tarfile.USTAR_FORMAT)
    path = written(tmp_path / "t", info("m.ovf", 5))
    path.write_bytes(record + value.ljust(512, b"\0") + path.read_bytes())
    assert "one name or size for all files" in str(refused(lambda: members(path)))


@pytest.mark.parametrize("what", ["name", "size"])
def test_contradictory_records_are_refused(tmp_path: Path, refused: Refused, what: str) -> None:
    """GNU tar uses the last name, Python's tarfile the first."""
    header = {"path": LONG} if what == "name" else {"size": "5"}
    file = info("m.ovf", 5, pax_headers=header).tobuf(tarfile.PAX_FORMAT)
    record, rest = file[:-512], file[-512:] + b"disk!".ljust(512, b"\0") + bytes(1024)
    path = tmp_path / "t"
    path.write_bytes(record + record + rest)
    (member,) = members(path).values()
    assert content(path, member) == b"disk!"
    old, new = (b"xx/", b"zz/") if what == "name" else (b"size=5", b"size=4")
    path.write_bytes(record + record.replace(old, new) + rest)
    assert f"a second {what}" in str(refused(lambda: members(path)))


def test_a_failed_walk_does_not_count_as_complete(tmp_path: Path, refused: Refused) -> None:
    """Otherwise a file after the failure, such as the manifest, would be treated as missing."""
    path = written(tmp_path / "t", info("m.ovf", 5), info("m.mf", 5))
    with contextlib.closing(
        FileReader(source_file.locate(Address.parse(str(path)), HttpSettings()), Stop())
    ) as reader:
        tar = Tar(reader)
        assert tar.find(lambda name: name == "m.ovf")
        path.write_bytes(path.read_bytes()[:1024])
        reader._block = b""  # the data that was read ahead
        errors = {str(refused(tar.names)) for _ in range(3)}
    assert len(errors) == 1


def test_a_long_record_is_not_read(tmp_path: Path, refused: Refused) -> None:
    record = info("x", 1 << 20, type=tarfile.XHDTYPE)
    path = tmp_path / "t"
    path.write_bytes(record.tobuf(tarfile.USTAR_FORMAT) + bytes(2 << 20))
    assert "for a pax record" in str(refused(lambda: members(path)))


def test_too_many_files_are_refused(
    tmp_path: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("steps.providers.ova.tar._MAX_MEMBERS", 20)
    path = written(tmp_path / "t", *(info(f"{number}", 0) for number in range(30)))
    assert "more than 20 files" in str(refused(lambda: members(path)))


def test_a_large_file_is_not_read_as_a_descriptor(tmp_path: Path, refused: Refused) -> None:
    path = written(tmp_path / "t", info("m.ovf", 3000))
    with contextlib.closing(
        FileReader(source_file.locate(Address.parse(str(path)), HttpSettings()), Stop())
    ) as reader:
        tar = Tar(reader)
        member = tar.find(lambda name: name == "m.ovf")
        assert member is not None
        assert "too large" in str(refused(lambda: tar.read(member, 2999)))
        assert tar.read(member, 3000) == b"c" * 3000


def test_every_error_is_a_step_error(tmp_path: Path) -> None:
    """With any byte changed: an error of ours, or the same members, or other members inside the file."""
    path = written(tmp_path / "t", info("m.ovf", 30), info(UNICODE, 70), layout=tarfile.PAX_FORMAT)
    data = path.read_bytes()
    for at in range(0, len(data.rstrip(b"\0")), 5):
        changed = bytearray(data)
        changed[at] ^= 0x41
        path.write_bytes(changed)
        with contextlib.suppress(StepError):
            assert all(member.offset + member.length <= len(data) for member in members(path).values())


@pytest.mark.parametrize(
    ("magic", "words"),
    [
        (b"\x1f\x8b\x08", "it is compressed by gzip; unpack it: `gunzip -c FILE"),
        (b"\xfd7zXZ\0", "it is compressed by xz; unpack it: `xz -dc FILE"),
        (b"\x28\xb5\x2f\xfd", "it is compressed by zstd; unpack it: `zstd -dc FILE"),
        (b"BZh9", "it is compressed by bzip2; unpack it: `bzip2 -dc FILE"),
        (b"PK\x03\x04", "it is a zip file; unpack it (`unzip FILE`)"),
        (b"7z\xbc\xaf\x27\x1c", "it is a 7-Zip file; unpack it (`7z x FILE`)"),
        (b"Rar!\x1a\x07\x01", "it is a rar file; unpack it (`unrar x FILE`)"),
        (b"KDMV", "it is a VMDK, a disk without a VM"),
        (b"vhdxfile", "it is a VHDX, a disk without a VM"),
        (b"conectix", "it is a VHD, a disk without a VM"),
        (b"\n<!DOCTYPE html><p>", "it is a web page"),
    ],
)
def test_another_kind_of_file_is_refused_with_what_to_do(
    tmp_path: Path, refused: Refused, magic: bytes, words: str
) -> None:
    path = tmp_path / "m.ova"
    path.write_bytes(magic + b"\x01" * 600)
    error = refused(lambda: members(path))
    assert error.code is Exit.INVALID
    assert words in str(error)
    assert "use the URL of an .ova or an .ovf file" in str(error)
