from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, Final

import pytest

from controller.local import qemu_boot
from controller.local.qemu_boot import (
    BootFiles,
    BootOptions,
    disk_files,
    load_manifest,
    qemu_command,
    software_tpm,
)
from steps.model.contract import Exit, StepError
from steps.model.machine import Controller, Firmware
from steps.model.manifest import virtual_machine
from steps.model.mapping import shape
from steps.model.plan import Bus, NetworkRule
from tests.unit.builders import a_disk, a_machine, a_nic, a_plan
from tests.unit.steps.model.test_golden import GOLDEN

ON: Final = {
    Bus.SATA: Controller.SATA,
    Bus.SCSI: Controller.SCSI,
    Bus.USB: Controller.USB,
    Bus.VIRTIO: Controller.VIRTIO,
}
TCG: Final = BootOptions(kvm=False)


def manifest(**machine: Any) -> dict[str, Any]:
    rules = (NetworkRule(source="mapped", destination="default/a"),)
    made = shape(a_plan(networks=rules), a_machine(**machine))
    return virtual_machine(made, {disk.id: disk.id for disk in made.disks})


def command(folder: Path, options: BootOptions = TCG, memory: str = "", **machine: Any) -> list[str]:
    made = manifest(**machine)
    if memory:
        made["spec"]["template"]["spec"]["domain"]["memory"]["guest"] = memory
    names = [disk["name"] for disk in made["spec"]["template"]["spec"]["domain"]["devices"]["disks"]]
    files = {name: folder / f"{name}.qcow2" for name in names}
    return qemu_command(made, BootFiles(files, folder), options)


def values(command: list[str], option: str) -> list[str]:
    return [value for flag, value in itertools.pairwise(command) if flag == option]


def devices(command: list[str], prefix: str) -> list[str]:
    return [value for value in values(command, "-device") if value.startswith(prefix)]


def on(bus: Bus, count: int) -> dict[str, Any]:
    return {"disks": tuple(a_disk(number, controller=ON[bus]) for number in range(count))}


def test_thirteen_sata_disks_need_two_more_controllers(tmp_path: Path) -> None:
    made = command(tmp_path, **on(Bus.SATA, 13))
    assert devices(made, "ich9-ahci") == ["ich9-ahci,id=ahci1", "ich9-ahci,id=ahci2"]
    buses = [device.split(",")[1] for device in devices(made, "ide-hd")]
    assert buses == [f"bus={hub}.{port}" for hub in ("ide", "ahci1") for port in range(6)] + ["bus=ahci2.0"]
    assert made.index("ich9-ahci,id=ahci1") < made.index(devices(made, "ide-hd")[6])


@pytest.mark.parametrize(
    ("bus", "controller", "device"),
    [(Bus.SCSI, "virtio-scsi-pci", "scsi-hd,bus=scsi0.0"), (Bus.USB, "qemu-xhci", "usb-storage,bus=usb0.0")],
)
def test_other_buses_have_one_controller(tmp_path: Path, bus: Bus, controller: str, device: str) -> None:
    made = command(tmp_path, **on(bus, 3))
    assert len(devices(made, controller)) == 1
    assert len(devices(made, device)) == 3


def test_virtio_disks_need_no_controller(tmp_path: Path) -> None:
    assert len(devices(command(tmp_path, **on(Bus.VIRTIO, 2)), "virtio-blk-pci")) == 2


def test_disks_boot_in_their_order_and_show_their_names(tmp_path: Path) -> None:
    made = command(tmp_path, disks=(a_disk(0), a_disk(1, boot_order=1)), nics=(a_nic(boot_order=2),))
    assert [device.split(",")[2:] for device in devices(made, "virtio-blk")] == [
        ["serial=disk-0", "bootindex=3"],
        ["serial=disk-1", "bootindex=1"],
    ]
    assert devices(made, "virtio-net")[0].endswith("bootindex=2")


def test_serial_numbers_are_those_of_the_manifest(tmp_path: Path) -> None:
    made = command(tmp_path, serial="VMware-42 10, 2", disks=(a_disk(0, serial="6000c29e"), a_disk(1)))
    assert values(made, "-smbios") == ["type=1,serial=VMware-42 10,, 2"]
    assert [device.split(",")[2] for device in devices(made, "virtio-blk")] == [
        "serial=6000c29e",
        "serial=disk-1",
    ]


@pytest.mark.parametrize(("persistent", "snapshot"), [(False, "on"), (True, "off")])
def test_disks_do_not_change_unless_requested(tmp_path: Path, persistent: bool, snapshot: str) -> None:
    (drive,) = values(command(tmp_path, BootOptions(kvm=False, persistent=persistent)), "-drive")
    assert f"snapshot={snapshot}" in drive
    assert "format=qcow2" in drive


def test_a_comma_in_a_folder_name_is_escaped(tmp_path: Path) -> None:
    (drive,) = values(command(tmp_path / "a,readonly=on"), "-drive")
    assert "a,,readonly=on/disk-0.qcow2" in drive


def test_nics_keep_model_and_mac_and_have_no_network(tmp_path: Path) -> None:
    nics = (a_nic(0, network="mapped", model="e1000e"), a_nic(1), a_nic(2, network="mapped", model="pcnet32"))
    made = command(tmp_path, nics=nics)
    assert [device.split(",")[0] for device in devices(made, "")[-4:]] == [
        "e1000e",
        "virtio-net-pci",
        "pcnet",
        "virtio-rng-pci",
    ]
    assert "mac=00:50:56:00:00:02" in devices(made, "pcnet")[0]
    assert all(net.endswith(",restrict=on") for net in values(made, "-netdev"))


def test_cpu_and_memory_are_those_of_the_manifest(tmp_path: Path) -> None:
    made = command(tmp_path, vcpus=8, cores_per_socket=4, memory_mib=3000)
    assert values(made, "-smp") == ["8,sockets=1,cores=8,threads=1"]
    assert values(made, "-m") == ["3000M"]
    assert values(command(tmp_path, BootOptions(kvm=False, memory_mib=512)), "-m") == ["512M"]


def test_a_bios_vm_has_no_flash(tmp_path: Path) -> None:
    made = command(tmp_path, uuid="4210d2f7-6b1c-4c7f-9a53-6f0c2b0c9e11")
    assert not any("pflash" in drive for drive in values(made, "-drive"))
    assert values(made, "-uuid") == ["4210d2f7-6b1c-4c7f-9a53-6f0c2b0c9e11"]
    assert values(made, "-machine") == ["q35,smm=off"]
    assert values(made, "-accel")[0].startswith("tcg")


@pytest.fixture
def ovmf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "OVMF"
    monkeypatch.setattr(qemu_boot, "OVMF", folder)
    return folder


@pytest.mark.parametrize(
    ("secure", "code", "variables", "smm"), [(True, ".secboot", ".ms", "on"), (False, "", "", "off")]
)
def test_uefi_has_its_firmware_and_own_variables(
    ovmf: Path, tmp_path: Path, secure: bool, code: str, variables: str, smm: str
) -> None:
    ovmf.mkdir()
    (ovmf / f"OVMF_CODE_4M{code}.fd").write_bytes(b"code")
    (ovmf / f"OVMF_VARS_4M{variables}.fd").write_bytes(b"variables")
    made = command(tmp_path, firmware=Firmware(kind="efi", secure_boot=secure))
    flash = [drive for drive in values(made, "-drive") if "pflash" in drive]
    assert f"readonly=on,file={ovmf}/OVMF_CODE_4M{code}.fd" in flash[0]
    assert flash[1].endswith(f"file={tmp_path}/vars.fd")
    assert (tmp_path / "vars.fd").read_bytes() == b"variables"
    assert f"smm={smm}" in values(made, "-machine")[0]


@pytest.mark.usefixtures("ovmf")
def test_missing_firmware_is_named_with_its_package(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="install the Debian package ovmf"):
        command(tmp_path, firmware=Firmware(kind="efi"))


def test_a_tpm_uses_its_socket(tmp_path: Path) -> None:
    files = BootFiles({"disk-0": tmp_path / "disk-0.raw"}, tmp_path, tpm=tmp_path / "tpm.sock")
    made = qemu_command(manifest(), files, TCG)
    assert f"socket,id=tpm,path={tmp_path}/tpm.sock" in values(made, "-chardev")
    assert devices(made, "tpm-crb") == ["tpm-crb,tpmdev=tpm0"]


def test_a_vm_without_tpm_gets_none(tmp_path: Path) -> None:
    with software_tpm(manifest(), tmp_path) as socket:
        assert socket is None


@pytest.mark.parametrize("case", ["bios", "dozen-disks", "many-nics", "three-controllers"])
def test_every_golden_bios_vm_has_a_command_line(case: str, tmp_path: Path) -> None:
    loaded = load_manifest(GOLDEN / case)
    names = [disk["name"] for disk in loaded["spec"]["template"]["spec"]["domain"]["devices"]["disks"]]
    made = qemu_command(loaded, BootFiles({name: tmp_path / f"{name}.raw" for name in names}, tmp_path), TCG)
    assert len(values(made, "-drive")) == len(names)


def test_disks_are_found_in_either_format(tmp_path: Path) -> None:
    (tmp_path / "disk-0.raw").touch()
    (tmp_path / "disk-1.qcow2").touch()
    found = disk_files(tmp_path, manifest(disks=(a_disk(0), a_disk(1))))
    assert found == {"disk-0": tmp_path / "disk-0.raw", "disk-1": tmp_path / "disk-1.qcow2"}


def test_a_missing_disk_and_a_missing_manifest_are_reported(tmp_path: Path) -> None:
    with pytest.raises(StepError, match=r"disk-0\.qcow2 is missing") as caught:
        disk_files(tmp_path, manifest())
    assert caught.value.code is Exit.NOT_FOUND
    with pytest.raises(StepError, match="nothing to boot"):
        load_manifest(tmp_path)


@pytest.mark.parametrize("quantity", ["2048Mi", "2Gi"])
def test_memory_is_read_in_any_unit(quantity: str, tmp_path: Path) -> None:
    """Harvester's webhook writes whole GiB of memory in Gi."""
    assert values(command(tmp_path, memory=quantity), "-m") == ["2048M"]


def test_memory_that_is_not_whole_mib_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="is not a whole number of MiB"):
        command(tmp_path, memory="1500k")
