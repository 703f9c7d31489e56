"""Fuzzes whole descriptors of several products, next to files that begin like disks."""

from __future__ import annotations

import gzip
import random
import re
import struct
from pathlib import Path
from typing import Final

from steps.model.machine import Machine
from steps.model.plan import SourcePlan
from steps.model.sources import SourceKind
from steps.providers import Access
from steps.providers.ova import connect
from steps.providers.ova.hardware import MAX_CAPACITY
from steps.runtime.stop import Stop
from tests.fuzz import mutate
from tests.fuzz.case import Case, Wrong
from tests.fuzz.envelope import NAMES, NUMBERS, UNITS

_FILES: Final = Path(__file__).parents[1] / "unit" / "steps" / "providers" / "ova" / "files"
_BASES: Final = {path.name: path.read_bytes() for path in sorted(_FILES.glob("*.ovf"))}
_TEXT: Final = re.compile(rb">([^<>]+)</")
_VALUE: Final = re.compile(rb'="([^"]*)"')
_ITEM: Final = re.compile(rb"<(?:\w+:)?(Item|StorageItem|EthernetPortItem)\b.*?</(?:\w+:)?\1>", re.DOTALL)
_HREF: Final = re.compile(rb'href="([\w.-]+)"')
_TYPES: Final = tuple(str(number).encode() for number in range(41))
"""CIM_ResourceAllocationSettingData.ResourceType, and a few unknown values."""
_PIECE: Final = 1000
"""Bytes of the parts into which a file is split."""
_WORDS: Final = (
    *("efi", "bios", "true", "false", "EFI", "local", "UTC", "vmware.vtpm", "lsilogic", "VirtualSCSI"),
    *("AHCI", "PIIX4", "virtio", "VmxNet3", "E1000", "00:50:56:AA:BB:CC", "not a mac", "080027ABCDEF"),
    *("uefi.secureBoot.enabled", "firmware", "tpm.present", "tpm20.enabled", "{not-a-uuid}", "TCP", "Host"),
    *("ovf:/disk/", "ovf:/file/", "ovf:/disk/vmdisk1", "ovf:/disk/none", "x" * 5000, "\u202e\u0000"[:1]),
)


class Machines:
    """Descriptors of seven products with any mistake, next to files that begin like disks."""

    name = "machine"
    programs: frozenset[str] = frozenset()

    def make(self, rng: random.Random) -> Case:
        base = rng.choice(sorted(_BASES))
        data = _BASES[base]
        changes = rng.choice((0, 1, 1, 2, 4, 8))
        for _ in range(changes):
            data = rng.choice((_text, _text, _value, _value, _item, _type, _packed, _again))(rng, data)
        spoilt = rng.random() < 0.1
        if spoilt:
            buffer = bytearray(data)
            mutate.any_bytes(rng, buffer)
            data = bytes(buffer)
        options = {"base": base, "valid": not changes and not spoilt, "heads": rng.randrange(1 << 30)}
        return Case(self.name, data, options)

    def run(self, case: Case, folder: Path) -> str:
        place = folder / "package"
        place.mkdir()
        rng = random.Random(case.options["heads"])
        for name in sorted(set(_HREF.findall(_BASES[case.options["base"]]))):
            head = _head(rng, whole=case.options["valid"])
            packed = b'compression="gzip"' in case.data
            (place / name.decode()).write_bytes(gzip.compress(head) if packed else head)
            for number in range(3 if b'chunkSize="' in case.data else 0):
                piece = place / f"{name.decode()}.{number:09d}"
                piece.write_bytes(head[number * _PIECE : (number + 1) * _PIECE])
        (place / "in.ovf").write_bytes(case.data)
        plan = SourcePlan(kind=SourceKind.OVA, name="fuzz", endpoint=str(place / "in.ovf"))
        access = Access(
            plan=plan, credentials=folder, stop=Stop(), run="fuzz", step="preflight", state_folder=folder
        )
        with connect(access) as source:
            found = source.inventory()
        for machine in found.machines:
            _sane(machine)
        return "machines"

    def judge(self, case: Case, folder: Path, outcome: str) -> str:
        return ""


def _sane(machine: Machine) -> None:
    for disk in machine.disks:
        if not 0 < disk.capacity <= MAX_CAPACITY:
            raise Wrong(f"{disk.id} of {disk.capacity} bytes")
        if "://" not in disk.backing and ".." in disk.backing.split("/"):
            raise Wrong(f"{disk.backing!r} leads out of the package")


def _text(rng: random.Random, data: bytes) -> bytes:
    return _replaced(rng, data, _TEXT)


def _value(rng: random.Random, data: bytes) -> bytes:
    return _replaced(rng, data, _VALUE)


def _replaced(rng: random.Random, data: bytes, pattern: re.Pattern[bytes]) -> bytes:
    """Replace one text or value: by a number, a unit, a name, a word of the field, or another's value."""
    places = list(pattern.finditer(data))
    if not places:
        return data
    at = rng.choice(places)
    kinds = (NUMBERS, UNITS, NAMES, _WORDS, [rng.choice(places)[1].decode(errors="replace")])
    new = rng.choice(rng.choice(kinds)).encode(errors="replace").replace(b"<", b"").replace(b'"', b"")
    return data[: at.start(1)] + new + data[at.end(1) :]


def _item(rng: random.Random, data: bytes) -> bytes:
    """Double, remove or move a device."""
    places = list(_ITEM.finditer(data))
    if not places:
        return data
    at, other = rng.choice(places), rng.choice(places)
    if rng.random() < 0.5:
        return data[: at.start()] + data[at.end() :]
    return data[: at.start()] + other[0] + data[at.start() :]


def _packed(rng: random.Random, data: bytes) -> bytes:
    """A file that is compressed or split, or declared to be."""
    more = rng.choice((b'ovf:compression="gzip"', b'ovf:chunkSize="%d"' % _PIECE, b'ovf:chunkSize="1"'))
    return data.replace(b"<File ", b"<File " + more + b" ", 1)


def _again(rng: random.Random, data: bytes) -> bytes:
    """A reference or an identifier twice, or of another device in a configuration."""
    resource = re.search(rb"<(?:\w+:)?HostResource>[^<]*</(?:\w+:)?HostResource>", data)
    if resource and rng.random() < 0.3:
        other = resource[0].replace(b"disk", b"other", 1)
        return data.replace(resource[0], resource[0] + other, 1)
    places = list(_ITEM.finditer(data))
    if not places:
        return data
    first, second = rng.choice(places), rng.choice(places)
    identity = re.search(rb"InstanceI[Dd]>([^<]*)<", first[0])
    if identity is None:
        return data
    copy: bytes = re.sub(rb"(InstanceI[Dd]>)[^<]*<", rb"\g<1>" + identity[1] + b"<", second[0], count=1)
    if rng.random() < 0.5:
        copy = re.sub(rb"^<((?:\w+:)?\w+)", rb'<\g<1> ovf:configuration="small"', copy, count=1)
    return data[: first.end()] + copy + data[first.end() :]


def _type(rng: random.Random, data: bytes) -> bytes:
    """A device as one of another type."""
    places = list(re.finditer(rb"ResourceType>(\d+)<", data))
    if not places:
        return data
    at = rng.choice(places)
    return data[: at.start(1)] + rng.choice(_TYPES) + data[at.end(1) :]


def _head(rng: random.Random, *, whole: bool) -> bytes:
    """The start of a disk's file: VMDK, qcow2, VHDX, VHD or an unknown format, with any size in it."""
    size = (
        rng.choice((8 << 20, 3 << 30)) if whole else rng.choice((0, 1, 511, 8 << 20, 1 << 63, (1 << 64) - 1))
    )
    vmdk = struct.pack("<4sIIQQ", b"KDMV", 3, 0x30001, size >> 9, 128)
    vmdk += struct.pack("<QQIQQQ", 1, 20, 512, 0, (1 << 64) - 1, 128)
    qcow2 = struct.pack(">4sIQIIQ", b"QFI\xfb", 3, 0, 0, 16, size)
    heads = (vmdk + b"\0\n \r\n\x01\0", qcow2, b"conectix", b"vhdxfile", b"# Disk DescriptorFile\n", b"")
    made = bytearray((vmdk if whole else rng.choice(heads)).ljust(4096, b"\0"))
    if not whole and rng.random() < 0.3:
        mutate.any_bytes(rng, made)
    return bytes(made)
