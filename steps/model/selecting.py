"""Which VMs of an inventory the rows of a MigrationPlan select, and the result as a packed text. Pure.

A check pod selects, because the inventory is foreign data; the controller reads only the packed result, whose
size is bounded (`steps.model.packing`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Final

from pydantic import Field

from steps.model.contract import Exit, StepError
from steps.model.document import Document
from steps.model.log_text import LINE, MOST_LINES
from steps.model.machine import Disk, Machine
from steps.model.packing import Packing
from steps.model.patterns import fits_vm, has_tags, in_folder, unused
from steps.model.plan import SourcePlan
from steps.model.sources import SourceKind
from steps.model.wildcards import has_wildcard

MOST_VMS: Final = 1000
"""VMs of one plan. Its status has a row for each of them, and an object of the API has at most 1.5 MiB."""
LONGEST_REFERENCE: Final = 512
"""Characters of a reference to a VM; a VM with a longer path is named by its ID."""
LONGEST_OUTPUT: Final = MOST_LINES * LINE
LONGEST_DOCUMENT: Final = 2 << 20
"""Bytes of the result before it is packed."""
_PACKING: Final = Packing(LONGEST_DOCUMENT, LONGEST_OUTPUT)
_TEMPLATE: Final = "template"
"""Code of the concern about a template of vSphere, which no import accepts."""


class VmRow(Document):
    """The VMs that one row selects: all that is given must fit."""

    name: str = ""
    """A pattern for the name, the inventory path or the ID."""
    folder: str = ""
    """A pattern for the folder, or one above it."""
    tags: tuple[str, ...] = ()
    """Patterns: each must fit a tag."""


class Rows(Document):
    """The rows in their order; a VM belongs to the first one that fits it."""

    rows: tuple[VmRow, ...]
    exclude: tuple[str, ...] = ()
    """Patterns for VMs that no row selects."""


class Listing(Document):
    """What a check pod needs to select the VMs of a plan."""

    source: SourcePlan
    select: Rows


class FoundDisk(Document):
    """A disk, as far as the rows of a mapping need it."""

    id: str
    key: str
    label: str = ""
    uuid: str = ""
    storage: str = ""
    storage_id: str = ""

    def as_disk(self) -> Disk:
        """The disk; its size is not known here."""
        return Disk(**self.model_dump(), capacity=1)


class FoundVm(Document):
    """A VM that a row selects."""

    row: Annotated[int, Field(ge=0)]
    """The number of the row, from 0."""
    id: Annotated[str, Field(min_length=1, max_length=LONGEST_REFERENCE)]
    vm: Annotated[str, Field(min_length=1, max_length=LONGEST_REFERENCE)]
    """How an import names it: unique at the source."""
    name: Annotated[str, Field(max_length=LONGEST_REFERENCE)]
    host: Annotated[str, Field(max_length=253)] = ""
    disks: tuple[FoundDisk, ...] = ()


class Found(Document):
    """The VMs in the order of the rows, then of the source."""

    vms: Annotated[tuple[FoundVm, ...], Field(max_length=MOST_VMS)]
    unused: tuple[str, ...] = ()
    """The rows that select nothing, in words."""


def select(machines: Sequence[Machine], kind: SourceKind, wanted: Rows, tags_unknown: str = "") -> Found:
    """The VMs that the rows select.

    A template of vSphere is selected only by a row that names it, because no import accepts it.

    Raises:
        StepError: UNSUPPORTED, if a row needs tags that the source does not show (`tags_unknown`), or if too
            many VMs are selected.
    """
    if tags_unknown and any(row.tags for row in wanted.rows):
        remedy = "select the VMs by name or folder"
        raise StepError(Exit.UNSUPPORTED, "cannot select VMs by tag", tags_unknown, remedy)
    tests = [_test(row) for row in wanted.rows]
    excluded = fits_vm(wanted.exclude) if wanted.exclude else lambda _: False
    reference = _references(machines, kind)
    by_row: list[list[FoundVm]] = [[] for _ in tests]
    for machine in machines:
        number = next((number for number, fits in enumerate(tests) if fits(machine)), None)
        if number is not None and not excluded(machine):
            _check_id(machine)
            by_row[number].append(_found(machine, number, reference(machine)))
    vms = tuple(vm for some in by_row for vm in some)
    if len(vms) > MOST_VMS:
        raise StepError(
            Exit.UNSUPPORTED,
            f"the plan selects {len(vms)} VMs",
            f"a plan has at most {MOST_VMS}",
            "make several plans",
        )
    idle = [_words(row) for row, some in zip(wanted.rows, by_row, strict=True) if not some]
    return Found(vms=vms, unused=(*idle, *(f"exclude {one}" for one in unused(wanted.exclude, machines))))


def _check_id(machine: Machine) -> None:
    """Raise StepError (UNSUPPORTED) for a VM that nobody could name."""
    if not 1 <= len(machine.source_id) <= LONGEST_REFERENCE:
        raise StepError(
            Exit.UNSUPPORTED,
            f"VM {machine.path or machine.name} cannot be imported",
            f"its ID has {len(machine.source_id)} characters, and not 1 to {LONGEST_REFERENCE}",
            "exclude it",
        )


def _test(row: VmRow) -> Callable[[Machine], bool]:
    tests: list[Callable[[Machine], bool]] = []
    if row.name:
        tests.append(fits_vm([row.name]))
    if row.folder:
        tests.append(in_folder([row.folder]))
    if row.tags:
        tests.append(has_tags(row.tags))
    if not row.name or has_wildcard(row.name):
        tests.append(lambda machine: not _is_template(machine) or row.name in (machine.name, machine.path))
    return lambda machine: all(fits(machine) for fits in tests)


def _is_template(machine: Machine) -> bool:
    return any(concern.code == _TEMPLATE for concern in machine.concerns)


def _words(row: VmRow) -> str:
    parts = (("name", row.name), ("folder", row.folder), *(("tag", tag) for tag in row.tags))
    return ", ".join(f"{what} {text}" for what, text in parts if text)


def _references(machines: Iterable[Machine], kind: SourceKind) -> Callable[[Machine], str]:
    """How an import names a VM: by its inventory path or its name if it is the only one, else by its ID."""

    def shown(machine: Machine) -> str:
        return machine.path if kind is SourceKind.VMWARE and machine.path else machine.name

    same = Counter(map(shown, machines))

    def reference(machine: Machine) -> str:
        text = shown(machine)
        is_good = text != "" and same[text] == 1 and len(text) <= LONGEST_REFERENCE
        return text if is_good else machine.source_id

    return reference


def _found(machine: Machine, row: int, reference: str) -> FoundVm:
    disks = (
        FoundDisk(
            id=disk.id,
            key=disk.key,
            label=disk.label,
            uuid=disk.uuid,
            storage=disk.storage,
            storage_id=disk.storage_id,
        )
        for disk in machine.disks
    )
    return FoundVm(
        row=row,
        id=machine.source_id,
        vm=reference,
        name=machine.name[:LONGEST_REFERENCE],
        host=machine.host[:253],
        disks=tuple(disks),
    )


def pack(found: Found) -> str:
    """The result as a text for a log (`steps.model.log_text`).

    Raises:
        StepError: UNSUPPORTED, for a result that is too large.
    """
    document = found.model_dump_json(by_alias=True, exclude_defaults=True).encode()
    return _PACKING.pack(document, f"the list of {len(found.vms)} VMs", "make several plans")


def unpack(text: str) -> Found:
    """The result in a text. Its writer has parsed foreign data, so nothing of it is trusted.

    Raises:
        StepError: INVALID, for anything that `pack` does not make.
    """
    return _PACKING.unpack(text, Found, "the list of VMs is not valid")
