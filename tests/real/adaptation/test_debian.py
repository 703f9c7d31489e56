"""Two real Debians: booted, adapted by the program, read back, and booted again."""

from __future__ import annotations

from pathlib import Path

import pytest

from steps.model.adapted import Phase
from steps.model.contract import Exit
from tests.real.adaptation.booting import agent_script, booted
from tests.real.adaptation.conftest import MAC, Prepare, Run, read_back
from tests.real.adaptation.looking import processes

pytestmark = pytest.mark.timeout(14400)
SHELL = "Shell>"
ALERT = "ALERT!  LABEL=guest-root does not exist"
LOGIN = "guest login:"
LOADER_COPIED = "debian/shimx64.efi is also the boot loader for firmware without boot entries"
BOUND = f"ens192 is bound to {MAC}, which is known by its slot at the source"


def test_an_old_debian_boots_from_virtio_with_its_address_and_an_agent(
    debian: Path, prepare: Prepare, tmp_path: Path
) -> None:
    image = debian / "debian.img"
    with booted(tmp_path / "vm", [image], MAC, efi=False) as vm:
        vm.until_shown(ALERT)
    with booted(tmp_path / "vm", [image], MAC, efi=True) as vm:
        vm.until_shown(SHELL)
    run = prepare(image, efi=True, has_scripts=True)
    scripts = run.folder / "scripts"
    scripts.mkdir()
    (scripts / "agent").write_text(agent_script(debian / "agent.deb"))
    assert run.step("inspect") == Exit.DONE, run.log
    assert (run.guest.verdict.answer, [bus.name for bus in run.guest.disk_buses]) == ("convert", ["sata"])
    assert run.guest.system is not None
    assert run.guest.system.agents == ("open_vm_tools",)
    _adapt(run, "--scripts", str(scripts))
    assert "open-vm-tools was removed" in run.adapted.done
    _read_old(run)
    with booted(tmp_path / "vm", [run.disks[0].path], MAC, efi=True) as vm:
        vm.until_shown(LOGIN)
        vm.until(lambda: vm.lan.ping("192.0.2.10") == MAC, "an answer to a ping")
        vm.until(lambda: vm.lan.neighbor("2001:db8::10") == MAC, "an answer for the IPv6 address")
        vm.until(vm.agent_answers, "the agent")
    with booted(tmp_path / "vm", [run.disks[0].path], MAC, efi=False) as vm:
        vm.until_shown(LOGIN)


def _adapt(run: Run, *more: str) -> None:
    before = run.digests()
    assert run.step("adapt", *more) == Exit.DONE, run.log
    record = run.adapted
    assert record.phase is Phase.DONE
    assert record.converted_by.startswith("virt-v2v")
    assert BOUND in record.done
    assert LOADER_COPIED in record.done
    assert [disk.landed for disk in record.disks] == before
    assert [disk.handed_over for disk in record.disks] == run.digests() != before
    assert 0 < sum(disk.changed for disk in record.disks) < 300 << 20
    assert processes(run) == []
    assert list(run.temporary.iterdir()) == []
    assert not any(disk.overlay.exists() for disk in run.disks)


def _read_guest(run: Run) -> None:
    """Look at the disks themselves, by an inspection of their own."""
    assert run.step("inspect") == Exit.DONE, run.log
    guest = run.guest
    assert guest.verdict.answer == "fits"
    assert guest.firmware.fallback_loader
    assert guest.system is not None
    drivers = {"virtio_blk", "virtio_pci", "virtio_scsi", "virtio_net"}
    assert drivers <= set(guest.system.kernels[0].drivers)
    assert [(one.name, one.mac) for one in guest.system.named_nics] == [("ens192", MAC)]
    assert not any(concern.code == "guest-addresses" for concern in guest.concerns)


def _read_old(run: Run) -> None:
    _read_guest(run)
    files = read_back(
        run,
        "g.mount_ro('/dev/sda2', '/')\n"
        "read = lambda path: g.read_file(path).decode()\n"
        "found = {'link': read('/etc/systemd/network/10-vmferry-ens192.link'),"
        " 'interfaces': read('/etc/network/interfaces'),"
        " 'script': read('/usr/local/lib/vmferry/first-boot/01-agent')[:10],"
        " 'agent': g.is_file('/usr/local/lib/vmferry/first-boot/00-qemu-guest-agent'),"
        " 'unit': g.readlink('/etc/systemd/system/multi-user.target.wants/vmferry-first-boot.service')}\n"
        "g.umount_all(); g.mount_ro('/dev/sda1', '/')\n"
        "same = lambda one, other: g.checksum('sha256', one) == g.checksum('sha256', other)\n"
        "found['loader'] = same('/EFI/BOOT/BOOTX64.EFI', '/EFI/debian/shimx64.efi')\n"
        "found['grub'] = same('/EFI/BOOT/grubx64.efi', '/EFI/debian/grubx64.efi')\n"
        "print(json.dumps(found))",
    )
    assert files["link"].endswith(f"[Match]\nMACAddress={MAC}\nType=ether\n\n[Link]\nName=ens192\n")
    assert "address 192.0.2.10/24" in files["interfaces"]
    assert "address 2001:db8::10/64" in files["interfaces"]
    assert files["script"] == "#!/bin/sh\n"
    assert files["agent"]
    assert files["unit"] == "/etc/systemd/system/vmferry-first-boot.service"
    assert files["loader"]
    assert files["grub"]


def test_a_new_debian_that_differs_in_everything_boots_from_virtio_with_its_address(
    new_debian: Path, prepare: Prepare, tmp_path: Path
) -> None:
    images = [new_debian / "disk-0.img", new_debian / "disk-1.img"]
    with booted(tmp_path / "vm", images, MAC, efi=True) as vm:
        vm.until_shown(SHELL)
    run = prepare(*images, efi=True)
    assert run.step("inspect") == Exit.DONE, run.log
    system = run.guest.system
    assert system is not None
    assert (run.guest.verdict.answer, system.root, system.lvm) == ("convert", "/dev/vg0/root", True)
    assert [(one.stack, one.name) for one in system.network if one.addresses] == [
        ("networkmanager", "ens192")
    ]
    _adapt(run)
    _read_guest(run)
    with booted(tmp_path / "vm", [disk.path for disk in run.disks], MAC, efi=True) as vm:
        vm.until_shown(LOGIN)
        vm.until(lambda: vm.lan.ping("192.0.2.20") == MAC, "an answer to a ping")
        vm.until(lambda: vm.lan.neighbor("2001:db8::20") == MAC, "an answer for the IPv6 address")
        vm.until(vm.agent_answers, "the agent")
