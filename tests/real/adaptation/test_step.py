"""The step `adapt` with the real qemu-img, and fakes for virt-v2v and the appliance."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from steps import adapt
from steps.guest import v2v
from steps.guest.run import EditFailedError, Edits
from steps.model import first_boot, nic_names
from steps.model.adapted import ADAPTED, Adapted, AdaptedDisk, Phase
from steps.model.adapting import NotAdaptableError
from steps.model.contract import Exit, StepError
from steps.model.guest import GUEST, Guest, NamedNic
from steps.model.guest_facts import Facts
from steps.model.guest_judge import judged
from steps.model.machine import Nic
from steps.model.plan import Adapt, DiskFormat, GuestPlan, WhenNotAdaptable
from steps.runtime.program import MACHINE, PLAN, run_body
from steps.runtime.stop import Stop
from tests.real.adaptation.committing import MIB, disks
from tests.real.adaptation.test_commit import digests, two
from tests.unit.builders import a_disk, a_machine, a_plan
from tests.unit.steps.model.test_guest_judge import NO_VIRTIO, a_linux, a_windows, facts

pytestmark = pytest.mark.skipif(shutil.which("qemu-io") is None, reason="qemu-utils is not installed")
MAC = "52:54:00:aa:00:01"
INTERFACES = {
    "stack": "ifupdown",
    "file": "/etc/network/interfaces",
    "text": "iface ens192 inet static\n address 192.0.2.10/24\n",
}
LINK = {
    "stack": "networkd",
    "file": nic_names.link_path("ens192"),
    "text": f"[Match]\nMACAddress={MAC}\n[Link]\nName=ens192\n",
}
BEFORE = a_linux({**NO_VIRTIO, "network": (INTERFACES,), "agents": ("open_vm_tools",), "has_systemd": True})
AFTER = a_linux({"network": (INTERFACES, LINK), "agents": (), "has_systemd": True})


class Programs:
    """virt-v2v and the appliance, with what they shall find and what they got."""

    def __init__(self) -> None:
        self.after: Facts = facts(AFTER)
        self.conversions: list[v2v.Conversion] = []
        self.edits: list[Edits | None] = []
        self.keys: list[Any] = []
        self.fails: StepError | None = None

    def convert(self, order: v2v.Conversion, folder: Path, **_: Any) -> v2v.Converted:
        self.conversions.append(order)
        self.keys.append({device: path.read_text() for device, path in order.keys.items()})
        for overlay in order.overlays:
            subprocess.run(["qemu-io", "-f", "qcow2", "-c", f"write -P 9 {MIB} {MIB}", overlay], check=True)
        if self.fails and not isinstance(self.fails, EditFailedError):
            raise self.fails
        return v2v.Converted("virt-v2v 2.2.0", ("odd grub",))

    def read(
        self, _images: Any, folder: Path, *, edits: Edits | None = None, keys: Any = None, **_: Any
    ) -> Facts:
        assert list(folder.iterdir()) == []
        self.edits.append(edits)
        self.keys.append(keys)
        if isinstance(self.fails, EditFailedError):
            raise self.fails
        return self.after


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Programs:
    found = Programs()
    monkeypatch.setattr(v2v, "convert", found.convert)
    monkeypatch.setattr(adapt, "read_facts", found.read)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("request", "outputs"):
        (tmp_path / name).mkdir()
    two(tmp_path / "disks", DiskFormat.QCOW2)
    inspected(tmp_path, facts(BEFORE))
    asked(tmp_path)
    vm = a_machine(disks=(a_disk(0), a_disk(1)), nics=(Nic(id="nic-0", mac=MAC, slot=192),))
    vm.save(tmp_path / "request" / MACHINE)
    return tmp_path


def inspected(folder: Path, found: Facts) -> None:
    judged(found).save(folder / "request" / GUEST)


def asked(folder: Path, **guest: Any) -> None:
    wanted = GuestPlan(**{"inspect": True, "adapt": Adapt.AUTO, **guest})
    a_plan().model_copy(update={"guest": wanted}).save(folder / "request" / PLAN)


def run(folder: Path, *more: str) -> Exit:
    argv = ["--request", str(folder / "request"), "--outputs", str(folder / "outputs")]
    return run_body(adapt.arguments(), adapt.body, [*argv, "--disks", str(folder / "disks"), *more], Stop())


def result(folder: Path) -> Adapted:
    return Adapted.load(folder / "outputs" / ADAPTED)


def overlays(folder: Path) -> list[Path]:
    return list((folder / "disks").glob("*/adapt.qcow2"))


def test_it_converts_edits_proves_and_commits(folder: Path, programs: Programs) -> None:
    scripts = folder / "scripts"
    scripts.mkdir()
    (scripts / "hello").write_text("echo")
    before = digests(disks(folder / "disks"))
    assert run(folder, "--scripts", str(scripts)) is Exit.DONE
    (order,) = programs.conversions
    assert [overlay.name for overlay in order.overlays] == ["adapt.qcow2", "adapt.qcow2"]
    assert order.root == "/dev/sda1"
    (edits,) = programs.edits
    assert edits is not None
    paths = [path for path, _, _ in edits.files]
    assert nic_names.link_path("ens192") in paths
    assert f"{first_boot.FOLDER}/01-hello" in paths
    assert f"{first_boot.FOLDER}/{first_boot.AGENT}" in paths
    assert edits.links == [(first_boot.WANTED_BY, first_boot.UNIT)]
    assert edits.lines == []
    found = result(folder)
    assert found.converted_by == "virt-v2v 2.2.0"
    assert found.warnings == ("odd grub",)
    assert "open-vm-tools was removed" in found.done
    assert [disk.landed for disk in found.disks] == before
    assert [disk.handed_over for disk in found.disks] == digests(disks(folder / "disks"))
    assert [disk.changed for disk in found.disks] == [MIB, MIB]
    assert Guest.load(folder / "outputs" / GUEST).verdict.answer == "fits"
    assert overlays(folder) == []


def test_a_second_attempt_after_a_success_changes_nothing(folder: Path, programs: Programs) -> None:
    assert run(folder) is Exit.DONE
    first, after = result(folder), digests(disks(folder / "disks"))
    assert run(folder) is Exit.DONE
    assert len(programs.conversions) == 1
    assert result(folder) == first
    assert digests(disks(folder / "disks")) == after


def test_a_guest_without_systemd_gets_a_rule_of_udev(folder: Path, programs: Programs) -> None:
    inspected(folder, facts(a_linux({**NO_VIRTIO, "network": (INTERFACES,)})))
    assert run(folder) is Exit.DONE
    (edits,) = programs.edits
    assert edits is not None
    rule = nic_names.udev_rule(NamedNic(name="ens192", mac=MAC))
    assert list(edits.lines) == [(nic_names.RULES, rule)]
    assert edits.files == []


def test_nothing_is_touched_where_nothing_is_needed(folder: Path, programs: Programs) -> None:
    inspected(folder, facts(AFTER))
    before = digests(disks(folder / "disks"))
    assert run(folder) is Exit.DONE
    assert (programs.conversions, programs.edits) == ([], [])
    assert result(folder) == Adapted(phase=Phase.DONE)
    assert digests(disks(folder / "disks")) == before


def test_what_the_proof_does_not_find_is_not_committed(folder: Path, programs: Programs) -> None:
    programs.after = facts(BEFORE)
    before = digests(disks(folder / "disks"))
    assert run(folder) is Exit.CORRUPT
    assert digests(disks(folder / "disks")) == before
    assert overlays(folder) == []
    assert not (folder / "outputs" / ADAPTED).exists()


@pytest.mark.parametrize(
    "error",
    [
        NotAdaptableError(Exit.UNSUPPORTED, "virt-v2v cannot convert the guest", "odd"),
        EditFailedError(Exit.UNSUPPORTED, "the files of the guest cannot be changed", "odd"),
    ],
)
def test_a_failure_of_the_guest_fails_or_continues_as_asked(
    folder: Path, programs: Programs, error: StepError
) -> None:
    programs.fails = error
    before = digests(disks(folder / "disks"))
    assert run(folder) is Exit.UNSUPPORTED
    asked(folder, when_not_adaptable=WhenNotAdaptable.CONTINUE)
    assert run(folder) is Exit.DONE
    assert [one.code for one in result(folder).concerns] == ["guest-not-adapted"]
    assert "odd" in result(folder).concerns[0].message
    assert Guest.load(folder / "outputs" / GUEST).verdict.answer == "convert"
    assert digests(disks(folder / "disks")) == before
    assert overlays(folder) == []


def test_a_failure_of_the_computer_is_never_continued(folder: Path, programs: Programs) -> None:
    asked(folder, when_not_adaptable=WhenNotAdaptable.CONTINUE)
    programs.fails = StepError(Exit.INTERNAL, "the appliance of libguestfs does not start")
    assert run(folder) is Exit.INTERNAL
    assert overlays(folder) == []


def test_within_the_commit_there_is_no_way_back(folder: Path, programs: Programs) -> None:
    asked(folder, when_not_adaptable=WhenNotAdaptable.CONTINUE)
    rows = []
    for disk in disks(folder / "disks"):
        disk.files.mark_adapted(disk.landed())
        rows.append(
            AdaptedDisk(
                id=disk.id, file=disk.ready.file, format=disk.ready.format, landing=disk.landed().identity
            )
        )
    Adapted(phase=Phase.COMMITTING, disks=tuple(rows)).save(folder / "disks/disk-0" / ADAPTED)
    assert run(folder) is Exit.CORRUPT
    assert programs.conversions == []


def test_keys_that_are_given_later_repeat_the_inspection(folder: Path, programs: Programs) -> None:
    locked = ({"device": "/dev/sda2", "kind": "crypto_LUKS"},)
    inspected(folder, facts(file_systems=locked))
    assert run(folder) is Exit.INVALID
    keys = folder / "keys"
    keys.mkdir()
    (keys / "sda2").write_text("secret\n")
    programs.after = facts(AFTER, file_systems=locked, unlocked=("/dev/sda2",))
    asked(folder, adapt=Adapt.ALWAYS)
    assert run(folder, "--keys", str(keys)) is Exit.DONE
    assert programs.keys[0] == {"sda2": "secret"}
    assert programs.keys[1] == {"/dev/sda2": "secret"}


def test_windows_is_checked_before_it_is_converted(
    folder: Path, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    inspected(folder, facts(a_windows({"drivers": ()})))
    monkeypatch.setenv(v2v.TOOLS_ENV, str(folder))
    asked(folder, virtio_win=str(folder / "missing"))
    assert run(folder) is Exit.INVALID
    assert programs.conversions == []
    assert overlays(folder) == []
