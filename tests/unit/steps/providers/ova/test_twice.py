"""IDs that a package has twice: it is refused with the ID, or both objects are kept."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from steps.model.contract import Exit
from steps.model.machine import Machine, Severity
from steps.model.plan import DiskFormat
from steps.providers import connect
from steps.providers.ova import envelope, hardware, items
from tests.provider_contract import ignore
from tests.unit.steps.providers.ova.conftest import MakeAccess, Refused
from tests.unit.steps.providers.ova.make import build_files, item

Describe = Callable[..., Machine]


@pytest.fixture
def package(tmp_path: Path, raws: list[Path]) -> Path:
    """A folder with a VM of two disks."""
    build_files(raws, manifest=None).write(tmp_path / "package")
    return tmp_path / "package"


@pytest.fixture
def described(package: Path, access: MakeAccess) -> Describe:
    """The VM after some texts of its descriptor were replaced, each of them once."""

    def change(*pairs: tuple[str, str]) -> Machine:
        text = (package / "web.ovf").read_text()
        for old, new in pairs:
            assert old in text
            text = text.replace(old, new, 1)
        (package / "web.ovf").write_text(text)
        with connect(access(package)) as source:
            return source.describe("web", None)

    return change


def codes(machine: Machine, severity: Severity) -> dict[str, str]:
    return {one.code: one.message for one in machine.concerns if one.severity is severity}


RESOURCE = "<rasd:HostResource>ovf:/disk/other</rasd:HostResource>"
NIC = item(41, 10, more="<rasd:Connection>DMZ</rasd:Connection>")


@pytest.mark.parametrize(
    ("pairs", "names"),
    [
        ([('ovf:diskId="vmdisk2"', 'ovf:diskId="vmdisk1"')], "'vmdisk1'"),
        ([('ovf:id="file2"', 'ovf:id="file1"')], "'file1'"),
        ([("InstanceID>11<", "InstanceID>10<")], "'10'"),
        ([("</VirtualHardwareSection>", NIC.replace(">41<", ">40<") + "</VirtualHardwareSection>")], "'40'"),
        # An item that is there twice word for word may be one device or two.
        ([("<Item><rasd:ElementName>item 40", NIC + NIC + "<Item><rasd:ElementName>item 40")], "'41'"),
        # A second controller with the ID that both disks name.
        ([("</VirtualHardwareSection>", item(3, 5) + "</VirtualHardwareSection>")], "'3'"),
        ([("</VirtualHardwareSection>", item(1, 3, 4) + "</VirtualHardwareSection>")], "'1'"),
        ([("<rasd:HostResource>", RESOURCE + "<rasd:HostResource>")], "ovf:/disk/other, ovf:/disk/vmdisk1"),
    ],
    ids=["disk", "file", "disk-item", "nic", "same-nic", "controller", "processor", "two-resources"],
)
def test_a_duplicate_id_is_refused_and_named(
    described: Describe, refused: Refused, pairs: list[tuple[str, str]], names: str
) -> None:
    error = refused(lambda: described(*pairs))
    assert error.code is Exit.AMBIGUOUS
    assert names in str(error)


VMW = 'xmlns:vmw="http://www.vmware.com/schema/ovf"'


def config(key: str, value: str, kind: str = "Config") -> str:
    return f'<vmw:{kind} {VMW} ovf:required="false" vmw:key="{key}" vmw:value="{value}"/>'


END = "</VirtualHardwareSection>"


@pytest.mark.parametrize(
    "settings",
    [
        config("firmware", "bios") + config("firmware", "efi"),
        config("firmware", "efi") + config("Firmware", "bios", "ExtraConfig"),
        config("uefi.secureBoot.enabled", "TRUE", "ExtraConfig")
        + config("uefi.secureBoot.enabled", "FALSE", "ExtraConfig"),
        config("tpm20.enabled", "true") + config("tpm20.enabled", "false"),
    ],
)
def test_a_setting_with_two_values_is_refused(described: Describe, refused: Refused, settings: str) -> None:
    """Before, the later value counted silently: a VM with UEFI booted with BIOS."""
    error = refused(lambda: described((END, settings + END)))
    assert error.code is Exit.AMBIGUOUS
    assert re.search("'(firmware|uefi.secureboot.enabled|tpm20.enabled)'", str(error))
    assert "leave one of them" in str(error)


def test_a_setting_with_the_same_value_twice_is_accepted(described: Describe) -> None:
    key = "uefi.secureBoot.enabled"
    settings = config(key, "TRUE") + config(key.upper(), "true ", "ExtraConfig")
    assert described((END, settings + END)).firmware.secure_boot


def test_two_values_of_an_unused_setting_are_ignored(described: Describe) -> None:
    settings = config("tools.syncTime", "1") + config("tools.syncTime", "2") + config("tpm20.enabled", "1")
    assert described((END, settings + END)).firmware.tpm


def test_a_boot_order_that_names_two_devices_is_refused(described: Describe, refused: Refused) -> None:
    order = '<BootOrderSection ovf:instanceId="40"/>'
    error = refused(
        lambda: described(("InstanceID>11<", "InstanceID>40<"), ("<Name>web", f"{order}<Name>web"))
    )
    assert (error.code, "'40'" in str(error)) == (Exit.AMBIGUOUS, True)


def test_devices_of_several_kinds_may_share_an_id(
    described: Describe, package: Path, access: MakeAccess, raws: list[Path], tmp_path: Path
) -> None:
    """Some writers number disks and NICs each from 0. Here nothing refers to the ID that is there twice."""
    machine = described(("InstanceID>10<", "InstanceID>40<"), ("InstanceID>11<", "InstanceID>1<"))
    assert (len(machine.disks), len(machine.nics), machine.vcpus) == (2, 1, 2)
    with connect(access(package)) as source:
        for disk, original in zip(machine.disks, raws, strict=True):
            landed = source.export(machine, disk, tmp_path / f"{disk.id}.raw", DiskFormat.RAW, ignore)
            assert landed.path.read_bytes() == original.read_bytes()


def test_a_disk_listed_twice_identically_is_one_disk(described: Describe) -> None:
    disk = '<Disk ovf:capacity="1048576" ovf:diskId="blank"/>'
    machine = described(("</DiskSection>", f"{disk}{disk}</DiskSection>"), ("disk/vmdisk2", "disk/blank"))
    assert [one.capacity for one in machine.disks] == [6 << 20, 1 << 20]


def test_one_disk_on_three_devices_of_one_id_has_three_keys() -> None:
    """An export must not confuse them, whatever it identifies them by."""
    text = (
        '<Envelope><DiskSection><Disk diskId="d" capacity="9"/></DiskSection><VirtualSystem id="m">'
        "<VirtualHardwareSection>"
        + "".join(
            f"<Item><ResourceType>17</ResourceType><HostResource>ovf:/disk/d</HostResource>{identity}</Item>"
            for identity in ("<InstanceID>1</InstanceID>", "", "")
        )
        + "</VirtualHardwareSection></VirtualSystem></Envelope>"
    )
    read = envelope.read(text.encode(), "m.ovf")
    (system,) = read.systems
    keys = [drive.key for drive in hardware.drives(read, system, items.items(read, system))]
    assert len(set(keys)) == 3


def test_a_second_disk_section_is_read(described: Describe) -> None:
    machine = described(
        ('<Disk ovf:capacity="3148288"', '</DiskSection><DiskSection><Disk ovf:capacity="3148288"')
    )
    assert len(machine.disks) == 2


OPTIONS = (
    '<DeploymentOptionSection><Configuration ovf:id="small"/><Configuration ovf:id="big"/>'
    "</DeploymentOptionSection><VirtualSystem"
)


@pytest.mark.parametrize(
    "more",
    [
        item(1, 3, 4).replace("<Item>", '<Item ovf:configuration="small">') * 2,
        item(10, 10).replace("<Item>", '<Item ovf:configuration="small">'),
    ],
    ids=["two-of-one-configuration", "a-nic-for-a-disk"],
)
def test_a_configuration_that_would_replace_another_item_is_refused(
    described: Describe, refused: Refused, more: str
) -> None:
    end = "</VirtualHardwareSection>"
    error = refused(lambda: described(("<VirtualSystem", OPTIONS), (end, more + end)))
    assert error.code is Exit.AMBIGUOUS


def test_a_configuration_replaces_its_item(described: Describe) -> None:
    end = "</VirtualHardwareSection>"
    small, big = (
        item(1, 3, count).replace("<Item>", f'<Item ovf:configuration="{name}">')
        for name, count in (("small", 4), ("big", 8))
    )
    assert described(("<VirtualSystem", OPTIONS), (end, small + big + end)).vcpus == 4


@pytest.mark.parametrize(
    "systems",
    [
        '<VirtualSystem id="a"><Name>one</Name></VirtualSystem><VirtualSystem id="a"/>',
        '<VirtualSystem id="a"/><VirtualSystem><Name>a</Name></VirtualSystem>',
        "<VirtualSystem><Name>a</Name></VirtualSystem><VirtualSystem><Name>a</Name></VirtualSystem>",
    ],
    ids=["ids", "id-and-name", "names"],
)
def test_vms_with_the_same_id_are_refused(refused: Refused, systems: str) -> None:
    """A step finds its VM again by the ID: with the first one's ID it would read the first one's disks."""
    error = refused(lambda: envelope.read(f"<Envelope>{systems}</Envelope>".encode(), "m.ovf"))
    assert (error.code, "'a'" in str(error)) == (Exit.AMBIGUOUS, True)


def test_an_unused_disk_causes_a_warning(described: Describe) -> None:
    machine = described(
        ("<rasd:HostResource>ovf:/disk/vmdisk2</rasd:HostResource>", ""),
        ("</References>", '<File ovf:href="extra.qcow2" ovf:id="x"/></References>'),
    )
    messages = [one.message for one in machine.concerns if one.code == "disk-unused"]
    assert len(messages) == 2
    assert "vmdisk2 (web-disk2.vmdk)" in messages[0]
    assert "extra.qcow2" in messages[1]


@pytest.mark.parametrize("href", ["web.nvram", "readme.txt", "web.iso"], ids=["firmware", "text", "medium"])
def test_files_other_than_disks_cause_no_warning(described: Describe, href: str) -> None:
    machine = described(("</References>", f'<File ovf:href="{href}" ovf:id="x"/></References>'))
    assert "disk-unused" not in codes(machine, Severity.WARN)


def pack(path: Path, *members: tuple[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def test_an_archive_with_two_descriptors_is_refused(
    tmp_path: Path, raws: list[Path], access: MakeAccess, refused: Refused
) -> None:
    files = build_files(raws, manifest=None).contents
    path = pack(tmp_path / "m.ova", *files.items(), ("other.ovf", files["web.ovf"]))
    with connect(access(path)) as source:
        error = refused(lambda: source.describe("web", None))
    assert (error.code, "web.ovf, other.ovf" in str(error)) == (Exit.AMBIGUOUS, True)


@pytest.mark.parametrize("name", ["web-disk1.vmdk", "./web-disk1.vmdk"])
def test_a_file_repeated_at_the_end_is_detected(
    tmp_path: Path, raws: list[Path], access: MakeAccess, refused: Refused, name: str
) -> None:
    files = build_files(raws, manifest=None).contents
    path = pack(tmp_path / "m.ova", *files.items(), (name, b"another content"))
    with connect(access(path)) as source:
        error = refused(lambda: source.describe("web", None))
    assert (error.code, "web-disk1.vmdk twice" in str(error)) == (Exit.CORRUPT, True)


SECOND = "vmdisk2</rasd:HostResource><rasd:Parent>3</rasd:Parent><rasd:ResourceType>"
IN_EFFECT = "<Item><rasd:ElementName>item 11"
BIG = '<DeploymentOptionSection><Configuration ovf:id="small"/><Configuration ovf:id="big"/>'


@pytest.mark.parametrize(
    "pairs",
    [
        [(SECOND + "17<", SECOND + "18<")],
        [(SECOND + "17<", SECOND + "017<")],
        [(IN_EFFECT, IN_EFFECT.replace("<Item>", '<Item ovf:bound="max">'))],
        [
            (IN_EFFECT, IN_EFFECT.replace("<Item>", '<Item ovf:configuration="big">')),
            ("<DiskSection>", BIG + "</DeploymentOptionSection><DiskSection>"),
        ],
        [(IN_EFFECT, "</VirtualHardwareSection><VirtualHardwareSection>" + IN_EFFECT)],
    ],
    ids=["tape", "odd-kind", "bound", "configuration", "second-hardware"],
)
def test_an_ignored_disk_is_reported(described: Describe, pairs: list[tuple[str, str]]) -> None:
    machine = described(*pairs)
    assert [disk.key for disk in machine.disks] == ["vmdisk1"]
    assert "vmdisk2" in codes(machine, Severity.WARN)["disk-unused"]


def test_a_disk_with_the_bound_normal_is_used(described: Describe) -> None:
    machine = described((IN_EFFECT, IN_EFFECT.replace("<Item>", '<Item ovf:bound="normal">')))
    assert [disk.key for disk in machine.disks] == ["vmdisk1", "vmdisk2"]


@pytest.mark.parametrize("word", ['ovf:fileRef=""', 'ovf:fileRef=" "', 'ovf:FileRef="file9"'])
def test_a_disk_whose_file_has_no_name_is_not_a_blank_disk(described: Describe, word: str) -> None:
    machine = described(('ovf:fileRef="file2"', word))
    assert "file-missing" in codes(machine, Severity.BLOCK)


def test_a_file_listed_twice_differently_is_ambiguous(
    described: Describe, refused: Refused, package: Path
) -> None:
    text = (package / "web.ovf").read_text()
    found = re.search(r'<File [^>]*ovf:id="file1"[^>]*/>', text)
    href = re.search(r'ovf:href="([^"]+)"', found[0]) if found else None
    assert found
    assert href
    twice = f'<File ovf:href="{href[1]}" ovf:id="x" ovf:compression="gzip"/>' + found[0]
    error = refused(lambda: described((found[0], twice), ('ovf:fileRef="file1"', f'ovf:fileRef="{href[1]}"')))
    assert error.code is Exit.AMBIGUOUS


@pytest.mark.parametrize(("second", "is_read"), [("1048576", True), ("2097152", False)])
def test_a_capacity_from_a_property_with_two_values_is_not_used(
    described: Describe, second: str, *, is_read: bool
) -> None:
    values = f'<Property ovf:key="s" ovf:value="1048576"/><Property ovf:key="s" ovf:value="{second}"/>'
    machine = described(
        ('ovf:diskId="vmdisk2" ovf:fileRef="file2"', 'ovf:diskId="old" ovf:fileRef="file2"'),
        ("</DiskSection>", '<Disk ovf:capacity="${s}" ovf:diskId="vmdisk2"/></DiskSection>'),
        ("</VirtualHardwareSection>", f"</VirtualHardwareSection><ProductSection>{values}</ProductSection>"),
    )
    assert ("disk-unreadable" not in codes(machine, Severity.BLOCK)) == is_read
