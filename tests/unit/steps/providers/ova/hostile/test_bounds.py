"""Large descriptors and manifests: the work grows with their size, not with its square.

The tests measure the CPU time of this process, with room for a slow machine. Before, each of these documents
took minutes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from steps.model.concerns import about
from steps.model.contract import Exit, StepError
from steps.model.machine import MOST_DEVICES, Machine
from steps.preflight import examine, refuse
from steps.providers import connect
from steps.providers.ova import envelope, items, manifest, markup, package
from steps.providers.ova.appliance import Appliance
from steps.providers.ova.package import FolderPackage, open_package
from tests.unit.builders import a_plan
from tests.unit.steps.disk.server import Behaviour
from tests.unit.steps.providers.ova.conftest import MakeAccess
from tests.unit.steps.providers.ova.site import Page, Site

CPU_SECONDS: Final = 30.0
TIB: Final = 1 << 40
NUMBER: Final = 60_000
"""Elements: below the limit of the XML reader, with their parts."""


def cheap(action: Callable[[], Any]) -> Any:
    """The result of an action that needs little CPU time."""
    before = time.process_time()
    result = action()
    assert time.process_time() - before < CPU_SECONDS
    return result


def descriptor(*, references: str = "", disks: str = "", hardware: str = "", system: str = "") -> bytes:
    processor = "<Item><ResourceType>3</ResourceType><VirtualQuantity>1</VirtualQuantity></Item>"
    memory = (
        "<Item><ResourceType>4</ResourceType><VirtualQuantity>64</VirtualQuantity>"
        "<AllocationUnits>byte * 2^20</AllocationUnits></Item>"
    )
    text = (
        f"<Envelope><References>{references}</References><DiskSection>{disks}</DiskSection>"
        f'<VirtualSystem id="web">{system}<VirtualHardwareSection>{processor}{memory}{hardware}'
        "</VirtualHardwareSection></VirtualSystem></Envelope>"
    ).encode()
    assert len(text) <= markup.MAX_BYTES
    return text


def repeated(text: str, count: int = NUMBER) -> str:
    return "".join(text.replace("#", str(number)) for number in range(count))


def hard_disks(count: int) -> str:
    return repeated(
        "<Item><InstanceID>#</InstanceID><ResourceType>17</ResourceType>"
        "<HostResource>ovf:/disk/d#</HostResource></Item>",
        count,
    )


def blank_disks(count: int) -> bytes:
    """A descriptor of a VM with empty disks of 64 TiB."""
    disks = repeated(
        '<Disk diskId="d#" capacity="64" capacityAllocationUnits="byte * 2^40" format="vmdk"/>', count
    )
    return descriptor(disks=disks, hardware=hard_disks(count))


# --- CPU time


def test_text_between_thousands_of_elements() -> None:
    text = b"<Envelope>" + b"x" * (6 << 20) + b"<a/>y" * 190_000 + b"</Envelope>"
    root = cheap(lambda: markup.parse(text, "m.ovf"))
    assert len(root.text) == (6 << 20) + 190_000


@pytest.mark.parametrize("count", [NUMBER])
def test_files_with_one_id(count: int) -> None:
    text = descriptor(references=repeated('<File id="a" href="f#"/>', count))
    made = cheap(lambda: envelope.read(text, "m.ovf"))
    with pytest.raises(StepError, match="different files with the id 'a'") as caught:
        made.files.find("a")
    assert caught.value.code is Exit.AMBIGUOUS


def test_disks_whose_sizes_are_properties() -> None:
    names = repeated('<Property key="p#" value="7"/>', 30_000)
    disks = repeated('<Disk diskId="d#" capacity="${p#}"/>', 30_000)
    text = descriptor(disks=disks, system=f"<ProductSection>{names}</ProductSection>")
    made = cheap(lambda: envelope.read(text, "m.ovf"))
    assert {disk.capacity for disk in made.disks} == {512}  # whole sectors


def test_items_of_thousands_of_kinds() -> None:
    hardware = repeated("<Item><InstanceID>#</InstanceID><ResourceType>9#</ResourceType></Item>", 50_000)
    made = envelope.read(descriptor(hardware=hardware), "m.ovf")
    found = cheap(lambda: items.items(made, made.systems[0]))
    assert len(found) == 50_002


def test_a_manifest_of_thousands_of_other_files(tmp_path: Path, access: MakeAccess) -> None:
    """Each file without a digest is compared with all of them."""
    count = 50
    references = repeated('<File id="f#" href="disk#.vmdk"/>', count)
    disks = repeated('<Disk diskId="d#" fileRef="f#" capacity="512"/>', count)
    (tmp_path / "m.ovf").write_bytes(
        descriptor(references=references, disks=disks, hardware=hard_disks(count))
    )
    for number in range(count):
        (tmp_path / f"disk{number}.vmdk").write_bytes(bytes(512))
    lines = (f"SHA256(DISK0.vmdk.{number:09d})= {'0' * 64}\n" for number in range(40_000))
    (tmp_path / "m.mf").write_text("".join(lines))
    with open_package(access(tmp_path / "m.ovf")) as opened:
        made = Appliance(opened)
        digests = cheap(
            lambda: [made.digest(f"disk{number}.vmdk", full_scan=True) for number in range(count)]
        )
    assert digests == [None] * count


def test_a_manifest_is_searched_once_per_name() -> None:
    lines = (f"SHA256(Disk{number}.vmdk)= {'0' * 64}\n" for number in range(40_000))
    made = manifest.read("".join(lines).encode(), "m.mf")
    found = cheap(lambda: [made.digest(f"DISK{number}.vmdk") for number in range(40_000)])
    assert None not in found


# --- the number of disks


def described(access: MakeAccess, folder: Path, text: bytes) -> Machine:
    (folder / "m.ovf").write_bytes(text)
    with connect(access(folder / "m.ovf")) as provider:
        return examine(provider, a_plan())


@pytest.mark.parametrize("count", [MOST_DEVICES + 1, 1001, 20_000])
def test_too_many_disks_are_a_reason_and_no_defect(tmp_path: Path, access: MakeAccess, count: int) -> None:
    machine = cheap(lambda: described(access, tmp_path, blank_disks(count)))
    assert len(machine.disks) == MOST_DEVICES + 1
    assert "too-many-devices" in {concern.code for concern in about(machine)}
    with pytest.raises(StepError, match="more than 256 disks") as caught:
        refuse(a_plan(), machine)
    assert caught.value.code is Exit.UNSUPPORTED


def test_thousands_of_unused_files_are_counted_not_listed(tmp_path: Path, access: MakeAccess) -> None:
    text = descriptor(references=repeated('<File id="f#" href="disk#.vmdk"/>', 30_000))
    machine = cheap(lambda: described(access, tmp_path, text))
    assert len(machine.to_json()) < 200_000
    blocking, *_, last = machine.concerns
    assert (blocking.code, last.code) == ("no-disks", "more-concerns")
    assert "there are 2" in last.message


def test_long_notes_are_cut_before_the_vm_is_shut_down(tmp_path: Path, access: MakeAccess) -> None:
    """The API server would refuse the VM after all disks were moved."""
    notes = "<AnnotationSection><Annotation>" + "n\u00e4" * 200_000 + "</Annotation></AnnotationSection>"
    machine = described(access, tmp_path, descriptor(system=notes))
    assert 65_000 < len(machine.notes.encode()) <= 65_536
    assert "notes-cut" in {concern.code for concern in machine.concerns}


# --- files that are split


@pytest.fixture
def pieces() -> Iterator[Site]:
    page = Page(Behaviour(bytes(1 << 16)))
    pages = {f"/d.raw.{number:09d}": page for number in range(300)}
    with Site({"/m.ovf": Page(Behaviour(b"<Envelope/>")), **pages}) as site:
        yield site


def test_the_first_bytes_of_thousands_of_pieces_are_not_kept(pieces: Site, access: MakeAccess) -> None:
    with open_package(access(f"{pieces.base}/m.ovf")) as opened:
        assert isinstance(opened, FolderPackage)
        sources = [opened.source(f"d.raw.{number:09d}") for number in range(300)]
        kept = sum(len(file.head) for file in opened._files.values() if file)
    assert len(sources) == 300
    assert kept <= package._REMEMBERED << 16
