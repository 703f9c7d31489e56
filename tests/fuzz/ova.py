"""Fuzzes the parts of an OVA that are read before its disks: tar index, envelope and manifest."""

from __future__ import annotations

import contextlib
import random
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Final

from steps.providers.ova import envelope as ovf
from steps.providers.ova import manifest, source_file
from steps.providers.ova.address import Address
from steps.providers.ova.reader import FileReader
from steps.providers.ova.source_file import HttpSettings
from steps.providers.ova.tar import Member as Found
from steps.providers.ova.tar import Tar
from tests.fuzz import archive, digests, envelope, mutate
from tests.fuzz.archive import Member
from tests.fuzz.case import Case, Wrong

_LOOKED_AT: Final = 50
LARGEST: Final = 1 << 90
"""Bytes: the grammar allows at most twenty digits in units of 2^60."""


class TarIndex:
    """Archives of every kind, and data that resembles one."""

    name = "tar"
    programs: frozenset[str] = frozenset()

    def make(self, rng: random.Random) -> Case:
        members = [
            Member(b"machine.ovf", envelope.write(envelope.machine())),
            Member(b"machine.mf", b"SHA1(disk.vmdk)= 00\n"),
            Member(b"disk.vmdk", rng.choice((b"", b"x", rng.randbytes(512), bytes(70000), bytes(1200000)))),
        ]
        if rng.random() < 0.3:
            members.append(Member(b"x", b"long", extra=[rng.choice(_LONG)(b"n" * 300)]))
        changes = rng.choice((0, 1, 1, 2, 3))
        for _ in range(changes):
            if members:
                rng.choice(archive.CHANGES)(rng, members, rng.choice(members))
        data = bytearray(archive.write(members, ends=2 if not changes else rng.choice((0, 1, 2, 20))))
        spoilt = rng.random() < 0.2
        if spoilt:
            mutate.any_bytes(rng, data)
        if rng.random() < 0.03:
            data[:] = rng.choice(
                (b"", bytes(512), bytes(2000), b"<html>", b"PK\x03\x04", b"KDMV", bytes(100))
            )
            spoilt = True
        most = rng.choice((100, 1 << 21, 1 << 21))
        valid = not changes and not spoilt and most > 100
        return Case(self.name, bytes(data), {"valid": valid, "most": most, "ranged": rng.random() < 0.7})

    def run(self, case: Case, folder: Path) -> str:
        (folder / "in.ova").write_bytes(case.data)
        self._found = _members(folder / "in.ova", case)
        return "accepted"

    def judge(self, case: Case, folder: Path, outcome: str) -> str:
        """By Python's tarfile: its positions of the files must equal ours."""
        theirs: dict[str, tuple[int, int]] = {}
        with (
            contextlib.suppress(tarfile.TarError, OverflowError, ValueError, OSError),
            tarfile.open(folder / "in.ova", errors="surrogateescape") as tar,
        ):
            for member in tar:
                if member.isreg() and not member.issparse():
                    theirs[_plain(member.name)] = (member.offset_data, member.size)
        for name, (offset, size) in theirs.items():
            ours = self._found.get(name)
            if ours is not None and (ours.offset, ours.length) != (offset, size):
                raise Wrong(f"{name!r} is at {offset}+{size}, not at {ours.offset}+{ours.length}")
        same = set([*theirs][:_LOOKED_AT]) == set(self._found)
        return "same by tarfile" if same else "tarfile finds other members"


def _members(path: Path, case: Case) -> dict[str, Found]:
    """Every file of the archive, read through its only reader; each must be inside the archive."""
    settings, size, found = HttpSettings(), len(case.data), {}
    there = replace(
        source_file.locate(Address.parse(str(path)), settings), supports_range=case.options["ranged"]
    )
    with contextlib.closing(FileReader(there, settings.stop)) as reader:
        tar = Tar(reader)
        tar.find(lambda name: name == "disk.vmdk", full_scan=False)
        names: list[str] = []
        tar.find(lambda name: bool(names.append(name)))  # type: ignore[func-returns-value]
        for member in filter(None, (tar.find(name.__eq__) for name in names[:_LOOKED_AT])):
            if not 0 <= member.offset <= member.offset + member.length <= size:
                raise Wrong(f"{member} is not in a file of {size} bytes")
            if member.name.startswith("/") or ".." in member.name.split("/"):
                raise Wrong(f"{member} leads out of the archive")
            tar.read(member, case.options["most"])
            found[member.name] = member
        return found


def _plain(name: str) -> str:
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _pax_name(name: bytes) -> Member:
    return archive.pax(b"x", (b"path", name))


_LONG: Final = (archive.long_name, _pax_name)


_FILES: Final = {"machine.ovf": b"one", "disk.vmdk": b"two"}


class Descriptor:
    """Envelopes and manifests."""

    name = "ovf"
    programs: frozenset[str] = frozenset()

    def make(self, rng: random.Random) -> Case:
        if rng.random() < 0.3:
            return self._case(rng, bytearray(digests.manifest(rng, _FILES)), "manifest", valid=False)
        machine = envelope.machine()
        changes = rng.choice((0, 1, 1, 2, 3))
        for _ in range(changes):
            rng.choice(envelope.CHANGES)(rng, machine)
        return self._case(rng, bytearray(envelope.write(machine)), "envelope", valid=not changes)

    def _case(self, rng: random.Random, data: bytearray, what: str, *, valid: bool) -> Case:
        spoilt = rng.random() < 0.3
        if spoilt:
            mutate.any_bytes(rng, data)
        return Case(self.name, bytes(data), {"what": what, "valid": valid and not spoilt})

    def run(self, case: Case, folder: Path) -> str:
        if case.options["what"] == "manifest":
            listed = manifest.read(case.data, "machine.mf").relative_to("machine.ovf")
            if any(".." in name.split("/") for name in listed.digests):
                raise Wrong("a name leads out of the archive")
            for name, digest in listed.digests.items():
                manifest.check(_FILES.get(name, b""), digest)
            for name in (*listed.files, "disk.vmdk", "DISK.VMDK", "disk%2Evmdk", "none"):
                listed.digest(name)
            return "a manifest"
        read = ovf.read(case.data, "machine.ovf")
        if b"<!DOCTYPE" in case.data.partition(b"<Envelope")[0]:
            raise Wrong("a document type was accepted")
        for disk in read.disks:
            if not 0 <= disk.capacity < LARGEST:
                raise Wrong(f"a capacity of {disk.capacity}")
        for file in read.files:
            if "://" not in file.name and ".." in file.name.split("/"):
                raise Wrong(f"{file.name!r} leads out of the archive")
        return "an envelope"

    def judge(self, case: Case, folder: Path, outcome: str) -> str:
        return ""
