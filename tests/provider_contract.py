"""The contract of every source: one suite that runs for each provider.

A provider subclasses `ProviderContract` and provides its source: see
tests/real/providers/vmware/test_contract.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from steps.disk import qemu
from steps.model.contract import Exit, StepError
from steps.model.machine import Machine, Power
from steps.model.plan import DiskFormat, PowerPlan
from steps.providers import Access, connect

MakeAccess = Callable[[str], Access]
"""Makes an `Access` for a step of that name."""


@dataclass(frozen=True)
class Given:
    """A source with one VM that runs and can be shut down, and raw files equal to its disks."""

    access: MakeAccess
    vm: str
    folder: str | None
    originals: tuple[Path, ...]
    held: Callable[[], int]
    """The number of our sessions, leases and temporary objects at the source."""
    stops: Callable[[], int]
    """How often the VM was asked to shut down, or was powered off."""


def ignore(_done: int, _total: int) -> None:
    """Ignore the progress."""


class ProviderContract:
    """The contract of `steps.providers.Provider`."""

    @pytest.fixture
    def given(self) -> Given:
        raise NotImplementedError  # the subclass overrides it

    def described(self, given: Given) -> Machine:
        with connect(given.access("preflight")) as source:
            source.verify()
            return source.describe(given.vm, given.folder)

    def test_a_vm_is_described_the_same_each_time(self, given: Given) -> None:
        machine = self.described(given)
        assert machine == self.described(given)
        assert [disk.id for disk in machine.disks] == [f"disk-{n}" for n in range(len(given.originals))]
        assert len({disk.key for disk in machine.disks}) == len(machine.disks)
        assert [disk.capacity for disk in machine.disks] == [file.stat().st_size for file in given.originals]
        assert given.held() == 0

    def test_its_networks_are_listed(self, given: Given) -> None:
        with connect(given.access("preflight")) as source:
            machine = source.describe(given.vm, given.folder)
            assert {nic.network for nic in machine.nics} <= source.networks()

    def test_the_vm_is_in_the_inventory(self, given: Given) -> None:
        machine = self.described(given)
        with connect(given.access("look")) as source:
            assert machine.source_id in {other.source_id for other in source.inventory().machines}

    def test_an_unknown_vm_is_not_found(self, given: Given) -> None:
        with connect(given.access("preflight")) as source, pytest.raises(StepError) as caught:
            source.describe("no-such-machine", None)
        assert caught.value.code is Exit.NOT_FOUND
        assert "no-such-machine" in str(caught.value)
        assert given.held() == 0

    def test_a_running_vm_is_not_exported(self, given: Given, tmp_path: Path) -> None:
        machine = self.described(given)
        with connect(given.access("export-disk-0")) as source, pytest.raises(StepError) as caught:
            source.export(machine, machine.disks[0], tmp_path / "disk.raw", DiskFormat.RAW, ignore)
        assert caught.value.code is Exit.POWER
        assert given.held() == 0

    def test_the_vm_is_shut_down_once_and_its_disks_are_exported(self, given: Given, tmp_path: Path) -> None:
        machine = self.described(given)
        for _ in range(2):
            with connect(given.access("poweroff")) as source:
                source.power_off(machine, PowerPlan())
        assert given.stops() == 1
        assert self.described(given).power is Power.OFF
        for disk, original in zip(machine.disks, given.originals, strict=True):
            self.export(given, machine, disk.id, tmp_path, original)
        assert given.held() == 0

    def export(self, given: Given, machine: Machine, disk_id: str, folder: Path, original: Path) -> None:
        """Export a disk twice; the second export reads nothing."""
        out = folder / f"{disk_id}.qcow2"
        for again in (False, True):
            with connect(given.access(f"export-{disk_id}")) as source:
                landed = source.export(machine, machine.disk(disk_id), out, DiskFormat.QCOW2, ignore)
            assert again == (landed.source_bytes == 0)
        assert qemu.compare(original, "raw", out, "qcow2")

    def test_nothing_is_left_to_release_after_success(self, given: Given) -> None:
        self.described(given)
        with connect(given.access("release-source")) as source:
            assert source.release() == []
        assert given.held() == 0

    # --- power history

    def shut_down(self, given: Given) -> Machine:
        """The VM as preflight describes it, after it was shut down."""
        machine = self.described(given)
        with connect(given.access("preflight")) as source:
            machine = machine.model_copy(update={"mark": source.power_mark(machine)})
        with connect(given.access("poweroff")) as source:
            source.power_off(machine, PowerPlan())
        return machine

    def test_a_vm_that_stays_off_was_not_started(self, given: Given, tmp_path: Path) -> None:
        machine = self.shut_down(given)
        with connect(given.access("poweroff")) as source:
            mark = source.power_mark(machine)
        with connect(given.access("export-disk-0")) as source:
            source.export(machine, machine.disks[0], tmp_path / "disk.raw", DiskFormat.RAW, ignore)
        with connect(given.access("unchanged")) as source:
            assert source.was_started_since(machine, mark) is None
            assert not source.is_on(machine)
        assert given.held() == 0

    def test_a_start_is_noticed_also_when_the_vm_is_off_again(self, given: Given) -> None:
        machine = self.shut_down(given)
        with connect(given.access("poweroff")) as source:
            mark = source.power_mark(machine)
        with connect(given.access("release-source")) as source:
            source.power_on(machine)
            assert source.is_on(machine)
            source.power_on(machine)  # changes nothing
        with connect(given.access("unchanged")) as source:
            assert source.was_started_since(machine, mark)
        with connect(given.access("poweroff")) as source:
            source.power_off(machine, PowerPlan())
            assert source.was_started_since(machine, source.power_mark(machine)) is None
        with connect(given.access("unchanged")) as source:
            assert source.was_started_since(machine, mark)
        assert given.held() == 0

    def test_our_own_shutdown_is_known_until_somebody_starts_the_vm(self, given: Given) -> None:
        machine = self.shut_down(given)
        assert machine.mark is not None
        with connect(given.access("release-source")) as source:
            assert source.was_shut_down_since(machine, machine.mark)
            source.power_on(machine)
            assert not source.was_shut_down_since(machine, machine.mark)
        with connect(given.access("poweroff")) as source:
            source.power_off(machine, PowerPlan())
            assert source.was_shut_down_since(machine, machine.mark)
