"""What `spec.guest.adapt` means for a guest: nothing, our own changes, a conversion, or a refusal."""

from __future__ import annotations

from typing import Any

import pytest

from steps.model import first_boot
from steps.model.adapting import NotAdaptableError, Work, decide, fallback_loader, faults
from steps.model.contract import Exit
from steps.model.guest import Guest, NamedNic
from steps.model.guest_facts import Facts
from steps.model.guest_judge import judged
from steps.model.machine import Firmware, Machine, Nic
from steps.model.plan import Adapt, AgentPlan, GuestPlan, Plan
from tests.unit.builders import a_machine, a_plan
from tests.unit.steps.model.test_guest_judge import NO_VIRTIO, a_linux, a_mount, a_windows, facts

MAC = "52:54:00:aa:00:01"
STATIC = {
    "network": (
        {
            "stack": "ifupdown",
            "file": "/etc/network/interfaces",
            "text": "iface ens192 inet static\n address 192.0.2.10/24\n",
        },
    ),
    "has_systemd": True,
}
ESP = {
    "esps": (
        {"device": "/dev/sda1", "loaders": ("debian/shimx64.efi", "debian/grubx64.efi", "debian/mmx64.efi")},
    )
}


def the_plan(**guest: Any) -> Plan:
    wanted = GuestPlan(**{"inspect": True, "adapt": Adapt.AUTO, **guest})
    return a_plan().model_copy(update={"guest": wanted})


def the_vm(kind: Any = "bios") -> Machine:
    nic = Nic(id="nic-0", mac=MAC, slot=192)
    return a_machine(nics=(nic,)).model_copy(update={"firmware": Firmware(kind=kind)})


def refused(found: Facts, **guest: Any) -> NotAdaptableError:
    with pytest.raises(NotAdaptableError) as failure:
        decide(judged(found), the_plan(**guest), the_vm())
    return failure.value


def test_never_does_nothing() -> None:
    guest = judged(facts(a_linux(NO_VIRTIO)))
    assert decide(guest, the_plan(adapt=Adapt.NEVER), the_vm()) == Work()


@pytest.mark.parametrize(
    ("adapt", "linux", "convert"),
    [
        (Adapt.AUTO, {}, False),
        (Adapt.AUTO, NO_VIRTIO, True),
        (Adapt.ALWAYS, {}, True),
        (Adapt.ALWAYS, NO_VIRTIO, True),
    ],
)
def test_auto_converts_only_what_would_not_boot_from_virtio(
    adapt: Adapt, linux: dict[str, Any], convert: bool
) -> None:
    work = decide(judged(facts(a_linux(linux))), the_plan(adapt=adapt), the_vm())
    assert work.convert is convert
    assert work.is_needed is convert


def test_auto_keeps_the_names_of_nics_of_a_guest_that_boots_as_it_is() -> None:
    work = decide(judged(facts(a_linux(STATIC))), the_plan(), the_vm())
    assert (work.convert, work.edits) == (False, True)
    assert work.naming.pairs == (NamedNic(name="ens192", mac=MAC),)
    assert not work.agent


@pytest.mark.parametrize(
    ("agent", "linux", "expected"),
    [
        (AgentPlan.IF_CONVERTED, {**NO_VIRTIO, "agents": ()}, True),
        (AgentPlan.IF_CONVERTED, {"agents": ()}, False),
        (AgentPlan.FIRST_BOOT, {"agents": ()}, True),
        (AgentPlan.FIRST_BOOT, {"agents": ("qemu_guest_agent",)}, False),
        (AgentPlan.NONE, {**NO_VIRTIO, "agents": ()}, False),
    ],
)
def test_the_agent(agent: AgentPlan, linux: dict[str, Any], expected: bool) -> None:
    found = facts(a_linux({**linux, "has_systemd": True}))
    assert decide(judged(found), the_plan(agent=agent), the_vm()).agent is expected


# --- one clear message each


@pytest.mark.parametrize(
    ("found", "code", "reason"),
    [
        (facts(), Exit.UNSUPPORTED, "guest-none"),
        (facts(file_systems=({"device": "/dev/sda1", "kind": "crypto_LUKS"},)), Exit.INVALID, "guest-locked"),
        (
            facts(file_systems=({"device": "/dev/sda1", "kind": "crypto_LUKS"},), refused=("/dev/sda1",)),
            Exit.DENIED,
            "guest-wrong-key",
        ),
        (facts(a_linux(NO_VIRTIO), a_linux(root="/dev/sda2")), Exit.AMBIGUOUS, "guest-several"),
        (
            facts(a_windows(), file_systems=({"device": "/dev/sda2", "kind": "ntfs", "dirty": True},)),
            Exit.UNSUPPORTED,
            "guest-dirty",
        ),
        (facts(a_linux(NO_VIRTIO, mounts=(a_mount(free=20_000_000),))), Exit.NO_SPACE, "guest-full"),
        (facts(a_linux(NO_VIRTIO, type="hurd")), Exit.UNSUPPORTED, "guest-unknown"),
        (facts(a_linux(NO_VIRTIO, distro="alpinelinux")), Exit.UNSUPPORTED, "guest-not-convertible"),
        (facts(incomplete_groups=("vg0",)), Exit.UNSUPPORTED, "guest-disk-missing"),
    ],
)
def test_a_guest_that_cannot_be_adapted(found: Facts, code: Exit, reason: str) -> None:
    error = refused(found)
    assert (error.code, error.reason) == (code, reason)
    assert error.what == "the guest cannot be adapted"
    assert error.why
    assert "whenNotAdaptable: continue" in error.remedy


def test_always_refuses_a_full_guest_that_would_boot_as_it_is() -> None:
    found = facts(a_linux(mounts=(a_mount(free=20_000_000),)))
    assert refused(found, adapt=Adapt.ALWAYS).reason == "guest-full"
    assert not decide(judged(found), the_plan(), the_vm()).is_needed


def test_a_system_that_virt_v2v_does_not_know_keeps_its_names_if_it_boots_as_it_is() -> None:
    found = facts(a_linux(STATIC, distro="alpinelinux"))
    assert decide(judged(found), the_plan(), the_vm()).naming.pairs
    assert refused(found, adapt=Adapt.ALWAYS).reason == "guest-not-convertible"


def test_an_encrypted_data_disk_prevents_nothing() -> None:
    found = facts(a_linux(NO_VIRTIO), file_systems=({"device": "/dev/sdb1", "kind": "crypto_LUKS"},))
    assert decide(judged(found), the_plan(adapt=Adapt.ALWAYS), the_vm()).convert


def test_one_of_several_systems_is_chosen_by_its_root() -> None:
    found = facts(a_linux(NO_VIRTIO), a_linux(root="/dev/sda2", product="Other"))
    guest = judged(found, root="/dev/sda2")
    assert guest.system is not None
    assert guest.system.product == "Other"
    missing = judged(found, root="/dev/sdz9")
    assert missing.verdict.reason == "guest-root-missing"
    assert "Debian GNU/Linux 12 on /dev/sda1, Other on /dev/sda2" in missing.verdict.text


# --- Windows


def test_windows_needs_virtio_win() -> None:
    found = facts(a_windows({"drivers": ()}))
    error = refused(found)
    assert (error.code, error.reason) == (Exit.INVALID, "guest-no-windows-drivers")
    work = decide(judged(found), the_plan(virtio_win="/opt/virtio-win"), the_vm())
    assert work.convert
    assert not work.edits


def test_scripts_of_windows_need_a_conversion() -> None:
    ready = a_windows({"drivers": ({"name": "viostor", "start": 0, "file": True},)})
    script = first_boot.Script("a.bat", b"echo")
    with pytest.raises(NotAdaptableError, match="needs no conversion"):
        decide(judged(facts(ready)), the_plan(virtio_win="/x"), the_vm(), [script])


def test_scripts_need_systemd() -> None:
    script = first_boot.Script("a.sh", b"#!/bin/sh\n")
    with pytest.raises(NotAdaptableError, match="has no systemd"):
        decide(judged(facts(a_linux(NO_VIRTIO))), the_plan(), the_vm(), [script])


# --- the EFI loader


def with_loaders(*loaders: str) -> Guest:
    return judged(facts(a_linux(), esps=({"device": "/dev/sda1", "loaders": loaders},)))


@pytest.mark.parametrize(
    ("loaders", "copies"),
    [
        (
            ("debian/shimx64.efi", "debian/grubx64.efi", "debian/mmx64.efi"),
            (
                ("debian/shimx64.efi", "BOOT/BOOTX64.EFI"),
                ("debian/grubx64.efi", "BOOT/grubx64.efi"),
                ("debian/mmx64.efi", "BOOT/mmx64.efi"),
            ),
        ),
        (("debian/grubx64.efi",), (("debian/grubx64.efi", "BOOT/BOOTX64.EFI"),)),
        (("systemd/systemd-bootx64.efi",), (("systemd/systemd-bootx64.efi", "BOOT/BOOTX64.EFI"),)),
        (("Microsoft/Boot/bootmgfw.efi",), (("Microsoft/Boot/bootmgfw.efi", "BOOT/BOOTX64.EFI"),)),
    ],
)
def test_the_loader_of_the_only_vendor_becomes_the_fall_back(
    loaders: tuple[str, ...], copies: tuple[tuple[str, str], ...]
) -> None:
    loader, concerns = fallback_loader(with_loaders(*loaders), efi=True)
    assert loader is not None
    assert (loader.esp, loader.copies) == ("/dev/sda1", copies)
    assert concerns == ()


@pytest.mark.parametrize(
    ("loaders", "why"),
    [
        (("debian/grubx64.efi", "Microsoft/Boot/bootmgfw.efi"), "there are loaders of Microsoft, debian"),
        (("vendor/odd.efi",), "none of its loaders is known"),
    ],
)
def test_a_loader_that_is_not_clear_is_not_written(loaders: tuple[str, ...], why: str) -> None:
    loader, concerns = fallback_loader(with_loaders(*loaders), efi=True)
    assert loader is None
    assert why in concerns[0].message


@pytest.mark.parametrize("loaders", [("BOOT/BOOTX64.EFI", "debian/grubx64.efi"), ()])
def test_nothing_is_copied_where_it_is_there_or_where_there_is_none(loaders: tuple[str, ...]) -> None:
    assert fallback_loader(with_loaders(*loaders), efi=True) == (None, ())
    assert fallback_loader(with_loaders("debian/grubx64.efi"), efi=False) == (None, ())


# --- the proof


def test_what_was_not_done_is_a_fault() -> None:
    guest = judged(facts(a_linux({**NO_VIRTIO, **STATIC}), **ESP))
    work = decide(guest, the_plan(), the_vm("efi"))
    assert faults(guest, work) == [
        "the guest has no driver for virtio disks when it boots",
        "the guest has no driver for virtio NICs",
        f"ens192 is not bound to {MAC}",
        "\\EFI\\BOOT\\BOOTX64.EFI is not there",
    ]
    link = {
        "stack": "networkd",
        "file": "/etc/systemd/network/10-vmferry-ens192.link",
        "text": f"[Match]\nMACAddress={MAC}\n[Link]\nName=ens192\n",
    }
    done = a_linux({**STATIC, "network": (*STATIC["network"], link)})  # type: ignore[misc]
    esps = ({"device": "/dev/sda1", "loaders": ("BOOT/BOOTX64.EFI", "debian/shimx64.efi")},)
    assert faults(judged(facts(done, esps=esps)), work) == []
    assert faults(judged(facts()), work) == ["no system is found any more: no operating system was found"]
