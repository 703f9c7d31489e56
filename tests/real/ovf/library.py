"""VMware's library of OVF descriptors, and what `preflight` says about each of them.

It is `ovf/fixtures` of the Go module github.com/vmware/govmomi: some 950 real and constructed descriptors of
VMware's own import tests. Many are in folders Pos (products of VMware import them) and Neg (they refuse
them). Nothing of it is in this repository: the Go command downloads the module and proves its checksum.

Each descriptor is read in a folder of its own, next to generated files for its references: blank
stream-optimized VMDKs of the disks' capacities.
"""

from __future__ import annotations

import json
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from steps.disk.vmdk import MAGIC, SECTOR
from steps.model.contract import StepError
from steps.model.machine import Severity
from steps.model.plan import Plan, SourcePlan
from steps.model.sources import SourceKind
from steps.preflight import examine, refusal_reasons
from steps.providers import Access, connect
from steps.providers.ova import envelope
from steps.providers.ova.envelope import Envelope, File, piece_name
from steps.runtime.stop import Stop
from tests.unit.builders import a_plan

MODULE: Final = "github.com/vmware/govmomi@v0.56.0"
"""The simulated vCenter uses an earlier release, which does not contain the library yet."""
_OUTSIDE: Final = "../../../vmdk/"
"""Before many file names: the library's disks were in a folder of their own."""
_MOST_CAPACITY: Final = 1 << 46


def fixtures() -> Path:
    """The folder of the library. Raises CalledProcessError if the module cannot be downloaded."""
    command = ["go", "mod", "download", "-json", MODULE]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    return Path(json.loads(found.stdout)["Dir"]) / "ovf" / "fixtures"


def descriptors(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() == ".ovf" and path.is_file())


class Verdict(NamedTuple):
    """`words`: the codes of blocking concerns, or the exit word of an error, or `taken`; `text`: why."""

    words: str
    text: str


TAKEN: Final = "taken"


def judge(descriptor: Path, folder: Path) -> Verdict:
    """What preflight says about a descriptor. `folder` must be empty.

    File names that lead out of the folder are also read without that path: the verdict then begins with
    `outside`.
    """
    text = descriptor.read_bytes()
    first = _judge(text, folder / "first")
    if _OUTSIDE.encode() not in text:
        return first
    second = _judge(text.replace(_OUTSIDE.encode(), b""), folder / "second")
    return Verdict(f"{first.words}; inside: {second.words}", f"{first.text}; inside: {second.text}")


def _judge(text: bytes, folder: Path) -> Verdict:
    folder.mkdir()
    (folder / "x.ovf").write_bytes(text)
    try:
        read = envelope.read(text, "x.ovf")
    except StepError:
        read = None
    if read is not None:
        for name, capacity in _wanted_files(read):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                path.write_bytes(blank_vmdk(capacity))
    plan = _plan(folder)
    secrets = folder / ".secrets"
    secrets.mkdir()
    access = Access(
        plan=plan.source,
        credentials=secrets,
        stop=Stop(),
        run=plan.run,
        step="preflight",
        state_folder=secrets,
    )
    try:
        with connect(access) as source:
            machine = examine(source, plan)
    except StepError as error:
        return Verdict(error.code.word, str(error))
    reasons = [str(reason) for _, reason in refusal_reasons(plan, machine)]
    if not reasons:
        return Verdict(TAKEN, "")
    codes = {concern.code for concern in machine.concerns if concern.severity is Severity.BLOCK}
    return Verdict(", ".join(sorted(codes)) or "refused", " | ".join(reasons))


def _plan(folder: Path) -> Plan:
    source = SourcePlan(kind=SourceKind.OVA, name="library", endpoint=str(folder))
    return a_plan(vm="machine").model_copy(update={"source": source})


def _wanted_files(read: Envelope) -> Iterator[tuple[str, int]]:
    """Name and capacity of each file in the folder; a file of no disk is as large as a small one."""
    capacities = {disk.file.name: disk.capacity for disk in read.disks if disk.file}
    for file in read.files:
        if "://" in file.name or len(file.name) > 200:
            continue
        for name in _stored_names(file):
            yield name, capacities.get(file.name, 0) or 1 << 20


def _stored_names(file: File) -> Iterator[str]:
    yield piece_name(file, 0) if file.chunk else file.name


def blank_vmdk(capacity: int) -> bytes:
    """The beginning of a stream-optimized VMDK of a blank disk: what preflight reads of one."""
    sectors = -(-min(capacity, _MOST_CAPACITY) // SECTOR)
    text = (
        "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n"
        f'createType="streamOptimized"\nRW {sectors} SPARSE "x"\n'
    )
    layout = "<4sIIQQQQIQQQB4sH"
    end = (1 << 64) - 1
    head = struct.pack(
        layout, MAGIC, 3, 3 | 1 << 16 | 1 << 17, sectors, 128, 1, 2, 512, 0, end, 4, 0, b"\n \r\n", 1
    )
    return head.ljust(SECTOR, b"\0") + text.encode().ljust(3 * SECTOR, b"\0")
