"""Malicious or unusual descriptors and manifests; names; units."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from steps.model.contract import Exit
from steps.model.machine import Machine, Severity
from steps.model.mapping import topology
from steps.model.plan import CpuTopology, DiskFormat
from steps.preflight import without_set_sizes
from steps.providers import connect
from steps.providers.ova import envelope, manifest, markup, units
from steps.providers.ova.address import Address
from tests.provider_contract import ignore
from tests.unit.builders import a_plan
from tests.unit.steps.providers.ova.conftest import MakeAccess, Refused
from tests.unit.steps.providers.ova.make import MIB, build_files

FILES = Path(__file__).parent / "files"
LAUGHS = (
    '<!DOCTYPE lolz [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><Envelope>&b;</Envelope>'
)
OUTSIDE = (
    '<!DOCTYPE e [<!ENTITY x SYSTEM "file:///etc/passwd">]><Envelope><References>&x;</References></Envelope>'
)


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (LAUGHS, Exit.UNSUPPORTED, "document type"),
        (OUTSIDE, Exit.UNSUPPORTED, "document type"),
        ('<!DOCTYPE Envelope SYSTEM "http://example.com/ovf.dtd"><Envelope/>', Exit.UNSUPPORTED, "document"),
        ("<Envelope>&nbsp;</Envelope>", Exit.CORRUPT, "not XML"),
        ("<Envelope>" * 100, Exit.UNSUPPORTED, "elements"),
        ("<Envelope>" + "<a/>" * 200_001 + "</Envelope>", Exit.UNSUPPORTED, "elements"),
        ("<Envelope>", Exit.CORRUPT, "not XML"),
        ("", Exit.CORRUPT, "not XML"),
        ('<?xml version="1.0" encoding="nonsense"?><Envelope/>', Exit.CORRUPT, "not XML"),
        ("<Envelope>" + " " * markup.MAX_BYTES + "</Envelope>", Exit.UNSUPPORTED, "bytes"),
        ("<html/>", Exit.INVALID, "not an OVF descriptor"),
        ("<Envelope/>", Exit.INVALID, "0 VMs"),
        (
            '<Envelope><References><File href="../x"/></References><VirtualSystem/></Envelope>',
            16,
            "points outside",
        ),
        (
            '<Envelope><References><File href="/x"/></References><VirtualSystem/></Envelope>',
            16,
            "points outside",
        ),
    ],
)
def test_a_malicious_or_malformed_descriptor_is_refused(
    refused: Refused, text: str, code: int, words: str
) -> None:
    error = refused(lambda: envelope.read(text.encode(), "m.ovf"))
    assert (error.code, words in str(error)) == (code, True), str(error)


def test_utf_16_is_read() -> None:
    text = '<?xml version="1.0" encoding="UTF-16"?><Envelope><VirtualSystem id="größe"/></Envelope>'
    assert envelope.read(text.encode("utf-16"), "m.ovf").systems[0].id == "größe"


@pytest.mark.parametrize(
    ("quantity", "unit", "size"),
    [
        ("1", "byte * 2^30", 1 << 30),
        ("2", "byte*2^20", 2 << 20),
        ("3", "bytes * 1024", 3072),
        ("4", "byte * 10^9", 4 * 10**9),
        ("5", "MegaBytes", 5 << 20),
        ("6", "GB", 6 << 30),
        ("7", "", 7),
        ("8", "byte * 2^10 * 2^10", 8 << 20),
    ],
)
def test_sizes_are_read_in_all_units(quantity: str, unit: str, size: int) -> None:
    assert units.parse_size(quantity, unit) == size


@pytest.mark.parametrize(
    ("quantity", "unit"),
    [
        ("1", "hertz * 10^6"),
        ("1", "byte * 2^99999"),
        ("1", "byte * 99999^60"),
        ("1", "byte * 2^"),
        ("1", "GB * 2^10"),
        ("-1", "byte"),
        ("1e9", "byte"),
        ("²", "byte"),
        ("9" * 5000, "byte"),
        ("", "byte"),
        ("1", "byte * 0"),
    ],
)
def test_an_invalid_size_is_refused(quantity: str, unit: str) -> None:
    with pytest.raises(ValueError, match=r"not a unit|not a number|too large"):
        units.parse_size(quantity, unit)


def test_manifests_are_read_in_common_spellings() -> None:
    digest = hashlib.sha256(b"x").hexdigest()
    sha1 = hashlib.sha1(b"x", usedforsecurity=False).hexdigest()
    text = f"SHA256(a.vmdk)= {digest.upper()}\r\nsha1 ( b c.vmdk ) ={sha1}\r\n\r\nSM3(d)= 0cc175b9\r\n"
    found = manifest.read(text.encode(), "m.mf")
    assert {name: (each.algorithm, each.value) for name, each in found.digests.items()} == {
        "a.vmdk": ("sha256", digest),
        "b c.vmdk": ("sha1", sha1),
    }
    assert found.unknown == {"d": "SM3"}


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "SHA256(a)= 12",
        f"SHA1(a)= {'0' * 40}\nSHA1(a)= {'1' * 40}",
        "SHA1(a)= zz",
        "\xff\xfe",
        "",
        "\n# nothing\n",
    ],
)
def test_a_malformed_manifest_is_refused(refused: Refused, text: str) -> None:
    assert refused(lambda: manifest.read(text.encode("latin-1"), "m.mf")).code is Exit.CORRUPT


@pytest.mark.parametrize(
    "text",
    [
        "relative/path.ova",
        "ftp://host/m.ova",
        "https://alice:secret@host/m.ova",
        "https:///m.ova",
        "https://host:99999/m.ova",
        "https://ho st/a.ova",
        "https://host?a b",
        "https://host/a\tb.ova",
        "https://host/a\r\nHost: other",
        "file://host/m.ova",
    ],
)
def test_an_invalid_url_is_refused(refused: Refused, text: str) -> None:
    error = refused(lambda: Address.parse(text))
    assert error.code is Exit.INVALID
    assert "secret@" not in str(error)


def test_blanks_in_the_path_of_a_url_are_escaped() -> None:
    assert (
        Address.parse(" https://host/My Files/a b.ova?x=1 2 ").url
        == "https://host/My%20Files/a%20b.ova?x=1%202"
    )
    assert Address.parse("https://host/a%20b.ova").url == "https://host/a%20b.ova"
    assert Address.parse("file:///My Files/a.ova").path == Path("/My Files/a.ova")


def changed(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    return change


def machine_of(tmp_path: Path, raws: list[Path], access: MakeAccess, change: Callable[[str], str]) -> Machine:
    folder = tmp_path / "changed"
    build_files(raws, manifest=None).write(folder)
    (folder / "web.ovf").write_text(change((folder / "web.ovf").read_text()))
    with connect(access(folder)) as source:
        machine = source.describe("web", None)
        for disk in machine.disks:
            if any(each.severity is Severity.BLOCK for each in machine.concerns):
                break
            source.export(machine, disk, tmp_path / f"{disk.id}.raw", DiskFormat.RAW, ignore)
    return machine


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ('ovf:fileRef="file1"', 'ovf:fileRef="file9"', "file-missing"),
        ('ovf:href="web-disk1.vmdk"', 'ovf:href="other.vmdk"', "file-missing"),
        ('ovf:fileRef="file1"', 'ovf:fileRef="file1" ovf:parentRef="base"', "delta-disk"),
        ("vmdk.html#streamOptimized", "vdi", "disk-format"),
        ('ovf:id="file1"', 'ovf:id="file1" ovf:compression="bzip2"', "disk-compression"),
        ("ovf:/disk/vmdisk1", "ovf:/disk/other", "disk-unreadable"),
        ("<rasd:ResourceType>17<", "<rasd:ResourceType>99<", "no-disks"),
    ],
)
def test_inconsistent_descriptors_block_the_import(
    tmp_path: Path, raws: list[Path], access: MakeAccess, old: str, new: str, code: str
) -> None:
    machine = machine_of(tmp_path, raws, access, changed(old, new))
    assert code in {each.code for each in machine.concerns if each.severity is Severity.BLOCK}


def test_the_size_of_the_file_counts_if_the_descriptor_differs(
    tmp_path: Path, raws: list[Path], access: MakeAccess
) -> None:
    size = raws[0].stat().st_size
    machine = machine_of(tmp_path, raws, access, changed(f'capacity="{size}"', 'capacity="1099511627776"'))
    assert machine.disks[0].capacity == size
    assert "capacity-differs" in {each.code for each in machine.concerns}


@pytest.mark.parametrize(
    ("capacity", "why"),
    [
        ("99999999999999999999", "item 10 has 90949470 TiB; a disk has at most 64 TiB"),
        (str(65 << 40), "item 10 has 65 TiB; a disk has at most 64 TiB"),
        ("-5", "the size of item 10 cannot be read"),
        ("${no.such.property}", "the size of item 10 cannot be read"),
        ("1e9", "the size of item 10 cannot be read"),
        ("", "the size of item 10 cannot be read"),
    ],
)
def test_an_absurd_capacity_without_a_file_blocks_the_import(
    tmp_path: Path, raws: list[Path], access: MakeAccess, capacity: str, why: str
) -> None:
    size = raws[0].stat().st_size
    change = changed(
        f'ovf:capacity="{size}" ovf:diskId="vmdisk1" ovf:fileRef="file1"',
        f'ovf:capacity="{capacity}" ovf:diskId="vmdisk1"',
    )
    machine = machine_of(tmp_path, raws, access, change)
    assert why in [each.message for each in machine.concerns if each.code == "disk-unreadable"]
    assert [disk.id for disk in machine.disks] == ["disk-0"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<rasd:VirtualQuantity>2<", "<rasd:VirtualQuantity>99999<"),
        ("<rasd:VirtualQuantity>1024<", "<rasd:VirtualQuantity>many<"),
        ("<rasd:VirtualQuantity>1024<", "<rasd:VirtualQuantity>99999999999999<"),
        ("byte * 2^20", "byte * 2^999"),
    ],
)
def test_absurd_processors_and_memory_are_refused(
    tmp_path: Path, raws: list[Path], access: MakeAccess, refused: Refused, old: str, new: str
) -> None:
    error = refused(lambda: machine_of(tmp_path, raws, access, changed(old, new)))
    assert error.code is Exit.INVALID


@pytest.mark.parametrize(
    ("more", "cores", "threads"),
    [
        ("<vmw:CoresPerSocket>4</vmw:CoresPerSocket>", 4, 1),
        ("<rasd:cpu_per_socket>3</rasd:cpu_per_socket>", 3, 1),
        (
            "<rasd:cpu_per_socket>2</rasd:cpu_per_socket><rasd:threads_per_cpu>8</rasd:threads_per_cpu>",
            2,
            8,
        ),
    ],
)
@pytest.mark.parametrize("policy", list(CpuTopology))
def test_a_topology_that_does_not_fit_refuses_no_vm(
    tmp_path: Path,
    raws: list[Path],
    access: MakeAccess,
    more: str,
    cores: int,
    threads: int,
    policy: CpuTopology,
) -> None:
    kind = "<rasd:ResourceType>3</rasd:ResourceType>"
    machine = machine_of(tmp_path, raws, access, changed(kind, kind + more))
    assert (machine.vcpus, machine.cores_per_socket, machine.threads_per_core) == (2, cores, threads)
    given, concerns = topology(2, cores, threads, policy=policy)
    assert given.sockets * given.cores * given.threads == 2
    assert [concern.code for concern in concerns]


@pytest.mark.parametrize(
    ("kind", "code", "vcpus", "memory"),
    [("3", "cpu-assumed", 1, 1024), ("4", "memory-assumed", 2, 1024)],
)
def test_a_size_that_the_descriptor_lacks_is_assumed_with_a_warning(
    tmp_path: Path, raws: list[Path], access: MakeAccess, kind: str, code: str, vcpus: int, memory: int
) -> None:
    change = changed(f"<rasd:ResourceType>{kind}<", "<rasd:ResourceType>1<")
    machine = machine_of(tmp_path, raws, access, change)
    assert (machine.vcpus, machine.memory_mib) == (vcpus, memory)
    (concern,) = (concern for concern in machine.concerns if concern.code == code)
    assert concern.severity is Severity.WARN
    for size, plan in ((None, a_plan()), (4, a_plan(vcpus=4, memory_mib=4096))):
        kept = {left.code for left in without_set_sizes(plan, machine.concerns)}
        assert (code in kept) is (size is None)


@pytest.mark.parametrize("kind", [19, 31, 32, 20])
@pytest.mark.parametrize("reference", ["ovf:/disk/vmdisk2", "/disk/vmdisk2"])
def test_a_disk_may_be_a_storage_device_of_another_kind(
    tmp_path: Path, raws: list[Path], access: MakeAccess, kind: int, reference: str
) -> None:
    """XenServer and XCP-ng write storage extents."""

    def change(text: str) -> str:
        before, second = text.split("<rasd:HostResource>ovf:/disk/vmdisk2</rasd:HostResource>")
        second = second.replace("<rasd:ResourceType>17<", f"<rasd:ResourceType>{kind}<", 1)
        return f"{before}<rasd:HostResource>{reference}</rasd:HostResource>{second}"

    machine = machine_of(tmp_path, raws, access, change)
    assert [disk.capacity for disk in machine.disks] == [raw.stat().st_size for raw in raws]
    assert "disk-unused" not in {concern.code for concern in machine.concerns}
    assert (tmp_path / "disk-1.raw").read_bytes() == raws[1].read_bytes()


@pytest.mark.parametrize(
    ("element", "refused"),
    [
        ('<rasd:Unknown ovf:required="true"/>', True),
        ('<rasd:Unknown ovf:required="false"/>', False),
        ("<rasd:Unknown/>", False),
        ('<vmw:Config ovf:required="true" vmw:key="slotInfo.pciSlotNumber" vmw:value="16"/>', False),
        ('<rasd:Weight ovf:required="true">0</rasd:Weight>', False),
    ],
)
def test_an_unknown_element_that_is_required_blocks_the_import(
    tmp_path: Path, raws: list[Path], access: MakeAccess, element: str, *, refused: bool
) -> None:
    kind = "<rasd:ResourceType>6</rasd:ResourceType>"
    machine = machine_of(tmp_path, raws, access, changed(kind, kind + element))
    assert ("required-unknown" in {concern.code for concern in machine.concerns}) is refused


def test_a_storage_extent_of_an_unknown_disk_blocks_the_import(
    tmp_path: Path, raws: list[Path], access: MakeAccess
) -> None:
    def change(text: str) -> str:
        text = text.replace("ovf:/disk/vmdisk2", "ovf:/disk/other")
        before, second = text.split("ovf:/disk/other")
        return before + "ovf:/disk/other" + second.replace("ResourceType>17<", "ResourceType>19<", 1)

    machine = machine_of(tmp_path, raws, access, change)
    assert "disk-unreadable" in {concern.code for concern in machine.concerns}


def test_memory_without_a_unit_is_in_megabytes_if_small(
    tmp_path: Path, raws: list[Path], access: MakeAccess
) -> None:
    unit = "<rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits>"
    assert machine_of(tmp_path, raws, access, changed(unit, "")).memory_mib == 1024


def test_a_mac_is_kept_with_and_without_automatic_allocation(
    tmp_path: Path, raws: list[Path], access: MakeAccess
) -> None:
    automatic = "<rasd:AutomaticAllocation>false</rasd:AutomaticAllocation><rasd:Address>00:50"
    for text in ("<rasd:Address>00:50", automatic):
        (nic,) = machine_of(tmp_path, raws, access, changed("<rasd:Address>00:50", text)).nics
        assert nic.mac == "00:50:56:aa:bb:01"
        for left in tmp_path.glob("disk-*"):
            left.unlink()


@pytest.mark.parametrize(
    ("subtype", "controller"),
    [("VirtualSCSI", "pvscsi"), ("PIIX4", "ide"), ("vmware.nvme.controller", "nvme"), ("AHCI", "sata")],
)
def test_the_controller_follows_the_subtype(
    tmp_path: Path, raws: list[Path], access: MakeAccess, subtype: str, controller: str
) -> None:
    machine = machine_of(tmp_path, raws, access, changed("VirtualSCSI", subtype))
    assert {disk.controller.value for disk in machine.disks} == {controller}


def test_a_vm_of_a_collection_is_selected_by_name(
    access: MakeAccess, tmp_path: Path, refused: Refused
) -> None:
    with connect(access(FILES / "collection.ovf")) as source:
        assert source.describe("db", None) == source.describe("Database", None)
        for name in ("", "web"):
            error = refused(lambda: source.describe(name, None))  # noqa: B023 - called at once
            assert error.code is Exit.NOT_FOUND
            assert "db (Database), app (Application)" in str(error)


def test_a_blank_disk_is_exported_empty(tmp_path: Path, raws: list[Path], access: MakeAccess) -> None:
    with connect(access(FILES / "options.ovf")) as source:
        machine = source.describe("vm", None)
        for disk_format in DiskFormat:
            for again in (False, True):
                out = tmp_path / f"blank.{disk_format}"
                landed = source.export(machine, machine.disks[1], out, disk_format, ignore)
                assert (landed.virtual_size, landed.format, again) == (100 << 30, disk_format.value, again)
                assert out.stat().st_blocks * 512 < MIB
